//! Every kind of record as JSON, and the schema beside it.

use std::collections::{BTreeSet, HashMap};

use serde_json::{Value, json};

use super::convert::to_json;
use super::schema::schema;
use super::*;
use crate::model::signals::{self, Metric};
use crate::model::{
    AcquireSpan, AcquisitionCounts, AcquisitionSummary, Activity, Blind, CallSite, Dialect, Doing,
    Edge, Finding, FindingKind, Histogram, HoldEnd, HoldSpan, Holder, HolderSource, Inversion,
    LockCounts, LockDescription, LockId, LockKind, LockOrder, LockSummary, Look, Losses, Missing,
    Mode, Notice, NoticeKind, Outcome, Owner, Precision, ProcessFact, Remote, RemoteHold, SpanId,
    Stack, StackFrame, Summary, Thread, ThreadId, WaitStacks,
};
use crate::model::{Durations, Exemplar, Family, Metrics, Point, Value as MetricValue, names};

/// Keys that are lockprobe's own and no attribute names: the frame of a record, and sums.
const OWN: &[&str] = &[
    "record",
    "start_time_unix_nano",
    "end_time_unix_nano",
    "acquired_time_unix_nano",
    "deadline_time_unix_nano",
    "other",
    "blind",
    "why",
    "time_unix_nano",
    "trace_id",
    "span_id",
    "links",
    "cycle",
    "holder",
    "locks",
    "attributes",
    "trace_parent",
    "min_wait",
    "waits",
    "waiting",
    "wait_total",
    "wait_p50",
    "wait_p95",
    "wait_p99",
    "wait_max",
    "abandoned",
    "still_waiting",
    "grouped_locks",
    "hold_max",
    "acquisitions",
    "contended",
    "contention_rate",
    "shared",
    "refused",
    "acquired_before",
    "holds",
    "hold_total",
    "hold_mean",
    "hold_p50",
    "hold_p95",
    "hold_p99",
    "orders",
    "several_threads",
    "count",
    "held",
    "asked",
    "holder_waits",
    "findings",
    "received",
    "emitted",
    "dropped",
    "skipped",
    "stage",
    "cause",
    "count",
    "metrics",
    "name",
    "unit",
    "instrument",
    "points",
    "attributes",
    "value",
    "sum",
    "max",
    "buckets",
    "exemplars",
];

fn session() -> Session {
    Session { wall_offset: 1_000_000, start: 5, host: "here".into(), ..Session::default() }
}

fn lock() -> Arc<LockDescription> {
    Arc::new(LockDescription {
        id: LockId::Private { pid: 10, image: 0, address: 0x1000 },
        kind: LockKind::PthreadMutex,
        name: "queue".into(),
        confirmed: true,
        call_site: Some(CallSite {
            function: "work".into(),
            source: Some(("work.c".into(), 7)),
            module: "worker".into(),
            offset: 1,
        }),
        address: None,
    })
}

fn thread() -> Thread {
    let mut comm = [0; 16];
    comm[..4].copy_from_slice(b"w\x1b[2");
    Thread { id: ThreadId { pid: 10, tid: 11 }, ns_tid: 11, ns_level: 0, comm }
}

fn holder() -> Holder {
    let id = ThreadId { pid: 10, tid: 12 };
    Holder { id, name: "holder".into(), source: HolderSource::OwnerWord, gone: false }
}

fn stacks() -> Arc<WaitStacks> {
    let named = StackFrame {
        function: "work".into(),
        source: Some(("work.c".into(), 7)),
        module: "worker".into(),
        offset: 0x1149,
    };
    let unnamed = StackFrame { function: "".into(), source: None, ..named.clone() };
    let look = |complete| {
        let frames = vec![named.clone(), unnamed.clone()];
        Look::Asleep(Stack { frames, complete }.into())
    };
    let holder = Some((holder().id, look(true)));
    Arc::new(WaitStacks { waiter: Some(look(false)), holder })
}

