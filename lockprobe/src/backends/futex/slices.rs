//! Waits that a run time cuts into slices: each ends by a time-out and is no end of the wait.
//!
//! A thread that wants CPython's interpreter lock waits 5 ms at a time (`take_gil` of
//! Python/ceval_gil.c), one that wants a monitor of Java 1, 8, 64 ms and so on
//! (`ObjectMonitor::EnterI`), on a condition variable whose two words take turns.

use std::collections::HashMap;

use super::attempts::Attempts;
use super::naming::Taking;
use crate::model::{LockKind, WaitSeen, WakeReason};

/// From the end of one slice to the beginning of the next, nanoseconds, at most: another slice in
/// between may have been too short to be told.
const GAP: u64 = 30_000_000;
/// Processor time between two slices at most, nanoseconds.
const RETRY: u64 = 150_000;
/// Most places remembered.
const AT_MOST: usize = 4096;

/// Whether waits for this kind come in slices.
pub fn sliced(kind: LockKind) -> bool {
    matches!(kind, LockKind::PythonGil | LockKind::JavaMonitor)
}

/// Where both words of a condition variable lie.
fn place(wait: &WaitSeen) -> (u32, u64) {
    (wait.thread.id.pid, wait.address & !7)
}

/// When somebody waiting at a place was last let on, as far as told.
#[derive(Default)]
pub struct Slices {
    released: HashMap<(u32, u64), u64>,
}

impl Slices {
    /// The wait as a whole that this slice belongs to, if it is not the first.
    pub fn join(&self, wait: &WaitSeen, taking: &Taking, attempts: &Attempts) -> Option<WaitSeen> {
        let earlier = attempts.of(wait.thread.id).filter(|_| sliced(taking.kind))?;
        if earlier.start >= wait.start {
            return None;
        }
        let preexisting = earlier.preexisting;
        if earlier.slept == wait.slept {
            // Told of before, while the thread slept.
            let (start, sleeps) = (earlier.start, earlier.sleeps);
            return Some(WaitSeen { start, sleeps, preexisting, ..wait.clone() });
        }
        let most = match earlier.reason {
            WakeReason::Release => 0,
            // What ended it was not seen; who got the lock has something to do with it.
            WakeReason::Unknown => GAP / 100,
            // Nobody handed it on: the timer may have come in the middle of whoever's end or signal.
            WakeReason::Other | WakeReason::Signal | WakeReason::Exit | WakeReason::ThreadExit => {
                GAP
            }
        };
        // Whoever got the lock has done something with it, and whoever did not has not, however
        // long others kept the processor. Nobody uses more than there was: the kernel counts from
        // its choice of the thread, which on a busy machine is long before the thread runs.
        let gap = wait.start.saturating_sub(earlier.ran);
        let used = wait.cpu.saturating_sub(earlier.cpu).min(gap);
        let over = used < RETRY && earlier.timed && earlier.ran != 0;
        let next = gap < most;
        if !over || !next || place(earlier) != place(wait) {
            return None;
        }
        let sleeps = earlier.sleeps.saturating_add(wait.sleeps);
        Some(WaitSeen { start: earlier.start, sleeps, preexisting, ..wait.clone() })
    }

    /// Whether the lock stayed in one hand from the beginning of a wait to its end.
    pub fn in_one_hand(&self, wait: &WaitSeen) -> bool {
        let released = self.released.get(&place(wait)).copied().unwrap_or(0);
        wait.released_before.max(released.min(wait.woken.saturating_sub(1))) <= wait.start
    }

    /// Notes who was let on, once that has been made use of.
    pub fn note(&mut self, wait: &WaitSeen, taking: &Taking) {
        if sliced(taking.kind) && wait.waker.is_some() {
            if self.released.len() >= AT_MOST {
                self.released.clear();
            }
            self.released.insert(place(wait), wait.woken);
        }
    }
}
