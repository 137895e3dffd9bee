//! Numbers over time: waits, holds, attempts, who waits and who has, by process and lock.
//!
//! In: spans, findings, counts of the kernel half, processes as they come and go, the lock table.
//! Out: [`Metrics`] at a moment, cumulative; no number of a process falls while it lives, and all
//! of them go once it has ended and has been reported once more. Never: a clock, more series than
//! there is room for.
//!
//! The kernel half counts every wait, and knows neither how it ended nor how the lock was wanted.
//! Of waits of `min_wait` and longer there are spans, which know. Both tell of the long ones:
//! `credit` sees to it that they are counted once. Of the others the outcome is `acquired` only
//! where nothing but the lock let the threads on, the mode known only where locks of the kind have
//! but one.

mod agents;
mod credit;
mod durations;
mod families;
mod locks;
mod naming;
mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use credit::Counts;
pub use families::Now;

use agents::{AgentId, Agents};
use durations::Spread;
use locks::{Locks, Of};
use table::Table;

use crate::model::signals as metric;
use crate::model::{
    AcquireSpan, Exemplar, FindingKind, Histogram, HoldEnd, HoldSpan, LockDescription, LockId,
    Metrics, Outcome, Precision, ProcessFact, ProcessorFact, ThreadId,
};
use crate::track::LockTable;

/// Outcome, and mode, that nobody knows.
const UNKNOWN: &str = "unknown";

/// Bounds, and what else does not change.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most series of one metric.
    pub series: usize,
    /// The threshold of spans, nanoseconds.
    pub min_wait: u64,
    /// The family a name belongs to: numbers in it replaced.
    pub template: fn(&str) -> String,
}

/// Series of one metric unless told otherwise.
pub const SERIES: usize = 2000;

/// How an attempt was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It slept: the kernel half counts it too.
    Asleep,
    /// It asked again and again.
    Asking,
    /// It was overheard talking to a server.
    Talking,
}

/// Longest queue, and the interval it is of.
#[derive(Default)]
struct Depth {
    deepest: u32,
    interval: u64,
}

/// All numbers.
pub struct Metering {
    start: u64,
    limits: Limits,
    agents: Agents,
    locks: Locks,
    waits: Table<Spread>,
    holds: Table<Spread>,
    attempts: Table<u64>,
    renewals: Table<u64>,
    queues: Table<Depth>,
    waiters: Table<i64>,
    holders: Table<i64>,
    findings: BTreeMap<&'static str, u64>,
    /// Series of the kernel half's counts so far.
    series: u64,
    /// Times reported so far.
    interval: u64,
}

impl Metering {
    /// Everything is zero at this moment.
    pub fn new(start: u64, limits: Limits) -> Self {
        let types = FindingKind::ALL.map(FindingKind::name).into_iter().chain([metric::INVERSION]);
        let most = limits.series.max(1);
        Self {
            start,
            limits,
            agents: Agents::default(),
            locks: Locks::new(limits.template),
            waits: Table::new(metric::WAIT_DURATION, most),
            holds: Table::new(metric::HOLD_DURATION, most),
            attempts: Table::new(metric::ATTEMPTS, most),
            renewals: Table::new(metric::RENEWALS, most),
            queues: Table::new(metric::QUEUE_DEPTH, most),
            waiters: Table::new(metric::WAITERS, most),
            holders: Table::new(metric::HOLDERS, most),
            findings: types.map(|name| (name, 0)).collect(),
            series: 0,
            interval: 1,
        }
    }

    /// An attempt is over.
    pub fn acquire(&mut self, span: &AcquireSpan, seen: Seen) {
        let outcome = span.outcome;
        if outcome == Outcome::Waiting {
            return;
        }
        let agent = self.agents.of(span.thread.id.pid, span.end);
        let entry = self.locks.entry(agent, &span.lock);
        let at =
            entry.at(Of::Attempts, [outcome.name(), contended(span, seen)], &mut self.attempts);
        add(&mut self.attempts, at, 1);
        // Who asks once and goes away has not waited.
        if outcome == Outcome::Refused {
            return;
        }
        let waited = span.end.saturating_sub(span.start);
        let at = entry.at(Of::Waits, [span.mode.name(), outcome.name()], &mut self.waits);
        if let Some(spread) = self.waits.value(at) {
            let exemplar = Exemplar { value: waited, time: span.end, span: span.id };
            spread.add(waited, Some(exemplar), self.interval);
        }
        let at = entry.at(Of::Queue, ["", ""], &mut self.queues);
        if let Some(depth) = self.queues.value(at) {
            if depth.interval != self.interval {
                *depth = Depth { deepest: 0, interval: self.interval };
            }
            depth.deepest = depth.deepest.max(span.queue_depth);
        }
        self.agents.waited(agent, waited);
        if seen == Seen::Asleep {
            self.credit(span, agent, waited);
        }
    }

