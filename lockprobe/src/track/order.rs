//! Puts events in order of time, within the window in which they may come out of it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::model::{LockEvent, RemoteStep, What};

/// Most events held back; beyond it the oldest come out early.
const AT_MOST: usize = 65_536;

/// Something that happened at a time.
pub trait Timed {
    /// When, CLOCK_MONOTONIC nanoseconds.
    fn time(&self) -> u64;

    /// Told after the fact by its nature: it is not late, it is history.
    fn is_history(&self) -> bool;
}

impl Timed for LockEvent {
    fn time(&self) -> u64 {
        self.time
    }

    /// The beginning of a wait is told at its end.
    fn is_history(&self) -> bool {
        matches!(self.what, What::Contended { .. } | What::Polled { .. })
    }
}

impl Timed for RemoteStep {
    fn time(&self) -> u64 {
        self.time
    }

    /// A key may turn out to be a lock after a while.
    fn is_history(&self) -> bool {
        true
    }
}

struct Entry<T> {
    time: u64,
    sequence: u64,
    event: T,
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        (self.time, self.sequence) == (other.time, other.sequence)
    }
}
impl<T> Eq for Entry<T> {}
impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.time, self.sequence).cmp(&(other.time, other.sequence))
    }
}

/// Events waiting for their turn.
pub struct Reorder<T = LockEvent> {
    heap: BinaryHeap<Reverse<Entry<T>>>,
    sequence: u64,
    latest: u64,
    late: u64,
}

impl<T> Default for Reorder<T> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), sequence: 0, latest: 0, late: 0 }
    }
}

impl<T: Timed> Reorder<T> {
    /// Takes an event. One that should have come out already comes out next, and is counted.
    pub fn push(&mut self, event: T) {
        if event.time() < self.latest && !event.is_history() {
            self.late += 1;
        }
        self.sequence += 1;
        let entry = Entry { time: event.time(), sequence: self.sequence, event };
        self.heap.push(Reverse(entry));
    }

    /// The next event before this time.
    pub fn pop(&mut self, before: u64) -> Option<T> {
        let early = self.heap.len() > AT_MOST;
        if !early && self.heap.peek()?.0.time >= before {
            return None;
        }
        let Reverse(entry) = self.heap.pop()?;
        self.latest = self.latest.max(entry.time);
        Some(entry.event)
    }

    /// Events that came after their turn.
    pub fn late(&self) -> u64 {
        self.late
    }
}
