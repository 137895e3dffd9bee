//! What is no lock.

use core::net::SocketAddr;

use super::super::Redis;
use crate::framing::Backend as _;
use crate::model::{Connection, Dialect, Piece, Thread};

struct Client {
    redis: Redis,
    connection: Connection,
    steps: Vec<crate::model::RemoteStep>,
    time: u64,
}

impl Client {
    fn new() -> Self {
        let any: SocketAddr = ([127, 0, 0, 1], 6379).into();
        let connection = Connection {
            id: 1,
            pid: 10,
            dialect: Dialect::Redis,
            client: any,
            server: any,
            namespace: 1,
            joined: false,
        };
        let mut redis = Redis::default();
        redis.opened(&connection);
        Self { redis, connection, steps: Vec::new(), time: 0 }
    }

    fn piece(&mut self, sent: bool, bytes: &[u8]) {
        self.time += 100_000;
        let thread = Thread::default();
        let piece = Piece { time: self.time, thread, sent, bytes, missing: 0, settled: sent };
        self.redis.piece(&self.connection, &piece, &mut self.steps);
        if self.time.is_multiple_of(10_000_000) {
            self.redis.tick(self.time, &mut self.steps);
        }
    }

    fn ask(&mut self, commands: &[String], answers: &str) {
        let mut bytes = String::new();
        for command in commands {
            let words: Vec<&str> = command.split(' ').collect();
            bytes += &format!("*{}\r\n", words.len());
            words.iter().for_each(|word| bytes += &format!("${}\r\n{word}\r\n", word.len()));
        }
        self.piece(true, bytes.as_bytes());
        self.piece(false, answers.as_bytes());
    }
}

#[test]
fn a_hundred_thousand_ordinary_commands_are_no_locks() {
    let mut client = Client::new();
    let mut count = 0;
    for round in 0..7000u64 {
        let user = round % 500;
        let hex = format!("{:016x}{:016x}", round.wrapping_mul(0x9e37_79b9_7f4a_7c15), round);
        let uuid = format!("{:08x}-0000-4000-8000-{round:012x}", round ^ 0xdead_beef);
        let one = |command: String| vec![command];
        client.ask(&one(format!("GET user:{user}")), "$5\r\nhello\r\n");
        client.ask(&one(format!("SET user:{user} {hex} EX 60")), "+OK\r\n");
        // A cache that is filled once, and invalidated.
        client.ask(&one(format!("SET cache:user:{user} {{\"id\":{user}}} NX EX 300")), "+OK\r\n");
        client.ask(&one(format!("SET cache:user:{user} {{\"id\":{user}}} NX EX 300")), "$-1\r\n");
        client.ask(&one(format!("DEL cache:user:{user}")), ":1\r\n");
        // A rate limiter.
        let limit =
            [format!("SET rate:{user}:{round} 0 NX EX 60"), format!("INCR rate:{user}:{round}")];
        client.ask(&limit, "+OK\r\n:1\r\n");
        client.ask(&one(format!("EXPIRE rate:{user}:{round} 60")), ":1\r\n");
        // Session records, marks against doing things twice, first sights.
        client.ask(&one(format!("SET session:{uuid} {hex} NX EX 86400")), "+OK\r\n");
        client.ask(&one(format!("SET seen:{uuid} 1 NX EX 600")), "+OK\r\n");
        client.ask(&one(format!("SET first:{user} 2026-11-21T10:00:00 NX")), "$-1\r\n");
        client.ask(&one(format!("SETNX counter:{user} 0")), ":0\r\n");
        client.ask(&one(format!("DEL session:{uuid}")), ":1\r\n");
        let pipeline = ["MULTI".into(), format!("ZADD top {round} {user}"), "EXEC".into()];
        client.ask(&pipeline, "+OK\r\n+QUEUED\r\n*1\r\n:1\r\n");
        count += 17;
    }
    client.redis.tick(u64::MAX, &mut client.steps);
    assert!(count >= 100_000, "{count}");
    assert_eq!(client.steps, []);
    let ears = client.redis.ears();
    assert_eq!((ears.malformed, ears.resumed, ears.unpaired, ears.unclear), (0, 0, 0, 0));
}

#[test]
fn memory_is_bounded_whatever_is_said() {
    let mut client = Client::new();
    for round in 0..40_000u64 {
        let hex = format!("{:016x}{:016x}", round.wrapping_mul(0x9e37_79b9_7f4a_7c15), round);
        client.ask(&[format!("SET k{hex} {hex} NX PX 1000")], "+OK\r\n");
    }
    assert!(client.redis.ears().evicted > 0);
    let deep = "*1\r\n".repeat(1000);
    client.piece(true, b"*1\r\n$4\r\nPING\r\n");
    client.piece(false, deep.as_bytes());
    assert_eq!(client.redis.ears().malformed, 1);
}

#[test]
fn any_bytes_at_all_are_borne() {
    let mut random = 0x2545_f491_4f6c_dd1du64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let words: [&[u8]; 24] = [
        b"*3\r\n",
        b"*2\r\n",
        b"*1\r\n",
        b"$3\r\nSET\r\n",
        b"$1\r\nk\r\n",
        b"$2\r\nNX\r\n",
        b"$-1\r\n",
        b"+OK\r\n",
        b":1\r\n",
        b":0\r\n",
        b"_\r\n",
        b">2\r\n",
        b"%1\r\n",
        b"|1\r\n",
        b"$5\r\nMULTI\r\n",
        b"$4\r\nEXEC\r\n",
        b"$9\r\nSUBSCRIBE\r\n",
        b"$9999999\r\n",
        b"-MOVED 1 127.0.0.1:1\r\n",
        b"*-1\r\n",
        b"$7\r\nEVALSHA\r\n",
        b"-NOSCRIPT\r\n",
        b"$0\r\n\r\n",
        b"\xff\x00",
    ];
    for _ in 0..300 {
        let mut client = Client::new();
        client.connection.joined = next().is_multiple_of(2);
        for _ in 0..60 {
            let mut bytes = Vec::new();
            for _ in 0..next() % 6 {
                bytes.extend_from_slice(words[next() as usize % words.len()]);
            }
            client.time += 1_000_000 * (next() % 60);
            let piece = Piece {
                time: client.time,
                thread: Thread::default(),
                sent: next().is_multiple_of(2),
                bytes: &bytes,
                missing: if next().is_multiple_of(16) { next() % 64 } else { 0 },
                settled: next().is_multiple_of(4),
            };
            client.redis.piece(&client.connection, &piece, &mut client.steps);
            client.redis.tick(client.time, &mut client.steps);
        }
    }
}
