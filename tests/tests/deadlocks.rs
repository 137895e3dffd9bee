//! Threads that cannot go on: found now and live, told once, and not where there are none.

use std::time::{Duration, Instant};

use lockprobe_tests::freezer::Freezer;
use lockprobe_tests::probe::{Ended, Watch, run};
use lockprobe_tests::program::{Program, compiled, compiled_with_musl, signal};
use lockprobe_tests::records::{Records, number, schema, text};
use lockprobe_tests::until;
use serde_json::Value;

/// A case of `deadlocks.c`, up to where everybody waits: the program, its process, its threads.
fn stuck(case: &[&str]) -> (Program, u64, Vec<u64>) {
    in_a_fix(Program::start("deadlocks", case))
}

fn in_a_fix(program: Program) -> (Program, u64, Vec<u64>) {
    let said = program.says();
    let threads = said["threads"].as_array().unwrap().iter();
    let threads = threads.map(|tid| tid.as_u64().unwrap()).filter(|&tid| tid != 0).collect();
    (program, number(&said, "pid"), threads)
}

/// The program by its path: another of these tests may run beside this one.
fn exe() -> String {
    compiled("deadlocks").display().to_string()
}

/// Runs `deadlocks` on the programs of this test: status, findings, and the last line.
fn deadlocks(status: i32) -> (Vec<Value>, Value) {
    let ended = run(["deadlocks", "--exe", &exe(), "--format", "json"]).expect(status);
    let mut lines: Vec<Value> = lines(&ended);
    let last = lines.pop().unwrap();
    assert_eq!(last["record"], "look");
    assert_eq!(number(&last, "findings"), lines.len() as u64);
    (lines, last)
}

fn lines(ended: &Ended) -> Vec<Value> {
    let lines = ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap());
    let lines: Vec<Value> = lines.collect();
    for line in &lines {
        schema().validate(line).unwrap_or_else(|e| panic!("the schema refuses {line}: {e}"));
    }
    lines
}

/// Waiter, name of the lock, holder: of each wait of a finding.
fn waits<'a>(finding: &'a Value, key: &str) -> Vec<(u64, &'a str, u64)> {
    let waits = finding[key].as_array().unwrap_or_else(|| panic!("no {key}: {finding}")).iter();
    let wait = |w| (number(w, "thread.id"), text(w, "lock.name"), number(w, "lock.holder.tid"));
    waits.map(wait).collect()
}

/// The one finding of this kind.
#[track_caller]
fn only<'a>(findings: &'a [Value], kind: &str) -> &'a Value {
    let [finding] = findings else { panic!("not one finding: {findings:#?}") };
    assert_eq!(text(finding, "lock.finding.type"), kind, "{finding:#}");
    finding
}

#[test]
fn two_threads_in_opposite_order_are_found_after_the_fact() {
    let (_program, pid, threads) = stuck(&["abba"]);
    let [ann, bob] = threads[..] else { panic!("{threads:?}") };
    let (found, last) = deadlocks(3);
    let finding = only(&found, "deadlock");
    assert_eq!(waits(finding, "cycle"), [(ann, "second", bob), (bob, "first", ann)]);
    assert_eq!(number(&last, "waiting"), 2);
    for edge in finding["cycle"].as_array().unwrap() {
        assert_eq!(number(edge, "process.pid"), pid);
        assert_eq!(edge["lock.wait.start_estimated"], true);
        assert!(text(edge, "code.stacktrace").contains("member"), "{edge:#}");
    }
    // In words, and as a picture.
    let told = run(["deadlocks", "-p", &pid.to_string()]).expect(3).stdout;
    assert!(told.starts_with("DEADLOCK of 2 threads"), "{told}");
    assert!(told.contains(&format!("which bob/{bob} holds")), "{told}");
    let dot = run(["snapshot", "-p", &pid.to_string(), "--format", "dot"]).expect(0).stdout;
    assert!(dot.contains(&format!("\"{pid}/{ann}\" -> \"{pid}/{bob}\"")), "{dot}");
}

