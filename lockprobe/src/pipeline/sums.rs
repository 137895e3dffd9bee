//! The sums at the end.

use std::sync::Arc;

use super::Pipeline;
use crate::analyses::usage::{LockUsage, grouped};
use crate::model::{LockCounts, LockDescription, LockSummary, Losses, Summary};

impl Pipeline {
    /// All of it.
    pub(super) fn summary(&self) -> Summary {
        let counted = self.counts.values().map(|c| self.sum_up(&c.lock, c.pid, &c.counts));
        // The kernel counts a wait when it ends: locks whose waits all go on are not among them.
        let none = LockCounts::default();
        let ongoing = self.usage.all().filter(|usage| usage.still_waiting > 0);
        let ongoing = ongoing.filter_map(|usage| usage.lock.as_ref());
        let ongoing = ongoing.filter(|(lock, _)| !self.counts.contains_key(&lock.id));
        let ongoing = ongoing.map(|(lock, pid)| self.sum_up(lock, *pid, &none));
        let mut locks: Vec<LockSummary> = counted.chain(ongoing).collect();
        locks.retain(|l| l.counts.waits > 0 || l.still_waiting > 0);
        let mut locks = grouped(locks, self.group_by);
        locks.sort_by(|a, b| {
            let key = |l: &LockSummary| (l.counts.total, l.lock.id);
            key(b).cmp(&key(a))
        });
        Summary {
            start: self.session.start,
            end: self.now,
            min_wait: self.session.min_wait,
            locks,
            acquisitions: self.full.summary(&self.processes),
            findings: self.findings,
            blind: self.blind(),
            losses: self.losses(),
            received: self.health.received,
        }
    }

    fn sum_up(&self, lock: &Arc<LockDescription>, pid: u32, counts: &LockCounts) -> LockSummary {
        let none = LockUsage::default();
        let usage = self.usage.of(&lock.id).unwrap_or(&none);
        // The kernel's own locks are counted for all processes together.
        let waiter = usage.lock.as_ref().filter(|_| pid == 0).map(|(_, pid)| *pid);
        let pid = waiter.unwrap_or(pid);
        let mut counts = counts.clone();
        counts.longest = counts.longest.max(usage.longest_wait);
        LockSummary {
            lock: lock.clone(),
            pid,
            service: self.processes.get(&pid).map(|p| p.service.clone()).unwrap_or_default(),
            counts,
            top_holder: usage.top_holder(),
            longest_hold: usage.longest_hold,
            abandoned: usage.abandoned,
            still_waiting: usage.still_waiting,
            locks: 1,
        }
    }

    /// Everything that is missing, by stage and cause, zeros included.
    pub(super) fn losses(&self) -> Losses {
        let mut losses = self.kernel.clone();
        self.full.losses(&mut losses);
        let health = &self.health;
        losses.dropped.extend([
            ("decode", "malformed_length", health.malformed_length),
            ("decode", "malformed_kind", health.malformed_kind),
            ("decode", "malformed_value", health.malformed_value),
            ("backend", "evicted", self.futex.skipped().evicted),
            ("track", "end_unseen", self.tracker.expired()),
        ]);
        losses.skipped.extend([
            ("not_a_lock", self.futex.skipped().idle),
            ("unclassified", self.futex.skipped().unclassified),
            ("counted_elsewhere", self.uncounted.waits),
            ("told_late", self.order.late()),
        ]);
        losses.dropped.extend(self.talks.losses());
        losses.skipped.extend(self.stacks.missing());
        losses
    }
}
