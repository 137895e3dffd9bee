//! The front of the room: facts about locks, processes and threads.

use super::atlas::{Atlas, Frame};
use super::cache::Cache;
use super::lock_file::Asked as LockFileAsked;
use super::meaning::Role;
use super::python::Pythons;
use super::sample::{Sample, Sampler, Standings, Wanted};
use super::unwind::{Registers, Stack};
use super::{
    activity, file, lock_file, meaning, memory, names, process, processor, source, thread,
};
use crate::model::{
    AcquiredSeen, Activity, Fact, FileFact, HolderFact, LockFact, LockFileFact, LockKind, LockSeen,
    Look, Missing, PlaceFact, ProcessFact, ProcessorFact, SiteClass, SiteFact, ThreadFact,
    ThreadId, WaitSeen,
};

/// Bytes of stack read of a thread that slept before observation began.
const STACK: usize = 1024;
/// Processes whose program is remembered.
const PROGRAMS: usize = 4096;

/// Learns what the kernel half cannot know. Everything remembered is bounded.
pub struct Enricher {
    atlas: Atlas,
    translator: thread::Translator,
    freezers: activity::Freezers,
    sampler: Sampler,
    pythons: Pythons,
    lock_files: lock_file::LockFiles,
    /// Programs by process, as of when it was first asked about.
    programs: Cache<u32, process::Program>,
}

impl Default for Enricher {
    fn default() -> Self {
        Self::new()
    }
}

/// A thread asleep in a futex call.
struct Asleep<'a> {
    pid: u32,
    address: u64,
    private: bool,
    priority_inheritance: bool,
    value: u32,
    at: Registers,
    stack: Stack<'a>,
}

impl Enricher {
    /// Knows nothing yet.
    pub fn new() -> Self {
        Self {
            atlas: Atlas::new(),
            translator: thread::Translator::new(),
            freezers: activity::Freezers::find(),
            sampler: Sampler::new(None),
            pythons: Pythons::new(),
            lock_files: lock_file::LockFiles::new(),
            programs: Cache::new(PROGRAMS),
        }
    }

    /// Asks here where threads stand: only the kernel half knows their frame pointers.
    pub fn with_standings(self, standings: Option<Standings>) -> Self {
        Self { sampler: Sampler::new(standings), ..self }
    }

    /// Copies the stack of a thread that stands still; `same` is asked while it does.
    pub fn sample(
        &mut self,
        id: ThreadId,
        wanted: Wanted,
        same: impl FnOnce() -> bool,
    ) -> Result<Sample, Look> {
        let Self { sampler, atlas, pythons, .. } = self;
        // By the time the copy is looked at, the process may be gone.
        atlas.maps(id.pid);
        sampler.take(id, wanted, || (same(), pythons.frames(atlas, id)))
    }

    /// The part of a stack that was copied when a lock was first contended.
    pub fn first_sample(seen: &LockSeen) -> Sample {
        let at = Registers { pc: seen.ip, sp: seen.sp, fp: Some(seen.bp) };
        Sample { id: seen.thread.id, at, start: seen.sp, bytes: seen.stack.clone(), python: None }
    }

    /// A copied stack as functions; `None` when nothing in it makes sense.
    pub fn stack(&mut self, sample: &Sample) -> Look {
        let stack = self.atlas.stack(sample);
        match stack.frames.is_empty() {
            true => Look::Missing(Missing::Unreadable),
            false => Look::Asleep(stack.into()),
        }
    }

    /// Other threads of a process, if they are no more than this.
    pub fn siblings(&self, id: ThreadId, most: usize) -> Vec<ThreadId> {
        thread::siblings(id, most)
    }

    /// What a first contention says: the call site's class, and the lock's name unless the wait is
    /// for no lock.
    pub fn lock(&mut self, seen: &LockSeen) -> Vec<Fact> {
        self.asleep(&Asleep {
            pid: seen.thread.id.pid,
            address: seen.address,
            private: seen.private,
            priority_inheritance: seen.priority_inheritance,
            value: seen.value,
            at: Registers { pc: seen.ip, sp: seen.sp, fp: Some(seen.bp) },
            stack: Stack { start: seen.sp, bytes: &seen.stack },
        })
    }