#[test]
fn mutexes_of_musl_in_opposite_order_are_found_where_they_name_their_owners() {
    let exe = compiled_with_musl("deadlocks");
    for (kind, found) in [("recursive", true), ("errorcheck", true), ("normal", false)] {
        let watch = Watch::start(&["trace", "--exe", exe.to_str().unwrap()]);
        watch.probe.attached();
        let program = Program::spawn(std::process::Command::new(&exe).args(["abba", kind]));
        let (program, pid, threads) = in_a_fix(program);
        let [ann, bob] = threads[..] else { panic!("{threads:?}") };
        let circle = [(ann, "second", bob), (bob, "first", ann)];
        // After the fact.
        let look = run(["deadlocks", "-p", &pid.to_string(), "--format", "json"]);
        let mut seen = lines(&look.expect(if found { 3 } else { 0 }));
        assert_eq!(number(&seen.pop().unwrap(), "waiting"), 2);
        let arguments = ["snapshot", "-p", &pid.to_string(), "--format", "json"];
        let snapshot: Value = serde_json::from_str(&run(arguments).expect(0).stdout).unwrap();
        let edges = snapshot["edges"].as_array().unwrap();
        let names = snapshot["threads"].as_array().unwrap().iter();
        let names: Vec<_> = names.map(|t| text(&t["waits"], "lock.name")).collect();
        assert_eq!(names, ["second", "first"], "{snapshot:#}");
        // Live.
        if found {
            assert_eq!(waits(only(&seen, "deadlock"), "cycle"), circle, "{kind}");
            assert_eq!(edges.len(), 2);
            watch.until("\"begin\"");
        } else {
            assert_eq!((seen, edges.len()), (vec![], 0));
        }
        program.end();
        watch.probe.signal(libc::SIGINT);
        let records = watch.records();
        if found {
            let (begin, _) = begun_and_ended(&records, "deadlock");
            assert_eq!(waits(&begin, "cycle"), circle, "{kind}");
        } else {
            // A normal mutex does not say whose it is: no wrong circle, and no right one.
            assert_eq!(records.findings(), [] as [&Value; 0]);
        }
    }
}

#[test]
fn three_threads_in_a_ring_are_one_deadlock() {
    let (_program, _, threads) = stuck(&["three"]);
    let [ann, bob, cid] = threads[..] else { panic!("{threads:?}") };
    let (found, _) = deadlocks(3);
    let ring = [(ann, "second", bob), (bob, "third", cid), (cid, "first", ann)];
    assert_eq!(waits(only(&found, "deadlock"), "cycle"), ring);
}

#[test]
fn a_writer_and_a_reader_of_a_book_are_a_circle_with_a_mutex() {
    let (_program, _, threads) = stuck(&["rwlock"]);
    let [writer, reader] = threads[..] else { panic!("{threads:?}") };
    let (found, _) = deadlocks(3);
    let finding = only(&found, "deadlock");
    assert_eq!(waits(finding, "cycle"), [(writer, "first", reader), (reader, "book", writer)]);
    let kinds = finding["cycle"].as_array().unwrap().iter().map(|edge| text(edge, "lock.type"));
    assert_eq!(kinds.collect::<Vec<_>>(), ["mutex", "rwlock"]);
}

#[test]
fn two_processes_are_a_circle_through_memory_they_share() {
    let (_program, parent, threads) = stuck(&["across"]);
    let [child, thread] = threads[..] else { panic!("{threads:?}") };
    let (found, _) = deadlocks(3);
    let cycle = only(&found, "deadlock")["cycle"].as_array().unwrap();
    let edge = |e: &Value| {
        let keys = ["process.pid", "thread.id", "lock.holder.pid", "lock.holder.tid"];
        keys.map(|key| number(e, key))
    };
    let edges: Vec<_> = cycle.iter().map(edge).collect();
    let forth = [parent, thread, child, child];
    let back = [child, child, parent, thread];
    assert!(edges == [forth, back] || edges == [back, forth], "{edges:?}");
    let id = |at: usize| text(&cycle[at], "lock.id").starts_with("futex:dev");
    assert!(id(0) && id(1), "{cycle:#?}");
}