    fn credit(&mut self, span: &AcquireSpan, agent: Option<AgentId>, waited: u64) {
        // The kernel's own locks are counted for all processes together.
        let agent = agent.filter(|_| !is_of_host(&span.lock.id));
        let bucket = Histogram::bucket_of(waited);
        if self.has_counts(&span.lock, bucket) {
            let doubtful = span.outcome == Outcome::Abandoned;
            let entry = self.locks.entry(agent, &span.lock);
            entry.credits.add(bucket, waited, doubtful, self.series);
        }
    }

    /// Whether the kernel half's counts of waits of this length are of use.
    fn has_counts(&self, lock: &LockDescription, bucket: usize) -> bool {
        !naming::comes_in_slices(lock.kind) || bucket <= Histogram::bucket_of(self.limits.min_wait)
    }

    /// A hold is over.
    pub fn hold(&mut self, span: &HoldSpan) {
        if span.ended == HoldEnd::Unknown {
            return;
        }
        let agent = self.agents.of(span.holder.id.pid, span.end);
        let entry = self.locks.entry(agent, &span.lock);
        let precision = match span.precision {
            Precision::Exact => "exact",
            Precision::LowerBound => "lower_bound",
            Precision::Unknown => UNKNOWN,
        };
        let labels = [naming::only_mode(span.lock.kind), precision];
        let at = entry.at(Of::Holds, labels, &mut self.holds);
        if let Some(spread) = self.holds.value(at) {
            let held = span.end.saturating_sub(span.start);
            let exemplar = Exemplar { value: held, time: span.end, span: span.id };
            spread.add(held, Some(exemplar), self.interval);
        }
    }

    /// A client prolonged its hold of a server's lock, or was told that it had lost it.
    pub fn renewed(&mut self, lock: &Arc<LockDescription>, pid: u32, time: u64, lost: bool) {
        let agent = self.agents.of(pid, time);
        let outcome = if lost { "lost" } else { "renewed" };
        let entry = self.locks.entry(agent, lock);
        let at = entry.at(Of::Renewals, [outcome, ""], &mut self.renewals);
        add(&mut self.renewals, at, 1);
    }

    /// Acquisitions nobody had to wait for, as full mode counts them.
    pub fn uncontended(&mut self, lock: &Arc<LockDescription>, pid: u32, now: u64, count: u64) {
        let agent = self.agents.of(pid, now);
        let entry = self.locks.entry(agent, lock);
        let labels = [Outcome::Acquired.name(), "false"];
        let at = entry.at(Of::Attempts, labels, &mut self.attempts);
        add(&mut self.attempts, at, count);
    }

    /// Something was found, of this `lock.finding.type`.
    pub fn found(&mut self, kind: &'static str) {
        *self.findings.entry(kind).or_default() += 1;
    }

    /// All locks have been counted once.
    pub fn series_ended(&mut self) {
        self.series += 1;
    }

    /// What was added to the kernel half's counts of a lock, told at this time of this series: all
    /// spans of what was counted must have come. `pid` is that of whoever waited, `None` for locks
    /// that are counted for all processes together.
    pub fn counted(
        &mut self,
        lock: &Arc<LockDescription>,
        pid: Option<u32>,
        mut counts: Counts,
        (time, series): (u64, u64),
    ) {
        let agent = pid.and_then(|pid| self.agents.of(pid, time));
        let in_slices = naming::comes_in_slices(lock.kind);
        counts.buckets.retain(|(bucket, _)| self.has_counts(lock, usize::from(*bucket)));
        let entry = self.locks.entry(agent, lock);
        let mut left = entry.credits.settle(&counts, series);
        if left.buckets.is_empty() {
            return;
        }
        if in_slices {
            // The total is that of all slices.
            left.total = left.buckets.iter().fold(0, |sum, &(bucket, n)| sum + middle(bucket) * n);
            left.longest = 0;
        }
        let outcome = match left.doubtful {
            Some(0) => Outcome::Acquired.name(),
            _ => UNKNOWN,
        };
        let at = entry.at(Of::Waits, [naming::only_mode(lock.kind), outcome], &mut self.waits);
        if let Some(spread) = self.waits.value(at) {
            spread.add_many(&left.buckets, left.total, longest(&left));
        }
        let at = entry.at(Of::Attempts, [outcome, "true"], &mut self.attempts);
        add(&mut self.attempts, at, left.count());
        self.agents.waited(agent, left.total);
    }

