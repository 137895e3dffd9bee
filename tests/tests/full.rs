//! Full mode: every acquisition, contended or not, against what programs say they did.

use std::process::Command;

use lockprobe_tests::kernel;
use lockprobe_tests::probe::{Probe, Watch, lockprobe};
use lockprobe_tests::program::{
    Program, compiled, compiled_statically, compiled_statically_with_musl, compiled_with_musl,
};
use lockprobe_tests::records::{Records, nanos, number, text};
use serde_json::Value;

/// Watches a scene from before its beginning to its end; what it says it did, and what was seen.
fn watched(mut program: Program) -> (Value, Records) {
    assert_eq!(program.says()["ready"], true);
    let watch = watch(program.pid(), "30s");
    program.go_on();
    let truth = program.says();
    // While the program is there still, its locks can be named.
    watch.probe.signal(libc::SIGINT);
    let records = watch.records();
    program.go_on();
    program.end();
    records.expect_complete();
    (truth, records)
}

fn watch(pid: u32, time: &str) -> Watch {
    let watch = Watch::start(&["trace", "--full", "-p", &pid.to_string(), "--for", time]);
    watch.probe.attached();
    watch
}

fn scene(name: &str) -> (Value, Records) {
    watched(Program::start("full", [name]))
}

/// The acquisitions of one lock.
#[track_caller]
fn of<'a>(records: &'a Records, lock: &str) -> &'a Value {
    let all = records.summary()["acquisitions"].as_array().expect("full mode was on");
    let found = all.iter().find(|row| row["lock.name"] == lock);
    found.unwrap_or_else(|| panic!("no {lock} in {all:#?}"))
}

#[track_caller]
fn expect_counts(records: &Records, lock: &str, acquisitions: u64, contended: u64, refused: u64) {
    let row = of(records, lock);
    let got = ["acquisitions", "contended", "refused"].map(|key| number(row, key));
    assert_eq!(got, [acquisitions, contended, refused], "{row:#}");
}

fn inversions(records: &Records) -> Vec<&Value> {
    let found = records.findings().into_iter();
    found.filter(|f| f["lock.finding.type"] == "lock_order_inversion").collect()
}

/// Within 2 % or 200 us.
fn is_close(got: u64, truth: u64) -> bool {
    got.abs_diff(truth) <= (truth / 50).max(lockprobe_tests::slack(200_000))
}

/// A mean that a program measures from inside its holds, up to twice more where the machine got
/// between the program's look at the clock and the lock.
fn compare_holds(name: &str, check: impl Fn(&Value, &Records) -> Result<(), String>) {
    let mut faults = Vec::new();
    for _ in 0..3 {
        let (truth, records) = scene(name);
        match check(&truth, &records) {
            Ok(()) => return,
            Err(fault) => faults.push(fault),
        }
    }
    panic!("three times: {faults:#?}");
}

fn mean_is_close(truth: &Value, row: &Value) -> Result<(), String> {
    let (got, expected) = (nanos(row, "hold_mean"), number(truth, "hold_mean_ns"));
    if is_close(got, expected) { Ok(()) } else { Err(format!("{got} instead of {expected}")) }
}

#[test]
fn ten_thousand_uncontended_acquisitions_are_ten_thousand() {
    let (_, records) = scene("count");
    expect_counts(&records, "a_lock", 10_000, 0, 0);
    let row = of(&records, "a_lock");
    assert_eq!(number(row, "holds"), 10_000);
    assert_eq!(row["contention_rate"], 0.0);
    assert_eq!(text(row, "code.function.name"), "count");
    assert!(records.acquires().is_empty(), "nobody waited");
}

#[test]
fn holds_are_as_long_as_they_were() {
    compare_holds("hold", |truth, records| {
        let row = of(records, "a_lock");
        expect_counts(records, "a_lock", 50, 0, 0);
        assert_eq!(number(row, "holds"), 50);
        mean_is_close(truth, row)
    });
}

#[test]
fn a_hold_after_a_wait_begins_when_the_wait_ends() {
    compare_holds("contend", |truth, records| {
        expect_counts(records, "a_lock", 40, 20, 0);
        assert_eq!(of(records, "a_lock")["contention_rate"], 0.5);
        assert_eq!(records.acquires().len(), 20);
        mean_is_close(truth, of(records, "a_lock"))
    });
}

#[test]
fn attempts_in_vain_are_no_acquisitions() {
    let (truth, records) = scene("refuse");
    assert_eq!(number(&truth, "refused"), 12, "the program was refused as often as it says");
    expect_counts(&records, "a_lock", 12, 0, 12);
    expect_counts(&records, "rw_lock", 2, 0, 1);
}

#[test]
fn waiting_for_a_condition_is_no_hold() {
    let (_, records) = scene("wait");
    let row = of(&records, "a_lock");
    assert_eq!(number(row, "acquisitions"), 5, "{row:#}");
    assert_eq!(number(row, "holds"), 5);
    assert!(nanos(row, "hold_max") < 50_000_000, "the mutex was free for 100 ms: {row:#}");
}

