//! Every backend on made-up conversations, for a bounded time: no panic, and bounded memory.
//!
//! `cargo xtask fuzz` does the same led by coverage; this runs with all other tests.

use std::time::{Duration, Instant};

use lockprobe::backends;
use lockprobe::framing::Rules;
use lockprobe::model::{Connection, Dialect, Piece, Thread, ThreadId};

const FOR: Duration = Duration::from_millis(1500);
/// Pieces of a conversation, and the most bytes of one.
const PIECES: usize = 64;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

/// Words of a protocol.
type Words = &'static [&'static [u8]];

/// Words of each protocol, put together without sense.
const WORDS: [(Dialect, Words); 7] = [
    (
        Dialect::Redis,
        &[
            b"*6\r\n$3\r\nSET\r\n",
            b"$4\r\nlock\r\n",
            b"$2\r\nNX\r\n",
            b"$2\r\nPX\r\n",
            b"$4\r\n5000\r\n",
            b"+OK\r\n",
            b"$-1\r\n",
            b"_\r\n",
            b":1\r\n",
            b"*5\r\n$7\r\nEVALSHA\r\n",
            b"*1\r\n$5\r\nMULTI\r\n",
            b"*1\r\n$4\r\nEXEC\r\n",
            b"*-1\r\n",
            b"-NOSCRIPT x\r\n",
            b"*99999999\r\n",
            b"$999999999\r\n",
            b"%2\r\n",
            b">3\r\n",
            b"+QUEUED\r\n",
            b"$40\r\nc3f8721cbb97f72bc19e972846bd7aaf91901658\r\n",
        ],
    ),
    (
        Dialect::Etcd,
        &[
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"\0\0\0\x04\0\0\0\0\0",
            b"\0\0\x20\0\0\0\0\0\x01",
            b"\0\0\x10\x01\x04\0\0\0\x01",
            b"POST /v3/kv/txn HTTP/1.1\r\n",
            b"Content-Length: 20\r\n\r\n",
            b"{\"succeeded\":true}",
            b"Transfer-Encoding: chunked\r\n\r\n",
            b"\x0a\x23\x10\x01\x1a\x1d/locks/a",
            b"\x45\x95\x60\xa9\x24",
            b"\xff\xff\xff\xff\x7f",
            b"0\r\n\r\n",
        ],
    ),
    (
        Dialect::ZooKeeper,
        &[
            b"\0\0\0\x2c\0\0\0\0",
            b"\0\0\0\x01\0\0\0\x01",
            b"\0\0\0\x10/locks/a/x-lock-",
            b"\0\0\0\x03",
            b"\xff\xff\xff\xfe\0\0\0\x0b",
            b"\xff\xff\xff\xff",
            b"\x7f\xff\xff\xff",
            b"__lock__0000000001",
        ],
    ),
    (
        Dialect::Postgres,
        &[
            b"Q\0\0\0\x20select pg_advisory_lock(1)\0",
            b"P\0\0\0\x20\0select pg_try_advisory_lock($1)\0\0\x01",
            b"B\0\0\0\x10\0\0\0\0\0\x01\0\0\0\x01",
            b"S\0\0\0\x04",
            b"Z\0\0\0\x05I",
            b"C\0\0\0\x0dSELECT 1\0",
            b"T\0\0\0\x20\0\x01pg_advisory_lock\0",
            b"D\0\0\0\x0b\0\x01\0\0\0\x01t",
            b"E\0\0\0\x20SERROR\0C40P01\0\0",
            b"\xff\xff\xff\xff",
        ],
    ),
    (
        Dialect::Mysql,
        &[
            b"\x20\0\0\0\x03SELECT GET_LOCK('a', 10)",
            b"\x01\0\0\x01\x01",
            b"\x02\0\0\x03\x011",
            b"\x05\0\0\x04\xfe\0\0\x02\0",
            b"\xff\xb5\x04",
            b"\x07\0\0\x01\0\0\0\x02\0\0\0",
            b"\xff\xff\xff\0",
            b"\x05\0\0\0\x17\x01\0\0\0",
        ],
    ),
    (
        Dialect::Memcached,
        &[
            b"add lock:a 0 5 1\r\nx\r\n",
            b"STORED\r\n",
            b"NOT_STORED\r\n",
            b"touch lock:a 5\r\n",
            b"delete lock:a\r\n",
            b"gets lock:a\r\n",
            b"VALUE lock:a 0 99999999 1\r\n",
            b"ms lock:a 1 ME\r\nx\r\n",
            b"HD\r\n",
            b"\x80\x02\0\x04",
            b"\x81\x02\0\0",
            b"END\r\n",
        ],
    ),
    (
        Dialect::Consul,
        &[
            b"PUT /v1/kv/a?acquire=b HTTP/1.1\r\n",
            b"Content-Length: 4\r\n\r\n",
            b"true",
            b"false",
            b"HTTP/1.1 200 OK\r\n",
            b"GET /v1/kv/a?index=1&wait=5s HTTP/1.1\r\n\r\n",
            b"PUT /v1/session/renew/b HTTP/1.1\r\n",
            b"Content-Length: 99999999999\r\n\r\n",
        ],
    ),
];

