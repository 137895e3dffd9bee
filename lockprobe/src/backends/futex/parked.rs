//! Which lock of CPython a thread waits for that sleeps on a semaphore of its own.
//!
//! `_PyParkingLot_Park` (Python/parking_lot.c, since 3.13) has a `struct wait_entry` on the waiter's
//! stack: an argument, the address parked on, the semaphore slept on. A `PyMutex` passes a
//! `struct mutex_entry` as argument, which is on the same stack (Python/lock.c); events, flags and
//! the other affairs of the interpreter pass none. The kernel half looks there itself as soon as it
//! knows the place; until then the stack it sends along says the same.

use crate::model::LockSeen;

/// How far an argument may lie above the semaphore, bytes.
const LARGEST_FRAME: u64 = 4096;

/// How far above the stack pointer a semaphore may lie that is on the same stack.
const STACK: u64 = 1 << 20;
/// Waits at one address of which it is remembered what they were for.
const AT_MOST: usize = 8;

/// What is known of the waits at an address that may be a semaphore.
#[derive(Debug, Default)]
pub struct Parked {
    /// It is that of a lock: the kernel half has looked.
    pub is_lock: bool,
    /// When a wait began there, and the lock it was for, if it was for one; the latest last.
    waits: Vec<(u64, Option<u64>)>,
}

impl Parked {
    /// Notes what the stack of a first contention says.
    pub fn note(&mut self, seen: &LockSeen) {
        // A lock in memory of its own may lie no further from the stack than a semaphore on it.
        if seen.parked {
            self.is_lock = true;
        } else if let Some(at) = seen.address.checked_sub(seen.sp).filter(|&at| at < STACK) {
            if self.waits.len() >= AT_MOST {
                self.waits.remove(0);
            }
            self.waits.push((seen.time, Self::lock(seen, at)));
        }
    }

    /// The lock of the wait that began then: `Some(None)` if it was for none.
    pub fn of(&self, start: u64) -> Option<Option<u64>> {
        self.waits.iter().rev().find(|wait| wait.0 == start).map(|wait| wait.1)
    }

    /// The lock that all waits were for.
    pub fn one(&self) -> Option<u64> {
        let (_, lock) = *self.waits.first()?;
        self.waits.iter().all(|wait| wait.1 == lock).then_some(lock)?
    }

    /// Whether there were waits, and none of them was for a lock.
    pub fn is_for_nothing(&self) -> bool {
        !self.is_lock && !self.waits.is_empty() && self.waits.iter().all(|wait| wait.1.is_none())
    }

    fn lock(seen: &LockSeen, at: u64) -> Option<u64> {
        let word = |at: u64| {
            let start = usize::try_from(at).ok()?;
            let bytes = seen.stack.get(start..start.checked_add(8)?)?;
            Some(u64::from_le_bytes(bytes.try_into().ok()?))
        };
        let entry = at.checked_sub(16).and_then(|at| Some((word(at)?, word(at + 8)?)));
        let fits = |argument: u64| {
            argument > seen.sp && argument < seen.address.saturating_add(LARGEST_FRAME)
        };
        entry.filter(|(argument, lock)| fits(*argument) && *lock != 0).map(|(_, lock)| lock)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Thread;

    fn seen(entry: &[u64], address: u64) -> LockSeen {
        let thread = Thread { id: Default::default(), ns_tid: 1, ns_level: 0, comm: [0; 16] };
        LockSeen {
            time: 9,
            thread,
            address,
            parked: false,
            private: true,
            priority_inheritance: false,
            value: 0,
            ip: 1,
            sp: 0x7000,
            bp: 0,
            stack: entry.iter().flat_map(|word| word.to_le_bytes()).collect(),
        }
    }

    #[test]
    fn the_entry_of_the_parking_lot_names_the_lock() {
        let of = |argument, lock| {
            let mut parked = Parked::default();
            // Two words of the stack, the argument, the lock, the semaphore.
            parked.note(&seen(&[0, 0, argument, lock, 0], 0x7020));
            assert!(!parked.is_lock && parked.of(8).is_none());
            parked.of(9)
        };
        assert_eq!(of(0x7080, 0x5550), Some(Some(0x5550)));
        assert_eq!(of(0, 0x5550), Some(None), "an event");
        assert_eq!(of(0x5550, 0x5550), Some(None), "something else");
        assert_eq!(of(0x9000, 0x5550), Some(None), "too far up");
        assert_eq!(of(0x7080, 0), Some(None), "no lock");
    }

    #[test]
    fn waits_of_one_semaphore_are_told_apart() {
        let mut parked = Parked::default();
        for i in 0..10 {
            let entry = seen(&[0, 0, 0x7080, 0x5000 + 8 * (i / 6), 0], 0x7020);
            parked.note(&LockSeen { time: i, ..entry });
            assert_eq!(parked.one().is_some(), i < 6);
            assert!(!parked.is_for_nothing());
        }
        assert_eq!([1, 2, 9].map(|i| parked.of(i)), [None, Some(Some(0x5000)), Some(Some(0x5008))]);
    }

    #[test]
    fn what_was_not_sent_is_not_told() {
        let mut parked = Parked::default();
        for address in [0x7000, 0x7008, 0x7010, 0x7020, 0x7fff] {
            parked.note(&seen(&[1, 2], address));
            assert_eq!(parked.of(9), Some(None), "{address:#x}");
            assert!(parked.is_for_nothing() && parked.one().is_none());
        }
        assert!(!parked.is_lock);
        parked.note(&seen(&[1, 2], 0x5000));
        assert!(!parked.is_lock && parked.of(9) == Some(None));
        let mut parked = Parked::default();
        parked.note(&LockSeen { parked: true, ..seen(&[1, 2], 0x7fff) });
        assert!(parked.is_lock && parked.of(9).is_none(), "beside the stack");
    }
}
