//! The thread that empties the ring, looks at the tables, and ends the observation.

use std::collections::{BTreeSet, HashMap};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender};

use aya::Ebpf;
use lockprobe_ebpf::wire::{
    BytesRecord, Counter, Header, LockStats, ProcessRecord, bytes_flag, kind, process_event,
};
use zerocopy::{FromBytes, IntoBytes};

use super::full::{Full, Probes};
use super::harvest::Harvest;
use super::load::{monotonic, processor_time};
use super::tables::ReaderTables;
use super::tls::Tls;
use super::verdicts::Inbox;
use super::{Options, Targets, attach, waits};
use crate::source::Batch;

const POLL_MS: i32 = 20;
const MILLISECOND: u64 = 1_000_000;
/// A batch is handed over at this size even when the ring holds more.
const BATCH_BYTES: usize = 1 << 20;
/// How often the table of waits is looked at, unless looking takes more than a hundredth of it.
const LOOK_EVERY: u64 = 100 * MILLISECOND;
/// How soon after records the time is told again: what they mean is held back for 40 ms.
const TICK_AFTER_RECORDS: u64 = 45 * MILLISECOND;

/// How soon after records waits are looked for that are about to be long enough for a stack.
const LIVELY: u64 = 10_000 * MILLISECOND;
/// Bounds of the time between looks for such waits.
const GLANCE: std::ops::RangeInclusive<u64> = 5 * MILLISECOND..=50 * MILLISECOND;

/// How often all threads are walked over for the sake of newcomers, at most.
const WALK_EVERY: u64 = 50 * MILLISECOND;

/// Waits older than this are looked at only every tenth time.
const OLD_WAIT: u64 = 3000 * MILLISECOND;
const OLD_WAITS_EVERY: u64 = 10;
/// Threads whose present wait is remembered as told of.
const GLANCED_AT_MOST: usize = 16_384;

/// What comes to the reader from the other threads.
pub struct Inputs {
    /// Ends the observation when set.
    pub stop: Arc<AtomicBool>,
    /// Processes to watch, each answered when it is watched.
    pub new_targets: Receiver<(u32, Sender<()>)>,
    /// Verdicts on call sites.
    pub verdicts: Inbox,
    /// Probes on TLS libraries.
    pub tls: Tls,
}

/// State of the reader thread.
pub struct Reader {
    /// The attached programs; taken out, and so detached, before the last read.
    ebpf: Option<Ebpf>,
    tables: ReaderTables,
    min_wait: u64,
    targets: Targets,
    batches: super::batches::BatchSender,
    inputs: Inputs,
    alive: BTreeSet<u32>,
    /// Whether there has been anybody to watch.
    begun: bool,
    gone: BTreeSet<u32>,
    next_look: u64,
    looks: u64,
    /// Waits from this length on are to be looked at at once.
    glance_at: Option<u64>,
    next_glance: u64,
    /// Until when such waits are looked for.
    lively: u64,
    /// The waits told of already: start by thread.
    glanced: HashMap<u32, u64>,
    next_tick: u64,
    /// A program has become a target by its name.
    newcomers: bool,
    next_walk: u64,
    full: Option<Full>,
    harvest: Harvest,
    /// Lock files are followed.
    lock_files: bool,
}

impl Reader {
    /// Takes over the loaded programs: they are detached when the reader ends.
    pub fn new(
        ebpf: Option<Ebpf>,
        tables: ReaderTables,
        options: &Options,
        batches: super::batches::BatchSender,
        inputs: Inputs,
        full: Option<Full>,
    ) -> Self {
        Self {
            ebpf,
            tables,
            min_wait: options.min_wait,
            targets: options.targets.clone(),
            batches,
            inputs,
            alive: BTreeSet::new(),
            begun: false,
            gone: BTreeSet::new(),
            next_look: 0,
            looks: 0,
            // Half of what makes a wait long: found by then, it is looked at before it is.
            glance_at: options.stack_threshold.map(|threshold| threshold / 2),
            next_glance: 0,
            lively: 0,
            glanced: HashMap::new(),
            next_tick: 0,
            newcomers: false,
            next_walk: 0,
            full,
            harvest: Harvest::new(options.harvest_every, monotonic()),
            lock_files: options.lock_files,
        }
    }

    /// Reads until told to stop, until all targets are gone, or until nobody listens.
    pub fn run(mut self, pids: &[u32]) {
        self.alive.extend(pids);
        self.begun = !pids.is_empty();
        while !self.inputs.stop.load(Ordering::Relaxed) {
            while let Ok((pid, done)) = self.inputs.new_targets.try_recv() {
                let _ = self.tables.targets.insert(pid, 1, 0);
                self.alive.insert(pid);
                self.begun = true;
                self.acquisitions(|full, ebpf| full.follow(ebpf, pid));
                let _ = done.send(());
            }
            self.inputs.verdicts.apply(&mut self.tables);
            self.wait_for_data();
            let Some(now) = self.deliver() else { return };
            self.catch_up(now);
            let mut batch = Batch::default();
            self.look(now, &mut batch);
            self.glance(now, &mut batch);
            self.harvest(now, &mut batch);
            if now >= self.next_tick {
                self.next_tick = now + LOOK_EVERY;
                batch.push_tick(now);
            }
            if !batch.is_empty() && self.batches.send(batch).is_err() {
                return;
            }
            if self.targets.ends_with_processes() && self.begun && self.alive.is_empty() {
                break;
            }
        }
        self.end();
    }