    /// The same for a thread that slept when observation began; nothing if it sleeps no more.
    pub fn waiting(&mut self, seen: &WaitSeen) -> Vec<Fact> {
        let id = seen.thread.id;
        let bytes = memory::read(id.pid, seen.sp, STACK);
        // The stack is that of the wait only if the thread is still where it was seen.
        match thread::sleep(id).flatten() {
            Some(s) if s.on_futex(seen.futex) && s.sp == seen.sp && s.ip == seen.ip => {}
            _ => return Vec::new(),
        }
        self.asleep(&Asleep {
            pid: id.pid,
            address: seen.address,
            private: seen.private,
            priority_inheritance: seen.priority_inheritance,
            value: seen.value,
            at: Registers { pc: seen.ip, sp: seen.sp, fp: None },
            stack: Stack { start: seen.sp, bytes: &bytes },
        })
    }

    fn asleep(&mut self, wait: &Asleep<'_>) -> Vec<Fact> {
        let frames = self.atlas.frames(wait.pid, wait.at, &wait.stack);
        let (sites, class) = self.sites(wait, &frames);
        let mut facts: Vec<Fact> = sites.into_iter().map(Fact::Site).collect();
        if class != SiteClass::Idle {
            let shared =
                if wait.private { None } else { self.atlas.shared(wait.pid, wait.address) };
            let lock = class.lock();
            let inner = lock.map_or(0, |(kind, mode)| kind.inner(mode, wait.value, wait.address));
            let begins = wait.address.wrapping_sub(inner);
            let symbol = match &shared {
                Some((place, Some(path))) => Some(match place.2.wrapping_sub(inner) {
                    0 => path.clone(),
                    offset => format!("{path}+{offset:#x}"),
                }),
                Some((_, None)) => None,
                None => self.atlas.object(wait.pid, begins),
            };
            facts.push(Fact::Lock(LockFact {
                pid: wait.pid,
                address: wait.address,
                kind: lock.map(|(kind, _)| kind),
                inner,
                symbol,
                shared: shared.map(|(place, _)| place),
                call_site: self.atlas.call_site(wait.pid, &frames),
            }));
        }
        facts
    }

    /// The verdict, in the form the kernel half can look up.
    fn sites(&mut self, wait: &Asleep<'_>, frames: &[Frame]) -> (Vec<SiteFact>, SiteClass) {
        let fact = |level: usize, frame: Option<&Frame>, class| SiteFact {
            pid: wait.pid,
            level: u32::from(level > 0),
            ip: frame.map_or(wait.at.pc, |f| f.pc),
            class,
            function: frame.and_then(Frame::function),
        };
        let runtime = self.atlas.has_runtime(wait.pid);
        let mut meanings = Atlas::meanings(frames);
        if runtime {
            self.recognise(wait, frames, &mut meanings);
        }
        let fresh = meaning::verdict(&meanings, wait.priority_inheritance, None);
        let (Some(first), Some(anchor)) = (frames.first(), fresh.anchor) else {
            let known = frames.first().and_then(|first| self.atlas.anchor(first, None));
            // What is known of the place by other stacks stays known.
            let own = known.map_or(fresh.class, SiteClass::ByCaller);
            return (vec![fact(0, frames.first(), own)], fresh.class);
        };
        let (mut hops, class) = match fresh.class {
            _ if wait.priority_inheritance || meanings[0].role == Role::LowLevelWait => {
                (Vec::new(), fresh.class)
            }
            _ => meaning::further(&meanings, anchor, runtime),
        };
        hops.insert(0, anchor);
        // Where the kernel half looks for the caller of a place is the same for all that pass it.
        let (mut facts, mut below) = (Vec::new(), first);
        for (level, &hop) in hops.iter().enumerate() {
            let place = u32::try_from(frames[hop].slot).ok();
            let Some(place) = self.atlas.anchor(below, place) else {
                facts.push(fact(level, Some(below), SiteClass::Unknown));
                return (facts, SiteClass::Unknown);
            };
            facts.push(fact(level, Some(below), SiteClass::ByCaller(place)));
            let Some(at) = (1..frames.len()).find(|&i| frames[i].slot == u64::from(place)) else {
                // At the place the kernel half looks at, this stack has no return address.
                let other = wait.stack.word(wait.stack.start.wrapping_add(place.into()));
                let unknown = SiteFact { function: None, ..fact(1, None, SiteClass::Unknown) };
                facts.extend(other.map(|ip| SiteFact { ip, ..unknown }));
                return (facts, class);
            };
            if at != hop {
                let verdict = meaning::verdict(&meanings, wait.priority_inheritance, Some(at));
                facts.push(fact(1, Some(&frames[at]), verdict.class));
                return (facts, class);
            }
            below = &frames[hop];
        }
        facts.push(fact(1, Some(below), class));
        (facts, class)
    }

