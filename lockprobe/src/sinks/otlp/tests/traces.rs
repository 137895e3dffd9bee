//! Spans and resources, value by value.

use super::*;
use crate::model::{Remote, TraceContext};
use crate::sinks::otlp::delivery::Item as _;
use crate::sinks::otlp::lineage::{Lineage, Moved};
use crate::sinks::otlp::process::Table;
use crate::sinks::otlp::traces::{Item, Subject, request, root_id};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{Span, status::StatusCode};
use prost::Message;

fn item(table: &mut Table, subject: Subject) -> Item {
    let process = match &subject {
        Subject::Acquire(span) => table.of(span.thread.id.pid, span.lock.id),
        Subject::Hold(span) => table.of(span.holder.id.pid, span.lock.id),
    };
    let lineage = match &subject {
        Subject::Acquire(span) => Moved::default().acquire(span, &process, table),
        Subject::Hold(span) => Moved::default().hold(span, &process),
    };
    Item { subject, process, lineage }
}

fn sent(items: &[Item]) -> Vec<Span> {
    let bytes = request(items, &session());
    let mut request = ExportTraceServiceRequest::decode(&*bytes).unwrap();
    request.resource_spans.remove(0).scope_spans.remove(0).spans
}

fn convert(subject: Subject) -> Vec<Span> {
    let item = item(&mut Table::new(8, "box"), subject);
    let spans = sent(std::slice::from_ref(&item));
    assert_eq!(spans.len() as u64, item.count());
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
            "lock.blocked_by.trace_id=00000000000000000000000000000001",
            "lock.blocked_by.span_id=0000000000000002",
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

fn resource(table: &mut Table, span: &AcquireSpan) -> Vec<String> {
    let process = table.of(span.thread.id.pid, span.lock.id);
    shown(&Resource::decode(&*process.resource).unwrap().attributes)
}

const OWN: [&str; 3] = [
    "host.name=box",
    "telemetry.distro.name=lockprobe",
    concat!("telemetry.distro.version=", env!("CARGO_PKG_VERSION")),
];

#[test]
fn a_span_belongs_to_the_program_its_process_ran_then() {
    let mut table = Table::new(8, "box");
    let wait = acquire(1);
    let unknown = resource(&mut table, &wait);
    assert_eq!(unknown[..2], ["service.name=unknown_service", "process.pid=7"]);
    assert_eq!(unknown[2..], OWN);
    table.learn(&fact());
    let known = resource(&mut table, &wait);
    assert_eq!(
        known[..6],
        [
            "service.name=worker",
            "process.pid=7",
            "service.instance.id=7-99",
            "process.executable.name=worker",
            "process.executable.path=/usr/bin/worker",
            "process.command=worker",
        ]
    );
    assert_eq!(known[6..], OWN);
    table.learn(&ProcessFact { image: 1, service: "next".into(), ..fact() });
    assert_eq!(resource(&mut table, &wait)[0], "service.name=worker");
    let mut shared = (*lock("shared")).clone();
    shared.id = LockId::Shared { device: 1, inode: 2, offset: 3 };
    let shared = AcquireSpan { lock: Arc::new(shared), ..acquire(1) };
    assert_eq!(resource(&mut table, &shared)[0], "service.name=next");
    // The id is given to another process.
    table.learn(&ProcessFact { start_ticks: 100, service: "reused".into(), ..fact() });
    assert_eq!(resource(&mut table, &wait)[0], "service.name=reused");
}

#[test]
fn what_a_process_says_of_itself_counts_but_for_what_is_certain() {
    let mut table = Table::new(8, "box");
    let said = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<Vec<_>>()
    };
    let attributes = said(&[
        ("service.name", "liar"),
        ("process.pid", "1"),
        ("telemetry.distro.name", "other"),
        ("service.instance.id", "my-own"),
        ("k8s.pod.name", "shop-0"),
        ("host.name", "node-3"),
        ("k8s.pod.name", "twice"),
        ("long", &"x".repeat(5_000)),
    ]);
    table.learn(&ProcessFact { attributes, ..fact() });
    assert_eq!(
        resource(&mut table, &acquire(1)),
        [
            "service.name=worker",
            "process.pid=7",
            "process.executable.name=worker",
            "process.executable.path=/usr/bin/worker",
            "process.command=worker",
            "service.instance.id=my-own",
            "k8s.pod.name=shop-0",
            "host.name=node-3",
            "telemetry.distro.name=lockprobe",
            OWN[2],
        ]
    );
    let process = table.of(7, acquire(1).lock.id);
    assert_eq!(Resource::decode(&*process.resource).unwrap().dropped_attributes_count, 1);
    // More becomes known of it.
    let more = said(&[("k8s.pod.uid", "u")]);
    table.learn(&ProcessFact { attributes: more, ..fact() });
    assert!(resource(&mut table, &acquire(1)).contains(&"k8s.pod.uid=u".to_owned()));
    let many = (0..300).map(|n| (format!("a{n}"), "v".to_owned())).collect();
    table.learn(&ProcessFact { attributes: many, ..fact() });
    assert!(resource(&mut table, &acquire(1)).len() < 140);
}

