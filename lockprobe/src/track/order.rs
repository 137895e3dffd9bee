//! Puts events in order of time, within the window in which they may come out of it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::model::{LockEvent, RemoteStep, What};

/// Most events held back; beyond it the oldest come out early.
const AT_MOST: usize = 65_536;

/// Room for so many is kept where nothing is held back.
const KEPT: usize = 1024;

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

/// When an event is due, which came first of those due at once, and where it lies. The heap moves
/// these about, and not the events, which are ten times as large.
type Turn = Reverse<(u64, u64, usize)>;

/// Events waiting for their turn.
pub struct Reorder<T = LockEvent> {
    turns: BinaryHeap<Turn>,
    events: Vec<Option<T>>,
    /// Places in `events` that are empty.
    free: Vec<usize>,
    sequence: u64,
    latest: u64,
    late: u64,
}

impl<T> Default for Reorder<T> {
    fn default() -> Self {
        Self {
            turns: BinaryHeap::new(),
            events: Vec::new(),
            free: Vec::new(),
            sequence: 0,
            latest: 0,
            late: 0,
        }
    }
}

impl<T: Timed> Reorder<T> {
    /// Takes an event. One that should have come out already comes out next, and is counted.
    pub fn push(&mut self, event: T) {
        let time = event.time();
        if time < self.latest && !event.is_history() {
            self.late += 1;
        }
        self.sequence += 1;
        let at = match self.free.pop() {
            Some(at) => {
                self.events[at] = Some(event);
                at
            }
            None => {
                self.events.push(Some(event));
                self.events.len() - 1
            }
        };
        self.turns.push(Reverse((time, self.sequence, at)));
    }

    /// The next event before this time.
    pub fn pop(&mut self, before: u64) -> Option<T> {
        let early = self.turns.len() > AT_MOST;
        if !early && self.turns.peek()?.0.0 >= before {
            return None;
        }
        let Reverse((time, _, at)) = self.turns.pop()?;
        self.latest = self.latest.max(time);
        let event = self.events.get_mut(at).and_then(Option::take);
        self.free.push(at);
        if self.turns.is_empty() {
            self.rest();
        }
        event
    }

    /// Gives back what a crowd took: nothing is held back just now.
    fn rest(&mut self) {
        self.free.clear();
        self.events.clear();
        self.events.shrink_to(KEPT);
        self.free.shrink_to(KEPT);
        self.turns.shrink_to(KEPT);
    }

    /// Events that came after their turn.
    pub fn late(&self) -> u64 {
        self.late
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    struct Step(u64, u32);

    impl Timed for Step {
        fn time(&self) -> u64 {
            self.0
        }

        fn is_history(&self) -> bool {
            false
        }
    }

    fn popped(order: &mut Reorder<Step>, before: u64) -> Vec<u32> {
        std::iter::from_fn(|| order.pop(before)).map(|step| step.1).collect()
    }

    #[test]
    fn events_come_out_in_order_of_time_and_then_of_arrival() {
        let mut order = Reorder::default();
        for (time, which) in [(5, 0), (3, 1), (5, 2), (9, 3), (1, 4)] {
            order.push(Step(time, which));
        }
        assert_eq!(popped(&mut order, 4), [4, 1]);
        // The places of those that are out are taken again.
        order.push(Step(4, 5));
        order.push(Step(8, 6));
        assert_eq!(popped(&mut order, 9), [5, 0, 2, 6]);
        assert_eq!((order.late(), order.events.len()), (0, 5));
        order.push(Step(7, 7));
        assert_eq!(popped(&mut order, u64::MAX), [7, 3]);
        assert_eq!((order.late(), order.events.len(), order.free.len()), (1, 0, 0));
    }

    #[test]
    fn what_a_crowd_took_is_given_back() {
        let mut order = Reorder::default();
        for time in 0..AT_MOST as u64 + 10 {
            order.push(Step(time, 0));
        }
        // Beyond the bound they come out before their turn.
        assert_eq!(popped(&mut order, 0).len(), 10);
        assert_eq!(popped(&mut order, u64::MAX).len(), AT_MOST);
        assert!(order.events.capacity() <= KEPT && order.turns.capacity() <= KEPT);
    }
}