    /// Functions of run times that have no name, known by what they wait on and where they lie.
    fn recognise(&mut self, wait: &Asleep<'_>, frames: &[Frame], meanings: &mut [meaning::Frame]) {
        park(frames, meanings);
        let Some(caller) = meanings.iter().position(|f| !f.libc) else { return };
        if !matches!(meanings[caller].role, Role::Nameless | Role::Plain) {
            return;
        }
        let file = frames[caller].mapping.file_name();
        if file.starts_with("_multiprocessing.") {
            meanings[caller].role = Role::Lock(LockKind::Multiprocessing);
        }
        // Only who wants the interpreter lock waits there for a limited time (ceval_gil.c).
        let timed = frames[..caller].iter().filter_map(|f| f.place.symbol.as_deref());
        let timed = timed.into_iter().any(|s| s.contains("timedwait") || s.contains("clockwait"));
        let waits = meanings[..caller].iter().any(|f| f.role == Role::CondWait);
        if names::is_python(file) && waits && timed {
            let object = self.atlas.object(wait.pid, wait.address);
            if object.is_some_and(|o| o.starts_with("_PyRuntime")) {
                meanings[caller].role = Role::Lock(LockKind::PythonGil);
            }
        }
    }

    /// What a lock is called that was acquired without anyone waiting.
    pub fn acquired(&mut self, seen: &AcquiredSeen) -> Vec<Fact> {
        let pid = seen.thread.pid;
        // __kind of a glibc mutex: bit 7 says that processes share it (nptl/pthreadP.h).
        let is_shared = seen.kind == LockKind::PthreadMutex
            && Self::lock_words(pid, seen.address).is_some_and(|words| words[4] & 0x80 != 0);
        let call_site = if seen.site == 0 { None } else { self.atlas.call_before(pid, seen.site) };
        let shared = if is_shared { self.atlas.shared(pid, seen.address) } else { None };
        let symbol = match &shared {
            Some((place, Some(path))) if place.2 == 0 => Some(path.clone()),
            Some((place, Some(path))) => Some(format!("{path}+{:#x}", place.2)),
            Some((_, None)) => None,
            None => self.atlas.object(pid, seen.address),
        };
        vec![Fact::Lock(LockFact {
            pid,
            address: seen.address,
            kind: Some(seen.kind),
            inner: 0,
            symbol,
            shared: shared.map(|(place, _)| place),
            call_site,
        })]
    }

    /// What lies before return addresses of a process.
    pub fn places(&mut self, pid: u32, ips: &[u64]) -> Vec<Fact> {
        let place = |&ip: &u64| {
            Fact::Place(PlaceFact { pid, ip, call_site: self.atlas.call_before(pid, ip) })
        };
        ips.iter().map(place).collect()
    }

    /// Who a process is.
    pub fn process(&mut self, pid: u32, image: u32) -> ProcessFact {
        if let Some(program) = process::program(pid) {
            self.programs.insert(pid, program);
        }
        process::fact(pid, image)
    }

    /// What a process has used of the processor.
    pub fn processor(&self, pid: u32) -> ProcessorFact {
        processor::fact(pid)
    }