fn acquire() -> AcquireSpan {
    AcquireSpan {
        id: SpanId { trace: 1, span: 2 },
        lock: lock(),
        mode: Mode::Exclusive,
        thread: thread(),
        start: 1_000,
        end: 2_001_000,
        outcome: Outcome::Acquired,
        error: None,
        holder: Some(holder()),
        handed_over_by: Some(holder()),
        blocked_by: Some(SpanId { trace: 3, span: 4 }),
        wake_delay: Some(50_000),
        sleeps: 2,
        queue_depth: 3,
        start_estimated: true,
        stacks: Some(stacks()),
        remote: None,
    }
}

fn hold() -> HoldSpan {
    HoldSpan {
        id: SpanId { trace: 3, span: 4 },
        lock: lock(),
        holder: holder(),
        start: 500,
        end: 2_000_000,
        ended: HoldEnd::Released,
        precision: Precision::LowerBound,
        waiters: 1,
        remote: None,
    }
}

fn finding() -> Finding {
    let edge = Edge {
        waiter: thread(),
        lock: lock(),
        since: 7,
        estimated: false,
        holder: ThreadId { pid: 10, tid: 12 },
        holder_name: "holder".into(),
        span: None,
        stacks: Some(stacks()),
    };
    Finding {
        kind: FindingKind::Deadlock,
        id: 77,
        formed: 8,
        found: 9,
        ended: None,
        waits: vec![edge],
        waiters: 1,
        holder: None,
        remote: None,
    }
}

/// Every kind, beginning and ending, with everything there can be.
fn findings() -> Vec<Finding> {
    let holder = Activity {
        id: ThreadId { pid: 10, tid: 12 },
        time: 9,
        doing: Doing::Stopped,
        call: "nanosleep".into(),
        switches: 1,
        start_ticks: 2,
        name: "holder".into(),
    };
    let kinds = FindingKind::ALL.into_iter().flat_map(|kind| [(kind, None), (kind, Some(10))]);
    let with = |(kind, ended): (FindingKind, Option<u64>)| {
        let mut finding = Finding { kind, ended, ..finding() };
        finding.holder = (!kind.is_circle()).then(|| holder.clone());
        finding.waits[0].estimated = !kind.is_circle();
        finding
    };
    kinds.map(with).collect()
}

fn inversion() -> Inversion {
    let order = |from_shared| {
        Arc::new(LockOrder {
            pid: 10,
            from: lock(),
            from_shared,
            to: lock(),
            to_shared: false,
            count: 3,
            from_site: lock().call_site.clone(),
            to_site: None,
            guard: None,
            thread: ThreadId { pid: 10, tid: 12 },
            several: true,
        })
    };
    Inversion { found: 9, orders: vec![order(true), order(false)] }
}

fn acquisitions() -> AcquisitionSummary {
    let counts = AcquisitionCounts {
        acquisitions: 8,
        contended: 2,
        holds: 4,
        hold_total: 4_000_000,
        hold_longest: 3_000_000,
        ..AcquisitionCounts::default()
    };
    AcquisitionSummary { lock: lock(), pid: 10, service: "worker".into(), counts }
}

fn process() -> ProcessFact {
    ProcessFact {
        pid: 10,
        image: 0,
        start_ticks: 77,
        service: "worker".into(),
        executable: "/usr/bin/worker".into(),
        command: vec!["worker".into(), "--secret=1".into()],
        attributes: vec![("k8s.pod.name".into(), "shop-0".into())],
        trace_parent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into()),
    }
}

