//! A program of Rust mutexes that knows its own truth: `rust_schedule TRUTH-FILE`.

use std::fs::File;
use std::io::{PipeReader, PipeWriter, Read as _, Write as _, pipe};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::thread::{Builder, park_timeout, scope, sleep};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A mutex that knows who has it.
struct Known {
    mutex: Mutex<u64>,
    holder: AtomicU32,
    last: AtomicU32,
}

/// The truth, line by line.
static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());
static LOCKS: [Known; 4] = [const { Known::new() }; 4];
static QUEUED: Known = Known::new();
static EVENT: (Mutex<u64>, Condvar) = (Mutex::new(0), Condvar::new());

/// UNIX time, nanoseconds. Steps of the clock would show; there are none within a second.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    u64::try_from(since.as_nanos()).expect("before 2554")
}

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// Id of this thread, and how often it slept and how often it was interrupted, as /proc has it.
fn myself() -> (u32, u64, u64) {
    let status = std::fs::read_to_string("/proc/thread-self/status").expect("/proc");
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect(name);
        line.trim_start_matches(':').trim().parse::<u64>().expect(name)
    };
    let tid = u32::try_from(field("Pid")).expect("an id");
    (tid, field("voluntary_ctxt_switches"), field("nonvoluntary_ctxt_switches"))
}

impl Known {
    const fn new() -> Self {
        Self { mutex: Mutex::new(0), holder: AtomicU32::new(0), last: AtomicU32::new(0) }
    }

    /// Locks, holds for a time, lets go; writes down what came of it. Tells `held` once it has it.
    fn hold(&self, scene: &str, length: Duration, expected: Duration, held: impl FnOnce()) {
        let (tid, slept, disturbed) = myself();
        let holder = self.holder.load(SeqCst);
        let begin = now();
        let mut guard: MutexGuard<'_, u64> = self.mutex.lock().expect("nobody panics");
        let end = now();
        let from = self.last.load(SeqCst);
        self.holder.store(tid, SeqCst);
        *guard += 1;
        let (_, slept_after, disturbed_after) = myself();
        held();
        sleep(length);
        self.holder.store(0, SeqCst);
        self.last.store(tid, SeqCst);
        let released = now();
        drop(guard);
        // The futex word is the first of the mutex: see library/std/src/sys/sync/mutex/futex.rs.
        let lock = format!("{:p}", &raw const self.mutex);
        let mut lines = Vec::new();
        if slept_after != slept {
            lines.push(format!(
                r#"{{"truth":"wait","scene":"{scene}","lock":"{lock}","tid":{tid},"holder":{holder},"from":{from},"sleeps":{},"disturbed":{},"outcome":"acquired","begin":{begin},"end":{end},"expected":{}}}"#,
                slept_after - slept,
                disturbed_after != disturbed,
                expected.as_nanos(),
            ));
        }
        lines.push(format!(
            r#"{{"truth":"hold","scene":"{scene}","lock":"{lock}","tid":{tid},"begin":{end},"end":{released}}}"#
        ));
        LINES.lock().expect("nobody panics").extend(lines);
    }
}

fn tell(mut pipe: &PipeWriter) {
    pipe.write_all(b"\n").expect("a pipe");
}

fn told(mut pipe: &PipeReader) {
    pipe.read_exact(&mut [0]).expect("a pipe");
}

/// One holder, one waiter, several rounds.
fn pair(lock: &Known, length: Duration) {
    let (held, hold) = pipe().expect("a pipe");
    let (done, end) = pipe().expect("a pipe");
    scope(|scope| {
        let holder = move || {
            for _ in 0..3 {
                lock.hold("hold", length, Duration::ZERO, || tell(&hold));
                told(&done);
            }
        };
        let waiter = move || {
            for _ in 0..3 {
                told(&held);
                lock.hold("hold", Duration::ZERO, length, || {});
                tell(&end);
            }
        };
        Builder::new().name("holder".into()).spawn_scoped(scope, holder).expect("a thread");
        Builder::new().name("waiter".into()).spawn_scoped(scope, waiter).expect("a thread");
    });
}

/// Three queue for one, and each of them holds while the next ones wait.
fn queue() {
    let (turns, turn) = pipe().expect("a pipe");
    let waiter = || {
        told(&turns);
        QUEUED.hold("queue", ms(15), Duration::ZERO, || {});
    };
    let holder = || {
        QUEUED.hold("queue", ms(5), Duration::ZERO, || {
            for _ in 0..3 {
                tell(&turn);
                sleep(ms(8));
            }
        });
    };
    scope(|scope| {
        for i in 0..3 {
            Builder::new()
                .name(format!("queue-{i}"))
                .spawn_scoped(scope, waiter)
                .expect("a thread");
        }
        Builder::new().name("queue-head".into()).spawn_scoped(scope, holder).expect("a thread");
    });
}

/// A condition variable, a parked thread and a join: no lock waits.
fn decoys() {
    static SEEN: AtomicU64 = AtomicU64::new(0);
    static OVER: AtomicBool = AtomicBool::new(false);
    let event = std::thread::spawn(|| {
        let mut count = EVENT.0.lock().expect("nobody panics");
        while *count < 3 {
            count = EVENT.1.wait(count).expect("nobody panics");
            SEEN.store(*count, SeqCst);
        }
        let (count, ended) = EVENT.1.wait_timeout(count, ms(10)).expect("nobody panics");
        assert!(ended.timed_out() && *count == 3);
    });
    let parked = std::thread::spawn(|| {
        while !OVER.load(SeqCst) {
            park_timeout(ms(500));
        }
    });
    for _ in 0..3 {
        sleep(ms(8));
        *EVENT.0.lock().expect("nobody panics") += 1;
        EVENT.1.notify_one();
    }
    event.join().expect("it ends");
    OVER.store(true, SeqCst);
    parked.thread().unpark();
    parked.join().expect("it ends");
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    let slow = std::thread::spawn(move || {
        sleep(ms(20));
        drop(sender);
    });
    assert!(receiver.recv().is_err());
    slow.join().expect("it ends");
}

fn main() {
    let path = std::env::args().nth(1).expect("usage: rust_schedule TRUTH-FILE");
    for (lock, length) in LOCKS.iter().zip([5, 10, 20, 50]) {
        pair(lock, ms(length));
    }
    queue();
    decoys();
    let mut file = File::create(path).expect("the truth file");
    let pid = std::process::id();
    writeln!(file, r#"{{"truth":"clock","offset":0,"pid":{pid},"ns_pid":{pid}}}"#)
        .expect("written");
    let decoy = &raw const EVENT.1 as usize;
    writeln!(
        file,
        r#"{{"truth":"decoy","kind":"event","address":{decoy},"size":{}}}"#,
        size_of::<Condvar>()
    )
    .expect("written");
    for line in LINES.lock().expect("nobody panics").iter() {
        writeln!(file, "{line}").expect("written");
    }
}
