//! Log records, value by value.

use super::*;
use crate::model::{
    Activity, Doing, Edge, Finding, FindingKind, Inversion, LockOrder, Look, Notice, NoticeKind,
    Owner, Remote, RemoteHold, Stack, StackFrame, WaitStacks,
};
use crate::sinks::otlp::delivery::Item as _;
use crate::sinks::otlp::logs::{Item, Subject, contended};
use crate::sinks::otlp::process::Process;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use prost::Message;

const WALL: u64 = 1_700_000_000_000_000_000;

/// What a sink makes of a record.
fn events(record: &Record) -> Vec<LogRecord> {
    let collector = super::collector::Collector::start(vec![]);
    let settings = to(&collector.url).sending(&[Signal::Logs]);
    let (mut otlp, _said) = sink(&settings, bounds());
    otlp.write(&Record::Process(Arc::new(fact()))).unwrap();
    otlp.write(record).unwrap();
    otlp.finish().unwrap();
    assert_eq!(lost(&otlp), 0);
    let taken = collector.events();
    let service = |r: &opentelemetry_proto::tonic::logs::v1::ResourceLogs| {
        shown(&r.resource.as_ref().unwrap().attributes)[0].clone()
    };
    assert!(taken.iter().all(|r| service(r) == "service.name=worker"));
    taken.into_iter().flat_map(|r| r.scope_logs).flat_map(|s| s.log_records).collect()
}

fn body(record: &LogRecord) -> String {
    any(record.body.as_ref().unwrap().value.as_ref().unwrap())
}

fn edge(tid: u32, lock_name: &str, has: u32) -> Edge {
    let frame = StackFrame { function: "work".into(), ..StackFrame::default() };
    let stack = Stack { frames: vec![frame], complete: true };
    let waiter = Some(Look::Asleep(Arc::new(stack)));
    Edge {
        waiter: thread(7, tid),
        lock: lock(lock_name),
        since: 1_000_000_000,
        estimated: false,
        holder: ThreadId { pid: 7, tid: has },
        holder_name: "boss".into(),
        span: Some(SpanId { trace: 5, span: u64::from(tid) }),
        stacks: Some(Arc::new(WaitStacks { waiter, holder: None })),
    }
}

pub fn deadlock() -> Finding {
    Finding {
        kind: FindingKind::Deadlock,
        id: 0xabc,
        formed: 1_000_000_000,
        found: 3_000_000_000,
        ended: None,
        waits: vec![edge(8, "first", 9), edge(9, "second", 8)],
        waiters: 2,
        holder: None,
        remote: None,
    }
}

#[test]
fn a_contended_attempt_is_an_event_of_its_span() {
    let span = AcquireSpan {
        holder: Some(holder(7, 8, HolderSource::OwnerWord)),
        start: 1_000_000,
        end: 13_000_000,
        ..acquire(3)
    };
    let [event] = &events(&Record::Acquire(Arc::new(span.clone())))[..] else { panic!() };
    assert_eq!((&*event.event_name, event.severity_number), ("lock.contention", 9));
    assert_eq!(event.severity_text, "INFO");
    assert_eq!(
        (event.time_unix_nano, event.observed_time_unix_nano),
        (WALL + 13_000_000, WALL + 13_000_000)
    );
    assert_eq!(event.trace_id, span.id.trace.to_be_bytes());
    assert_eq!(event.span_id, span.id.span.to_be_bytes());
    assert_eq!(
        body(event),
        "pool/9 of worker[7] waited 12.0 ms for queue_lock, which boss/8 of worker[7] had, and got it."
    );
    let shown = shown(&event.attributes);
    for line in [
        "lock.name=queue_lock",
        "lock.outcome=acquired",
        "lock.wait.duration=0.012",
        "lock.holder.tid=8",
        "lock.holder.source=owner_word",
        "thread.id=9",
        "code.function.name=enqueue",
    ] {
        assert!(shown.contains(&line.to_owned()), "{line}: {shown:#?}");
    }
    let late = AcquireSpan { outcome: Outcome::Abandoned, error: Some("timeout"), ..span };
    let [event] = &events(&Record::Acquire(Arc::new(late)))[..] else { panic!() };
    assert_eq!(event.severity_text, "WARN");
    assert!(body(event).ends_with("and did not get it (timeout)."), "{}", body(event));
}

