//! lockprobe's own counters: what came in, what could not be read.

use crate::model::Malformed;

/// Counts of the user half.
#[derive(Clone, Copy, Debug, Default)]
pub struct Health {
    /// Records received from the kernel half through the ring.
    pub received: u64,
    /// Frames of a wrong length.
    pub malformed_length: u64,
    /// Frames of an unknown kind.
    pub malformed_kind: u64,
    /// Frames with impossible values.
    pub malformed_value: u64,
}

impl Health {
    /// Counts a frame that is no observation.
    pub fn malformed(&mut self, why: Malformed) {
        match why {
            Malformed::Length => self.malformed_length += 1,
            Malformed::Kind => self.malformed_kind += 1,
            Malformed::Value => self.malformed_value += 1,
        }
    }
}