fn summary() -> Summary {
    let counts = LockCounts {
        waits: 2,
        total: 3_000_000,
        longest: 2_000_000,
        histogram: Histogram::default(),
        ..LockCounts::default()
    };
    let lock = LockSummary {
        lock: lock(),
        pid: 10,
        service: "worker".into(),
        counts,
        top_holder: Some((holder(), 2)),
        longest_hold: Some((2_000_000, Precision::Exact)),
        abandoned: 1,
        still_waiting: 0,
        locks: 1,
    };
    let losses = Losses {
        dropped: vec![("kernel", "ring_full_wait", 0)],
        skipped: vec![("below_min_wait", 4)],
        emitted: 9,
        waits: 2,
    };
    Summary {
        start: 5,
        end: 99,
        min_wait: 1_000_000,
        acquisitions: Some(vec![acquisitions()]),
        locks: vec![lock],
        findings: 1,
        losses,
        received: 9,
        blind: vec![Blind {
            pid: 10,
            service: "worker".into(),
            dialect: Dialect::Redis,
            server: ([127, 0, 0, 1], 6379).into(),
            why: "encrypted",
        }],
    }
}

fn all() -> Vec<Record> {
    vec![
        Record::Process(Arc::new(process())),
        Record::Acquire(Arc::new(acquire())),
        Record::Hold(Arc::new(hold())),
        Record::Finding(Arc::new(finding())),
        Record::Inversion(Arc::new(inversion())),
        Record::Summary(Arc::new(summary())),
    ]
}

/// [`all`], and findings of every kind.
fn every() -> Vec<Record> {
    let findings = findings().into_iter().map(|finding| Record::Finding(Arc::new(finding)));
    all().into_iter().chain(findings).chain(remote()).chain([metrics()]).collect()
}

/// Numbers of each shape.
fn metrics() -> Record {
    let family = |metric: Metric, value| {
        let fact = ProcessFact { pid: 10, service: "worker".into(), ..ProcessFact::default() };
        let attributes = vec![(names::LOCK_NAME, "queue".into())];
        let points = vec![Point { agent: Some(Arc::new(fact)), attributes, value }];
        let Metric { name, unit, help, instrument, .. } = metric;
        Family { name, unit, help, instrument, points }
    };
    let mut durations =
        Durations { count: 2, total: 3_000_000, longest: 2_000_000, ..Default::default() };
    durations.histogram.add(1_000_000);
    durations.histogram.add(2_000_000);
    let span = SpanId { trace: 1, span: 2 };
    durations.exemplars.push(Exemplar { value: 2_000_000, time: 5_000, span });
    let families = vec![
        family(signals::WAIT_DURATION, MetricValue::Durations(Arc::new(durations))),
        family(signals::WAITERS, MetricValue::Integer(3)),
        family(signals::AGENT_WAIT_TIME, MetricValue::Real(0.003)),
    ];
    Record::Metrics(Arc::new(Metrics { start: 1_000, time: 6_000, families }))
}

#[test]
fn numbers_are_seconds_and_buckets_say_where_they_end() {
    let json = convert(&metrics());
    let [waits, waiters, waited] = &json["metrics"].as_array().unwrap()[..] else { panic!() };
    assert_eq!((&waits["name"], &waits["unit"]), (&json!("lock.wait.duration"), &json!("s")));
    let point = &waits["points"][0];
    assert_eq!(
        (&point["count"], &point["sum"], &point["max"]),
        (&json!(2), &json!(0.003), &json!(0.002))
    );
    let buckets = point["buckets"].as_array().unwrap();
    let ends: Vec<f64> = buckets.iter().map(|bucket| bucket[0].as_f64().unwrap()).collect();
    assert!((0.001..0.0011).contains(&ends[0]) && (0.002..0.0022).contains(&ends[1]), "{ends:?}");
    assert_eq!(point["exemplars"][0]["span_id"], "0000000000000002");
    assert_eq!(point["attributes"], json!({ "lock.name": "queue" }));
    assert_eq!(
        (&waiters["instrument"], &waiters["points"][0]["value"]),
        (&json!("up_down_counter"), &json!(3))
    );
    assert_eq!(
        (&waited["instrument"], &waited["points"][0]["value"]),
        (&json!("counter"), &json!(0.003))
    );
}

