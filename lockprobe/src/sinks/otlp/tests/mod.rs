//! The OTLP sink against a real collector in this process, and against the ways one can be away.

mod collector;
mod delivery;
mod http;
mod logs;
mod metrics;
mod settings;
mod traces;
mod trouble;

use super::{Bounds, Layer, Otlp, Settings, Signal, Way};
use crate::model::{
    AcquireSpan, CallSite, HoldEnd, HoldSpan, Holder, HolderSource, LockDescription, LockId,
    LockKind, Mode, Outcome, Precision, ProcessFact, Record, Session, SpanId, Thread, ThreadId,
};
use crate::sinks::Sink;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
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
fn bounds() -> Bounds {
    Bounds {
        batch_delay: Duration::from_millis(10),
        backoff: (Duration::from_millis(5), Duration::from_millis(50)),
        flush: PATIENCE,
        ..Bounds::default()
    }
}

/// Spans alone, to this place.
fn spans_to(url: &str) -> Settings {
    to(url).sending(&[Signal::Traces])
}

/// Everything to this place, which may take its time.
fn to(url: &str) -> Settings {
    said(Way { timeout: Some(PATIENCE), ..Way::default() }).with_endpoint(url)
}

/// This said of all signals.
fn said(general: Way) -> Settings {
    Settings::default().with(Layer { general, ..Layer::default() })
}

/// A sink, and what it says to people.
fn sink(settings: &Settings, bounds: Bounds) -> (Otlp, mpsc::Receiver<String>) {
    let (say, said) = mpsc::channel();
    let say = Box::new(move |line: &str| drop(say.send(line.to_owned())));
    (Otlp::with(settings, session(), bounds, say).unwrap(), said)
}

/// Attributes as `key=value` lines.
fn shown(attributes: &[KeyValue]) -> Vec<String> {
    attributes.iter().map(|a| format!("{}={}", a.key, value(a))).collect()
}

fn value(attribute: &KeyValue) -> String {
    any(attribute.value.as_ref().unwrap().value.as_ref().unwrap())
}

fn any(value: &Value) -> String {
    let inner = |values: &[opentelemetry_proto::tonic::common::v1::AnyValue]| {
        let one =
            |v: &opentelemetry_proto::tonic::common::v1::AnyValue| any(v.value.as_ref().unwrap());
        values.iter().map(one).collect::<Vec<_>>().join("; ")
    };
    match value {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(n) => n.to_string(),
        Value::DoubleValue(n) => format!("{n:?}"),
        Value::BoolValue(b) => b.to_string(),
        Value::KvlistValue(map) => shown(&map.values).join(", "),
        Value::ArrayValue(list) => format!("[{}]", inner(&list.values)),
        other => panic!("{other:?}"),
    }
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

/// Spans that were acknowledged.
fn spans_of(otlp: &Otlp) -> u64 {
    otlp.delivered()[0]
}

/// One of each kind of record.
fn everything(otlp: &mut Otlp) {
    otlp.write(&Record::Process(Arc::new(fact()))).unwrap();
    write(otlp, 1..2);
    otlp.write(&Record::Finding(Arc::new(logs::deadlock()))).unwrap();
    let point = metrics::point(crate::model::Value::Integer(3));
    let family = metrics::family(crate::model::Instrument::UpDownCounter, vec![point]);
    otlp.write(&Record::Metrics(Arc::new(metrics::numbers(vec![family])))).unwrap();
}
