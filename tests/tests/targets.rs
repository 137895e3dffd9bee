//! Whom lockprobe watches, from when, and until when.

use std::collections::BTreeSet;

use lockprobe_tests::probe::{Probe, Watch, run};
use lockprobe_tests::program::{Program, compiled};
use lockprobe_tests::records::{Records, number, text};

/// Watches a program whose thread waits already, and is let go once that has been seen.
fn already_blocked(mode: &str) -> (serde_json::Value, u32, Records) {
    let mut program = Program::start("scene", [mode]);
    let said = program.says();
    let watch = Watch::pid(program.pid());
    // Who it is is asked for when its waiting thread is looked at.
    watch.until(r#""record":"process""#);
    program.go_on();
    let pid = program.pid();
    program.end();
    let records = watch.records();
    records.expect_complete();
    (said, pid, records)
}

#[test]
fn a_thread_that_waited_before_is_seen_to_get_the_lock() {
    for mode in ["blocked", "timed"] {
        let (said, pid, records) = already_blocked(mode);
        let wait = records.acquire_of(number(&said, "waiter"));
        assert_eq!(wait["lock.outcome"], "acquired", "{mode}: {wait}");
        assert_eq!(wait["lock.wait.start_estimated"], true, "{mode}: {wait}");
        assert_eq!(wait["lock.handed_over_by.tid"], said["holder"], "{mode}: {wait}");
        assert_eq!(wait["process.pid"], pid);
        assert_eq!(records.acquires().len(), 1, "{records:#?}");
    }
}

#[test]
fn a_thread_that_waits_all_the_time_is_shown_as_waiting() {
    for (mode, signal) in
        [("blocked", libc::SIGINT), ("blocked", libc::SIGTERM), ("timed", libc::SIGINT)]
    {
        let program = Program::start("scene", [mode]);
        let said = program.says();
        let watch = Watch::pid(program.pid());
        watch.until(r#""record":"process""#);
        watch.probe.signal(signal);
        let records = watch.records();
        let wait = records.acquire_of(number(&said, "waiter"));
        assert_eq!(wait["lock.outcome"], "waiting", "{mode}: {wait}");
        assert_eq!(wait["lock.wait.start_estimated"], true);
        assert_eq!(wait["lock.holder.tid"], said["holder"], "{mode}: {wait}");
        assert_eq!(wait["lock.holder.source"], "owner_word");
        let locks = records.summary()["locks"].as_array().unwrap();
        assert!(locks.iter().any(|l| l["still_waiting"] == 1), "{records:#?}");
    }
}

#[test]
fn a_condition_variable_is_no_lock_even_if_waited_for_before() {
    let (said, _, records) = already_blocked("condition");
    assert_eq!(records.acquires(), Vec::<&serde_json::Value>::new(), "{said}");
    assert_eq!(records.summary()["locks"], serde_json::json!([]));
}

#[test]
fn a_process_that_does_not_exist_is_one_sentence() {
    let ended = run(["trace", "-p", "4194305"]).expect(6);
    assert!(ended.sentence().contains("4194305"), "{}", ended.stderr);
    assert_eq!(ended.stdout, "");
    let ended = run(["trace", "--exe", "["]).expect(6);
    assert!(ended.sentence().contains("`[`"), "{}", ended.stderr);
}

#[test]
fn the_end_of_the_process_is_the_end_of_the_trace() {
    let mut program = Program::start("scene", ["blocked"]);
    program.says();
    let watch = Watch::pid(program.pid());
    program.go_on();
    program.end();
    let records = watch.records();
    assert_eq!(number(records.summary(), "findings"), 0);
}

#[test]
fn a_process_that_is_killed_ends_the_trace_and_its_waits() {
    let program = Program::start("scene", ["blocked"]);
    let said = program.says();
    let watch = Watch::pid(program.pid());
    watch.until(r#""record":"process""#);
    program.signal(libc::SIGKILL);
    let records = watch.records();
    let wait = records.acquire_of(number(&said, "waiter"));
    assert_eq!(wait["lock.outcome"], "abandoned", "{wait}");
    assert_eq!(wait["error.type"], "thread_exit", "{wait}");
}

#[test]
fn several_processes_are_watched_until_the_last_one_ends() {
    let (mut one, mut two) =
        (Program::start("scene", ["begin", "60"]), Program::start("scene", ["begin", "60"]));
    let pids = [one.pid(), two.pid()].map(|pid| pid.to_string());
    let probe = Probe::lockprobe(["trace", "--format", "jsonl", "-p", &pids[0], "-p", &pids[1]]);
    probe.attached();
    one.go_on();
    one.end();
    two.go_on();
    two.end();
    let records = probe.wait().expect(0).records();
    let seen: BTreeSet<String> =
        records.acquires().iter().map(|r| number(r, "process.pid").to_string()).collect();
    assert_eq!(seen, BTreeSet::from(pids));
}

#[test]
fn a_pattern_catches_a_process_that_starts_later() {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("started-later");
    std::fs::copy(compiled("scene"), &program).unwrap();
    let mut bystander = Program::start("scene", ["blocked"]);
    bystander.says();
    for pattern in ["started-l*", &format!("{}/*", directory.path().display())] {
        let probe = Probe::lockprobe(["trace", "--format", "jsonl", "--exe", pattern]);
        probe.attached();
        let later = Probe::start(std::process::Command::new(&program).args(["rounds", "2"]));
        let pid = later.pid();
        later.wait().expect(0);
        probe.signal(libc::SIGINT);
        let records = probe.wait().expect(0).records();
        let acquires = records.acquires();
        // The first rounds may be over before the new process is known to match.
        assert!(acquires.len() > 50, "{pattern}: {records:#?}");
        assert!(acquires.iter().all(|r| r["process.pid"] == pid));
        assert!(acquires.iter().all(|r| text(r, "service.name") == "started-later"));
    }
    bystander.go_on();
    bystander.end();
}

#[test]
fn the_duration_ends_it() {
    let program = Program::start("scene", ["blocked"]);
    program.says();
    let pid = program.pid().to_string();
    let ended = run(["trace", "--format", "jsonl", "--duration", "300ms", "-p", &pid]).expect(0);
    let records = ended.records();
    let time = |key| number(records.summary(), key);
    assert!(time("end_time_unix_nano") - time("start_time_unix_nano") >= 200_000_000);
    // The whole host, likewise.
    run(["trace", "--format", "jsonl", "--duration", "200ms"]).expect(0).records();
}

#[test]
fn the_host_is_watched_without_a_target() {
    let mut program = Program::start("scene", ["stay", "300"]);
    let pid = program.pid();
    let watch = Watch::start(&["trace"]);
    watch.probe.attached();
    program.go_on();
    watch.until_some(|record| record["record"] == "acquire" && record["process.pid"] == pid);
    program.go_on();
    program.end();
    watch.probe.signal(libc::SIGINT);
    let records = watch.records();
    let own: Vec<_> = records.acquires().into_iter().filter(|r| r["process.pid"] == pid).collect();
    assert_eq!(own.len(), 1, "{records:#?}");
}

#[test]
fn a_deadlock_is_found_once_with_its_threads() {
    let mut program = Program::start("scene", ["deadlock"]);
    let first = Watch::pid(program.pid());
    program.go_on();
    let said = program.says();
    let threads = said["threads"].as_array().unwrap();
    first.until(r#""record":"finding""#);
    let second = Watch::pid(program.pid());
    second.until(r#""record":"finding""#);
    program.end();
    let (first, second) = (first.records(), second.records());
    for (records, from) in [(first, "before it formed"), (second, "after it formed")] {
        let mut findings = records.findings();
        // When the program is ended, so is the deadlock.
        findings.retain(|finding| finding["lock.finding.state"] == "begin");
        let [finding] = findings[..] else { panic!("watched from {from}: {records:#?}") };
        assert_eq!(finding["lock.finding.type"], "deadlock");
        let cycle = finding["cycle"].as_array().unwrap();
        let ids = |key: &str| cycle.iter().map(|e| number(e, key)).collect::<BTreeSet<_>>();
        let truth: BTreeSet<u64> = threads.iter().map(|t| t.as_u64().unwrap()).collect();
        assert_eq!(cycle.len(), 2);
        assert_eq!(ids("thread.id"), truth, "{from}");
        assert_eq!(ids("lock.holder.tid"), truth, "{from}");
        assert!(cycle.iter().all(|e| e["thread.id"] != e["lock.holder.tid"]));
        assert_eq!(number(records.summary(), "findings"), 1);
    }
}

#[test]
fn every_demo_tells_the_truth() {
    for scenario in ["convoy", "deadlock", "fair"] {
        let ended = run(["demo", scenario]).expect(0);
        assert!(ended.stdout.contains("They agree."), "{}", ended.stdout);
    }
}