/// Records about a lock that a server keeps.
fn remote() -> Vec<Record> {
    let owner = Some(Owner(7));
    let description =
        crate::framing::lock(LockKind::RedisLock, "redis://h:1/0/l".into(), "l", true);
    let server = ([127, 0, 0, 1], 6379).into();
    let details = Remote {
        server: Some(server),
        owner,
        requests: 2,
        lease: Some(1_000_000_000),
        renewals: 1,
        fence: Some(9),
        said: Some("somebody".into()),
        ahead: Some(3),
        attempt: None,
        context: None,
    };
    let remote = Some(Arc::new(details));
    let lock = description.clone();
    let acquire = AcquireSpan { lock: lock.clone(), remote: remote.clone(), ..acquire() };
    let hold = HoldSpan { lock, remote, ended: HoldEnd::Expired, ..hold() };
    let noticed = RemoteHold {
        lock: description,
        thread: thread(),
        owner,
        mode: Mode::Exclusive,
        since: 1_000,
        deadline: Some(2_000),
        lease: Some(1_000),
        renewed: 1_000,
        renewals: 0,
        renewer: thread().id,
        connection: 1,
        server,
        attempt: None,
        fence: None,
        gone: false,
        context: None,
    };
    let notice = Notice {
        time: 3_000,
        what: NoticeKind::Overlap,
        hold: Arc::new(noticed),
        other: Some((thread(), owner)),
    };
    let finding = Finding {
        kind: FindingKind::Overlap,
        ended: None,
        waits: Vec::new(),
        remote: Some(Arc::new(notice)),
        ..finding()
    };
    let over = Finding { kind: FindingKind::StaleHolder, ended: Some(4_000), ..finding.clone() };
    vec![
        Record::Acquire(Arc::new(acquire)),
        Record::Hold(Arc::new(hold)),
        Record::Finding(Arc::new(finding)),
        Record::Finding(Arc::new(over)),
    ]
}

fn convert(record: &Record) -> Value {
    to_json(record, &session(), &HashMap::from([(10, "worker".to_owned())]))
}

/// Whether a part of the schema is for such a record.
fn is_for(part: &Value, record: &Value) -> bool {
    let fits = |key: &str| {
        let (wanted, got) = (&part["properties"][key], record.get(key));
        let among = |all: &Vec<Value>| got.is_some_and(|got| all.contains(got));
        match (&wanted["const"], wanted["enum"].as_array()) {
            (_, Some(all)) => among(all),
            (only, None) => got.is_none_or(|got| got == only),
        }
    };
    fits("record") && fits(names::LOCK_FINDING_TYPE)
}

/// The part of the schema for a record.
fn part(record: &Value) -> Value {
    let schema = schema();
    let mut parts = schema["oneOf"].as_array().unwrap().iter();
    let part = parts.find(|part| is_for(part, record));
    part.unwrap_or_else(|| panic!("no schema of {record}")).clone()
}

#[test]
fn a_wait_says_everything_once() {
    let json = convert(&all()[1]);
    assert_eq!(json["record"], "acquire");
    assert_eq!(json["start_time_unix_nano"], 1_001_000);
    assert_eq!(json["end_time_unix_nano"], 3_001_000);
    assert_eq!(json[names::LOCK_WAIT_DURATION], 0.002);
    assert_eq!(json[names::LOCK_WAKE_DELAY], 0.00005);
    assert_eq!(json[names::LOCK_ID], "futex:10:0x1000");
    assert_eq!(json[names::LOCK_OUTCOME], "acquired");
    assert_eq!(json[names::LOCK_HOLDER_TID], 12);
    assert_eq!(json[names::LOCK_HOLDER_SOURCE], "owner_word");
    assert_eq!(json[names::LOCK_WAIT_START_ESTIMATED], true);
    assert_eq!(json[names::SERVICE_NAME], "worker");
    assert_eq!(json["trace_id"], "00000000000000000000000000000001");
    assert_eq!(json["links"][0]["span_id"], "0000000000000004");
    assert_eq!(json["links"][0][names::LOCK_LINK_TYPE], "blocked_by");
    let stack = "work (work.c:7)\n?? (worker+0x1149)";
    assert_eq!(json[names::CODE_STACKTRACE], format!("{stack}\n..."));
    assert_eq!(json[names::LOCK_HOLDER_STACKTRACE], stack);
    assert_eq!(json[names::LOCK_HOLDER_STATE], "blocked");
}

