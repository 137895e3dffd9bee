//! Frames, as the pipeline takes them.

use lockprobe_ebpf::wire::kind;

use crate::decode::decode;
use crate::model::{Malformed, Observation};
use crate::source::facts;

/// Reads a frame, facts too.
pub fn read(frame: &[u8]) -> Result<Observation, Malformed> {
    match decode(frame) {
        Err(Malformed::Kind) if kind_of(frame) == Some(kind::FACT) => {
            facts::from_json(&frame[16..]).map(Observation::Fact).ok_or(Malformed::Value)
        }
        result => result,
    }
}

fn kind_of(frame: &[u8]) -> Option<u32> {
    Some(u32::from_le_bytes(frame.get(..4)?.try_into().ok()?))
}

/// Whether the kernel half counted this frame when it wrote it.
pub fn from_ring(frame: &[u8]) -> bool {
    use kind::{
        BYTES, CLOSED, CONNECTION, FILE, FULL_LOCK, FULL_ORDER, LOCK, LOCK_FILE, PROCESS, RESUME,
        WAIT,
    };
    matches!(
        kind_of(frame),
        Some(
            WAIT | RESUME
                | LOCK
                | PROCESS
                | FILE
                | LOCK_FILE
                | FULL_LOCK
                | FULL_ORDER
                | CONNECTION
                | BYTES
                | CLOSED
        )
    )
}
