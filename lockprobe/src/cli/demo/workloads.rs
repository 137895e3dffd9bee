//! The workloads themselves, each measuring its own waits from outside.

use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::{Arc, Barrier, Mutex, MutexGuard};
use std::thread::{Builder, JoinHandle, sleep};
use std::time::{Duration, Instant};

use super::super::command::Scenario;
use super::mutex::{PosixMutex, thread_id};
use super::truth::{THRESHOLD, Truth};

static CONVOY_LOCK: PosixMutex = PosixMutex::new();
static ACCOUNT_A: PosixMutex = PosixMutex::new();
static ACCOUNT_B: PosixMutex = PosixMutex::new();
static FAIR_LOCK: Mutex<u64> = Mutex::new(0);

const CONVOY_ROUNDS: usize = 3;
const CONVOY_WAITERS: usize = 5;
const FAIR_PROCESSES: usize = 2;
const FAIR_THREADS: usize = 3;
const FAIR_ROUNDS: usize = 4;
/// A process that is gone by the time its lock is to be looked up leaves a lock without a name: the
/// truth is about names, and the executable of a debug build takes a while to read.
const FAIR_LINGERS: Duration = Duration::from_millis(600);
/// Set for the processes that a workload starts as parts of itself.
const PART: &str = "LOCKPROBE_DEMO_PART";

/// A workload in one sentence.
pub fn describe(scenario: Scenario) -> String {
    match scenario {
        Scenario::Convoy => format!(
            "one thread holds a mutex for 40 ms again and again, {CONVOY_WAITERS} others queue for it"
        ),
        Scenario::Deadlock => "two threads take the same two mutexes in opposite order".to_owned(),
        Scenario::Fair => format!(
            "{FAIR_PROCESSES} processes of {FAIR_THREADS} threads each share a Rust mutex lightly"
        ),
    }
}

/// Runs a workload once a byte (or the end) comes on standard input.
pub fn run(scenario: Scenario) -> anyhow::Result<Truth> {
    let _ = std::io::stdin().read(&mut [0])?;
    match scenario {
        Scenario::Convoy => convoy(),
        Scenario::Deadlock => deadlock(),
        Scenario::Fair if std::env::var_os(PART).is_some() => fair_process(),
        Scenario::Fair => fair(),
    }
}

fn thread<T: Send + 'static>(
    name: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> std::io::Result<JoinHandle<T>> {
    Builder::new().name(name.to_owned()).spawn(body)
}

fn joined<T>(thread: JoinHandle<T>) -> anyhow::Result<T> {
    thread.join().map_err(|_| anyhow::anyhow!("a thread of the workload crashed"))
}

/// Time a call took, if it is long enough to count.
fn timed<T>(waits: &mut Vec<u64>, call: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let result = call();
    let took = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
    if took >= THRESHOLD {
        waits.push(took);
    }
    result
}

/// A truth about locks with these names.
fn about(locks: &[&str]) -> Truth {
    Truth { locks: locks.iter().map(|&lock| lock.to_owned()).collect(), ..Truth::default() }
}

fn convoy() -> anyhow::Result<Truth> {
    let start = Arc::new(Barrier::new(CONVOY_WAITERS + 1));
    let done = Arc::new(Barrier::new(CONVOY_WAITERS + 1));
    let mut threads = Vec::new();
    for i in 0..CONVOY_WAITERS {
        let (start, done) = (start.clone(), done.clone());
        threads.push(thread(&format!("waiter-{i}"), move || {
            let mut waits = Vec::new();
            for _ in 0..CONVOY_ROUNDS {
                start.wait();
                sleep(Duration::from_millis(5));
                timed(&mut waits, || CONVOY_LOCK.lock());
                CONVOY_LOCK.unlock();
                done.wait();
            }
            waits
        })?);
    }
    let slow = thread("slow", move || {
        for _ in 0..CONVOY_ROUNDS {
            CONVOY_LOCK.lock();
            start.wait();
            sleep(Duration::from_millis(40));
            CONVOY_LOCK.unlock();
            done.wait();
        }
        thread_id()
    })?;
    let mut truth = about(&["CONVOY_LOCK"]);
    for thread in threads {
        truth.waits.extend(joined(thread)?);
    }
    truth.holder = Some((joined(slow)?, "slow".to_owned()));
    Ok(truth)
}

fn deadlock() -> anyhow::Result<Truth> {
    let both = Arc::new(Barrier::new(2));
    let (ids, told) = std::sync::mpsc::channel();
    let orders =
        [("transfer-a-b", &ACCOUNT_A, &ACCOUNT_B), ("transfer-b-a", &ACCOUNT_B, &ACCOUNT_A)];
    for (name, first, second) in orders {
        let (both, ids) = (both.clone(), ids.clone());
        thread(name, move || {
            first.lock();
            both.wait();
            let _ = ids.send((thread_id(), Instant::now()));
            second.lock();
        })?;
    }
    let waiting: Vec<(u32, Instant)> = told.iter().take(2).collect();
    sleep(Duration::from_millis(1500));
    // Neither will ever go on: the process ends with both of them waiting.
    let waits = waiting.iter().map(|(_, since)| since.elapsed().as_nanos() as u64).collect();
    let deadlocked = waiting.iter().map(|(tid, _)| *tid).collect();
    Ok(Truth { waits, deadlocked, ..about(&["ACCOUNT_A", "ACCOUNT_B"]) })
}

fn fair() -> anyhow::Result<Truth> {
    let own = std::env::current_exe()?;
    let parts = (0..FAIR_PROCESSES).map(|_| {
        Command::new(&own)
            .args(["demo-workload", Scenario::Fair.name()])
            .env(PART, "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
    });
    let parts: Vec<_> = parts.collect::<Result<_, _>>()?;
    let mut truth = Truth::default();
    for part in parts {
        let output = part.wait_with_output()?;
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        let part = Truth::from_json(printed.trim());
        truth.merge(part.ok_or_else(|| anyhow::anyhow!("a part of the workload ended early"))?);
    }
    Ok(truth)
}

fn fair_process() -> anyhow::Result<Truth> {
    let mut threads = Vec::new();
    for i in 0..FAIR_THREADS {
        threads.push(thread(&format!("worker-{i}"), move || {
            let mut waits = Vec::new();
            for _ in 0..FAIR_ROUNDS {
                let mut count: MutexGuard<'_, u64> = timed(&mut waits, || {
                    FAIR_LOCK.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
                });
                *count += 1;
                sleep(Duration::from_millis(5));
                drop(count);
                sleep(Duration::from_millis(8));
            }
            waits
        })?);
    }
    let mut truth = about(&["FAIR_LOCK"]);
    for thread in threads {
        truth.waits.extend(joined(thread)?);
    }
    sleep(FAIR_LINGERS);
    Ok(truth)
}