#[test]
fn why_there_is_no_stack_is_said() {
    let id = holder().id;
    for (why, name) in Missing::ALL.map(|why| (why, why.name())) {
        let looks =
            WaitStacks { waiter: Some(Look::Missing(why)), holder: Some((id, Look::Running)) };
        let span = AcquireSpan { stacks: Some(looks.into()), ..acquire() };
        let json = convert(&Record::Acquire(Arc::new(span)));
        assert_eq!(json[names::LOCK_STACK_MISSING], name);
        assert_eq!(json[names::LOCK_HOLDER_STATE], "running");
        assert_eq!(json.get(names::CODE_STACKTRACE), None);
        assert_eq!(json.get(names::LOCK_HOLDER_STACKTRACE), None);
    }
}

#[test]
fn what_is_not_known_is_left_out() {
    let bare = AcquireSpan {
        holder: None,
        handed_over_by: None,
        blocked_by: None,
        wake_delay: None,
        start_estimated: false,
        stacks: None,
        outcome: Outcome::Abandoned,
        error: Some("timeout"),
        ..acquire()
    };
    let json = convert(&Record::Acquire(Arc::new(bare)));
    for key in [
        names::LOCK_HOLDER_TID,
        names::LOCK_HOLDER_SOURCE,
        names::LOCK_HANDED_OVER_BY_TID,
        names::LOCK_WAKE_DELAY,
        names::LOCK_WAIT_START_ESTIMATED,
        names::CODE_STACKTRACE,
        names::LOCK_HOLDER_STATE,
        names::LOCK_STACK_MISSING,
        "links",
    ] {
        assert_eq!(json.get(key), None, "{key}");
    }
    assert_eq!(json[names::ERROR_TYPE], "timeout");
    assert_eq!(json[names::LOCK_OUTCOME], "abandoned");
}

#[test]
fn a_name_loses_its_control_characters_and_a_command_line_its_arguments() {
    let json = convert(&all()[1]);
    assert_eq!(json[names::THREAD_NAME], "w\u{fffd}[2");
    let json = convert(&all()[0]);
    assert_eq!(json[names::PROCESS_COMMAND], "worker");
    assert_eq!(json[names::PROCESS_EXECUTABLE_NAME], "worker");
    assert!(!json.to_string().contains("secret"));
}

/// The keys of objects, however deep.
fn keys(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                found.insert(key.clone());
                keys(value, found);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| keys(value, found)),
        _ => {}
    }
}

