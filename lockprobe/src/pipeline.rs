//! From batches to records: the one place that knows every room.
//!
//! One thread owns all state and takes no lock. Live capture and replay take the same path; only
//! what is learnt on the side ([`Aside`]) differs: live it comes from /proc and binaries, in a
//! replay from the recording.

mod asking;
mod counts;
mod frames;
mod full;
mod metrics;
mod remote;
mod stacks;
mod standing;
mod sums;
mod talk;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use crate::analyses::deadlock::Deadlocks;
use crate::analyses::holder::Holders;
use crate::analyses::left_behind::LeftBehind;
use crate::analyses::metrics::Seen;
use crate::analyses::paused::Paused;
use crate::analyses::remote::RemoteFindings;
use crate::analyses::usage::{GroupBy, Usage};
use crate::backends::futex::Futex;
use crate::backends::kernel::Kernel;
use crate::enrich::{Enricher, GivenNames};
use crate::health::Health;
use crate::model::{
    Fact, Finding, LockCounts, LockDescription, LockEvent, LockId, Losses, Observation,
    ProcessEvent, ProcessFact, ProcessSeen, Record, Session, ThreadId, What,
};
use crate::source::Batch;
use crate::source::live::Verdicts;
use crate::source::recording::Writer;
use crate::track::activities::Activities;
use crate::track::{Reorder, Span, Tracker};
use counts::Kept;
use frames::{from_ring, read};
use full::Full;
pub use metrics::AskOwn;
use metrics::Metered;
use stacks::Stacks;
use talk::Talks;

/// Most locks with counts of their own; those of more are summed up together.
const LOCKS_AT_MOST: usize = 65_536;
/// Most processes remembered by name.
const PROCESSES_AT_MOST: usize = 65_536;
/// How long what a thread was seen doing is remembered, nanoseconds.
const ACTIVITY_KEPT: u64 = 10_000_000_000;

/// Where facts come from beside the records.
pub enum Aside {
    /// From the running system; verdicts on call sites go back to the kernel half.
    Live(Box<Enricher>, Option<Verdicts>),
    /// From the recording.
    Replay,
}

/// All state between source and sinks.
pub struct Pipeline {
    session: Session,
    aside: Aside,
    futex: Futex,
    kernel_locks: Kernel,
    talks: Talks,
    remote: RemoteFindings,
    order: Reorder,
    tracker: Tracker,
    usage: Usage,
    activities: Activities,
    deadlocks: Deadlocks,
    full: Full,
    holders: Holders,
    paused: Paused,
    left_behind: LeftBehind,
    stacks: Stacks,
    health: Health,
    kernel: Losses,
    counts: HashMap<LockId, Counted>,
    uncounted: LockCounts,
    processes: HashMap<u32, Arc<ProcessFact>>,
    verdicts_given: HashMap<u32, HashSet<(u32, u64)>>,
    /// Threads that ended, and with the last of them their process.
    ended: VecDeque<(u64, ThreadId, bool)>,
    findings: u64,
    names: GivenNames,
    group_by: GroupBy,
    kept: Kept,
    metered: Option<Metered>,
    now: u64,
    recorder: Option<Writer>,
}

/// The kernel's counts of one lock.
struct Counted {
    lock: Arc<LockDescription>,
    pid: u32,
    counts: LockCounts,
}

impl Pipeline {
    /// An empty pipeline; with a writer, everything that goes in is recorded.
    pub fn new(session: Session, aside: Aside, recorder: Option<Writer>) -> Self {
        Self {
            now: session.start,
            stacks: Stacks::new(session.stack_threshold),
            session,
            aside,
            futex: Futex::default(),
            kernel_locks: Kernel::default(),
            talks: Talks::default(),
            remote: RemoteFindings::default(),
            order: Reorder::default(),
            tracker: Tracker::default(),
            usage: Usage::default(),
            activities: Activities::default(),
            deadlocks: Deadlocks::default(),
            full: Full::default(),
            holders: Holders::default(),
            paused: Paused::default(),
            left_behind: LeftBehind::default(),
            health: Health::default(),
            kernel: Losses::default(),
            counts: HashMap::new(),
            uncounted: LockCounts::default(),
            processes: HashMap::new(),
            verdicts_given: HashMap::new(),
            ended: VecDeque::new(),
            findings: 0,
            names: GivenNames::default(),
            group_by: GroupBy::default(),
            kept: Kept::default(),
            metered: None,
            recorder,
        }
    }

