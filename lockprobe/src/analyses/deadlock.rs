//! Threads that wait for each other in a circle.
//!
//! A circle is reported when it is seen twice with the same waits in it, at least 50 ms apart and
//! with the locks' memory read anew in between: a wait that is just passing is no deadlock.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::model::{Deadlock, Edge, Finding, ThreadId};
use crate::track::{LockTable, wait_for};

/// Between the first look and the second, nanoseconds.
const CONFIRM_AFTER: u64 = 50_000_000;
/// Most circles remembered as reported.
const AT_MOST: usize = 4096;

/// A circle by its waits: who, since when.
type Key = Vec<(ThreadId, u64)>;

/// Looks for circles.
#[derive(Default)]
pub struct Deadlocks {
    suspects: HashMap<Key, u64>,
    reported: HashSet<Key>,
}

impl Deadlocks {
    /// Looks at the table; returns the circles that are certain and new.
    pub fn check(&mut self, table: &LockTable, now: u64) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut suspects = HashMap::new();
        for cycle in wait_for::cycles(table) {
            let edges = edges(table, &cycle);
            if edges.len() != cycle.len() {
                continue;
            }
            let mut key: Key = edges.iter().map(|e| (e.waiter.id, e.since)).collect();
            key.sort_unstable();
            if self.reported.contains(&key) {
                continue;
            }
            let first = self.suspects.get(&key).copied().unwrap_or(now);
            // Every wait must have been seen to go on since the first look.
            let fresh = table.waiting().filter(|w| cycle.contains(&w.thread.id));
            let confirmed = fresh.map(|w| w.confirmed).min().unwrap_or(0);
            if confirmed >= first + CONFIRM_AFTER {
                let formed = edges.iter().map(|e| e.since).max().unwrap_or(now);
                if self.reported.len() >= AT_MOST {
                    self.reported.clear();
                }
                self.reported.insert(key);
                let deadlock = Deadlock { formed, found: now, cycle: edges };
                findings.push(Finding::Deadlock(deadlock));
            } else {
                suspects.insert(key, first);
            }
        }
        self.suspects = suspects;
        findings
    }
}

fn edges(table: &LockTable, cycle: &[ThreadId]) -> Vec<Edge> {
    let waits: HashMap<ThreadId, _> = table.waiting().map(|w| (w.thread.id, w)).collect();
    let edge = |id: &ThreadId| {
        let wait = waits.get(id)?;
        let holder = wait_for::certain_holder(wait)?;
        Some(Edge {
            waiter: wait.thread,
            lock: Arc::clone(&wait.lock),
            since: wait.since,
            holder,
            holder_name: wait.current_holder.as_ref().map(|h| h.name.clone()).unwrap_or_default(),
        })
    };
    cycle.iter().filter_map(edge).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        Holder, HolderSource, LockDescription, LockEvent, LockId, LockKind, Mode, Thread, What,
    };
    use crate::track::Tracker;

    const MS: u64 = 1_000_000;

    fn apply(tracker: &mut Tracker, time: u64, tid: u32, address: u64, what: What) {
        let lock = Arc::new(LockDescription {
            id: LockId::Private { pid: 1, image: 0, address },
            kind: LockKind::PthreadMutex,
            name: "l".into(),
            confirmed: true,
            call_site: None,
        });
        let id = ThreadId { pid: 1, tid };
        let thread = Thread { id, ns_tid: tid, ..Thread::default() };
        tracker.apply(LockEvent { time, lock, thread, what }, &mut Vec::new());
    }

    fn waits(tracker: &mut Tracker, time: u64, since: u64, tid: u32, address: u64, has: u32) {
        let id = ThreadId { pid: 1, tid: has };
        let holder = Some(Holder { id, name: "h".into(), source: HolderSource::OwnerWord });
        let what =
            What::Contended { holder: holder.clone(), mode: Mode::Exclusive, estimated: false };
        apply(tracker, since, tid, address, what);
        apply(tracker, time, tid, address, What::StillWaiting { holder });
    }

    #[test]
    fn a_circle_is_reported_once_and_only_on_the_second_look() {
        let mut tracker = Tracker::default();
        let mut deadlocks = Deadlocks::default();
        let mut found = Vec::new();
        for look in 1..6 {
            let now = look * 100 * MS;
            waits(&mut tracker, now, 10, 1, 7, 2);
            waits(&mut tracker, now, 12, 2, 8, 1);
            found.push(deadlocks.check(tracker.table(), now).len());
        }
        assert_eq!(found, [0, 1, 0, 0, 0]);
    }

    #[test]
    fn a_circle_that_was_not_looked_at_again_stays_a_suspicion() {
        let mut tracker = Tracker::default();
        let mut deadlocks = Deadlocks::default();
        waits(&mut tracker, 100 * MS, 10, 1, 7, 2);
        waits(&mut tracker, 100 * MS, 12, 2, 8, 1);
        for look in 1..6 {
            assert!(deadlocks.check(tracker.table(), look * 100 * MS).is_empty());
        }
    }

    #[test]
    fn a_circle_that_dissolves_is_none() {
        let mut tracker = Tracker::default();
        let mut deadlocks = Deadlocks::default();
        waits(&mut tracker, 100 * MS, 10, 1, 7, 2);
        waits(&mut tracker, 100 * MS, 12, 2, 8, 1);
        assert!(deadlocks.check(tracker.table(), 100 * MS).is_empty());
        // Lock 7 has changed hands by the second look.
        waits(&mut tracker, 200 * MS, 10, 1, 7, 3);
        waits(&mut tracker, 200 * MS, 12, 2, 8, 1);
        assert!(deadlocks.check(tracker.table(), 200 * MS).is_empty());
    }

    #[test]
    fn a_thread_that_locks_twice_waits_for_itself() {
        let mut tracker = Tracker::default();
        let mut deadlocks = Deadlocks::default();
        for look in 1..3 {
            waits(&mut tracker, look * 100 * MS, 10, 1, 7, 1);
            let findings = deadlocks.check(tracker.table(), look * 100 * MS);
            assert_eq!(findings.len(), usize::from(look == 2));
        }
    }
}
