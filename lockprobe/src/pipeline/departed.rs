//! Processes that ended: what is known of them is kept for the counts still to come, and then let go.
//!
//! Else the tables of an agent that runs for weeks would be full of processes that are no more, and
//! those that are would be forgotten, or never remembered, for want of room.

use std::collections::{HashMap, HashSet};

use super::{Counted, LOCKS_AT_MOST, PROCESSES_AT_MOST, Pipeline};
use crate::model::{LockCounts, LockDescription, LockId};

/// How long what is known of a process is kept after its end, nanoseconds. Its counts are taken out
/// within a second.
const KEPT: u64 = 10_000_000_000;
/// How often processes are let go, all of them at once: each time all tables are gone through.
const EVERY: u64 = 5_000_000_000;
/// So many of those that ended are known by name for longer, for the summary.
const NAMED: usize = 4096;

/// Who ended, and when.
#[derive(Default)]
pub struct Departed {
    when: HashMap<u32, u64>,
    next: u64,
}

impl Departed {
    /// A process ended.
    pub fn ended(&mut self, pid: u32, time: u64) {
        if self.when.len() < PROCESSES_AT_MOST {
            self.when.insert(pid, time);
        }
    }

    /// Its id is another's now.
    pub fn began(&mut self, pid: u32) {
        self.when.remove(&pid);
    }

    /// Those that are to be let go now.
    fn due(&mut self, now: u64) -> HashSet<u32> {
        if now < self.next {
            return HashSet::new();
        }
        self.next = now.saturating_add(EVERY);
        let before = now.saturating_sub(KEPT);
        self.when.extract_if(|_, time| *time < before).map(|(pid, _)| pid).collect()
    }

    /// How many are waiting to be let go.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.when.len()
    }
}

impl Pipeline {
    /// Lets go of what is known of processes that ended a while ago.
    pub(super) fn let_go(&mut self, now: u64) {
        let gone = self.departed.due(now);
        if gone.is_empty() {
            return;
        }
        self.futex.let_go(&gone);
        self.tracker.let_go(&gone);
        let mut nameless: Vec<u32> = gone.iter().copied().collect();
        // In an order that is the same in every replay.
        nameless.sort_unstable();
        nameless.retain(|pid| self.processes.contains_key(pid));
        nameless.truncate(self.processes.len().saturating_sub(NAMED));
        nameless.iter().for_each(|pid| drop(self.processes.remove(pid)));
        self.counts.values_mut().for_each(|counted| counted.gone |= gone.contains(&counted.pid));
    }

    /// Room for the counts of one more lock; whether there is. Where there is none, the locks of
    /// processes that ended make it, those first that were waited for least.
    pub(super) fn has_room_for(&mut self, lock: &LockDescription) -> bool {
        if self.counts.len() < LOCKS_AT_MOST || self.counts.contains_key(&lock.id) {
            return true;
        }
        let gone = self.counts.iter().filter(|(_, counted)| counted.gone);
        let mut gone: Vec<(u64, LockId)> = gone.map(|(id, c)| (c.counts.total, *id)).collect();
        gone.sort_unstable();
        gone.truncate(gone.len().div_ceil(2));
        for (_, id) in &gone {
            if let Some(Counted { counts, .. }) = self.counts.remove(id) {
                self.uncounted.merge(&counts);
                self.usage.forget(id);
            }
        }
        !gone.is_empty()
    }

    /// Counts of locks that have none of their own.
    pub(super) fn count_elsewhere(&mut self, counts: &LockCounts) {
        self.uncounted.merge(counts);
    }
}

#[cfg(test)]
mod tests {
    use lockprobe_ebpf::wire::{
        LockKey, LockStats, ProcessRecord, WaitRecord, call, kind, process_event, reason, wait_flag,
    };
    use zerocopy::{FromZeros, IntoBytes};

    use super::*;
    use crate::model::Session;
    use crate::pipeline::Aside;
    use crate::source::Batch;