    /// Calls locks what the user calls them, and sums them up as asked for.
    pub fn naming(mut self, names: GivenNames, group_by: GroupBy) -> Self {
        self.names = names;
        self.group_by = group_by;
        self
    }

    /// Takes a batch; appends the records it leads to. The error is the recorder's.
    pub fn take(&mut self, batch: &Batch, out: &mut Vec<Record>) -> std::io::Result<()> {
        for frame in batch.frames() {
            let observation = match read(frame) {
                Ok(observation) => observation,
                Err(why) => {
                    self.health.malformed(why);
                    continue;
                }
            };
            if from_ring(frame) {
                self.health.received += 1;
            }
            // Facts first: a replay must know by this frame what we know by this frame.
            self.look_up(&observation, out)?;
            if let Some(recorder) = &mut self.recorder {
                recorder.write(frame)?;
            }
            self.observe(observation, out);
        }
        Ok(())
    }

    /// Ends the observation; appends the last records, the summary last of all. Completes the
    /// recording.
    pub fn finish(&mut self, out: &mut Vec<Record>) -> std::io::Result<()> {
        let mut events = Vec::new();
        self.futex.finish(&mut events);
        self.kernel_locks.finish(&mut events);
        self.push(events);
        self.drain(u64::MAX, out);
        self.settle_counts(None);
        self.settle_remote(out);
        self.look_at_waiters();
        self.finish_remote(out);
        let polled = self.kernel_locks.polled();
        polled.into_iter().for_each(|(lock, pid, n)| self.count(Some(lock), pid, &n));
        // What ended with the last process is over.
        self.conclude(self.now, out);
        let mut spans = Vec::new();
        self.tracker.finish(self.now, &mut spans);
        spans.into_iter().for_each(|span| self.emit(span, Seen::Asleep, out));
        for found in self.full.inversions(self.now) {
            self.findings += 1;
            let record = Record::Inversion(Arc::new(found));
            self.meter_record(&record, Seen::Asleep);
            out.push(record);
        }
        self.tell_last_metrics(out);
        out.push(Record::Summary(Arc::new(self.summary())));
        match self.recorder.take() {
            Some(recorder) => recorder.finish(),
            None => Ok(()),
        }
    }

    fn observe(&mut self, observation: Observation, out: &mut Vec<Record>) {
        self.keep_counts(&observation);
        let mut events = Vec::new();
        self.futex.observe(&observation, &mut events);
        self.kernel_locks.observe(&observation, &mut events);
        self.full.observe(&observation, &self.futex, &mut self.names);
        self.push(events);
        self.meter(&observation);
        match observation {
            Observation::Tick(now) => {
                self.now = self.now.max(now);
                if let Aside::Live(enricher, _) = &mut self.aside {
                    enricher.rest();
                }
                self.drain(now.saturating_sub(crate::backends::futex::GRACE), out);
                self.talks.tick(now);
                self.drain_remote(now.saturating_sub(talk::GRACE), now, out);
                self.tracker.expire(now);
                self.conclude(now, out);
                self.settle_counts(Some(now));
                self.tell_metrics(now, out);
            }
            Observation::Fact(Fact::Activity(activity)) => self.activities.learn(activity),
            Observation::Fact(Fact::Process(fact)) => {
                if self.processes.len() >= PROCESSES_AT_MOST {
                    self.processes.clear();
                }
                let fact = Arc::new(fact);
                self.processes.insert(fact.pid, fact.clone());
                let record = Record::Process(fact);
                self.meter_record(&record, Seen::Asleep);
                out.push(record);
            }
            Observation::Fact(Fact::Stack(fact)) => self.stacks.learn(&fact),
            Observation::Process(seen) => {
                if seen.event == ProcessEvent::Exit {
                    self.talks.exited(seen.time, seen.thread.id.pid);
                }
                self.process(&seen);
            }
            Observation::Talk(seen) => self.talks.observe(seen),
            Observation::Losses(losses) => self.kernel = losses,
            _ => {}
        }
    }

