//! Any bytes as a frame: decoded or refused, never a panic.
//!
//! From the root: `cargo +nightly fuzz run --fuzz-dir tests/fuzz decode`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use lockprobe::decode::decode;
use lockprobe::model::Observation;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(Observation::Wait(wait)) = decode(bytes) {
        assert!(wait.start <= wait.slept && wait.sleeps > 0);
    }
});
