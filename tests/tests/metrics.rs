//! Numbers over time, held to a program that knows how often it waited and for how long.

use std::collections::BTreeSet;

use lockprobe_tests::probe::run;
use lockprobe_tests::program::{compiled, watched};
use lockprobe_tests::records::{Records, number, text};
use serde_json::Value;

/// Waits of the program, every twentieth of them long.
const WAITS: u64 = 1500;
const LONG_EVERY: u64 = 20;

/// Points of one metric, of each report in turn.
fn reports(records: &Records, metric: &str) -> Vec<Vec<Value>> {
    let of = |report: &Value| {
        let families = report["metrics"].as_array().unwrap().iter();
        let family = families.filter(|family| family["name"] == metric);
        family.flat_map(|family| family["points"].as_array().unwrap().clone()).collect()
    };
    records.of_kind("metrics").map(of).collect()
}

/// How many waits there were by a report, over all series of a process.
fn waits(points: &[Value], pid: u64) -> u64 {
    let own = points.iter().filter(|point| point["process.pid"] == pid);
    own.map(|point| number(point, "count")).sum()
}

fn attribute<'a>(point: &'a Value, name: &str) -> &'a str {
    text(&point["attributes"], name)
}

/// What the program says of itself, and what lockprobe says of it. Each of so many threads waits
/// for so many locks in turn.
fn observe(locks: u64, threads: u64, pause_us: u64) -> (Value, Records) {
    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().join("records");
    let arguments = ["trace", "--format", "jsonl", "--metrics-interval", "250ms"];
    let more = ["--harvest-every", "100ms", "--output", output.to_str().unwrap()];
    let program = compiled("metrics");
    let program = [
        program.to_str().unwrap().to_owned(),
        (WAITS.max(locks) / threads).to_string(),
        LONG_EVERY.to_string(),
        locks.to_string(),
        threads.to_string(),
        pause_us.to_string(),
    ];
    let ended = watched(&[&arguments[..], &more].concat(), &program).expect(0);
    let truth = serde_json::from_str(ended.stdout.trim()).expect("what the program says");
    (truth, Records::of_file(&output))
}

#[test]
fn every_wait_is_counted_once_over_many_harvests() {
    let (truth, records) = observe(1, 1, 500);
    let pid = number(&truth, "pid");
    let all = reports(&records, "lock.wait.duration");
    let counts: Vec<u64> = all.iter().map(|points| waits(points, pid)).collect();
    assert!(counts.is_sorted(), "{counts:?}");
    let steps: BTreeSet<u64> = counts.iter().copied().collect();
    assert!(steps.len() >= 3, "counts were to be taken out meanwhile: {counts:?}");
    assert_eq!(counts.last().copied(), Some(number(&truth, "waits")), "{counts:?}");
    let last = all.last().unwrap();
    for point in last.iter().filter(|point| point["process.pid"] == pid) {
        assert_eq!(attribute(point, "lock.system.name"), "pthread");
        assert_eq!(attribute(point, "lock.mode"), "exclusive");
        assert_eq!(attribute(point, "lock.outcome"), "acquired");
        assert_eq!(text(point, "service.name"), "metrics");
    }
    // Buckets and sums are those of the same waits.
    let of_long = |point: &Value| {
        let buckets = point["buckets"].as_array().unwrap().iter();
        let long = buckets.filter(|bucket| bucket[0].as_f64().unwrap() > 0.003);
        long.map(|bucket| bucket[1].as_u64().unwrap()).sum::<u64>()
    };
    let sum = |key: &str| last.iter().map(|point| point[key].as_f64().unwrap()).sum::<f64>();
    assert!(last.iter().map(of_long).sum::<u64>() >= number(&truth, "long"));
    let at_least = number(&truth, "waited_at_least") as f64 / 1e9;
    // The program measures from a little after the wait began.
    assert!(sum("sum") >= at_least * 0.99, "{} of {at_least}", sum("sum"));
    let agent = &reports(&records, "lock.agent.wait.time");
    let waited = agent.last().unwrap()[0]["value"].as_f64().unwrap();
    assert!((waited - sum("sum")).abs() < 1e-6, "{waited} and {}", sum("sum"));
    records.expect_complete();
}