    /// Looks at the state of all locks: what is found, and what is over.
    fn conclude(&mut self, now: u64, out: &mut Vec<Record>) {
        let table = self.tracker.table();
        let mut found = self.deadlocks.check(table, now);
        found.extend(self.holders.check(table, &self.activities, now));
        let overdue = self.tracker.overdue(now.saturating_sub(talk::GRACE));
        found.extend(self.paused.check(overdue, table, &self.activities, now));
        found.extend(self.left_behind.check(table, now));
        found.iter_mut().for_each(|finding| self.stacks.attach_to_finding(finding));
        self.activities.forget_before(now.saturating_sub(ACTIVITY_KEPT));
        self.tell(found, out);
    }

    fn tell(&mut self, found: Vec<Finding>, out: &mut Vec<Record>) {
        for finding in found {
            self.findings += u64::from(finding.ended.is_none());
            let record = Record::Finding(Arc::new(finding));
            self.meter_record(&record, Seen::Asleep);
            out.push(record);
        }
    }

    /// From here on locks have the names the user gave them.
    fn push(&mut self, events: Vec<LockEvent>) {
        for mut event in events {
            event.lock = self.names.apply(&event.lock);
            self.order.push(event);
        }
    }

    /// A process that ended or changed: what was known of it under its id is void.
    fn process(&mut self, seen: &ProcessSeen) {
        let (pid, event) = (seen.thread.id.pid, seen.event);
        if matches!(event, ProcessEvent::ThreadExit | ProcessEvent::Exit) {
            if self.ended.len() >= PROCESSES_AT_MOST {
                self.ended.pop_front();
            }
            self.ended.push_back((seen.time, seen.thread.id, event == ProcessEvent::Exit));
        }
        if let ProcessEvent::Fork(_) = event {
            // Whoever had its id before was another.
            self.processes.remove(&pid);
        }
        if !matches!(event, ProcessEvent::Exec | ProcessEvent::Exit) {
            return;
        }
        if event == ProcessEvent::Exec {
            self.processes.remove(&pid);
        }
        let given = self.verdicts_given.remove(&pid).unwrap_or_default();
        if let Aside::Live(enricher, verdicts) = &mut self.aside {
            enricher.forget(pid);
            if let Some(verdicts) = verdicts {
                given.iter().for_each(|&(level, ip)| verdicts.forget(pid, level, ip));
            }
        }
    }

    fn drain(&mut self, before: u64, out: &mut Vec<Record>) {
        let mut spans = Vec::new();
        let mut done = Vec::new();
        while let Some(event) = self.order.pop(before) {
            let polled = matches!(event.what, What::Polled { .. });
            let seen = if polled { Seen::Asking } else { Seen::Asleep };
            self.tracker.apply(event, &mut done);
            spans.extend(done.drain(..).map(|span| (span, seen)));
        }
        // Only now has everything been told that they did before.
        while let Some((_, id, whole)) = self.ended.pop_front_if(|ended| ended.0 < before) {
            self.tracker.ended(|other| other == id || whole && other.pid == id.pid);
        }
        spans.into_iter().for_each(|(span, seen)| self.emit(span, seen, out));
    }

    fn emit(&mut self, span: Span, seen: Seen, out: &mut Vec<Record>) {
        let record = match span {
            Span::Acquire(mut acquire) => {
                self.stacks.attach(&mut acquire);
                self.usage.acquire(&acquire);
                Record::Acquire(Arc::new(acquire))
            }
            Span::Hold(hold) => {
                self.usage.hold(&hold);
                Record::Hold(Arc::new(hold))
            }
        };
        self.meter_record(&record, seen);
        out.push(record);
    }

    fn count(&mut self, lock: Option<Arc<LockDescription>>, pid: u32, counts: &LockCounts) {
        match lock {
            Some(lock)
                if self.counts.len() < LOCKS_AT_MOST || self.counts.contains_key(&lock.id) =>
            {
                let lock = self.names.apply(&lock);
                let fresh = || Counted { lock: lock.clone(), pid, counts: LockCounts::default() };
                self.counts.entry(lock.id).or_insert_with(fresh).counts.merge(counts);
            }
            _ => self.uncounted.merge(counts),
        }
    }
}