    /// Who a process is, or what more is known of it.
    pub fn learn(&mut self, fact: &Arc<ProcessFact>, now: u64) {
        self.agents.learn(fact, now);
    }

    /// A process began.
    pub fn began(&mut self, pid: u32, now: u64) {
        self.agents.began(pid, now);
    }

    /// A process runs a new program.
    pub fn renewed_program(&mut self, pid: u32, time: u64) {
        self.agents.renewed(pid, time);
    }

    /// A process ended.
    pub fn ended(&mut self, pid: u32, time: u64) {
        self.agents.ended(pid, time);
    }

    /// Processor time a process has used.
    pub fn used(&mut self, fact: &ProcessorFact, now: u64) {
        self.agents.used(fact, now);
    }

    /// Processes whose processor time is of interest, a bounded number, in turns.
    pub fn next_to_ask(&mut self) -> Vec<u32> {
        self.agents.next_to_ask()
    }

    /// Who waits now, and who has locks; of servers' locks these.
    pub fn look(
        &mut self,
        table: &LockTable,
        holds: &[(Arc<LockDescription>, ThreadId)],
        now: u64,
    ) {
        families::count_waiters(self, table, now);
        families::count_holders(self, table, holds, now);
    }

    /// Everything, as of the last [`Metering::look`]. Processes that have ended are left out from
    /// the next time on.
    pub fn report(&mut self, now: &Now) -> Metrics {
        let metrics = families::report(self, now);
        self.interval += 1;
        let gone = self.agents.sweep(now.time);
        if !gone.is_empty() {
            let is_gone = |id: AgentId| gone.binary_search(&id).is_ok();
            self.locks.forget(is_gone);
            self.waits.forget(is_gone);
            self.holds.forget(is_gone);
            self.attempts.forget(is_gone);
            self.renewals.forget(is_gone);
            self.queues.forget(is_gone);
            self.waiters.forget(is_gone);
            self.holders.forget(is_gone);
        }
        metrics
    }
}

fn add(table: &mut Table<u64>, at: usize, count: u64) {
    if let Some(sum) = table.value(at) {
        *sum = sum.saturating_add(count);
    }
}

/// Whether the kernel half counts a lock for all processes together.
fn is_of_host(lock: &LockId) -> bool {
    matches!(lock, LockId::File { .. } | LockId::Semaphore { .. } | LockId::Name { .. })
}

/// Value of `lock.contended`.
fn contended(span: &AcquireSpan, seen: Seen) -> &'static str {
    let Some(remote) = &span.remote else { return "true" };
    let others = span.holder.is_some() || remote.said.is_some() || remote.ahead.is_some();
    let again = remote.requests > 1 || span.outcome != Outcome::Acquired;
    match (seen, others || again) {
        (_, true) => "true",
        // A server that lets its clients wait does not say that it did.
        (Seen::Talking, false) if waits_at_server(span) => "",
        (_, false) => "false",
    }
}

fn waits_at_server(span: &AcquireSpan) -> bool {
    matches!(span.lock.kind.system(), "postgresql" | "mysql" | "etcd" | "consul")
}

/// About the middle of a bucket, nanoseconds.
fn middle(bucket: u8) -> u64 {
    let exponent = 10.0 + (f64::from(bucket) + 0.5) / 8.0;
    exponent.exp2() as u64
}

/// The longest of what is left, which is not more than its bucket has.
fn longest(left: &Counts) -> u64 {
    let Some(&(bucket, _)) = left.buckets.last() else { return 0 };
    let end = (10.0 + (f64::from(bucket) + 1.0) / 8.0).exp2() as u64;
    left.longest.min(end)
}