#[test]
fn numbers_lead_to_the_spans_behind_them() {
    let (truth, records) = observe(1, 1, 500);
    let pid = number(&truth, "pid");
    let spans: BTreeSet<&str> = records.acquires().iter().map(|r| text(r, "span_id")).collect();
    let all = reports(&records, "lock.wait.duration");
    let exemplars = all.iter().flatten().flat_map(|p| p["exemplars"].as_array().unwrap());
    let shown: BTreeSet<&str> = exemplars.map(|exemplar| text(exemplar, "span_id")).collect();
    assert!(!shown.is_empty() && shown.is_subset(&spans), "{shown:?}");
    // The slowest of all is among them.
    let slowest = records.acquires().into_iter().max_by(|a, b| {
        let length = |r: &Value| r["lock.wait.duration"].as_f64().unwrap();
        length(a).total_cmp(&length(b))
    });
    assert!(shown.contains(text(slowest.unwrap(), "span_id")));
    // What it used of the processor stands beside what it waited.
    let used = reports(&records, "process.cpu.time");
    let used: Vec<&Value> = used.iter().flatten().filter(|p| p["process.pid"] == pid).collect();
    assert!(used.iter().any(|p| attribute(p, "cpu.mode") == "user"), "{used:?}");
    assert!(used.iter().any(|p| p["value"].as_f64().unwrap() > 0.0), "{used:?}");
    let received = reports(&records, "lockprobe.events.received");
    let received = received.last().unwrap();
    assert_eq!(received[0]["value"], received[1]["value"], "{received:?}");
    let dropped = reports(&records, "lockprobe.events.dropped");
    assert!(dropped.last().unwrap().iter().all(|p| p["value"] == 0), "{dropped:?}");
}

#[test]
fn a_table_of_locks_is_no_bound_on_how_many_there_may_be() {
    // More locks than the kernel's table has room for, each used once.
    const LOCKS: u64 = 9_000;
    let (truth, records) = observe(LOCKS, 100, 40_000);
    let pid = number(&truth, "pid");
    let all = reports(&records, "lock.wait.duration");
    let counts: Vec<u64> = all.iter().map(|points| waits(points, pid)).collect();
    assert!(counts.is_sorted(), "{counts:?}");
    assert_eq!(counts.last().copied(), Some(LOCKS), "{counts:?}");
    let full = records.dropped().into_iter().find(|(cause, _)| cause == "lock_table_full");
    assert_eq!(full, None);
    // They are waited for by one line of code, and so are one family.
    assert!(all.last().unwrap().len() <= 3, "{:?}", all.last());
}

#[test]
fn a_replay_comes_to_the_same_numbers() {
    let directory = tempfile::tempdir().unwrap();
    let recording = directory.path().join("waits.lprec");
    let recording = recording.to_str().unwrap();
    let program = compiled("metrics");
    let program = [program.to_str().unwrap(), "500", "10", "1", "1", "500"];
    let arguments = ["record", "--harvest-every", "100ms", "-o", recording];
    let ended = watched(&arguments, program).expect(0);
    let truth: Value = serde_json::from_str(ended.stdout.trim()).expect("what the program says");
    let replay = ["replay", recording, "--format", "jsonl", "--metrics-interval", "200ms"];
    let [first, second] = [run(replay), run(replay)].map(|ended| ended.expect(0).stdout);
    assert_eq!(first, second);
    let all = reports(&Records::read(&first), "lock.wait.duration");
    assert_eq!(waits(all.last().unwrap(), number(&truth, "pid")), number(&truth, "waits"));
}