#[test]
fn what_nobody_else_had_is_no_contention() {
    assert!(contended(&acquire(1), 1), "whoever slept for it waited");
    let at_once = |requests, end| {
        let remote = Remote { requests, ..Remote::default() };
        AcquireSpan { remote: Some(Arc::new(remote)), end, ..acquire(1) }
    };
    assert!(!contended(&at_once(1, 9_000_000), 1_000));
    assert!(contended(&at_once(2, 9_000_000), 1_000));
    assert!(!contended(&at_once(2, 1_500), 1_000), "shorter than what is looked for");
    let refused = AcquireSpan { outcome: Outcome::Refused, ..at_once(1, 9_000_000) };
    assert!(contended(&refused, 1_000));
}

#[test]
fn a_deadlock_is_told_with_all_its_waits() {
    let [event] = &events(&Record::Finding(Arc::new(deadlock())))[..] else { panic!() };
    assert_eq!((&*event.event_name, &*event.severity_text), ("lock.deadlock.detected", "ERROR"));
    assert_eq!(event.time_unix_nano, WALL + 3_000_000_000);
    // That of the first of them, which ends some day, or never.
    assert_eq!(
        (&*event.trace_id, &*event.span_id),
        (&5_u128.to_be_bytes()[..], &8_u64.to_be_bytes()[..])
    );
    let body = body(event);
    assert!(
        body.starts_with("DEADLOCK of 2 threads, 2.00 s old:\npool/8 of worker[7] has held"),
        "{body}"
    );
    let shown = shown(&event.attributes);
    for line in [
        "lock.finding.type=deadlock",
        "lock.finding.id=0000000000000abc",
        "lock.finding.state=begin",
        "lock.finding.duration=2.0",
        "lock.waiters=2",
    ] {
        assert!(shown.contains(&line.to_owned()), "{line}: {shown:#?}");
    }
    let waits = shown.iter().find(|line| line.starts_with("lock.waits=[")).unwrap();
    let (first, second) = waits.split_once("; ").unwrap();
    for part in ["thread.id=8", "lock.wait.duration=2.0", "lock.name=first", "lock.holder.tid=9"] {
        assert!(first.contains(part), "{part}: {first}");
    }
    assert!(second.contains("lock.name=second") && second.contains("code.stacktrace=work"));
    let over = Finding { ended: Some(4_000_000_000), ..deadlock() };
    let [event] = &events(&Record::Finding(Arc::new(over)))[..] else { panic!() };
    assert_eq!((&*event.event_name, &*event.severity_text), ("lock.deadlock.ended", "INFO"));
    assert_eq!(event.time_unix_nano, WALL + 4_000_000_000);
}

fn overlap() -> Finding {
    let mut lock = (*lock("job")).clone();
    lock.kind = LockKind::RedisLock;
    lock.address = Some("redis://h:1/0/job".into());
    let hold = RemoteHold {
        lock: Arc::new(lock),
        thread: thread(7, 9),
        owner: Some(Owner(0xfeed)),
        mode: Mode::Exclusive,
        since: 1_000_000_000,
        deadline: Some(6_000_000_000),
        lease: Some(5_000_000_000),
        renewed: 1_000_000_000,
        renewals: 0,
        renewer: thread(7, 9).id,
        connection: 1,
        server: ([127, 0, 0, 1], 6379).into(),
        attempt: None,
        fence: None,
        gone: false,
        context: None,
    };
    let other = Some((thread(8, 8), Some(Owner(0xbeef))));
    let notice =
        Notice { time: 3_000_000_000, what: NoticeKind::Overlap, hold: Arc::new(hold), other };
    let waits = Vec::new();
    let remote = Some(Arc::new(notice));
    Finding { kind: FindingKind::Overlap, waits, waiters: 0, remote, ..deadlock() }
}

