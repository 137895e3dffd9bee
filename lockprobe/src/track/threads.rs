//! How many threads processes have, where it matters: a process has a lock, and nobody knows which of
//! its threads.
//!
//! Such a lock is let go as soon as any of the threads goes on. None will if each of them waits for
//! good: so many waits as there were threads, all of which had begun when the threads were counted.
//! Who waits begins no thread, so that it stays so.

use std::collections::{BTreeSet, HashMap};

use super::{LockTable, Ongoing, wait_for};
use crate::model::ThreadId;

/// Waits shorter than this are no reason to count.
const COUNT_FROM: u64 = 250_000_000;
/// How often the threads of one process are counted: one may have ended meanwhile.
const COUNT_EVERY: u64 = 250_000_000;
/// Most processes counted in one go, and in a look: some 3 and 50 ms.
const COUNTED_AT_ONCE: usize = 64;
const COUNTED_IN_A_LOOK: usize = 1024;
/// Most processes remembered; beyond it all are forgotten and counted anew.
const AT_MOST: usize = 4096;

/// What was counted.
#[derive(Debug, Default)]
pub struct ThreadCounts {
    known: HashMap<u32, (u64, u32)>,
}

impl ThreadCounts {
    /// Notes how many threads a process had when they were counted, which was not before this time.
    pub fn learn(&mut self, pid: u32, threads: u32, time: u64) {
        if self.known.len() >= AT_MOST {
            self.known.clear();
        }
        self.known.insert(pid, (time, threads));
    }

    /// All threads of a process, each by its wait, if all of them wait: else none.
    pub fn all_waiting<'a>(&self, table: &'a LockTable, pid: u32) -> Vec<&'a Ongoing> {
        let Some(&(time, threads)) = self.known.get(&pid) else { return Vec::new() };
        let waits: Vec<&Ongoing> = waits_in(table, pid).filter(|w| w.since < time).collect();
        if threads > 0 && waits.len() == threads as usize { waits } else { Vec::new() }
    }

    /// Processes whose threads ought to be counted as time goes by, those not counted for longest
    /// first.
    pub fn due(&self, table: &LockTable, now: u64) -> Vec<u32> {
        let old = table.waiting().filter(|wait| now.saturating_sub(wait.since) >= COUNT_FROM);
        let mut due = self.in_question(table, old);
        due.retain(|pid| now.saturating_sub(self.counted(*pid)) >= COUNT_EVERY);
        due.truncate(COUNTED_AT_ONCE);
        due
    }

    /// The same for a look that has no time to lose.
    pub fn due_now(&self, table: &LockTable) -> Vec<u32> {
        let mut due = self.in_question(table, table.waiting());
        due.truncate(COUNTED_IN_A_LOOK);
        due
    }

    fn counted(&self, pid: u32) -> u64 {
        self.known.get(&pid).map_or(0, |(time, _)| *time)
    }

    fn in_question<'a>(
        &self,
        table: &LockTable,
        waits: impl Iterator<Item = &'a Ongoing>,
    ) -> Vec<u32> {
        let holders = waits.filter_map(wait_for::certain_holder).map(|holder| holder.id);
        let pids: BTreeSet<u32> = holders.filter(|id| id.tid == 0).map(|id| id.pid).collect();
        // Where no thread waits one is free, however many there are.
        let waits = pids.into_iter().filter(|&pid| waits_in(table, pid).next().is_some());
        let mut pids: Vec<u32> = waits.collect();
        pids.sort_by_key(|&pid| self.counted(pid));
        pids
    }
}

/// Threads of a process that sleep for a lock.
fn waits_in(table: &LockTable, pid: u32) -> impl Iterator<Item = &Ongoing> {
    let all = ThreadId { pid, tid: 0 }..=ThreadId { pid, tid: u32::MAX };
    table.asleep_in(all).filter(|wait| !wait.polled)
}
