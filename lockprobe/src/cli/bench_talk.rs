//! `lockprobe bench --talk`: what clients say to Redis, without a kernel and without a server.

use std::io::Write;
use std::time::{Duration, Instant};

use crate::backends;
use crate::framing::Rules;
use crate::model::{Connection, Dialect, Piece, Thread, ThreadId};

const ROUNDS: usize = 5;
/// Locks taken and let go.
const LOCKS: usize = 100_000;
/// So many of them between two ticks.
const BATCH: usize = 1024;
/// A value that nobody looks at, and how many of them.
const VALUE: usize = 64 << 10;
const VALUES: usize = 4096;

/// Measures, and prints the medians as one JSON object.
pub fn main() -> anyhow::Result<u8> {
    let mut commands = Vec::new();
    let mut bytes = Vec::new();
    for _ in 0..ROUNDS {
        let (steps, took) = locks();
        anyhow::ensure!(steps == 3 * LOCKS, "{steps} steps of {LOCKS} locks");
        // Each lock is two commands.
        commands.push((2 * LOCKS) as f64 / took.as_secs_f64());
        let begun = Instant::now();
        values();
        bytes.push((VALUES * VALUE) as f64 / begun.elapsed().as_secs_f64());
    }
    commands.sort_by(f64::total_cmp);
    bytes.sort_by(f64::total_cmp);
    let report = serde_json::json!({
        "lock_commands_a_second": commands[ROUNDS / 2],
        "skipped_bytes_a_second": bytes[ROUNDS / 2],
    });
    writeln!(std::io::stdout(), "{report}")?;
    Ok(0)
}

fn connection() -> Connection {
    Connection {
        id: 1,
        pid: 10,
        dialect: Dialect::Redis,
        client: ([127, 0, 0, 1], 40_000).into(),
        server: ([127, 0, 0, 1], 6379).into(),
        namespace: 1,
        joined: false,
    }
}

fn command(arguments: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", arguments.len()).into_bytes();
    for argument in arguments {
        bytes.extend(format!("${}\r\n{argument}\r\n", argument.len()).bytes());
    }
    bytes
}

/// Takes and lets go of locks; how many steps were told of, and how long that took, without putting
/// together what the client says.
fn locks() -> (usize, Duration) {
    let connection = connection();
    let mut backend = backends::of(Dialect::Redis, &Rules::default());
    backend.opened(&connection);
    let id = ThreadId { pid: 10, tid: 10 };
    let thread = Thread { id, ..Thread::default() };
    let mut steps = Vec::new();
    let mut told = 0;
    let mut time = 1_000_000_000;
    // The release script of redis-py.
    let sha = "c3f8721cbb97f72bc19e972846bd7aaf91901658";
    let keys: Vec<String> = (0..64).map(|n| format!("lock:invoice:{n}")).collect();
    let mut took = Duration::ZERO;
    for batch in (0..LOCKS).step_by(BATCH) {
        let said: Vec<[Vec<u8>; 2]> = (batch..LOCKS.min(batch + BATCH))
            .map(|n| {
                let (token, key) = (format!("{n:032x}"), &keys[n % keys.len()]);
                let set = command(&["SET", key, &token, "NX", "PX", "5000"]);
                [set, command(&["EVALSHA", sha, "1", key, &token])]
            })
            .collect();
        let begun = Instant::now();
        for [set, release] in &said {
            for (sent, bytes) in
                [(true, &set[..]), (false, b"+OK\r\n"), (true, release), (false, b":1\r\n")]
            {
                time += 1000;
                let piece = Piece { time, thread, sent, bytes, missing: 0, settled: sent };
                backend.piece(&connection, &piece, &mut steps);
            }
            told += steps.len();
            steps.clear();
        }
        backend.tick(time + 200_000_000, &mut steps);
        took += begun.elapsed();
    }
    backend.tick(time + 10_000_000_000, &mut steps);
    (told + steps.len(), took)
}

/// Passes over values that do not matter.
fn values() {
    let connection = connection();
    let mut backend = backends::of(Dialect::Redis, &Rules::default());
    backend.opened(&connection);
    let get = command(&["GET", "cache:a"]);
    let mut answer = format!("${VALUE}\r\n").into_bytes();
    answer.resize(answer.len() + VALUE, b'x');
    answer.extend(b"\r\n");
    let mut steps = Vec::new();
    let thread = Thread::default();
    for n in 0..VALUES {
        let time = n as u64 * 1000;
        let sent = Piece { time, thread, sent: true, bytes: &get, missing: 0, settled: true };
        backend.piece(&connection, &sent, &mut steps);
        // As it is captured, in pieces of at most 4 KiB.
        for bytes in answer.chunks(4096) {
            let got = Piece { time, thread, sent: false, bytes, missing: 0, settled: false };
            backend.piece(&connection, &got, &mut steps);
        }
    }
}
