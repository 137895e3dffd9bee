//! Threads that wait for each other in a circle.
//!
//! A circle is reported when it is seen twice with the same waits in it, at least 50 ms apart and
//! with the locks' memory read anew in between: a wait that is just passing is no deadlock. Each
//! thread of such a circle slept in one and the same attempt from the one look to the other, so it
//! let nothing go meanwhile, and what it held it held all the time.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::{Edge, Finding, FindingKind, Holder, ThreadId};
use crate::track::identity::Identity;
use crate::track::threads::ThreadCounts;
use crate::track::{LockTable, Ongoing, wait_for};

/// Between the first look and the second, nanoseconds.
const CONFIRM_AFTER: u64 = 50_000_000;
/// Most circles going on at a time.
const AT_MOST: usize = 4096;

/// A circle by its waits: who, since when.
type Key = Vec<(ThreadId, u64)>;

/// Looks for circles.
#[derive(Default)]
pub struct Deadlocks {
    suspects: HashMap<Key, u64>,
    going_on: HashMap<Key, Finding>,
}

impl Deadlocks {
    /// Looks at the table; returns the circles that are certain and new, and those that are over.
    pub fn check(&mut self, table: &LockTable, counts: &ThreadCounts, now: u64) -> Vec<Finding> {
        let mut findings = self.over(table, now);
        let mut suspects = HashMap::new();
        for cycle in wait_for::cycles(table, counts) {
            let Some(edges) = edges(table, counts, &cycle) else { continue };
            let mut key: Key = edges.iter().map(|e| (e.waiter.id, e.since)).collect();
            key.sort_unstable();
            if self.going_on.contains_key(&key) {
                continue;
            }
            let first = self.suspects.get(&key).copied().unwrap_or(now);
            // Every wait must have been seen to go on since the first look.
            let waits = edges.iter().filter_map(|e| table.wait_for(e.waiter.id, &e.lock.id));
            let seen = waits.map(|wait| wait.confirmed);
            let confirmed = seen.min().unwrap_or(0);
            if confirmed.saturating_sub(first) >= CONFIRM_AFTER && self.going_on.len() < AT_MOST {
                let finding = finding(edges, now);
                self.going_on.insert(key, finding.clone());
                findings.push(finding);
            } else {
                suspects.insert(key, first);
            }
        }
        self.suspects = suspects;
        findings
    }

    /// Threads of circles that a second look would decide on.
    pub fn suspects(&self) -> impl Iterator<Item = ThreadId> {
        self.suspects.keys().flatten().map(|(id, _)| *id)
    }

    /// The circles that go on.
    pub fn going_on(&self) -> impl Iterator<Item = &Finding> {
        self.going_on.values()
    }

    /// Takes out the circles that were broken.
    fn over(&mut self, table: &LockTable, now: u64) -> Vec<Finding> {
        let broken = self.going_on.extract_if(|_, finding| !goes_on(finding, table));
        let mut broken: Vec<Finding> =
            broken.map(|(_, finding)| Finding { ended: Some(now), ..finding }).collect();
        broken.sort_unstable_by_key(|finding| (finding.formed, finding.id));
        broken
    }
}

/// A circle is broken when one of its waits is over, or its lock has come to another.
fn goes_on(finding: &Finding, table: &LockTable) -> bool {
    finding.waits.iter().all(|edge| {
        table.wait_for(edge.waiter.id, &edge.lock.id).is_some_and(|wait| {
            wait.since == edge.since
                && wait_for::certain_holder(wait).is_none_or(|holder| agrees(holder, edge.holder))
        })
    })
}

/// A look that tells the process alone contradicts none that tells a thread of it.
fn agrees(holder: &Holder, told: ThreadId) -> bool {
    let either = holder.id.tid == 0 || told.tid == 0;
    holder.id == told || either && holder.id.pid == told.pid
}