    const SECOND: u64 = 1_000_000_000;
    const ADDRESS: u64 = 0x1000;

    /// A process waits for a mutex of its own, and ends; its counts come after it.
    fn lives(pid: u32, time: u64, batch: &mut Batch) {
        let mut wait = WaitRecord::new_zeroed();
        wait.header.kind = kind::WAIT;
        wait.header.len = size_of::<WaitRecord>() as u32;
        wait.header.time_ns = time;
        (wait.thread.tgid, wait.thread.tid, wait.thread.ns_tid) = (pid, pid, pid);
        wait.wait.call = call::FUTEX_LOCK_PI;
        wait.wait.flags = wait_flag::PRIVATE;
        wait.wait.lock = ADDRESS;
        (wait.wait.start_ns, wait.wait.sleep_ns) = (time - 5, time - 5);
        (wait.wait.woken_ns, wait.wait.run_ns) = (time - 1, time);
        wait.wait.reason = reason::RELEASE;
        (wait.wait.waker.tgid, wait.wait.waker.tid) = (pid, pid + 1);
        batch.push(wait.as_bytes());
        let mut end = ProcessRecord::new_zeroed();
        end.header.kind = kind::PROCESS;
        end.header.len = size_of::<ProcessRecord>() as u32;
        end.header.time_ns = time + 1;
        (end.thread.tgid, end.thread.tid) = (pid, pid);
        end.event = process_event::EXIT;
        batch.push(end.as_bytes());
        let mut stats = LockStats::new_zeroed();
        (stats.count, stats.sum_ns, stats.max_ns) = (3, u64::from(pid), 9);
        let key = LockKey { tgid: pid, reserved: 0, lock: ADDRESS };
        batch.push_parts(kind::STATS, time + 2, &[key.as_bytes(), stats.as_bytes()]);
    }

    #[test]
    fn weeks_of_processes_leave_no_more_than_a_day() {
        let session = Session { start: SECOND, ..Session::default() };
        let mut pipeline = Pipeline::new(session, Aside::Replay, None);
        let mut out = Vec::new();
        let (seconds, each) = (300u32, 100u32);
        let mut largest = 0;
        for second in 1..=seconds {
            let mut batch = Batch::default();
            let now = u64::from(second + 1) * SECOND;
            for n in 0..each {
                lives(10 + 2 * (second * each + n), now + 1000 * u64::from(n), &mut batch);
            }
            batch.push_tick(now + SECOND / 2);
            pipeline.take(&batch, &mut out).unwrap();
            out.clear();
            let tables = [
                pipeline.futex.addresses(),
                pipeline.tracker.table().remembered(),
                pipeline.departed.len(),
            ];
            largest = largest.max(tables.into_iter().max().unwrap_or(0));
        }
        // What ended within the last fifteen seconds, and what has just begun.
        assert!((1000..=1700).contains(&largest), "{largest}");
        assert!(pipeline.counts.len() <= LOCKS_AT_MOST);
        // Locks are still counted one by one, and nothing is counted twice or not at all.
        let lock = pipeline.futex.lock_at(10 + 2 * (seconds * each), ADDRESS, (0, 0)).unwrap();
        assert!(pipeline.counts.contains_key(&lock.id));
        let counted: u64 = pipeline.counts.values().map(|c| c.counts.waits).sum();
        assert!(pipeline.uncounted.waits > 0);
        assert_eq!(counted + pipeline.uncounted.waits, 3 * u64::from(seconds * each));
    }

    #[test]
    fn an_id_that_is_used_again_is_not_let_go() {
        let mut departed = Departed::default();
        departed.ended(1, SECOND);
        departed.ended(2, SECOND);
        departed.began(2);
        assert!(departed.due(5 * SECOND).is_empty());
        assert!(departed.due(9 * SECOND).is_empty());
        // Not before its time.
        assert!(departed.due(11 * SECOND).is_empty());
        assert_eq!(departed.due(20 * SECOND), HashSet::from([1]));
        assert_eq!(departed.len(), 0);
    }
}
