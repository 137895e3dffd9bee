//! Any bytes as a conversation with a Consul: understood or counted, never a panic.
//!
//! A piece is a byte of flags, a length, and so many bytes. From the root:
//! `cargo +nightly fuzz run --fuzz-dir tests/fuzz consul`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use lockprobe::backends::consul::Consul;
use lockprobe::framing::Backend as _;
use lockprobe::model::{Connection, Dialect, Piece, Thread};

fuzz_target!(|bytes: &[u8]| {
    let end = ([127, 0, 0, 1], 8500).into();
    let joined = bytes.first().is_some_and(|first| first & 8 != 0);
    let dialect = Dialect::Consul;
    let connection =
        Connection { id: 1, pid: 1, dialect, client: end, server: end, namespace: 1, joined };
    let (mut consul, mut steps) = (Consul::default(), Vec::new());
    consul.opened(&connection);
    let (mut rest, mut time) = (bytes, 0);
    while let [flags, length, bytes @ ..] = rest {
        let (bytes, after) = bytes.split_at(bytes.len().min((*length).into()));
        rest = after;
        time += 20_000_000;
        let (sent, settled) = (flags & 1 != 0, flags & 2 != 0);
        let missing = if flags & 4 != 0 { 10 } else { 0 };
        let thread = Thread::default();
        consul.piece(
            &connection,
            &Piece { time, thread, sent, bytes, missing, settled },
            &mut steps,
        );
        consul.tick(time, &mut steps);
    }
    consul.closed(&connection, time, Thread::default(), &mut steps);
});
