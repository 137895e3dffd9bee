//! Locks of Rust, one after the other: `rust_kinds TRUTH-FILE SCENE...`.
//!
//! In a scene one thread has a lock and another waits for it; see `kinds.c` for what is written.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Mutex, Once, RwLock};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

static MUTEX: Mutex<()> = Mutex::new(());
static RWLOCK: RwLock<()> = RwLock::new(());
static ONCE: Once = Once::new();
static PARKED: parking_lot::Mutex<()> = parking_lot::Mutex::new(());
static PARKED_RWLOCK: parking_lot::RwLock<()> = parking_lot::RwLock::new(());
static HOLDER: AtomicU32 = AtomicU32::new(0);
static WAITER: AtomicU32 = AtomicU32::new(0);

fn tid() -> u32 {
    let link = std::fs::read_link("/proc/thread-self").expect("/proc");
    link.file_name().and_then(|n| n.to_str()).and_then(|n| n.parse().ok()).expect("an id")
}

/// When the waiter was first seen asleep: before that it tries in a loop, for as long as others
/// keep the processors busy.
static ASLEEP: Mutex<Option<Instant>> = Mutex::new(None);

/// As the holder: until the other sleeps in a futex call (202 on x86-64, 98 on arm64), and a while.
fn keep() {
    HOLDER.store(tid(), SeqCst);
    let mut asleep = 0;
    while asleep < 3 {
        if asleep == 0 {
            *ASLEEP.lock().expect("nobody panics") = Some(Instant::now());
        }
        sleep(Duration::from_micros(100));
        let path = format!("/proc/{}/syscall", WAITER.load(SeqCst));
        let call = std::fs::read_to_string(path).unwrap_or_default();
        let futex = call.starts_with("202 ") || call.starts_with("98 ");
        asleep = if futex { asleep + 1 } else { 0 };
    }
    sleep(Duration::from_millis(40));
}

type Scene = (&'static str, fn(), fn(), usize);

fn scenes() -> [Scene; 7] {
    let at = |address: *const ()| address as usize;
    let rwlock = at((&raw const RWLOCK).cast());
    [
        ("mutex", || with(MUTEX.lock()), || drop(MUTEX.lock()), at((&raw const MUTEX).cast())),
        ("rwlock_read", || with(RWLOCK.write()), || drop(RWLOCK.read()), rwlock),
        ("rwlock_write", || with(RWLOCK.read()), || drop(RWLOCK.write()), rwlock),
        ("once", || ONCE.call_once(keep), || ONCE.call_once(keep), at((&raw const ONCE).cast())),
        ("parked_mutex", || with(PARKED.lock()), || drop(PARKED.lock()), 0),
        ("parked_read", || with(PARKED_RWLOCK.write()), || drop(PARKED_RWLOCK.read()), 0),
        ("parked_write", || with(PARKED_RWLOCK.read()), || drop(PARKED_RWLOCK.write()), 0),
    ]
}

fn with<T>(_guard: T) {
    keep();
}

fn main() {
    let mut names = std::env::args().skip(1);
    let file = names.next().expect("a file for the truth");
    let mut truth = String::new();
    let pid = std::process::id();
    for name in names {
        let (_, has, wants, lock) =
            scenes().into_iter().find(|scene| scene.0 == name).expect("a scene");
        HOLDER.store(0, SeqCst);
        WAITER.store(0, SeqCst);
        let mut end = Instant::now();
        scope(|scope| {
            scope.spawn(has);
            scope.spawn(|| {
                while HOLDER.load(SeqCst) == 0 {
                    sleep(Duration::from_micros(100));
                }
                WAITER.store(tid(), SeqCst);
                wants();
                end = Instant::now();
            });
        });
        let (waiter, holder) = (WAITER.load(SeqCst), HOLDER.load(SeqCst));
        let slept = ASLEEP.lock().expect("nobody panics").expect("seen asleep");
        let length = (end - slept).as_nanos();
        writeln!(
            truth,
            r#"{{"scene":"{name}","pid":{pid},"lock":{lock},"waiter":{waiter},"holder":{holder},"begin":0,"end":{length}}}"#
        )
        .expect("memory");
    }
    std::fs::write(file, truth).expect("the truth is written");
}
