//! Puts events in order of time, within the window in which they may come out of it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::model::{LockEvent, What};

/// Most events held back; beyond it the oldest come out early.
const AT_MOST: usize = 65_536;

struct Entry {
    time: u64,
    sequence: u64,
    event: LockEvent,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (self.time, self.sequence) == (other.time, other.sequence)
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.time, self.sequence).cmp(&(other.time, other.sequence))
    }
}

/// Events waiting for their turn.
#[derive(Default)]
pub struct Reorder {
    heap: BinaryHeap<Reverse<Entry>>,
    sequence: u64,
    latest: u64,
    late: u64,
}

impl Reorder {
    /// Takes an event. One that should have come out already comes out next, and is counted.
    pub fn push(&mut self, event: LockEvent) {
        // The beginning of a wait is told at its end: it is not late, it is history.
        let history = matches!(event.what, What::Contended { .. } | What::Polled { .. });
        if event.time < self.latest && !history {
            self.late += 1;
        }
        self.sequence += 1;
        let entry = Entry { time: event.time, sequence: self.sequence, event };
        self.heap.push(Reverse(entry));
    }

    /// The next event before this time.
    pub fn pop(&mut self, before: u64) -> Option<LockEvent> {
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
