//! Spans and resources, value by value.

use super::*;
use crate::sinks::otlp::convert::{Item, Subject, request, root_id};
use crate::sinks::otlp::process::Table;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::{Span, status::StatusCode};
use prost::Message;

/// Attributes as `key=value` lines.
fn shown(attributes: &[KeyValue]) -> Vec<String> {
    let value = |a: &KeyValue| match a.value.as_ref().unwrap().value.as_ref().unwrap() {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(n) => n.to_string(),
        Value::DoubleValue(n) => format!("{n:?}"),
        Value::BoolValue(b) => b.to_string(),
        other => panic!("{other:?}"),
    };
    attributes.iter().map(|a| format!("{}={}", a.key, value(a))).collect()
}

fn item(table: &mut Table, subject: Subject) -> Item {
    Item { process: table.of(&subject), subject }
}

fn convert(subject: Subject) -> Vec<Span> {
    let item = item(&mut Table::new(8, "box"), subject);
    let mut request = request(std::slice::from_ref(&item), &session());
    let spans = request.resource_spans.remove(0).scope_spans.remove(0).spans;
    assert_eq!(spans.len() as u64, item.spans());
    spans
}

fn wait(span: AcquireSpan) -> Span {
    convert(Subject::Acquire(Arc::new(span))).remove(1)
}

const WALL: u64 = 1_700_000_000_000_000_000;

#[test]
fn a_wait_says_all_it_knows() {
    let span = wait(AcquireSpan {
        holder: Some(holder(7, 8, HolderSource::OwnerWord)),
        handed_over_by: Some(holder(7, 8, HolderSource::Waker)),
        blocked_by: Some(SpanId { trace: 1, span: 2 }),
        wake_delay: Some(1_500_000),
        start_estimated: true,
        stacks: None,
        ..acquire(3)
    });
    assert_eq!(
        shown(&span.attributes),
        [
            "lock.system.name=pthread",
            "lock.type=mutex",
            "lock.name=queue_lock",
            "lock.id=futex:7:0xabc",
            "lock.confidence=confirmed",
            "lock.mode=exclusive",
            "lock.outcome=acquired",
            "lock.queue.depth=1",
            "lock.attempt.count=1",
            "lock.wake.delay=0.0015",
            "lock.holder.pid=7",
            "lock.holder.tid=8",
            "lock.holder.name=boss",
            "lock.holder.source=owner_word",
            "lock.handed_over_by.tid=8",
            "lock.wait.start_estimated=true",
            "thread.id=9",
            "thread.name=pool",
            "code.function.name=enqueue",
            "code.file.path=src/queue.c",
            "code.line.number=42",
        ]
    );
    assert_eq!((span.start_time_unix_nano, span.end_time_unix_nano), (WALL + 1_000, WALL + 5_000));
    assert_eq!(span.trace_id, [0, 0, 0, 0, 0, 0, 0, 0x11, 0, 0, 0, 0, 0, 0, 0, 3]);
    assert_eq!(span.span_id, [0, 0, 0, 0, 0, 0, 0, 3]);
    let events: Vec<_> = span.events.iter().map(|e| (&*e.name, e.time_unix_nano)).collect();
    let (start, end) = (WALL + 1_000, WALL + 5_000);
    let expected = [("lock.requested", start), ("lock.contended", start), ("lock.acquired", end)];
    assert_eq!(events, expected);
    let links: Vec<_> = span.links.iter().map(|l| (shown(&l.attributes), &*l.span_id)).collect();
    let hold = &[0, 0, 0, 0, 0, 0, 0, 2][..];
    assert_eq!(
        links,
        [
            (vec!["lock.link.type=blocked_by".into()], hold),
            (vec!["lock.link.type=handed_over_by".into()], hold),
        ]
    );
    assert_eq!(span.status, None);
}

#[test]
fn a_wait_leaves_out_what_it_does_not_know() {
    let mut bare = (*lock("futex:7:0xabc")).clone();
    bare.call_site = None;
    bare.confirmed = false;
    let gone = Holder { name: String::new(), ..holder(7, 0, HolderSource::OwnerWord) };
    let span = wait(AcquireSpan {
        lock: Arc::new(bare),
        holder: Some(gone),
        outcome: Outcome::Abandoned,
        error: Some("timeout"),
        ..acquire(3)
    });
    let shown = shown(&span.attributes);
    assert!(
        shown.contains(&"lock.holder.pid=7".into()) && shown.contains(&"error.type=timeout".into())
    );
    assert!(shown.contains(&"lock.confidence=candidate".into()));
    let absent =
        ["lock.holder.tid", "lock.holder.name", "lock.wake", "lock.wait", "code.", "lock.handed"];
    assert!(!shown.iter().any(|line| absent.iter().any(|key| line.starts_with(key))), "{shown:?}");
    let status = span.status.unwrap();
    assert_eq!(status.code, StatusCode::Error as i32);
    assert_eq!(status.message, "stopped waiting for futex:7:0xabc without getting it (timeout)");
    assert_eq!(span.events.len(), 2);
    assert_eq!(wait(AcquireSpan { outcome: Outcome::Waiting, ..acquire(3) }).status, None);
}

