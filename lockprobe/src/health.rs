//! lockprobe's own counters: what came in, what could not be read.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::model::Malformed;

/// How much waits in a queue between two threads.
#[derive(Clone, Debug, Default)]
pub struct Depth(Arc<AtomicU64>);

impl Depth {
    /// One more; to be told before it is put in.
    pub fn enters(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// One less; to be told after it was taken out.
    pub fn leaves(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// How many.
    pub fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

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
