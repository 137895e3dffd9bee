//! The room at work on this very process: real threads, real waits, the C library of this machine.

use super::Enricher;
use super::thread::{Sleep, sleep};
use crate::model::{
    CallSite, Fact, LockFact, LockKind, LockSeen, SiteClass, SiteFact, Thread, ThreadId,
};
use std::sync::{Condvar, Mutex, Once, RwLock, mpsc};
use std::time::{Duration, Instant};

static MUTEX: Mutex<u32> = Mutex::new(0);
static RWLOCK: RwLock<u32> = RwLock::new(0);
static ONCE: Once = Once::new();
static CONDITION: Condvar = Condvar::new();

/// Starts a thread that goes to sleep in `wait` for good, and says where it sleeps.
fn asleep(wait: impl FnOnce() + Send + 'static) -> (ThreadId, Sleep) {
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        let tid = std::fs::read_link("/proc/thread-self").unwrap();
        let tid: u32 = tid.file_name().unwrap().to_str().unwrap().parse().unwrap();
        send.send(tid).unwrap();
        wait();
    });
    let id = ThreadId { pid: std::process::id(), tid: receive.recv().unwrap() };
    let until = Instant::now() + Duration::from_secs(10);
    let mut before = None;
    loop {
        let now = sleep(id).flatten();
        if let Some(at) = now.filter(|_| now == before) {
            return (id, at);
        }
        assert!(Instant::now() < until, "the thread does not sleep");
        before = now;
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn seen(id: ThreadId, at: Sleep) -> LockSeen {
    LockSeen {
        parked: false,
        value: 2,
        time: 0,
        thread: Thread { id, ..Thread::default() },
        address: at.first,
        private: true,
        priority_inheritance: false,
        ip: at.ip,
        sp: at.sp,
        bp: 0,
        stack: super::memory::read(id.pid, at.sp, 1024),
    }
}

fn facts(wait: impl FnOnce() + Send + 'static) -> (Vec<SiteFact>, Option<LockFact>) {
    let (id, at) = asleep(wait);
    let mut enricher = Enricher::new();
    let facts = enricher.lock(&seen(id, at));
    assert_eq!(facts, enricher.lock(&seen(id, at)), "what is remembered is what was found");
    assert_eq!(enricher.sleeps_in(id, at.first), Some(true));
    assert_eq!(enricher.sleeps_in(id, at.first + 4), Some(false));
    let sites = facts.iter().filter_map(|f| match f {
        Fact::Site(site) => Some(site.clone()),
        _ => None,
    });
    let lock = facts.iter().find_map(|f| match f {
        Fact::Lock(lock) => Some(lock.clone()),
        _ => None,
    });
    (sites.collect(), lock)
}

fn class(wait: impl FnOnce() + Send + 'static) -> SiteClass {
    let (sites, lock) = facts(wait);
    let last = sites.last().unwrap();
    assert_eq!(sites[0].level, 0);
    if let [own, caller] = &sites[..] {
        assert!(matches!(own.class, SiteClass::ByCaller(_)), "{sites:?}");
        assert_eq!(caller.level, 1);
    }
    assert_eq!(lock.is_some(), last.class != SiteClass::Idle, "{sites:?}");
    last.class
}

#[test]
fn locks_of_rust_are_told_apart() {
    let _held = (MUTEX.lock().unwrap(), RWLOCK.write().unwrap());
    std::thread::spawn(|| ONCE.call_once(|| std::thread::sleep(Duration::from_secs(3600))));
    assert_eq!(class(|| drop(MUTEX.lock())), SiteClass::Lock(LockKind::RustMutex));
    assert_eq!(class(|| drop(RWLOCK.read())), SiteClass::Shared(LockKind::RustRwLock));
    assert_eq!(class(|| drop(RWLOCK.write())), SiteClass::Lock(LockKind::RustRwLock));
    assert_eq!(class(|| ONCE.call_once(|| ())), SiteClass::Lock(LockKind::RustOnce));
    assert_eq!(class(std::thread::park), SiteClass::Idle);
    let forever = || std::thread::spawn(std::thread::park);
    assert_eq!(class(move || drop(forever().join())), SiteClass::Idle);
    let condition = || drop(CONDITION.wait(Mutex::new(()).lock().unwrap()));
    assert_eq!(class(condition), SiteClass::Idle);
    let (lock, address) = (facts(|| drop(MUTEX.lock())).1.unwrap(), &raw const MUTEX as u64);
    assert_eq!(lock.address, address);
    assert!(lock.symbol.unwrap().ends_with("tests::MUTEX"));
}

#[test]
fn memory_of_a_lock_is_read() {
    static WORDS: [u32; 6] = [1, 2, 3, 4, 5, 6];
    let (enricher, pid) = (Enricher::new(), std::process::id());
    assert_eq!(Enricher::lock_words(pid, WORDS.as_ptr() as u64), Some(WORDS));
    assert_eq!(Enricher::lock_words(pid, 64), None);
    assert_eq!(enricher.sleeps_in(ThreadId { pid, tid: u32::MAX }, 0), None);
}

#[test]
fn a_thread_that_moved_on_says_nothing() {
    let (id, at) = asleep(std::thread::park);
    let wait = super::memory::read(id.pid, at.sp, 8);
    assert_eq!(wait.len(), 8);
    let mut lock = seen(id, at);
    lock.ip = 8;
    let facts = Enricher::new().lock(&lock);
    let Some(Fact::Site(site)) = facts.first() else { panic!("{facts:?}") };
    assert_eq!((site.class, &site.function), (SiteClass::Unknown, &None));
    lock.stack.clear();
    lock.ip = at.ip;
    let facts = Enricher::new().lock(&lock);
    let Some(Fact::Site(site)) = facts.first() else { panic!("{facts:?}") };
    assert_eq!(site.class, SiteClass::Unknown, "no stack, no verdict");
}

#[cfg(target_env = "gnu")]
#[test]
fn locks_of_posix_are_told_apart() {
    use super::memory::waits;
    let lock = SiteClass::Lock;
    assert_eq!(class(waits::mutex), lock(LockKind::PthreadMutex));
    assert_eq!(class(waits::timed_mutex), lock(LockKind::PthreadMutex));
    assert_eq!(class(waits::semaphore), lock(LockKind::Semaphore));
    assert_eq!(class(waits::read), SiteClass::Shared(LockKind::PthreadRwLock));
    assert_eq!(class(waits::write), lock(LockKind::PthreadRwLock));
    assert_eq!(class(waits::condition), SiteClass::Idle);
    assert_eq!(class(waits::timed_condition), SiteClass::Idle);
    assert_eq!(class(waits::barrier), SiteClass::Idle);
    assert_eq!(class(waits::join), SiteClass::Idle);
    // Woken from the condition variable, the thread waits for the mutex.
    assert_eq!(class(waits::condition_then_mutex), lock(LockKind::PthreadMutex));
}

#[cfg(target_env = "gnu")]
#[test]
fn a_call_site_is_the_program_s() {
    let (_, lock) = facts(super::memory::waits::mutex);
    let lock = lock.unwrap();
    assert!(lock.symbol.unwrap().ends_with("waits::MUTEX"));
    let CallSite { function, source, module, .. } = lock.call_site.unwrap();
    assert!(function.ends_with("waits::mutex"), "{function}");
    assert!(module.starts_with("lockprobe"), "{module}");
    assert!(source.unwrap().0.ends_with("memory.rs"));
}

#[test]
fn broken_binaries_do_no_harm() {
    use super::binary::Binary;
    use std::io::{Seek, Write};
    let original = std::fs::read("/proc/self/exe").unwrap();
    let mut state = 0x9e37_79b9_u64;
    let mut random = move |below: u64| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&original).unwrap();
    let elf = super::elf::Elf::read(&file).unwrap();
    let index = elf.frame_index.unwrap();
    let code = *elf.loads.iter().find(|p| p.code).unwrap();
    for round in 0..300 {
        // The headers, the index of the unwind tables, and what it points to.
        let (start, size) = match round % 3 {
            0 => (0, 64 + 56 * 12),
            1 => (index.offset, 4096),
            _ => (index.offset + index.size, 65_536),
        };
        let at = start + random(size);
        file.seek(std::io::SeekFrom::Start(at)).unwrap();
        file.write_all(&random(1 << 30).to_le_bytes()[..4]).unwrap();
        let Some(elf) = super::elf::Elf::read(&file) else { continue };
        let address = code.address + random(code.size);
        let _ = super::cfi::bounds(&elf, &file, address);
        let _ = elf.covering(&file, super::elf::Kind::Function, address);
        if round % 50 == 0 {
            let _ = Binary::read(&file).map(|b| b.library());
        }
        file.seek(std::io::SeekFrom::Start(at)).unwrap();
        let end = original.len().min(at as usize + 4);
        file.write_all(&original[at as usize..end]).unwrap();
    }
    for length in [0, 3, 63, 64, 100, 5000] {
        file.set_len(length).unwrap();
        if let Some(elf) = super::elf::Elf::read(&file) {
            let _ = super::cfi::bounds(&elf, &file, code.address);
        }
    }
}