fn words(dialect: Dialect) -> Words {
    WORDS.iter().find(|(of, _)| *of == dialect).expect("every dialect has words").1
}

fn piece_of(words: &[&[u8]], random: &mut Random) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..random.below(8) {
        match random.below(6) {
            0 => bytes.extend((0..random.below(64)).map(|_| random.next() as u8)),
            _ => bytes.extend_from_slice(words[random.below(words.len())]),
        }
    }
    if random.below(3) == 0 && !bytes.is_empty() {
        let at = random.below(bytes.len());
        bytes[at] = random.next() as u8;
    }
    bytes.truncate(1 + random.below(1024));
    bytes
}

fn converse(dialect: Dialect, random: &mut Random) {
    let mut backend = backends::of(dialect, &Rules::default());
    let mut steps = Vec::new();
    let connection = |n: usize| Connection {
        id: n as u64,
        pid: 10 + n as u32,
        dialect,
        client: ([127, 0, 0, 1], 40_000).into(),
        server: ([127, 0, 0, 1], dialect.ports()[0]).into(),
        namespace: 1,
        joined: n % 2 == 1,
    };
    let connections: Vec<Connection> = (0..3).map(connection).collect();
    connections.iter().for_each(|c| backend.opened(c));
    for n in 0..PIECES {
        let time = n as u64 * 10_000_000;
        let connection = &connections[random.below(3)];
        let id = ThreadId { pid: connection.pid, tid: connection.pid };
        let thread = Thread { id, ..Thread::default() };
        let bytes = piece_of(words(dialect), random);
        let missing = if random.below(16) == 0 { random.next() % 5000 } else { 0 };
        let (sent, settled) = (random.below(2) == 0, random.below(3) == 0);
        let piece = Piece { time, thread, sent, bytes: &bytes, missing, settled };
        backend.piece(connection, &piece, &mut steps);
        if random.below(8) == 0 {
            backend.tick(time, &mut steps);
        }
    }
    connections
        .iter()
        .for_each(|c| backend.closed(c, 1_000_000_000, Thread::default(), &mut steps));
    backend.tick(u64::MAX, &mut steps);
    assert!(steps.len() < 100_000, "{} steps of {PIECES} pieces", steps.len());
}

#[test]
fn no_bytes_do_harm() {
    for (at, dialect) in Dialect::ALL.into_iter().enumerate() {
        let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ at as u64);
        let begun = Instant::now();
        let mut rounds = 0;
        while begun.elapsed() < FOR {
            converse(dialect, &mut random);
            rounds += 1;
        }
        assert!(rounds > 0, "{}", dialect.name());
    }
}