#[test]
fn spans_are_children_of_the_environments_span_where_that_is_recorded() {
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let with = |flags: &str| ProcessFact {
        trace_parent: Some(format!("00-{trace}-b7ad6b7169203331-{flags}")),
        ..fact()
    };
    let mut table = Table::new(8, "box");
    table.learn(&with("01"));
    let wait = item(&mut table, Subject::Acquire(Arc::new(acquire(1))));
    let held = item(&mut table, Subject::Hold(Arc::new(hold(1, Precision::LowerBound))));
    assert_eq!((wait.count(), held.count()), (1, 1), "no root of their own");
    for span in sent(&[wait, held]) {
        assert_eq!(span.trace_id, 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c_u128.to_be_bytes());
        assert_eq!(span.parent_span_id, 0xb7ad_6b71_6920_3331_u64.to_be_bytes());
        assert_eq!(span.flags, 0x301, "its parent is another program's");
        let source = "lock.trace_context.source=environment".to_owned();
        assert!(shown(&span.attributes).contains(&source));
    }
    for other in [with("00"), ProcessFact { trace_parent: Some("nonsense".into()), ..fact() }] {
        table.learn(&other);
        let wait = item(&mut table, Subject::Acquire(Arc::new(acquire(1))));
        assert_eq!((wait.count(), wait.lineage), (2, Lineage::default()));
    }
}

#[test]
fn links_find_the_holds_of_other_programs_traces() {
    let parent = |trace: u32| format!("00-{trace:032x}-b7ad6b7169203331-01");
    let mut table = Table::new(8, "box");
    table.learn(&ProcessFact { trace_parent: Some(parent(0xaa)), ..fact() });
    table.learn(&ProcessFact { pid: 8, trace_parent: Some(parent(0xbb)), ..fact() });
    let mut moved = Moved::default();
    let holder = Some(holder(8, 8, HolderSource::Waker));
    let blocked_by = Some(SpanId { trace: 5, span: 6 });
    let blocked = AcquireSpan { handed_over_by: holder, blocked_by, ..acquire(1) };
    let process = table.of(7, blocked.lock.id);
    let lineage = moved.acquire(&blocked, &process, &table);
    let item = Item { subject: Subject::Acquire(Arc::new(blocked.clone())), process, lineage };
    let span = sent(&[item]).remove(0);
    assert_eq!(span.links.len(), 2);
    for link in &span.links {
        assert_eq!(link.trace_id, 0xbb_u128.to_be_bytes());
        assert_eq!(link.span_id, 6_u64.to_be_bytes());
    }
    // What the call itself said counts more than the environment.
    let context = Some(TraceContext { trace: 0xcc, span: 9, sampled: true });
    let remote = Some(Arc::new(Remote { context, ..Remote::default() }));
    let id = SpanId { trace: 5, span: 6 };
    let told = HoldSpan {
        id,
        remote,
        holder: self::holder(8, 8, HolderSource::Waker),
        ..hold(1, Precision::Exact)
    };
    let process = table.of(8, told.lock.id);
    let of_hold = moved.hold(&told, &process);
    let parent = of_hold.parent.unwrap();
    assert_eq!((parent.source, of_hold.trace(id), moved.of(id)), ("sql_comment", 0xcc, Some(0xcc)));
    let process = table.of(7, blocked.lock.id);
    assert_eq!(moved.acquire(&blocked, &process, &table).blocker, Some(0xcc));
    // Bounded, the oldest first.
    for n in 0..100_000 {
        let id = SpanId { trace: 1_000 + n, span: 1 };
        moved.hold(&HoldSpan { id, ..told.clone() }, &process);
    }
    assert_eq!(moved.of(id), None);
    assert_eq!(moved.of(SpanId { trace: 100_999, span: 1 }), Some(0xcc));
}

#[test]
fn the_table_of_processes_is_bounded() {
    let mut table = Table::new(3, "");
    for pid in 1..=10 {
        table.learn(&ProcessFact { pid, service: format!("s{pid}"), ..ProcessFact::default() });
        table.of(pid, acquire(1).lock.id);
        assert!(table.len() <= 3);
    }
    for pid in 100..200 {
        table.of(pid, acquire(1).lock.id);
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
            let size = request(std::slice::from_ref(&item), &session()).len();
            assert!(size <= item.weight(), "{size} > {}", item.weight());
        }
    }
}