#[test]
fn opposite_orders_are_found_though_they_never_met() {
    let (_, records) = scene("invert");
    let found = inversions(&records);
    let [found] = found[..] else { panic!("{found:#?}") };
    let orders = found["orders"].as_array().unwrap();
    assert_eq!(orders.len(), 2, "{found:#}");
    for order in orders {
        let (held, asked) = (text(&order["held"], "lock.name"), text(&order["asked"], "lock.name"));
        let (expected, function, count) = match held {
            "a_lock" => ("b_lock", "a_then_b", 30),
            "b_lock" => ("a_lock", "b_then_a", 7),
            other => panic!("{other}"),
        };
        assert_eq!((asked, number(order, "count")), (expected, count));
        for side in ["held", "asked"] {
            assert_eq!(text(&order[side], "code.function.name"), function);
            assert!(text(&order[side], "code.file.path").ends_with("full.c"));
        }
    }
    assert_eq!(number(records.summary(), "findings"), 1);
}

#[test]
fn harmless_orders_are_no_findings() {
    for name in ["order", "guard"] {
        let (_, records) = scene(name);
        assert_eq!(inversions(&records), Vec::<&Value>::new(), "{name}");
        assert!(number(of(&records, "b_lock"), "acquisitions") > 30);
    }
}

#[test]
fn a_recursive_mutex_is_held_from_its_first_lock_to_its_last_unlock() {
    compare_holds("recurse", |truth, records| {
        expect_counts(records, "a_lock", 30, 0, 0);
        assert_eq!(number(of(records, "a_lock"), "holds"), 10);
        assert_eq!(number(truth, "refused"), 1);
        expect_counts(records, "b_lock", 1, 0, 1);
        mean_is_close(truth, of(records, "a_lock"))
    });
}

#[test]
fn readers_and_writers_are_told_apart() {
    compare_holds("rwlock", |truth, records| {
        expect_counts(records, "rw_lock", 27, 0, 0);
        let row = of(records, "rw_lock");
        assert_eq!(number(row, "shared"), 22);
        assert_eq!(text(row, "lock.type"), "rwlock");
        // Almost all of it is writing: the readers let go at once.
        let (got, expected) = (nanos(row, "hold_total"), number(truth, "writing_ns"));
        if is_close(got, expected) { Ok(()) } else { Err(format!("{got} instead of {expected}")) }
    });
}

#[test]
fn locks_that_are_never_let_go_have_been_acquired() {
    let (_, records) = scene("keep");
    for (lock, holds) in [("a_lock", 0), ("b_lock", 1), ("c_lock", 0)] {
        expect_counts(&records, lock, 1, 0, 0);
        assert_eq!(number(of(&records, lock), "holds"), holds);
    }
}

#[test]
fn a_static_program_is_watched_by_its_own_symbols() {
    let program = compiled_statically("full");
    for (name, count) in [("count", 10_000), ("wait", 5)] {
        let (_, records) = watched(Program::spawn(Command::new(&program).arg(name)));
        assert_eq!(number(of(&records, "a_lock"), "acquisitions"), count);
        assert_eq!(number(of(&records, "a_lock"), "holds"), count);
    }
}

#[test]
fn a_command_is_watched_from_its_first_instruction() {
    let mut watch =
        Watch::start(&["trace", "--full", "--", compiled("full").to_str().unwrap(), "count"]);
    watch.probe.go_on();
    watch.probe.go_on();
    let (records, ended) = watch.ended();
    assert!(ended.stdout.contains("10000"), "{ended:?}");
    expect_counts(&records, "a_lock", 10_000, 0, 0);
}

#[test]
fn children_are_followed() {
    let mut program = Program::start("full", ["fork"]);
    program.says();
    let watch = watch(program.pid(), "30s");
    // Not by the code of the child: it has its parent's breakpoints.
    let probes = probes_of(watch.probe.pid());
    assert!(probes > 10, "{probes}");
    program.go_on();
    let child = number(&program.says(), "child");
    lockprobe_tests::until("the child has as many probes as its parent", || {
        (probes_of(watch.probe.pid()) == 2 * probes).then_some(())
    });
    program.go_on();
    program.go_on();
    program.says();
    program.go_on();
    program.end();
    let records = watch.records();
    let acquisitions = records.summary()["acquisitions"].as_array().unwrap();
    let of_child = acquisitions.iter().find(|row| row["process.pid"] == child);
    let of_child = of_child.unwrap_or_else(|| panic!("nothing of {child}: {acquisitions:#?}"));
    assert_eq!(number(of_child, "acquisitions"), 100);
}

#[test]
fn when_the_time_is_up_the_program_goes_on_without_probes() {
    let mut program = Program::start("full", ["count"]);
    program.says();
    let before = kernel::programs();
    let pid = program.pid();
    let untouched = code_of_lock(pid);
    let watch = watch(pid, "200ms");
    assert_ne!(code_of_lock(pid), untouched, "there is a probe");
    watch.records().expect_complete();
    kernel::until_only(&before);
    assert_eq!(code_of_lock(pid), untouched, "the code is as it was");
    program.go_on();
    assert_eq!(program.says()["acquisitions"], 10_000);
    program.go_on();
    program.end();
}