#[test]
fn two_holders_are_both_named() {
    let [event] = &events(&Record::Finding(Arc::new(overlap())))[..] else { panic!() };
    assert!(event.trace_id.is_empty() && event.span_id.is_empty());
    assert_eq!((&*event.event_name, &*event.severity_text), ("lock.overlap.detected", "ERROR"));
    let shown = shown(&event.attributes);
    for line in [
        "lock.finding.state=moment",
        "lock.id=redis://h:1/0/job",
        "lock.hold.duration=2.0",
        "lock.lease.duration=5.0",
        "lock.owner.hash=000000000000feed",
        "server.port=6379",
        "lock.other=process.pid=8, thread.id=8, thread.name=pool, lock.owner.hash=000000000000beef",
    ] {
        assert!(shown.contains(&line.to_owned()), "{line}: {shown:#?}");
    }
}

#[test]
fn an_order_of_locks_that_may_end_in_a_deadlock() {
    let order = |from: &str, to: &str| {
        Arc::new(LockOrder {
            pid: 7,
            from: lock(from),
            from_shared: false,
            to: lock(to),
            to_shared: false,
            count: 3,
            from_site: None,
            to_site: None,
            guard: None,
            thread: ThreadId { pid: 7, tid: 9 },
            several: false,
        })
    };
    let found = Inversion { found: 5, orders: vec![order("a", "b"), order("b", "a")] };
    let [event] = &events(&Record::Inversion(Arc::new(found)))[..] else { panic!() };
    assert_eq!(event.event_name, "lock.lock_order_inversion.detected");
    let shown = shown(&event.attributes);
    let orders = shown.iter().find(|line| line.starts_with("lock.orders=[")).unwrap();
    assert!(orders.contains("lock.order.count=3, lock.order.held=lock.system.name=pthread"));
    assert!(
        body(event).contains("9 of worker[7] held b and asked for a, 3 times"),
        "{}",
        body(event)
    );
}

#[test]
fn the_estimate_of_a_records_size_is_no_underestimate() {
    let process = Arc::new(Process::default());
    let text = |length: usize| "n".repeat(length);
    for length in [1, 200, 20_000] {
        let name = text(length);
        let mut long = (*lock(&name)).clone();
        long.call_site.as_mut().unwrap().function = text(length);
        let long = Arc::new(long);
        let edge = |tid| Edge { lock: long.clone(), ..edge(tid, "", 9) };
        let activity = Activity {
            id: ThreadId { pid: 7, tid: 8 },
            time: 0,
            doing: Doing::Stopped,
            call: "futex".into(),
            switches: 0,
            start_ticks: 0,
            name: "boss".into(),
        };
        let finding =
            Finding { waits: vec![edge(1), edge(2)], holder: Some(activity), ..deadlock() };
        let mut remote = overlap();
        let notice = remote.remote.as_ref().unwrap();
        let mut hold = (*notice.hold).clone();
        hold.lock = long.clone();
        remote.remote = Some(Arc::new(Notice { hold: Arc::new(hold), ..(**notice).clone() }));
        let span = AcquireSpan {
            lock: long.clone(),
            holder: Some(holder(u32::MAX, u32::MAX, HolderSource::LastAcquirer)),
            error: Some("thread_exit"),
            start_estimated: true,
            ..acquire(1)
        };
        for subject in [
            Subject::Contention(Arc::new(span)),
            Subject::Finding(Arc::new(finding)),
            Subject::Finding(Arc::new(remote)),
        ] {
            let item =
                Item { subject, process: process.clone(), body: text(length), trace: Some((1, 2)) };
            let weight = item.weight();
            let bytes = Item::encode(&[item], &session()).remove(0).bytes;
            assert!(bytes.len() <= weight, "{} > {weight}", bytes.len());
            assert!(ExportLogsServiceRequest::decode(bytes).is_ok());
        }
    }
}