    /// The thread of a process that calls itself by this id in its PID namespace.
    pub fn thread(&mut self, pid: u32, ns_tid: u32) -> ThreadFact {
        let fact = self.translator.thread(pid, ns_tid);
        // What is asked about happened before: by now the process may run another program, and
        // the name be that one's.
        let before = self.programs.get(&pid).copied();
        match before.is_none_or(|program| process::program(pid) == Some(program)) {
            true => fact,
            false => ThreadFact { name: String::new(), ..fact },
        }
    }

    /// What a file is called that a thread has open.
    pub fn file(
        &mut self,
        thread: ThreadId,
        descriptor: Option<u32>,
        device: u32,
        inode: u64,
    ) -> FileFact {
        file::name(thread, descriptor, device, inode)
    }

    /// Where a thread is, or what a directory is called that it has open.
    pub fn directory(
        &mut self,
        thread: ThreadId,
        descriptor: Option<u32>,
        device: u32,
        inode: u64,
    ) -> FileFact {
        file::directory(thread, descriptor, device, inode)
    }

    /// Where a lock file is, and whom it names.
    pub fn lock_file(&mut self, asked: LockFileAsked<'_>) -> LockFileFact {
        self.lock_files.look(asked)
    }

    /// A process that has a lock.
    pub fn holder(&mut self, pid: u32) -> HolderFact {
        file::holder(pid)
    }

    /// What a thread does now.
    pub fn activity(&self, id: ThreadId) -> Activity {
        activity::look(id, &self.freezers, monotonic)
    }

    /// Name of a thread, if it is there.
    pub fn thread_name(&mut self, id: ThreadId) -> Option<String> {
        thread::name(id)
    }

    /// The first six words of a lock.
    pub fn lock_words(pid: u32, address: u64) -> Option<[u32; 6]> {
        let bytes = memory::read(pid, address, 24);
        let mut words = bytes.chunks_exact(4).map(|w| u32::from_ne_bytes([w[0], w[1], w[2], w[3]]));
        let words = [(); 6].map(|()| words.next());
        words.iter().all(Option::is_some).then(|| words.map(Option::unwrap_or_default))
    }

    /// Whether a thread sleeps in a futex call on this address; `None` when it cannot be said.
    pub fn sleeps_in(&self, id: ThreadId, address: u64) -> Option<bool> {
        Some(thread::sleep(id)?.is_some_and(|s| s.on_futex(address)))
    }

    /// Lets go of what has only sped up look-ups and was not needed for a moment: call it now and
    /// then. Debug information of large programs is mapped until then.
    pub fn rest(&mut self) {
        source::rest();
    }

    /// Forgets what exec or exit makes untrue.
    pub fn forget(&mut self, pid: u32) {
        self.atlas.forget(pid);
        self.translator.forget(pid);
        self.pythons.forget(pid);
        self.programs.remove(&pid);
    }
}

/// Whoever sleeps by way of CPython's parking lot and has no name may be taking a lock; the entry
/// of the parking lot tells (`_PyParkingLot_Park` itself may lie in a part without a name).
fn park(frames: &[Frame], meanings: &mut [meaning::Frame]) {
    let through = |m: &meaning::Frame| m.role == Role::Through;
    let Some(first) = meanings.iter().position(through) else { return };
    let of_python = |frame: &Frame| {
        let symbol = frame.place.symbol.as_deref().unwrap_or_default();
        symbol.starts_with("_PySemaphore_") && names::is_python(frame.mapping.file_name())
    };
    let caller = (first..meanings.len()).find(|&i| !through(&meanings[i]));
    if let Some(caller) = caller.filter(|_| of_python(&frames[first]))
        && matches!(meanings[caller].role, Role::Nameless | Role::Plain)
        && names::is_python(frames[caller].mapping.file_name())
    {
        meanings[caller].role = Role::Lock(LockKind::PythonParked);
    }
}

/// CLOCK_MONOTONIC now, the clock of all records.
pub(super) fn monotonic() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
