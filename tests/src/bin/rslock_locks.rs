//! rslock, a client of Redis locks in Rust: `rslock_locks TRUTH-FILE PORT...`.
//!
//! Each part is a process of its own, which is told its name by `PART`, and the first holder by
//! `FIRST`. What is written is told in `tests/clients/truth.py`.

use std::fs::OpenOptions;
use std::future::Future;
use std::io::Write as _;
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rslock::{Lock, LockError, LockManager};
use serde_json::{Value, json};

const MS: Duration = Duration::from_millis(1);

/// Nanoseconds since the process looked at the clock first; only differences count.
fn now() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

fn say(what: &str, lock: &str, more: &Value) {
    let mut line = json!({ "what": what, "lock": lock, "pid": std::process::id() });
    let (line, more) = (line.as_object_mut().expect("a map"), more.as_object().expect("a map"));
    line.extend(more.clone());
    let path = std::env::args().nth(1).expect("a file for the truth");
    let mut file = OpenOptions::new().append(true).create(true).open(path).expect("a file");
    // One write each: several processes write to it.
    file.write_all(format!("{}\n", json!(line)).as_bytes()).expect("it takes a line");
}

/// A manager of all servers, to which it is connected.
async fn manager(tries: u32) -> LockManager {
    let ports = std::env::args().skip(2);
    let uris = ports.map(|port| format!("redis://127.0.0.1:{port}/")).collect::<Vec<_>>();
    let mut manager = LockManager::new(uris);
    manager.set_retry(tries, 50 * MS);
    manager.query_redis_for_key_value(b"none").await.expect("the servers answer");
    manager
}

async fn acquire(
    name: &str,
    attempt: impl Future<Output = Result<Lock, LockError>>,
    more: Value,
) -> Option<(Lock, u64)> {
    let begin = now();
    let got = attempt.await;
    let end = now();
    let outcome = if got.is_ok() { "acquired" } else { "refused" };
    let mut line = json!({ "begin": begin, "end": end, "outcome": outcome });
    line.as_object_mut().expect("a map").extend(more.as_object().expect("a map").clone());
    say("acquire", name, &line);
    got.ok().map(|lock| (lock, end))
}

fn first() -> u32 {
    std::env::var("FIRST").expect("the first holder").parse().expect("a number")
}

async fn holds() {
    let manager = manager(1).await;
    let got = acquire("lock:pay", manager.lock("lock:pay", 3000 * MS), json!({})).await;
    let (lock, begin) = got.expect("it is free");
    tokio::time::sleep(300 * MS).await;
    let lock = manager.extend(&lock, 3000 * MS).await.expect("it is held");
    tokio::time::sleep(200 * MS).await;
    manager.unlock(&lock).await;
    let line = json!({ "begin": begin, "end": now(), "ended": "released", "renewals": 1 });
    say("hold", "lock:pay", &line);
}

async fn tries() {
    let manager = manager(1).await;
    tokio::time::sleep(100 * MS).await;
    let more = json!({ "holder": first(), "slack": 10_000_000 });
    let got = acquire("lock:pay", manager.lock("lock:pay", 3000 * MS), more).await;
    assert!(got.is_none(), "somebody else has it");
}

async fn waits() {
    let manager = manager(200).await;
    tokio::time::sleep(200 * MS).await;
    let more = json!({ "holder": first() });
    let got = acquire("lock:pay", manager.lock("lock:pay", 3000 * MS), more).await;
    let (lock, begin) = got.expect("the holder lets it go");
    tokio::time::sleep(100 * MS).await;
    manager.unlock(&lock).await;
    let line = json!({ "begin": begin, "end": now(), "ended": "released", "renewals": 0 });
    say("hold", "lock:pay", &line);
}

/// Nobody tells it: it gives back what it has no more.
async fn overruns() {
    let manager = manager(1).await;
    let got = acquire("lock:late", manager.lock("lock:late", 300 * MS), json!({})).await;
    let (lock, begin) = got.expect("it is free");
    say("finding", "lock:late", &json!({ "kind": "stale_holder" }));
    tokio::time::sleep(600 * MS).await;
    manager.unlock(&lock).await;
    let line = json!({ "begin": begin, "end": begin + 300_000_000, "ended": "expired" });
    say("hold", "lock:late", &line);
}

fn part(name: &str, first: u32) -> Child {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(std::env::args_os().skip(1)).env("PART", name).env("FIRST", first.to_string());
    command.spawn().expect("it starts")
}

fn main() {
    let Ok(name) = std::env::var("PART") else {
        let first = part("holds", 0);
        let others = ["tries", "waits", "overruns"].map(|name| part(name, first.id()));
        for mut child in std::iter::once(first).chain(others) {
            assert!(child.wait().expect("our child").success());
        }
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        match &*name {
            "holds" => holds().await,
            "tries" => tries().await,
            "waits" => waits().await,
            _ => overruns().await,
        }
    });
}