fn finding(waits: Vec<Edge>, now: u64) -> Finding {
    let kind = if waits.len() == 1 { FindingKind::SelfDeadlock } else { FindingKind::Deadlock };
    let formed = waits.iter().map(|e| e.since).max().unwrap_or(now);
    let first = waits.first().map(|e| (e.waiter.id, e.lock.id));
    let id = match first {
        Some((ThreadId { pid, tid }, lock)) => {
            Identity::of(format_args!("{} {pid} {tid} {lock} {formed}", kind.name())).number(0)
        }
        None => 1,
    };
    let waiters = waits.len() as u32;
    Finding {
        kind,
        id,
        formed,
        found: now,
        ended: None,
        waits,
        waiters,
        holder: None,
        remote: None,
    }
}

/// The waits of a circle, the holder of each the next one's waiter. A process in it waits for
/// nothing itself: what makes it stuck are the waits of all its threads, which follow.
fn edges(table: &LockTable, counts: &ThreadCounts, cycle: &[ThreadId]) -> Option<Vec<Edge>> {
    let mut edges = Vec::new();
    let next = cycle.iter().cycle().skip(1);
    for (id, next) in cycle.iter().zip(next).filter(|(id, _)| id.tid != 0) {
        let to_next = |wait: &&Ongoing| {
            wait_for::certain_holder(wait).is_some_and(|holder| holder.id == *next)
        };
        edges.push(edge(table.waits_of(*id).find(to_next)?)?);
    }
    for process in cycle.iter().filter(|id| id.tid == 0) {
        for wait in counts.all_waiting(table, process.pid) {
            if edges.iter().all(|edge| edge.waiter.id != wait.thread.id) {
                edges.push(edge(wait)?);
            }
        }
    }
    Some(edges)
}