#[test]
fn a_mutex_and_a_file_lock_of_two_processes_are_a_circle() {
    let (_program, _, threads) = stuck(&["flock"]);
    let [file, mutex] = threads[..] else { panic!("{threads:?}") };
    let (found, _) = deadlocks(3);
    let cycle = only(&found, "deadlock")["cycle"].as_array().unwrap();
    let edge = |e: &Value| {
        let ids = (number(e, "thread.id"), number(e, "lock.holder.tid"));
        (ids, text(e, "lock.system.name").to_owned())
    };
    let mut edges: Vec<_> = cycle.iter().map(edge).collect();
    edges.sort();
    let mut expected = [((file, mutex), "flock".into()), ((mutex, file), "pthread".into())];
    expected.sort();
    assert_eq!(edges, expected);
}

#[test]
fn processes_of_several_threads_are_stuck_when_all_of_them_are() {
    // Whoever comes late knows which process has a file, and not which thread.
    let (program, _, threads) = stuck(&["files"]);
    let waiters = |finding: &Value| {
        let cycle = finding["cycle"].as_array().unwrap().iter();
        let edge = |e: &Value| {
            let (pid, holder) = (number(e, "process.pid"), number(e, "lock.holder.pid"));
            assert!(pid != holder && number(e, "lock.holder.tid") == 0, "{e:#}");
            number(e, "thread.id")
        };
        let mut waiters: Vec<u64> = cycle.map(edge).collect();
        waiters.sort_unstable();
        waiters
    };
    let mut all = threads.clone();
    all.sort_unstable();
    let (found, _) = deadlocks(3);
    assert_eq!(waiters(only(&found, "deadlock")), all);
    let told = run(["deadlocks", "--exe", &exe()]).expect(3).stdout;
    assert!(told.starts_with("DEADLOCK of 4 threads"), "{told}");
    let watch = Watch::start(&["trace", "--exe", &exe()]);
    watch.until("\"begin\"");
    program.end();
    watch.until("\"end\"");
    watch.probe.signal(libc::SIGINT);
    let (begin, _) = begun_and_ended(&watch.records(), "deadlock");
    assert_eq!(waiters(&begin), all);
    // With one thread that may let go any moment, it is none.
    let (_program, _, threads) = stuck(&["files", "free"]);
    assert_eq!(threads.len(), 4);
    let watch = Watch::start(&["trace", "--exe", &exe()]);
    let (found, last) = deadlocks(0);
    assert_eq!((found.len(), number(&last, "waiting")), (0, 3));
    std::thread::sleep(Duration::from_millis(1500));
    watch.probe.signal(libc::SIGINT);
    let records = watch.records();
    assert_eq!(records.findings(), [] as [&Value; 0]);
    let waiting = records.acquires().into_iter().map(|r| text(r, "lock.outcome"));
    assert_eq!(waiting.collect::<Vec<_>>(), ["waiting"; 3]);
}

#[test]
fn a_thread_that_locks_twice_waits_for_itself() {
    let (_program, _, threads) = stuck(&["own"]);
    let (found, _) = deadlocks(3);
    let finding = only(&found, "self_deadlock");
    assert_eq!(waits(finding, "cycle"), [(threads[0], "first", threads[0])]);
}

#[test]
fn a_mutex_of_a_thread_that_ended_is_an_orphan() {
    let (_program, pid, threads) = stuck(&["thread"]);
    let [_, waiter] = threads[..] else { panic!("{threads:?}") };
    let (found, _) = deadlocks(3);
    let finding = only(&found, "orphan");
    assert_eq!(waits(finding, "waits"), [(waiter, "first", 0)]);
    assert_eq!(text(&finding["holder"], "thread.state"), "gone");
    let watch = Watch::pid(u32::try_from(pid).unwrap());
    watch.until("\"orphan\"");
    watch.probe.signal(libc::SIGINT);
    let records = watch.records();
    let findings: Vec<Value> = records.findings().into_iter().cloned().collect();
    assert_eq!(waits(only(&findings, "orphan"), "waits"), [(waiter, "first", 0)]);
}

