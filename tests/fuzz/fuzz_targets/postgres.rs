//! Any bytes as a conversation with PostgreSQL: understood or counted, never a panic.
//!
//! The first byte of each chunk says who speaks, whether anything is missing and how long it is.
//! From the root: `cargo +nightly fuzz run --fuzz-dir tests/fuzz postgres`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use lockprobe::backends::postgres::Postgres;
use lockprobe::framing::Backend as _;
use lockprobe::model::{Connection, Dialect, Piece, Thread};

fuzz_target!(|bytes: &[u8]| {
    let address = ([127, 0, 0, 1], 5432).into();
    let connection = Connection {
        id: 1,
        pid: 1,
        dialect: Dialect::Postgres,
        client: address,
        server: address,
        namespace: 1,
        joined: bytes.len() % 2 == 1,
    };
    let mut postgres = Postgres::default();
    let mut steps = Vec::new();
    postgres.opened(&connection);
    let (mut rest, mut time) = (bytes, 0);
    while let Some((&how, after)) = rest.split_first() {
        let (piece, after) = after.split_at(after.len().min(usize::from(how >> 3) * 8));
        rest = after;
        time += 7_000_000;
        let piece = Piece {
            time,
            thread: Thread::default(),
            sent: how & 1 == 0,
            bytes: piece,
            missing: u64::from(how & 6 == 6),
            settled: how & 2 == 0,
        };
        postgres.piece(&connection, &piece, &mut steps);
        postgres.tick(time, &mut steps);
    }
    postgres.closed(&connection, time, Thread::default(), &mut steps);
});
