//! The loops `cargo xtask bench` measures: one an invocation, its cost as one JSON object.
//!
//! Direct calls of libc and the kernel, so that nothing but the operation is in the loop. A figure
//! is the median of many short windows: what else runs on the machine then spoils a window or
//! two, not the figure.

use std::cell::UnsafeCell;
use std::hint::black_box;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Windows a measurement, and the length of one: 0.4 s together.
const WINDOWS: usize = 40;
const WINDOW: Duration = Duration::from_millis(10);
/// The contended loop has longer ones: threads take turns by the scheduler's tick.
const LONG_WINDOWS: usize = 16;
const LONG_WINDOW: Duration = Duration::from_millis(50);

const CONTENDERS: usize = 4;
/// About 0.25 us of work inside the lock, and as much outside.
const WORK: u32 = 1000;
/// How long `block` holds the lock another thread wants.
const HOLD: Duration = Duration::from_millis(5);
/// How long it lives on: what a call site is can be found out only while its process is there.
const LINGER: Duration = Duration::from_millis(300);

fn main() -> ExitCode {
    let mode = std::env::args().nth(1).unwrap_or_default();
    prefer();
    let ns = match mode.as_str() {
        "mutex" => mutex(),
        "syscall" => pinned(|| {
            // SAFETY: no arguments; always succeeds.
            unsafe { libc::syscall(libc::SYS_getppid) };
        }),
        "open" => pinned(open_and_close),
        "wake" => wake(),
        "contended" => contended(),
        "pingpong" => ping_pong(),
        "block" => {
            block();
            return ExitCode::SUCCESS;
        }
        _ => {
            eprintln!("usage: loops mutex|syscall|open|wake|contended|pingpong|block");
            return ExitCode::FAILURE;
        }
    };
    println!("{{\"ns\":{ns:.3}}}");
    ExitCode::SUCCESS
}

/// A file that is there.
fn open_and_close() {
    // SAFETY: a valid path; the descriptor is closed at once.
    unsafe { libc::close(libc::open(c"/dev/null".as_ptr(), libc::O_RDONLY)) };
}

/// Goes before ordinary programs; a real-time class would be scheduled by other code than the
/// programs this stands for.
fn prefer() {
    // SAFETY: no pointers; without the privilege it is refused, and the figures are noisier.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -20) };
}

/// Keeps the calling thread, and those it starts later, on the last processor: the first one
/// takes most interrupts.
fn pin() {
    pin_to(processors() - 1);
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn pin_to(processor: usize) {
    // SAFETY: a set of processors is plain bits; zero is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `processor` is far below the 1024 the set has room for; the pointer is valid.
    let failed = unsafe {
        libc::CPU_SET(processor, &mut set);
        libc::sched_setaffinity(0, size_of_val(&set), &set)
    };
    assert_eq!(failed, 0, "cannot pin to processor {processor}");
}

/// Nanoseconds a call on one processor.
fn pinned(operation: impl FnMut()) -> f64 {
    pin();
    windows(operation)
}

/// Median over the windows of nanoseconds a call.
fn windows(mut operation: impl FnMut()) -> f64 {
    let mut time = |count: u64| {
        let begun = Instant::now();
        for _ in 0..count {
            operation();
        }
        begun.elapsed()
    };
    let mut count = 1;
    while time(count) < WINDOW / 2 {
        count *= 2;
    }
    median((0..WINDOWS).map(|_| time(count).as_nanos() as f64 / count as f64).collect())
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// A libc mutex; std's own is another implementation.
struct Mutex(UnsafeCell<libc::pthread_mutex_t>);

// SAFETY: a pthread mutex is made to be shared, and is reached through its functions alone.
unsafe impl Sync for Mutex {}

impl Mutex {
    const fn new() -> Self {
        Self(UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER))
    }

    fn lock(&self) {
        // SAFETY: initialised, and never moved: all are statics.
        unsafe { libc::pthread_mutex_lock(self.0.get()) };
    }

    fn unlock(&self) {
        // SAFETY: as above, and locked by this thread.
        unsafe { libc::pthread_mutex_unlock(self.0.get()) };
    }
}

static MUTEX: Mutex = Mutex::new();

fn mutex() -> f64 {
    pinned(|| {
        MUTEX.lock();
        MUTEX.unlock();
    })
}

fn wake() -> f64 {
    let word = 0u32;
    let op = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
    pinned(|| {
        // SAFETY: a valid word that nobody waits on.
        unsafe { libc::syscall(libc::SYS_futex, &word, op, 1) };
    })
}

fn work() {
    for i in 0..WORK {
        black_box(i);
    }
}

/// Nanoseconds of wall time per section passed, by all threads together.
fn contended() -> f64 {
    static PASSED: AtomicU64 = AtomicU64::new(0);
    static STOP: AtomicBool = AtomicBool::new(false);
    // Each at home on a processor: with threads that move, the figure depends on who met whom.
    let contend = |processor: usize| {
        pin_to(processor);
        while !STOP.load(Ordering::Relaxed) {
            MUTEX.lock();
            work();
            // Under the lock, so no atomic addition disturbs what is measured.
            PASSED.store(PASSED.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            MUTEX.unlock();
            work();
        }
    };
    let threads: Vec<_> =
        (0..CONTENDERS).map(|at| std::thread::spawn(move || contend(at % processors()))).collect();
    std::thread::sleep(LONG_WINDOW);
    let window = || {
        let (begun, before) = (Instant::now(), PASSED.load(Ordering::Relaxed));
        std::thread::sleep(LONG_WINDOW);
        let passed = PASSED.load(Ordering::Relaxed) - before;
        begun.elapsed().as_nanos() as f64 / passed.max(1) as f64
    };
    let ns = median((0..LONG_WINDOWS).map(|_| window()).collect());
    STOP.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().expect("a contender panicked");
    }
    ns
}

/// Nanoseconds a round trip of one byte between two threads on one processor: two pipe writes,
/// two reads and two context switches, and nothing else to hide behind.
fn ping_pong() -> f64 {
    pin();
    let (there, back) = (pipe(), pipe());
    let echo = std::thread::spawn(move || while receive(there.0) && send(back.1) {});
    let ns = windows(|| assert!(send(there.1) && receive(back.0), "the echo is gone"));
    // SAFETY: a descriptor of our own, not used again.
    unsafe { libc::close(there.1) };
    echo.join().expect("the echo panicked");
    ns
}

fn pipe() -> (i32, i32) {
    let mut ends = [0; 2];
    // SAFETY: room for the two descriptors.
    assert_eq!(unsafe { libc::pipe(ends.as_mut_ptr()) }, 0, "no pipe");
    (ends[0], ends[1])
}

fn send(end: i32) -> bool {
    // SAFETY: one valid byte.
    unsafe { libc::write(end, [0u8].as_ptr().cast(), 1) == 1 }
}

fn receive(end: i32) -> bool {
    let mut byte = [0u8];
    // SAFETY: room for one byte.
    unsafe { libc::read(end, byte.as_mut_ptr().cast(), 1) == 1 }
}

/// One wait of known length, for the time to the first event.
fn block() {
    MUTEX.lock();
    let waiter = std::thread::spawn(|| {
        MUTEX.lock();
        MUTEX.unlock();
    });
    std::thread::sleep(HOLD);
    MUTEX.unlock();
    waiter.join().expect("the waiter panicked");
    std::thread::sleep(LINGER);
}