#[test]
fn every_key_is_a_name_of_the_vocabulary_or_documented() {
    let mut found = BTreeSet::new();
    every().iter().for_each(|record| keys(&convert(record), &mut found));
    let known = |key: &String| {
        names::ALL.iter().any(|(name, _)| name == key) || OWN.contains(&key.as_str())
    };
    let unknown: Vec<_> = found.iter().filter(|key| !known(key)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

/// Names of properties of a schema, however deep.
fn properties(schema: &Value, found: &mut BTreeSet<String>) {
    match schema {
        Value::Object(object) => {
            for (key, value) in object {
                if key == "properties" {
                    found.extend(value.as_object().unwrap().keys().cloned());
                }
                properties(value, found);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| properties(value, found)),
        _ => {}
    }
}

#[test]
fn every_property_of_the_schema_is_a_name_of_the_vocabulary_or_documented() {
    let mut found = BTreeSet::new();
    properties(&schema(), &mut found);
    let known = |key: &String| {
        names::ALL.iter().any(|(name, _)| name == key) || OWN.contains(&key.as_str())
    };
    let unknown: Vec<_> = found.iter().filter(|key| !known(key)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn a_record_has_what_its_schema_requires_and_nothing_else() {
    for record in every() {
        let json = convert(&record);
        let schema = part(&json);
        for key in schema["required"].as_array().unwrap() {
            assert!(json.get(key.as_str().unwrap()).is_some(), "{key} is missing: {json}");
        }
        for key in json.as_object().unwrap().keys() {
            assert!(schema["properties"].get(key).is_some(), "{key} is not in the schema");
        }
        assert_eq!(schema["additionalProperties"], json!(false));
    }
}

#[test]
fn a_lock_that_cannot_be_told_is_marked() {
    let Some(Record::Acquire(span)) = all().into_iter().find(|r| matches!(r, Record::Acquire(_)))
    else {
        panic!("no wait")
    };
    let mut lock = span.lock.as_ref().clone();
    lock.id = LockId::Process { pid: 10, image: 0, kind: LockKind::JavaMonitor };
    let span = crate::model::AcquireSpan { lock: Arc::new(lock), ..span.as_ref().clone() };
    let json = convert(&Record::Acquire(Arc::new(span)));
    assert_eq!(json[names::LOCK_ID], "process:10:java/monitor");
    assert_eq!(json[names::LOCK_SCOPE], "process");
}

#[test]
fn a_full_record_has_every_property_of_its_schema() {
    let records: Vec<Value> = every().iter().map(convert).collect();
    for record in &records {
        let part = part(record);
        let written = |key: &String| {
            records.iter().any(|record| is_for(&part, record) && record.get(key).is_some())
        };
        for key in part["properties"].as_object().unwrap().keys() {
            // A wait that was given up, has no stack, or is for a lock that cannot be told, has
            // what this one cannot have.
            let other = [names::ERROR_TYPE, names::LOCK_STACK_MISSING, names::LOCK_SCOPE];
            let other = other.contains(&key.as_str());
            assert!(written(key) || other, "{key} is never written: {record}");
        }
    }
}

/// A writer whose bytes can be looked at.
#[derive(Clone, Default)]
struct Shared(Arc<std::sync::Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_line_a_record_with_the_names_of_services() {
    let out = Shared::default();
    let mut sink = JsonLines::new(Box::new(out.clone()), Arc::new(session()));
    all().iter().for_each(|record| sink.write(record).unwrap());
    sink.finish().unwrap();
    let text = String::from_utf8(out.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let kinds: Vec<&str> = lines.iter().filter_map(|line| line["record"].as_str()).collect();
    assert_eq!(kinds, ["process", "acquire", "hold", "finding", "finding", "summary"]);
    assert_eq!(lines[1][names::SERVICE_NAME], "worker", "told by the record before");
}

#[test]
fn a_circle_of_locks_says_who_takes_them_where_and_how() {
    let json = convert(&Record::Inversion(Arc::new(inversion())));
    assert_eq!(json[names::LOCK_FINDING_TYPE], "lock_order_inversion");
    let order = &json["orders"][0];
    assert_eq!(order["held"][names::LOCK_MODE], "shared");
    assert_eq!(order["asked"][names::LOCK_MODE], "exclusive");
    assert!(order["held"].get(names::CODE_FUNCTION_NAME).is_some());
    assert!(order["asked"].get(names::CODE_FUNCTION_NAME).is_none(), "not where it was seen first");
    let acquired = &convert(&Record::Summary(Arc::new(summary())))["acquisitions"][0];
    assert_eq!(
        (&acquired["contention_rate"], &acquired["hold_mean"]),
        (&json!(0.25), &json!(0.001))
    );
}