#[test]
fn a_thread_is_not_called_what_another_program_calls_it() {
    // A shell that becomes `sleep`, which is another file, once it is told to.
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "read line; exec sleep 60"]).stdin(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    let pid = child.id();
    let mut enricher = Enricher::new();
    enricher.process(pid, 0);
    let own = enricher.thread(pid, pid);
    assert_eq!((own.tid, own.name.as_str()), (pid, "sh"));
    drop(child.stdin.take());
    let becomes = |_| {
        std::thread::sleep(std::time::Duration::from_millis(2));
        super::thread::name(ThreadId { pid, tid: pid }).is_some_and(|name| name == "sleep")
    };
    assert!((0..5000).any(becomes));
    let then = enricher.thread(pid, pid);
    assert_eq!((then.tid, then.name.as_str()), (pid, ""), "unknown rather than wrong");
    enricher.forget(pid);
    enricher.process(pid, 1);
    assert_eq!(enricher.thread(pid, pid).name, "sleep");
    child.kill().unwrap();
    child.wait().unwrap();
}

/// The stack of a thread that stands in a known function.
#[cfg(target_env = "gnu")]
fn frozen() -> super::Sample {
    let (id, _) = asleep(super::memory::waits::mutex);
    Enricher::new().sample(id, super::Wanted::Any, || true).unwrap_or_else(|e| panic!("{e:?}"))
}

