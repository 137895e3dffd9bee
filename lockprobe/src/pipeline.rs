//! From batches to records: the one place that knows every room.
//!
//! One thread owns all state and takes no lock. Live capture and replay take the same path; only
//! what is learnt on the side ([`Aside`]) differs: live it comes from /proc and binaries, in a
//! replay from the recording.

mod stacks;
mod standing;
mod sums;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use lockprobe_ebpf::wire::kind;

use crate::analyses::deadlock::Deadlocks;
use crate::analyses::holder::{self, Holders};
use crate::analyses::usage::{GroupBy, Usage};
use crate::backends::futex::{Futex, Want};
use crate::decode::decode;
use crate::enrich::{Enricher, GivenNames};
use crate::health::Health;
use crate::model::{
    Fact, LockCounts, LockDescription, LockEvent, LockId, Losses, Malformed, Observation,
    ProcessEvent, ProcessFact, Record, Session,
};
use crate::source::live::Verdicts;
use crate::source::recording::Writer;
use crate::source::{Batch, facts};
use crate::track::activities::Activities;
use crate::track::{Reorder, Span, Tracker};
use stacks::Stacks;

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
    order: Reorder,
    tracker: Tracker,
    usage: Usage,
    activities: Activities,
    deadlocks: Deadlocks,
    holders: Holders,
    stacks: Stacks,
    health: Health,
    kernel: Losses,
    counts: HashMap<LockId, Counted>,
    uncounted: LockCounts,
    processes: HashMap<u32, Arc<ProcessFact>>,
    verdicts_given: HashMap<u32, HashSet<(u32, u64)>>,
    findings: u64,
    names: GivenNames,
    group_by: GroupBy,
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
            order: Reorder::default(),
            tracker: Tracker::default(),
            usage: Usage::default(),
            activities: Activities::default(),
            deadlocks: Deadlocks::default(),
            holders: Holders::default(),
            health: Health::default(),
            kernel: Losses::default(),
            counts: HashMap::new(),
            uncounted: LockCounts::default(),
            processes: HashMap::new(),
            verdicts_given: HashMap::new(),
            findings: 0,
            names: GivenNames::default(),
            group_by: GroupBy::default(),
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
        self.push(events);
        self.drain(u64::MAX, out);
        // What ended with the last process is over.
        self.conclude(self.now, out);
        let mut spans = Vec::new();
        self.tracker.finish(self.now, &mut spans);
        spans.into_iter().for_each(|span| self.emit(span, out));
        out.push(Record::Summary(Arc::new(self.summary())));
        match self.recorder.take() {
            Some(recorder) => recorder.finish(),
            None => Ok(()),
        }
    }

    /// What the running system says about an observation before it is understood. Facts are
    /// handed on one by one, since each may answer what the next would have been asked for.
    fn look_up(&mut self, observation: &Observation, out: &mut Vec<Record>) -> std::io::Result<()> {
        if let Observation::Tick(now) = observation {
            let due = holder::worth_a_look(self.tracker.table(), &self.activities, *now);
            self.ask_about(&due, out)?;
        }
        let Aside::Live(enricher, _) = &mut self.aside else { return Ok(()) };
        let about = observation.thread().map(|t| t.pid);
        let of_lock = !matches!(observation, Observation::Process(_));
        let mut found = match observation {
            Observation::Lock(seen) => enricher.lock(seen),
            _ => Vec::new(),
        };
        if let Some(pid) = about.filter(|pid| of_lock && !self.processes.contains_key(pid)) {
            found.push(Fact::Process(enricher.process(pid, self.futex.image(pid))));
        }
        // The call site, then who had the lock and who has it.
        for _ in 0..3 {
            for fact in found.drain(..) {
                self.learn(fact, out)?;
            }
            let Some(want) = self.futex.wants(observation) else { break };
            let Aside::Live(enricher, _) = &mut self.aside else { break };
            match (want, observation) {
                (Want::Thread { pid, ns_tid }, _) => {
                    found.push(Fact::Thread(enricher.thread(pid, ns_tid)));
                }
                (Want::Site, Observation::Wait(wait) | Observation::Waiting(wait)) => {
                    found = enricher.waiting(wait);
                }
                (Want::Site, _) => break,
            }
        }
        found.into_iter().try_for_each(|fact| self.learn(fact, out))?;
        self.look_at_stacks(observation).into_iter().try_for_each(|fact| self.learn(fact, out))
    }

    /// Takes the stacks that this observation is an occasion for.
    fn look_at_stacks(&mut self, observation: &Observation) -> Vec<Fact> {
        let Aside::Live(enricher, _) = &mut self.aside else { return Vec::new() };
        match observation {
            Observation::Lock(seen) => self.stacks.first(seen),
            Observation::Waiting(wait) => self.stacks.look(wait, &self.futex, enricher),
            Observation::Wait(wait) => return self.stacks.ended(wait, enricher),
            Observation::Tick(now) => return self.stacks.ripen(*now, enricher),
            _ => {}
        }
        Vec::new()
    }

    /// Takes in a fact, tells the kernel half, and keeps it for a replay.
    fn learn(&mut self, fact: Fact, out: &mut Vec<Record>) -> std::io::Result<()> {
        if let Fact::Site(site) = &fact
            && let Aside::Live(_, Some(verdicts)) = &mut self.aside
        {
            verdicts.tell(site.pid, site.level, site.ip, site.class);
            if self.verdicts_given.len() >= PROCESSES_AT_MOST {
                self.verdicts_given.clear();
            }
            self.verdicts_given.entry(site.pid).or_default().insert((site.level, site.ip));
        }
        if let Some(recorder) = &mut self.recorder {
            let mut one = Batch::default();
            let json = facts::to_json(&fact).to_string();
            one.push_parts(kind::FACT, self.now, &[json.as_bytes()]);
            for frame in one.frames() {
                recorder.write(frame)?;
            }
        }
        self.observe(Observation::Fact(fact), out);
        Ok(())
    }

    fn observe(&mut self, observation: Observation, out: &mut Vec<Record>) {
        let mut events = Vec::new();
        self.futex.observe(&observation, &mut events);
        self.push(events);
        match observation {
            Observation::Tick(now) => {
                self.now = self.now.max(now);
                if let Aside::Live(enricher, _) = &mut self.aside {
                    enricher.rest();
                }
                self.drain(now.saturating_sub(crate::backends::futex::GRACE), out);
                self.tracker.expire(now);
                self.conclude(now, out);
            }
            Observation::Fact(Fact::Activity(activity)) => self.activities.learn(activity),
            Observation::Fact(Fact::Process(fact)) => {
                if self.processes.len() >= PROCESSES_AT_MOST {
                    self.processes.clear();
                }
                let fact = Arc::new(fact);
                self.processes.insert(fact.pid, fact.clone());
                out.push(Record::Process(fact));
            }
            Observation::Fact(Fact::Stack(fact)) => self.stacks.learn(&fact),
            Observation::Process(seen) => self.process(seen.thread.id.pid, seen.event),
            Observation::Counts { pid, address, site, counts } => {
                self.count(pid, address, site, counts);
            }
            Observation::Losses(losses) => self.kernel = losses,
            _ => {}
        }
    }

    /// Looks at the state of all locks: what is found, and what is over.
    fn conclude(&mut self, now: u64, out: &mut Vec<Record>) {
        let table = self.tracker.table();
        let mut found = self.deadlocks.check(table, now);
        found.extend(self.holders.check(table, &self.activities, now));
        found.iter_mut().for_each(|finding| self.stacks.attach_to_finding(finding));
        self.activities.forget_before(now.saturating_sub(ACTIVITY_KEPT));
        self.findings += found.iter().filter(|finding| finding.ended.is_none()).count() as u64;
        out.extend(found.into_iter().map(|finding| Record::Finding(Arc::new(finding))));
    }

    /// From here on locks have the names the user gave them.
    fn push(&mut self, events: Vec<LockEvent>) {
        for mut event in events {
            event.lock = self.names.apply(&event.lock);
            self.order.push(event);
        }
    }

    /// A process that ended or changed: what was known of it under its id is void.
    fn process(&mut self, pid: u32, event: ProcessEvent) {
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
        while let Some(event) = self.order.pop(before) {
            self.tracker.apply(event, &mut spans);
        }
        spans.into_iter().for_each(|span| self.emit(span, out));
    }

    fn emit(&mut self, span: Span, out: &mut Vec<Record>) {
        match span {
            Span::Acquire(mut acquire) => {
                self.stacks.attach(&mut acquire);
                self.usage.acquire(&acquire);
                out.push(Record::Acquire(Arc::new(acquire)));
            }
            Span::Hold(hold) => {
                self.usage.hold(&hold);
                out.push(Record::Hold(Arc::new(hold)));
            }
        }
    }

    fn count(&mut self, pid: u32, address: u64, site: (u64, u64), counts: LockCounts) {
        match self.futex.lock_at(pid, address, site) {
            Some(lock)
                if self.counts.len() < LOCKS_AT_MOST || self.counts.contains_key(&lock.id) =>
            {
                let lock = self.names.apply(&lock);
                let fresh = || Counted { lock: lock.clone(), pid, counts: LockCounts::default() };
                self.counts.entry(lock.id).or_insert_with(fresh).counts.merge(&counts);
            }
            _ => self.uncounted.merge(&counts),
        }
    }
}

fn read(frame: &[u8]) -> Result<Observation, Malformed> {
    match decode(frame) {
        Err(Malformed::Kind) if kind_of(frame) == Some(kind::FACT) => {
            facts::from_json(&frame[16..]).map(Observation::Fact).ok_or(Malformed::Value)
        }
        result => result,
    }
}

fn kind_of(frame: &[u8]) -> Option<u32> {
    Some(u32::from_le_bytes(frame.get(..4)?.try_into().ok()?))
}

/// Whether the kernel half counted this frame when it wrote it.
fn from_ring(frame: &[u8]) -> bool {
    matches!(kind_of(frame), Some(kind::WAIT | kind::RESUME | kind::LOCK | kind::PROCESS))
}
