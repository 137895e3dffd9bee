//! lockprobe's own counters: what came in, what could not be read.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

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

/// What an output could not deliver so far, by cause: written by its thread, read by others.
#[derive(Clone, Debug, Default)]
pub struct Lost {
    queue_full: Arc<AtomicU64>,
    sink: Arc<Mutex<Vec<(&'static str, u64)>>>,
}

impl Lost {
    /// One more did not fit into the queue before it.
    pub fn did_not_fit(&self) {
        self.queue_full.fetch_add(1, Ordering::Relaxed);
    }

    /// How many did not fit.
    pub fn queue_full(&self) -> u64 {
        self.queue_full.load(Ordering::Relaxed)
    }

    /// What the sink itself has counted by now.
    pub fn tell(&self, counted: Vec<(&'static str, u64)>) {
        *self.sink.lock().unwrap_or_else(PoisonError::into_inner) = counted;
    }

    /// All of it: cause and count.
    pub fn now(&self) -> Vec<(&'static str, u64)> {
        let counted = self.sink.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (mut all, full) = (counted, self.queue_full());
        match all.iter_mut().find(|(cause, _)| *cause == QUEUE_FULL) {
            Some((_, count)) => *count += full,
            None => all.push((QUEUE_FULL, full)),
        }
        all
    }
}

/// The cause of what did not fit into a queue.
pub const QUEUE_FULL: &str = "queue_full";

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