#[cfg(target_env = "gnu")]
#[test]
fn a_frozen_stack_is_unwound_as_often_as_one_likes() {
    let sample = frozen();
    let mut enricher = Enricher::new();
    let crate::model::Look::Asleep(stack) = enricher.stack(&sample) else { panic!() };
    assert_eq!(enricher.stack(&sample), crate::model::Look::Asleep(stack.clone()));
    let known = stack.frames.iter().find(|f| f.function.ends_with("waits::mutex"));
    let (file, line) = known.unwrap_or_else(|| panic!("{stack}")).source.clone().unwrap();
    assert!(file.ends_with("enrich/memory.rs") && line > 50, "{file}:{line}");
}

#[cfg(target_env = "gnu")]
#[test]
fn copies_that_make_no_sense_are_walked_for_a_bounded_time() {
    let mut sample = frozen();
    let mut enricher = Enricher::new();
    let (start, length, pc) = (sample.start, sample.bytes.len(), sample.at.pc);
    let mut state = 1u64;
    for round in 0..400 {
        let words = (0..length / 8).flat_map(|i| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let inside = start + (state >> 33) % length as u64;
            // Return addresses that are code, frames that point to frames, before and behind.
            let word = match (state >> 59, round % 4) {
                (_, 0) => pc,
                (0..=9, 1) | (_, 2) => inside,
                (10..=20, _) => pc.wrapping_add(state >> 52),
                (21..=24, _) => start + 8 * i as u64,
                _ => state,
            };
            word.to_le_bytes()
        });
        sample.bytes = words.collect();
        sample.at.fp = (round % 3 != 0).then_some(start + round % 64);
        sample.at.pc = if round % 5 == 0 { state } else { pc };
        if let crate::model::Look::Asleep(stack) = enricher.stack(&sample) {
            assert!(stack.frames.len() <= 128 && !stack.complete, "round {round}: {stack}");
        }
    }
}
