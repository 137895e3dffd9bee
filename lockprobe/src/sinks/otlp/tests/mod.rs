//! The OTLP sink against a real collector in this process, and against the ways one can be away.

mod address;
mod collector;
mod convert;
mod delivery;
mod trouble;

use super::client::Options;
use super::{Otlp, Settings};
use crate::model::{
    AcquireSpan, CallSite, HoldEnd, HoldSpan, Holder, HolderSource, LockDescription, LockId,
    LockKind, Mode, Outcome, Precision, ProcessFact, Record, Session, SpanId, Thread, ThreadId,
};
use crate::sinks::Sink;
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// Long enough for the slowest machine; nothing waits for it that goes well.
const PATIENCE: Duration = Duration::from_secs(60);

fn session() -> Arc<Session> {
    Arc::new(Session {
        wall_offset: 1_700_000_000_000_000_000,
        host: "box".into(),
        ..Session::default()
    })
}

fn lock(name: &str) -> Arc<LockDescription> {
    Arc::new(LockDescription {
        id: LockId::Private { pid: 7, image: 0, address: 0xabc },
        kind: LockKind::PthreadMutex,
        name: name.into(),
        confirmed: true,
        call_site: Some(CallSite {
            function: "enqueue".into(),
            source: Some(("src/queue.c".into(), 42)),
            module: "/usr/bin/worker".into(),
            offset: 0x10,
        }),
        address: None,
    })
}

fn thread(pid: u32, tid: u32) -> Thread {
    let mut comm = [0; 16];
    comm[..4].copy_from_slice(b"pool");
    Thread { id: ThreadId { pid, tid }, ns_tid: tid, ns_level: 0, comm }
}

fn holder(pid: u32, tid: u32, source: HolderSource) -> Holder {
    Holder { id: ThreadId { pid, tid }, name: "boss".into(), source, gone: false }
}

/// A wait of process 7 that ended well.
fn acquire(n: u64) -> AcquireSpan {
    AcquireSpan {
        id: SpanId { trace: (0x11 << 64) | u128::from(n), span: n },
        lock: lock("queue_lock"),
        mode: Mode::Exclusive,
        thread: thread(7, 9),
        start: 1_000,
        end: 5_000,
        outcome: Outcome::Acquired,
        error: None,
        holder: None,
        handed_over_by: None,
        blocked_by: None,
        wake_delay: None,
        sleeps: 1,
        queue_depth: 1,
        start_estimated: false,
        stacks: None,
        remote: None,
    }
}

/// The hold that follows it.
fn hold(n: u64, precision: Precision) -> HoldSpan {
    HoldSpan {
        id: SpanId { trace: (0x11 << 64) | u128::from(n), span: n + 1_000_000 },
        lock: lock("queue_lock"),
        holder: holder(7, 9, HolderSource::OwnerWord),
        start: 5_000,
        end: 9_000,
        ended: HoldEnd::Released,
        precision,
        waiters: 1,
        remote: None,
    }
}

fn fact() -> ProcessFact {
    ProcessFact {
        pid: 7,
        image: 0,
        start_ticks: 99,
        service: "worker".into(),
        executable: "/usr/bin/worker".into(),
        command: vec!["worker".into(), "--secret".into()],
        ..ProcessFact::default()
    }
}

/// Quick, but with time-outs no busy machine runs into.
fn settings() -> Settings {
    Settings {
        batch_delay: Duration::from_millis(10),
        backoff: (Duration::from_millis(5), Duration::from_millis(50)),
        flush: PATIENCE,
        ..Settings::default()
    }
}

/// A sink, and what it says to people.
fn sink(endpoint: &str, options: Options, settings: Settings) -> (Otlp, mpsc::Receiver<String>) {
    let (say, said) = mpsc::channel();
    let say = Box::new(move |line: &str| drop(say.send(line.to_owned())));
    (Otlp::with(endpoint, session(), options, settings, say).unwrap(), said)
}

fn patient() -> Options {
    Options { timeout: PATIENCE, ..Options::default() }
}

fn write(otlp: &mut Otlp, waits: std::ops::Range<u64>) {
    for n in waits {
        otlp.write(&Record::Acquire(Arc::new(acquire(n)))).unwrap();
    }
}

fn loss(otlp: &Otlp, cause: &str) -> u64 {
    let losses = otlp.losses();
    let names: Vec<_> = losses.iter().map(|(cause, _)| *cause).collect();
    assert_eq!(names, ["queue_full", "collector_unavailable", "collector_rejected", "shutdown"]);
    losses.iter().find(|(name, _)| *name == cause).unwrap().1
}

fn lost(otlp: &Otlp) -> u64 {
    otlp.losses().iter().map(|(_, n)| n).sum()
}