#[test]
fn a_killed_lockprobe_leaves_no_probes() {
    let mut program = Program::start("full", ["count"]);
    program.says();
    let before = kernel::programs();
    let pid = program.pid();
    let untouched = code_of_lock(pid);
    let watch = watch(pid, "30s");
    assert_ne!(code_of_lock(pid), untouched, "there is a probe");
    watch.probe.signal(libc::SIGKILL);
    watch.probe.wait().expect(128 + libc::SIGKILL);
    kernel::until_only(&before);
    lockprobe_tests::until("the code is as it was", || {
        (code_of_lock(pid) == untouched).then_some(())
    });
    program.go_on();
    assert_eq!(program.says()["acquisitions"], 10_000);
    program.go_on();
    program.end();
}

/// How many probes a process has put anywhere.
fn probes_of(pid: u32) -> usize {
    let files = std::fs::read_dir(format!("/proc/{pid}/fdinfo")).expect("our child").flatten();
    let read = |file: std::fs::DirEntry| std::fs::read_to_string(file.path()).ok();
    files.filter_map(read).filter(|info| info.contains("link_type:\tperf")).count()
}

/// The first bytes of `pthread_mutex_lock` in a process, and of its unlock.
fn code_of_lock(pid: u32) -> Vec<u8> {
    use std::os::unix::fs::FileExt as _;
    let memory = std::fs::File::open(format!("/proc/{pid}/mem")).expect("our child");
    // The C library lies at the same distance from its functions here and there.
    let (here, there) = (library(std::process::id()), library(pid));
    let functions = [libc::pthread_mutex_lock as *const () as u64];
    let mut code = vec![0; 64];
    for function in functions {
        memory.read_exact_at(&mut code, function - here + there).expect("code");
    }
    code
}

/// Where the C library begins in a process.
fn library(pid: u32) -> u64 {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).expect("maps");
    let line = maps.lines().find(|line| line.contains("/libc.so")).expect("a C library");
    u64::from_str_radix(line.split('-').next().expect("an address"), 16).expect("hexadecimal")
}

#[test]
fn a_recording_tells_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("full.lprec");
    let mut program = Program::start("full", ["invert"]);
    program.says();
    let (pid, file) = (program.pid().to_string(), path.to_str().unwrap());
    let probe = Probe::lockprobe(["record", "--full", "-p", &pid, "-o", file]);
    probe.attached();
    program.go_on();
    program.says();
    probe.signal(libc::SIGINT);
    probe.wait().expect(0);
    program.go_on();
    program.end();
    let replay = || {
        let replay = lockprobe(["replay", "--format", "jsonl", path.to_str().unwrap()]).output();
        String::from_utf8(replay.unwrap().stdout).unwrap()
    };
    let records = Records::read(&replay());
    assert_eq!(inversions(&records).len(), 1);
    expect_counts(&records, "a_lock", 37, 0, 0);
    assert_eq!(replay(), replay(), "every replay is the same");
}

#[test]
fn what_it_costs_is_said_before_it_begins() {
    let mut program = Program::start("full", ["count"]);
    program.says();
    let watch = watch(program.pid(), "100ms");
    let (_, ended) = watch.ended();
    let said = &ended.stderr;
    assert!(said.contains("us more for each lock and unlock"), "{said}");
    assert!(said.contains("pthread_mutex_lock+0x"), "{said}");
    program.go_on();
    program.says();
    program.go_on();
    program.end();
}

#[test]
fn what_full_mode_cannot_watch_is_refused() {
    let refused = |arguments: &[&str], status| {
        let ended = Probe::lockprobe(arguments).wait().expect(status);
        ended.stderr
    };
    assert!(refused(&["trace", "--full"], 2).contains("whom to watch"));
    assert!(refused(&["trace", "--full", "-p", "1", "--for", "11m"], 2).contains("10 min"));
    for musl in [compiled_with_musl("deadlocks"), compiled_statically_with_musl("deadlocks")] {
        let program = Program::spawn(Command::new(&musl).arg("own"));
        program.says();
        let pid = program.pid().to_string();
        let said = refused(&["trace", "--full", "-p", &pid], 5);
        assert!(said.contains("locks of musl"), "{said}");
        program.end();
        // A command is only then known to be one, and the sums say that it was left out.
        let command = ["trace", "--full", "--", musl.to_str().unwrap(), "busy", "200"];
        let counted = Probe::lockprobe(command).wait().expect(0).stdout;
        assert!(counted.contains("full_process_unfollowed 1"), "{counted}");
    }
    // A process without the functions.
    let mut sleep = Command::new("sh");
    let program = Program::spawn(sleep.args(["-c", "echo 1; exec cat"]));
    program.says();
    let own = program.pid().to_string();
    let watched = Probe::lockprobe(["trace", "--full", "-p", &own, "--for", "100ms"]).wait();
    // `cat` has a C library with the functions, though it calls none of them.
    watched.expect(0);
    program.end();
}
