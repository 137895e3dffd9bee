//! The harness of the live tests: lockprobe as a program, programs to watch, what it said of them.
//!
//! A test starts programs whose behaviour it knows, has lockprobe watch them, and compares. What
//! is started is ended, whatever happens to the test; what is waited for is an event, never a
//! span of time, and is given up on with a sentence after a patience no machine should need.

pub mod cluster;
pub mod collector;
pub mod containers;
pub mod conversations;
pub mod daemon;
pub mod freezer;
pub mod kernel;
pub mod kinds;
pub mod probe;
pub mod program;
pub mod receivers;
pub mod records;
pub mod schedule;
pub mod servers;
mod system;
pub mod unpacked;

use std::time::{Duration, Instant};

/// How long anything may take before a test says that it hangs.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// How far a time may be off, nanoseconds: so far here, and `LOCKPROBE_SLACK` times as far where a
/// processor is emulated.
pub fn slack(nanos: u64) -> u64 {
    let factor = std::env::var("LOCKPROBE_SLACK").ok().and_then(|text| text.parse().ok());
    nanos * factor.unwrap_or(1)
}

/// Fails a test that has to be root and is not.
pub fn need_root() {
    assert!(
        system::is_root(),
        "the live tests load eBPF programs: run them as root, or leave them out with `cargo xtask test --fast`"
    );
}

/// Waits until `it` is so, which an event in another process brings about.
pub fn until<T>(what: &str, mut it: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = it() {
            return value;
        }
        assert!(begun.elapsed() < PATIENCE, "gave up waiting until {what}");
        // Between two looks at /proc, which has no events to wait for.
        std::thread::sleep(Duration::from_millis(2));
    }
}