#[test]
fn a_hold_brings_the_root_when_no_wait_does() {
    let exact = convert(Subject::Hold(Arc::new(hold(3, Precision::Exact))));
    assert_eq!(exact.len(), 1);
    let root = root_id(acquire(3).id.trace).to_be_bytes();
    assert_eq!(exact[0].parent_span_id, root);
    assert_eq!(
        shown(&exact[0].attributes)[5..],
        [
            "lock.hold.precision=exact",
            "lock.hold.end=released",
            "lock.holder.source=owner_word",
            "thread.id=9",
            "thread.name=boss",
        ]
    );
    assert_eq!(exact[0].events[0].name, "lock.released");
    assert_eq!(exact[0].events[0].time_unix_nano, WALL + 9_000);
    for precision in [Precision::LowerBound, Precision::Unknown] {
        let mut open = hold(3, precision);
        open.ended = HoldEnd::Unknown;
        let spans = convert(Subject::Hold(Arc::new(open)));
        assert_eq!(spans[0].name, "lock queue_lock");
        assert_eq!((&*spans[0].span_id, &*spans[1].parent_span_id), (&root[..], &root[..]));
        assert!(spans[1].events.is_empty());
        assert_eq!(spans[0].start_time_unix_nano, spans[1].start_time_unix_nano);
    }
}

#[test]
fn root_ids_are_never_zero_nor_half_of_the_trace_id() {
    assert_ne!(root_id(0), 0);
    for n in 1..1_000_u128 {
        let trace = n << 64 | (n * 77);
        let root = root_id(trace);
        assert!(root != 0 && root != trace as u64 && root != (trace >> 64) as u64);
    }
}

#[test]
fn a_span_belongs_to_the_program_its_process_ran_then() {
    let mut table = Table::new(8, "box");
    let wait = || Subject::Acquire(Arc::new(acquire(1)));
    let service =
        |table: &mut Table, subject| shown(&table.of(&subject).resource.attributes)[0].clone();
    let unknown = table.of(&wait());
    assert_eq!(
        shown(&unknown.resource.attributes),
        [
            "service.name=unknown_service",
            "process.pid=7",
            "host.name=box",
            "telemetry.distro.name=lockprobe",
            concat!("telemetry.distro.version=", env!("CARGO_PKG_VERSION")),
        ]
    );
    table.learn(&fact());
    assert_eq!(
        shown(&table.of(&wait()).resource.attributes),
        [
            "service.name=worker",
            "service.instance.id=7-99",
            "process.pid=7",
            "process.executable.name=worker",
            "process.executable.path=/usr/bin/worker",
            "process.command=worker",
            "host.name=box",
            "telemetry.distro.name=lockprobe",
            concat!("telemetry.distro.version=", env!("CARGO_PKG_VERSION")),
        ]
    );
    table.learn(&ProcessFact { image: 1, service: "next".into(), ..fact() });
    assert_eq!(service(&mut table, wait()), "service.name=worker");
    let mut shared = (*lock("shared")).clone();
    shared.id = LockId::Shared { device: 1, inode: 2, offset: 3 };
    let shared = AcquireSpan { lock: Arc::new(shared), ..acquire(1) };
    assert_eq!(service(&mut table, Subject::Acquire(Arc::new(shared))), "service.name=next");
    // The id is given to another process.
    table.learn(&ProcessFact { start_ticks: 100, service: "reused".into(), ..fact() });
    assert_eq!(service(&mut table, wait()), "service.name=reused");
}

#[test]
fn the_table_of_processes_is_bounded() {
    let mut table = Table::new(3, "");
    for pid in 1..=10 {
        table.learn(&ProcessFact { pid, service: format!("s{pid}"), ..ProcessFact::default() });
        table.of(&Subject::Acquire(Arc::new(AcquireSpan { thread: thread(pid, 1), ..acquire(1) })));
        assert!(table.len() <= 3);
    }
    for pid in 100..200 {
        table.of(&Subject::Acquire(Arc::new(AcquireSpan { thread: thread(pid, 1), ..acquire(1) })));
    }
    assert_eq!(table.len(), 3);
}

#[test]
fn the_estimate_of_a_requests_size_is_no_underestimate() {
    let mut table = Table::new(8, "box");
    table.learn(&fact());
    for length in [1, 200, 20_000] {
        let mut long = (*lock(&"n".repeat(length))).clone();
        long.call_site.as_mut().unwrap().function = "f".repeat(length);
        let long = Arc::new(long);
        let full = AcquireSpan {
            lock: long.clone(),
            holder: Some(holder(u32::MAX, u32::MAX, HolderSource::LastAcquirer)),
            handed_over_by: Some(holder(7, u32::MAX, HolderSource::Waker)),
            blocked_by: Some(SpanId { trace: u128::MAX, span: u64::MAX }),
            wake_delay: Some(1),
            start_estimated: true,
            stacks: None,
            outcome: Outcome::Abandoned,
            error: Some("thread_exit"),
            queue_depth: u32::MAX,
            sleeps: u32::MAX,
            ..acquire(u64::MAX)
        };
        let hold = HoldSpan { lock: long, ..hold(1, Precision::LowerBound) };
        for subject in [Subject::Acquire(Arc::new(full)), Subject::Hold(Arc::new(hold))] {
            let item = item(&mut table, subject);
            let size = request(std::slice::from_ref(&item), &session()).encoded_len();
            assert!(size <= item.weight(), "{size} > {}", item.weight());
        }
    }
}