fn edge(wait: &Ongoing) -> Option<Edge> {
    let holder = wait_for::certain_holder(wait)?;
    Some(Edge {
        waiter: wait.thread,
        lock: Arc::clone(&wait.lock),
        since: wait.since,
        estimated: wait.estimated,
        holder: holder.id,
        holder_name: holder.name.clone(),
        span: Some(wait.span()),
        stacks: None,
    })
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
            address: None,
        });
        let id = ThreadId { pid: 1, tid };
        let thread = Thread { id, ns_tid: tid, ..Thread::default() };
        tracker.apply(LockEvent { time, lock, thread, what }, &mut Vec::new());
    }

    fn waits(tracker: &mut Tracker, time: u64, since: u64, tid: u32, address: u64, has: u32) {
        let id = ThreadId { pid: 1, tid: has };
        let holder =
            Some(Holder { id, name: "h".into(), source: HolderSource::OwnerWord, gone: false });
        let what =
            What::Contended { holder: holder.clone(), mode: Mode::Exclusive, estimated: false };
        apply(tracker, since, tid, address, what);
        apply(tracker, time, tid, address, What::StillWaiting { holder });
    }

    /// Two threads in a circle, looked at until it is reported.
    fn deadlocked() -> (Tracker, Deadlocks, Finding) {
        let mut tracker = Tracker::default();
        let mut deadlocks = Deadlocks::default();
        let mut findings = Vec::new();
        for look in 1..3 {
            waits(&mut tracker, look * 100 * MS, 10, 1, 7, 2);
            waits(&mut tracker, look * 100 * MS, 12, 2, 8, 1);
            findings = deadlocks.check(tracker.table(), &ThreadCounts::default(), look * 100 * MS);
        }
        let [finding] = &findings[..] else { panic!("{findings:?}") };
        let finding = finding.clone();
        (tracker, deadlocks, finding)
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
            found.push(deadlocks.check(tracker.table(), &ThreadCounts::default(), now).len());
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
            assert!(
                deadlocks
                    .check(tracker.table(), &ThreadCounts::default(), look * 100 * MS)
                    .is_empty()
            );
            assert_eq!(deadlocks.suspects().count(), 2);
        }
    }

    #[test]
    fn a_circle_that_dissolves_is_none() {
        let mut tracker = Tracker::default();
        let mut deadlocks = Deadlocks::default();
        waits(&mut tracker, 100 * MS, 10, 1, 7, 2);
        waits(&mut tracker, 100 * MS, 12, 2, 8, 1);
        assert!(deadlocks.check(tracker.table(), &ThreadCounts::default(), 100 * MS).is_empty());
        // Lock 7 has changed hands by the second look.
        waits(&mut tracker, 200 * MS, 10, 1, 7, 3);
        waits(&mut tracker, 200 * MS, 12, 2, 8, 1);
        assert!(deadlocks.check(tracker.table(), &ThreadCounts::default(), 200 * MS).is_empty());
        assert_eq!(deadlocks.suspects().count(), 0);
    }

    #[test]
    fn a_thread_that_locks_twice_waits_for_itself() {
        let mut tracker = Tracker::default();
        let mut deadlocks = Deadlocks::default();
        for look in 1..3 {
            waits(&mut tracker, look * 100 * MS, 10, 1, 7, 1);
            let findings =
                deadlocks.check(tracker.table(), &ThreadCounts::default(), look * 100 * MS);
            assert_eq!(findings.len(), usize::from(look == 2));
            assert!(findings.iter().all(|f| f.kind == FindingKind::SelfDeadlock));
        }
    }

    #[test]
    fn a_circle_that_is_broken_is_told_once_more() {
        let (mut tracker, mut deadlocks, begun) = deadlocked();
        apply(&mut tracker, 250 * MS, 2, 8, What::Abandoned { error: "timeout", sleeps: 1 });
        let over = deadlocks.check(tracker.table(), &ThreadCounts::default(), 300 * MS);
        assert_eq!(over, [Finding { ended: Some(300 * MS), ..begun }]);
        assert!(deadlocks.check(tracker.table(), &ThreadCounts::default(), 400 * MS).is_empty());
        assert_eq!(deadlocks.going_on().count(), 0);
    }

    #[test]
    fn a_look_that_could_not_read_the_owner_breaks_no_circle() {
        let (mut tracker, mut deadlocks, _) = deadlocked();
        apply(&mut tracker, 250 * MS, 2, 8, What::StillWaiting { holder: None });
        assert!(deadlocks.check(tracker.table(), &ThreadCounts::default(), 300 * MS).is_empty());
        waits(&mut tracker, 350 * MS, 12, 2, 8, 3);
        assert_eq!(deadlocks.check(tracker.table(), &ThreadCounts::default(), 400 * MS).len(), 1);
    }

    #[test]
    fn the_same_threads_may_deadlock_again() {
        let (mut tracker, mut deadlocks, first) = deadlocked();
        apply(&mut tracker, 250 * MS, 2, 8, What::Abandoned { error: "timeout", sleeps: 1 });
        let mut told = Vec::new();
        for look in 3..6 {
            waits(&mut tracker, look * 100 * MS, 10, 1, 7, 2);
            waits(&mut tracker, look * 100 * MS, 260 * MS, 2, 8, 1);
            told.extend(deadlocks.check(
                tracker.table(),
                &ThreadCounts::default(),
                look * 100 * MS,
            ));
        }
        let states: Vec<bool> = told.iter().map(|finding| finding.ended.is_some()).collect();
        assert_eq!(states, [true, false]);
        assert_ne!(told[1].id, first.id);
    }

    /// Thread 1 of a process waits for a file that the other process has; of these processes, 1 and
    /// 2, thread 2 waits for thread 1. Told by process, thread, file, holder.
    fn of_processes(tracker: &mut Tracker, time: u64, told: &[(u32, u32, u64, ThreadId)]) {
        for &(pid, tid, inode, id) in told {
            let range = (0, crate::model::lock::END_OF_FILE);
            let id_of_lock =
                LockId::File { device: 8, inode, fcntl: false, start: range.0, end: range.1 };
            let lock = Arc::new(LockDescription {
                id: id_of_lock,
                kind: LockKind::Flock,
                name: "f".into(),
                confirmed: true,
                call_site: None,
                address: None,
            });
            let thread = Thread { id: ThreadId { pid, tid }, ..Thread::default() };
            let source = HolderSource::LockTable;
            let holder = Some(Holder { id, name: String::new(), source, gone: false });
            let mode = Mode::Exclusive;
            let contended = What::Contended { holder: holder.clone(), mode, estimated: true };
            for (time, what) in [(10, contended), (time, What::StillWaiting { holder })] {
                let event = LockEvent { time, lock: lock.clone(), thread, what };
                tracker.apply(event, &mut Vec::new());
            }
        }
    }

    #[test]
    fn processes_are_stuck_when_all_their_threads_are() {
        let of = |pid, tid| ThreadId { pid, tid };
        let stuck = [
            (1, 11, 2, of(2, 0)),
            (2, 21, 1, of(1, 0)),
            (1, 12, 3, of(1, 11)),
            (2, 22, 1, of(1, 0)),
        ];
        // Waits, threads of process 1 and 2 with when they were counted, findings.
        let found = |waits: &[_], counts: &[(u32, u32, u64)]| {
            let (mut tracker, mut deadlocks) = (Tracker::default(), Deadlocks::default());
            let mut threads = ThreadCounts::default();
            counts.iter().for_each(|&(pid, n, time)| threads.learn(pid, n, time));
            let mut found = Vec::new();
            for look in 1..4 {
                of_processes(&mut tracker, look * 100 * MS, waits);
                found.extend(deadlocks.check(tracker.table(), &threads, look * 100 * MS));
            }
            found
        };
        let both = [(1, 2, MS), (2, 2, MS)];
        let [finding] = &found(&stuck, &both)[..] else { panic!() };
        assert_eq!((finding.kind, finding.waiters), (FindingKind::Deadlock, 4));
        let mut waiters: Vec<u32> = finding.waits.iter().map(|e| e.waiter.id.tid).collect();
        assert_eq!((waiters[0], finding.waits[0].holder), (11, of(2, 0)));
        waiters.sort_unstable();
        assert_eq!(waiters, [11, 12, 21, 22]);
        assert!(found(&stuck, &[]).is_empty(), "nobody counted");
        assert!(found(&stuck, &[(1, 2, MS), (2, 3, MS)]).is_empty(), "one thread is free");
        assert!(found(&stuck[..3], &both).is_empty(), "one thread is free");
        assert!(found(&stuck, &[(1, 2, MS), (2, 2, 5)]).is_empty(), "counted before the waits");
        // The fourth waits for somebody who may let go.
        let mut free = stuck;
        free[3].3 = of(3, 31);
        assert!(found(&free, &both).is_empty());
        // Two threads of one process that wait for what it has itself.
        let own = [(1, 11, 1, of(1, 0)), (1, 12, 1, of(1, 0))];
        let [finding] = &found(&own, &both)[..] else { panic!() };
        assert_eq!((finding.kind, finding.waiters), (FindingKind::Deadlock, 2));
    }

    #[test]
    fn a_deadlock_of_processes_is_over_when_a_thread_outside_the_ring_goes_on() {
        let of = |pid| ThreadId { pid, tid: 0 };
        let waits = [(1, 11, 2, of(2)), (1, 12, 2, of(2)), (2, 21, 1, of(1)), (2, 22, 1, of(1))];
        let (mut tracker, mut deadlocks) = (Tracker::default(), Deadlocks::default());
        let mut threads = ThreadCounts::default();
        [1, 2].into_iter().for_each(|pid| threads.learn(pid, 2, MS));
        let mut told = Vec::new();
        for look in 1..5 {
            let now = look * 100 * MS;
            of_processes(&mut tracker, now, if look < 4 { &waits } else { &waits[..3] });
            if look == 4 {
                let lock =
                    tracker.table().wait_of(ThreadId { pid: 2, tid: 22 }).unwrap().lock.clone();
                let thread = Thread { id: ThreadId { pid: 2, tid: 22 }, ..Thread::default() };
                let what = What::Abandoned { error: "interrupted", sleeps: 1 };
                tracker.apply(LockEvent { time: now, lock, thread, what }, &mut Vec::new());
            }
            let found = deadlocks.check(tracker.table(), &threads, now);
            told.extend(found.into_iter().map(|finding| (look, finding.ended.is_some())));
        }
        assert_eq!(told, [(2, false), (4, true)]);
    }
}