/// The one finding of a trace, as it begins and as it ends, of this kind.
#[track_caller]
fn begun_and_ended(records: &Records, kind: &str) -> (Value, Value) {
    let findings = records.findings();
    let [begin, end] = findings[..] else { panic!("not two: {findings:#?}") };
    for finding in [begin, end] {
        assert_eq!(text(finding, "lock.finding.type"), kind, "{finding:#}");
    }
    assert_eq!(text(begin, "lock.finding.state"), "begin");
    assert_eq!(text(end, "lock.finding.state"), "end");
    assert_eq!(begin["lock.finding.id"], end["lock.finding.id"]);
    (begin.clone(), end.clone())
}

/// Watches the programs of this test from before they start.
fn watch() -> Watch {
    let watch = Watch::start(&["trace", "--exe", &exe()]);
    watch.probe.attached();
    watch
}

#[test]
fn a_mutex_of_a_process_that_was_killed_is_an_orphan() {
    let watch = watch();
    let (mut program, _, threads) = stuck(&["process"]);
    let [_, waiter] = threads[..] else { panic!("{threads:?}") };
    assert_eq!(deadlocks(0).0, [] as [Value; 0]);
    program.go_on();
    assert_eq!(text(&program.says(), "case"), "over");
    let (found, _) = deadlocks(3);
    assert_eq!(number(&only(&found, "orphan")["waits"][0], "thread.id"), waiter);
    watch.until("\"orphan\"");
    program.end();
    watch.until("\"end\"");
    watch.probe.signal(libc::SIGINT);
    let (begin, _) = begun_and_ended(&watch.records(), "orphan");
    assert_eq!(number(&begin["waits"][0], "thread.id"), waiter);
    assert_eq!(text(&begin["holder"], "thread.state"), "gone");
}

#[test]
fn a_robust_mutex_has_no_orphans_but_heirs() {
    let watch = watch();
    let (mut program, _, threads) = stuck(&["robust"]);
    let [dead, waiter] = threads[..] else { panic!("{threads:?}") };
    assert_eq!(deadlocks(0).0, [] as [Value; 0]);
    program.go_on();
    // The waiter got it.
    assert_eq!(text(&program.says(), "case"), "over");
    assert_eq!(deadlocks(0).0, [] as [Value; 0]);
    program.end();
    watch.probe.signal(libc::SIGINT);
    let records = watch.records();
    let [acquire] = records.acquires()[..] else { panic!("{records:#?}") };
    assert_eq!(number(acquire, "thread.id"), waiter);
    // It ends at once, but it had it.
    assert_eq!(text(acquire, "lock.outcome"), "acquired", "{acquire:#}");
    assert_eq!(number(acquire, "lock.holder.tid"), dead);
    assert_eq!(number(acquire, "lock.handed_over_by.tid"), dead);
    let (begin, _) = begun_and_ended(&records, "owner_died");
    assert_eq!(waits(&begin, "waits"), [(waiter, text(acquire, "lock.name"), dead)]);
    assert_eq!(number(&begin["holder"], "thread.id"), dead);
    assert_eq!(text(&begin["holder"], "thread.state"), "gone");
}

#[test]
fn a_stopped_holder_is_told_of_until_it_goes_on() {
    let watch = watch();
    let (_program, _, threads) = stuck(&["stopped"]);
    let [holder, waiter] = threads[..] else { panic!("{threads:?}") };
    signal(holder, libc::SIGSTOP);
    watch.until("\"holder_stopped\"");
    let table = run(["snapshot", "--exe", &exe()]).expect(0).stdout;
    assert!(table.contains("is stopped by a signal"), "{table}");
    signal(holder, libc::SIGCONT);
    watch.until("\"end\"");
    watch.probe.signal(libc::SIGINT);
    let (begin, _) = begun_and_ended(&watch.records(), "holder_stopped");
    assert_eq!(number(&begin["waits"][0], "thread.id"), waiter);
    assert_eq!(number(&begin["holder"], "thread.id"), holder);
    assert_eq!(text(&begin["holder"], "thread.state"), "stopped");
}