    /// A program found by its name ran for a moment before it was watched: threads of it that
    /// fell asleep meanwhile are noted as those are that slept before we came.
    fn catch_up(&mut self, now: u64) {
        if self.newcomers && now >= self.next_walk {
            self.newcomers = false;
            self.next_walk = now + WALK_EVERY;
            // Should the kernel refuse what it granted at the start, the next wait is seen all
            // the same.
            let _ = self.ebpf.as_mut().map(attach::iterate);
        }
    }

    fn wait_for_data(&mut self) {
        let patience = match self.glance_at {
            Some(age) if monotonic() < self.lively => (every(age) / MILLISECOND) as i32,
            _ => POLL_MS,
        };
        let patience = patience.min(POLL_MS);
        let mut poll =
            libc::pollfd { fd: self.tables.ring.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one valid pollfd.
        unsafe { libc::poll(&mut poll, 1, patience) };
    }

    /// Hands over all that is in the ring. Everything before the time returned has been; `None`
    /// when nobody listens any more.
    fn deliver(&mut self) -> Option<u64> {
        loop {
            // Before reading: what comes later may be missing from this batch.
            let now = monotonic();
            let mut batch = Batch::default();
            let mut more = false;
            while let Some(frame) = self.tables.ring.next() {
                batch.push(&frame);
                if batch.size() >= BATCH_BYTES {
                    more = true;
                    break;
                }
            }
            if batch.is_empty() {
                return Some(now);
            }
            if batch.frames().any(is_of_wait) {
                self.lively = now + LIVELY;
            }
            self.harvest.met(batch.frames().filter(|frame| kind_of(frame) == kind::LOCK).count());
            let encrypting: BTreeSet<u32> = batch.frames().filter_map(encrypting).collect();
            for pid in encrypting {
                if let Some(ebpf) = &mut self.ebpf {
                    self.inputs.tls.follow(ebpf, pid);
                }
            }
            let processes: Vec<ProcessRecord> = batch.frames().filter_map(process).collect();
            // Counts of programs that were replaced belong before the record that says so.
            let mut before = Batch::default();
            for record in processes {
                self.follow(&record, &mut before);
            }
            if !before.is_empty() {
                self.batches.send(before).ok()?;
            }
            if !more {
                self.next_tick = now + TICK_AFTER_RECORDS;
                batch.push_tick(now);
            }
            self.batches.send(batch).ok()?;
            if !more {
                return Some(now);
            }
        }
    }

    /// Keeps the set of targets as processes come and go.
    fn follow(&mut self, record: &ProcessRecord, before: &mut Batch) {
        let pid = record.thread.tgid;
        match record.event {
            process_event::FORK => {
                self.alive.insert(pid);
                self.acquisitions(|full, ebpf| full.follow(ebpf, pid));
            }
            process_event::EXEC => {
                let exec = record.header.time_ns;
                let its_own = |tgid: u32| tgid == pid;
                let earlier = |stats: &LockStats| stats.opened_ns < exec;
                self.harvest.take(exec, &mut self.tables, before, Some(&its_own), earlier);
                if let Some(full) = &mut self.tables.full {
                    full.harvest_before(exec, before, pid);
                }
                if self.targets.matches(pid) {
                    let _ = self.tables.targets.insert(pid, 1, 0);
                    self.newcomers = true;
                }
                if self.tables.targets.get(&pid, 0).is_ok() {
                    self.acquisitions(|full, ebpf| full.follow(ebpf, pid));
                }
            }
            process_event::EXIT => {
                self.alive.remove(&pid);
                self.gone.insert(pid);
                let _ = self.tables.targets.remove(&pid);
                self.acquisitions(|full, ebpf| full.forget(ebpf, pid));
            }
            _ => {}
        }
    }

    /// Announces threads that still sleep, and takes out the counts of processes that ended.
    fn look(&mut self, now: u64, batch: &mut Batch) {
        if now < self.next_look {
            return;
        }
        // What others use of the processor meanwhile is no reason to look less often.
        let begun = processor_time();
        // Old waits are told of less often: nothing about them changes quickly.
        let all =
            self.looks.is_multiple_of(OLD_WAITS_EVERY) || self.inputs.stop.load(Ordering::Relaxed);
        self.looks += 1;
        let oldest = if all { u64::MAX } else { OLD_WAIT };
        for record in waits::asleep(&mut self.tables, now, self.min_wait..oldest, |_, _| false) {
            batch.push(record.as_bytes());
            self.lively = now + LIVELY;
        }
        if let Some(full) = &mut self.tables.full {
            full.look(now, batch);
        }
        if !self.gone.is_empty() {
            let gone = std::mem::take(&mut self.gone);
            let is_gone = |tgid: u32| gone.contains(&tgid);
            self.harvest.take(now, &mut self.tables, batch, Some(&is_gone), |_| true);
            if let Some(full) = &mut self.tables.full {
                full.harvest(now, batch, |pid| gone.contains(&pid));
            }
        }
        self.acquisitions(Full::look);
        let took = processor_time().saturating_sub(begun);
        self.next_look = now + (LOOK_EVERY).max(took * 100);
    }

    /// Does something to the probes of full mode, if it was asked for.
    fn acquisitions(&mut self, act: impl FnOnce(&mut Full, &mut Ebpf)) {
        if let (Some(full), Some(ebpf)) = (&mut self.full, &mut self.ebpf) {
            act(full, ebpf);
        }
    }

    /// Announces threads that have slept half as long as makes a wait worth a stack, once.
    fn glance(&mut self, now: u64, batch: &mut Batch) {
        let Some(age) = self.glance_at.filter(|_| now >= self.next_glance && now < self.lively)
        else {
            return;
        };
        let begun = processor_time();
        let known = &mut self.glanced;
        let ages = age..OLD_WAIT.max(age + 1);
        let fresh = waits::asleep(&mut self.tables, now, ages, |tid, start| {
            if known.len() >= GLANCED_AT_MOST && !known.contains_key(&tid) {
                known.clear();
            }
            known.insert(tid, start) == Some(start)
        });
        for record in fresh {
            batch.push(record.as_bytes());
        }
        let took = processor_time().saturating_sub(begun);
        self.next_glance = now + every(age).max(took * 50);
    }

    /// Takes counts out while observation goes on.
    fn harvest(&mut self, now: u64, batch: &mut Batch) {
        if self.harvest.go_on(now, &mut self.tables, batch) {
            let unseen = self.ebpf.as_mut().filter(|_| self.lock_files);
            let unseen = unseen.map_or(0, attach::lock_files_missed);
            self.push_counters(now, unseen, batch);
        }
    }

    fn push_counters(&mut self, now: u64, unseen: u64, batch: &mut Batch) {
        let mut counters = self.tables.counters();
        counters[Counter::CallsUnseen as usize] = unseen;
        batch.push_parts(kind::COUNTERS, now, &[counters.as_bytes()]);
    }

    /// Detaches everything, then delivers what is left, the counts and the counters.
    fn end(mut self) {
        let last_look = {
            let mut batch = Batch::default();
            self.next_look = 0;
            self.look(monotonic(), &mut batch);
            batch
        };
        let unseen = self.ebpf.as_mut().map_or(0, attach::lock_files_missed);
        if let Some(full) = &mut self.tables.full {
            // Should it go on, what is counted until all is detached is still true.
            let _ = full.run(false);
        }
        let mut probes = Probes::default();
        self.acquisitions(|full, ebpf| probes = full.end(ebpf));
        // Detached, the programs can add nothing; the maps stay with us.
        drop((self.inputs.tls.detach(), self.ebpf.take()));
        let Some(now) = self.deliver() else { return };
        let mut batch = last_look;
        self.harvest.take(now, &mut self.tables, &mut batch, None, |_| true);
        if let Some(full) = &mut self.tables.full {
            full.harvest(now, &mut batch, |_| true);
            let unfollowed = self.full.as_ref().map_or(0, Full::unfollowed);
            let counters = full.counters(unfollowed);
            batch.push_parts(kind::FULL_COUNTERS, now, &[counters.as_bytes()]);
        }
        self.push_counters(now, unseen, &mut batch);
        batch.push_tick(now);
        let _ = self.batches.send(batch);
        // The pipeline need not wait for probes that count no more.
        drop(self);
        drop(probes);
    }
}

/// The time between looks for waits of this age.
fn every(age: u64) -> u64 {
    age.clamp(*GLANCE.start(), *GLANCE.end())
}

fn kind_of(frame: &[u8]) -> u32 {
    Header::read_from_prefix(frame).map_or(0, |(header, _)| header.kind)
}

fn is_of_wait(frame: &[u8]) -> bool {
    matches!(kind_of(frame), kind::WAIT | kind::RESUME | kind::LOCK)
}

/// The process of a record that says that a connection is encrypted.
fn encrypting(frame: &[u8]) -> Option<u32> {
    let (record, _) = BytesRecord::read_from_prefix(frame).ok()?;
    let told = record.header.kind == kind::BYTES && record.flags & bytes_flag::ENCRYPTED != 0;
    told.then_some(record.thread.tgid)
}

fn process(frame: &[u8]) -> Option<ProcessRecord> {
    ProcessRecord::read_from_bytes(frame).ok().filter(|record| record.header.kind == kind::PROCESS)
}