#[test]
fn a_frozen_holder_is_told_of_until_it_is_thawed() {
    for freezer in Freezer::all() {
        let watch = watch();
        let (_program, _, threads) = stuck(&["stopped"]);
        freezer.add(threads[0]);
        freezer.freeze();
        watch.until("\"holder_frozen\"");
        freezer.thaw();
        watch.until("\"end\"");
        watch.probe.signal(libc::SIGINT);
        let (begin, _) = begun_and_ended(&watch.records(), "holder_frozen");
        assert_eq!(number(&begin["holder"], "thread.id"), threads[0]);
        assert_eq!(text(&begin["holder"], "thread.state"), "frozen");
    }
}

#[test]
fn a_crowd_is_looked_at_whole() {
    let (_program, _, said) = stuck(&["crowd", "1000", "200"]);
    let (found, look) = deadlocks(0);
    assert_eq!(found, [] as [Value; 0]);
    assert_eq!(number(&look, "waiting"), 200);
    let ended = run(["snapshot", "--exe", &exe(), "--format", "json"]).expect(0);
    let snapshot: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(snapshot["edges"].as_array().unwrap().len(), 200);
    let threads = snapshot["threads"].as_array().unwrap();
    let root = threads.iter().find(|t| number(t, "thread.id") == said[0]).unwrap();
    assert_eq!(number(root, "blocks"), 200);
    assert_eq!(root["holds"].as_array().unwrap().len(), 8);
}

#[test]
fn a_watch_tells_of_a_deadlock_once_and_of_its_end() {
    let arguments = ["deadlocks", "--watch", "--exe", &exe(), "--format", "json"];
    let watch = Watch::to_file(&arguments);
    watch.probe.attached();
    let (program, ..) = stuck(&["breaks"]);
    watch.until("\"begin\"");
    assert_eq!(text(&program.says(), "case"), "over");
    watch.until("\"end\"");
    watch.probe.signal(libc::SIGINT);
    let (written, _) = watch.written(3);
    let lines: Vec<Value> = written.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let kinds: Vec<&Value> = lines.iter().map(|line| &line["record"]).collect();
    assert_eq!(kinds, ["finding", "finding", "look"]);
    assert_eq!(lines[0]["lock.finding.id"], lines[1]["lock.finding.id"]);
    assert_eq!(number(&lines[2], "findings"), 1);
}

#[test]
fn one_that_waits_for_a_running_thread_is_no_deadlock() {
    let (_program, pid, threads) = stuck(&["chain"]);
    let [root, middle, last] = threads[..] else { panic!("{threads:?}") };
    let (found, look) = deadlocks(0);
    assert_eq!(found, [] as [Value; 0]);
    assert_eq!(number(&look, "waiting"), 4);
    let ended = run(["snapshot", "-p", &pid.to_string(), "--format", "json"]).expect(0);
    let snapshot: Value = serde_json::from_str(&ended.stdout).unwrap();
    if let Err(error) = snapshot_schema().validate(&snapshot) {
        panic!("the schema refuses {snapshot}: {error}");
    }
    let threads = snapshot["threads"].as_array().unwrap();
    let of = |tid: u64| threads.iter().find(|t| number(t, "thread.id") == tid).unwrap();
    assert_eq!(threads.len(), 5);
    assert_eq!((number(of(root), "blocks"), number(of(middle), "blocks")), (4, 3));
    assert_eq!(text(of(root), "thread.state"), "sleeping");
    assert_eq!(text(of(root), "thread.call"), "pause");
    assert_eq!(text(of(root), "thread.name"), "root");
    assert_eq!(text(&of(root)["holds"][0], "lock.name"), "first");
    assert_eq!(text(&of(last)["waits"], "lock.name"), "second");
    let roots: Vec<u64> = snapshot["roots"].as_array().unwrap().iter().map(tid).collect();
    assert_eq!(roots, [root]);
    let edges = snapshot["edges"].as_array().unwrap();
    let to = |holder| edges.iter().filter(|e| number(e, "lock.holder.tid") == holder).count();
    assert_eq!((edges.len(), to(root), to(middle)), (4, 1, 3));
    let table = run(["snapshot", "-p", &pid.to_string()]).expect(0).stdout;
    assert!(table.contains(&format!("root/{root} of deadlocks[{pid}] sleeps in pause")), "{table}");
}

fn tid(thread: &Value) -> u64 {
    number(thread, "thread.id")
}

fn snapshot_schema() -> jsonschema::Validator {
    let printed = run(["generate", "snapshot-schema"]).expect(0).stdout;
    jsonschema::validator_for(&serde_json::from_str(&printed).unwrap()).unwrap()
}

/// UNIX time of this moment, nanoseconds.
fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap().as_nanos() as u64
}

#[test]
fn a_deadlock_is_told_within_a_second_and_once_more_when_it_is_broken() {
    let (mut begun, mut disturbed) = (u64::MAX, 0);
    while begun > 1_000_000_000 {
        assert!(disturbed < 3, "told {begun} ns after it formed");
        disturbed += 1;
        let watch = watch();
        let (program, _, threads) = stuck(&["breaks"]);
        watch.until("\"begin\"");
        let told = now();
        assert_eq!(text(&program.says(), "case"), "over");
        watch.until("\"end\"");
        watch.probe.signal(libc::SIGINT);
        let records = watch.records();
        records.expect_complete();
        let (begin, end) = begun_and_ended(&records, "deadlock");
        assert_eq!(waits(&begin, "cycle").len(), 2);
        assert_eq!(waits(&begin, "cycle")[0].0, threads[0]);
        let formed = number(&begin, "start_time_unix_nano");
        let lasted = number(&end, "end_time_unix_nano") - formed;
        // One of the two gives up after two seconds.
        assert!((1_500_000_000..4_000_000_000).contains(&lasted), "{lasted}");
        assert_eq!(records.summary()["findings"], 1);
        begun = told - formed;
    }
}

#[test]
fn a_holder_in_the_kernel_is_told_of() {
    let watch = watch();
    let (program, _, threads) = stuck(&["disk"]);
    let [holder, waiter] = threads[..] else { panic!("{threads:?}") };
    assert_eq!(text(&program.says(), "case"), "over");
    watch.until("\"end\"");
    watch.probe.signal(libc::SIGINT);
    let (begin, _) = begun_and_ended(&watch.records(), "holder_in_io");
    assert_eq!(waits(&begin, "waits"), [(waiter, "first", holder)]);
    assert_eq!(text(&begin["holder"], "thread.state"), "disk_sleep");
    assert_eq!(text(&begin["holder"], "thread.call"), "vfork");
}

/// How long the traffic without deadlocks goes on: LOCKPROBE_SOAK in seconds.
fn soak() -> Duration {
    let seconds = std::env::var("LOCKPROBE_SOAK").ok().and_then(|s| s.parse().ok());
    Duration::from_secs(seconds.unwrap_or(5))
}

#[test]
fn heavy_traffic_without_a_deadlock_reports_none() {
    let length = soak();
    let begun = Instant::now();
    let watch = watch();
    let program = Program::start("deadlocks", ["busy", &length.as_millis().to_string()]);
    let mut waiting = 0;
    while begun.elapsed() + Duration::from_secs(1) < length {
        let (found, look) = deadlocks(0);
        assert_eq!(found, [] as [Value; 0]);
        waiting += number(&look, "waiting");
    }
    let said = until("the traffic is over", || Some(program.says()));
    assert!(number(&said, "sections") > 100 * length.as_secs(), "{said}");
    assert!(waiting > 0, "every look saw everybody running");
    program.end();
    watch.probe.signal(libc::SIGINT);
    let records: Records = watch.records();
    assert!(records.acquires().len() > 20 * length.as_secs() as usize);
    assert_eq!(records.findings(), [] as [&Value; 0]);
}
