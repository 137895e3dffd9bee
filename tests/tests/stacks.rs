//! Stacks of threads that wait and of those that hold: functions and lines that the programs know.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use lockprobe_tests::probe::{Probe, Watch, run};
use lockprobe_tests::program::{Program, compiled, source, watched};
use lockprobe_tests::records::{Records, nanos, number, text};
use lockprobe_tests::unpacked;
use serde_json::Value;

/// The program of stacks, compiled like this.
fn program(directory: &Path, flags: &[&str]) -> String {
    let program = directory.join("stacks");
    let mut cc = Command::new("cc");
    cc.args(["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-pthread"]).args(flags);
    let ended = Probe::start(cc.arg("-o").arg(&program).arg(source("stacks.c"))).wait();
    assert_eq!(ended.status, 0, "cc: {}", ended.stderr);
    program.to_str().unwrap().to_owned()
}

/// Traces a program from before its start to after its end: the records, and what it said.
fn traced(program: &[&str]) -> (Records, Value) {
    let output = tempfile::NamedTempFile::new().unwrap();
    let arguments = ["trace", "--format", "jsonl", "--output", output.path().to_str().unwrap()];
    let ended = watched(&arguments, program).expect(0);
    let said = serde_json::from_str(&ended.stdout).unwrap_or(Value::Null);
    (Records::of_file(output.path()), said)
}

/// The stack has these functions one above the other, each with the text its line contains, and
/// anything below and above them.
fn has(stack: &str, expected: &[(&str, String)]) -> bool {
    let lines: Vec<&str> = stack.lines().collect();
    let fits = |line: &str, (function, place): &(&str, String)| {
        line.strip_prefix(function)
            .is_some_and(|rest| rest.starts_with(" (") && rest.contains(place))
    };
    lines
        .windows(expected.len())
        .any(|window| window.iter().zip(expected).all(|(line, wanted)| fits(line, wanted)))
}

/// Every wait of at least 10 ms for the mutex has a stack or says why it has none; how many of the waits have
/// the waiter's stack like this, and the holder's, and how many waits there are.
fn count(records: &Records, waiter: &[(&str, String)], holder: &[(&str, String)]) -> [usize; 3] {
    // The semaphores that pace the program are waited for too.
    let long =
        |r: &&Value| r["lock.type"] == "mutex" && nanos(r, "lock.wait.duration") >= 10_000_000;
    let long: Vec<&Value> = records.acquires().into_iter().filter(long).collect();
    let mut counts = [0, 0, long.len()];
    for record in long {
        let stack = record["code.stacktrace"].as_str();
        assert_ne!(stack.is_some(), record["lock.stack.missing"].is_string(), "{record}");
        // A stack copied at the first contention alone ends with what was copied.
        if let Some(stack) = stack.filter(|stack| !stack.ends_with("\n...")) {
            assert!(has(stack, waiter), "{waiter:?} expected in\n{stack}");
            counts[0] += 1;
        }
        if let Some(stack) = record["lock.holder.stacktrace"].as_str() {
            assert_eq!(record["lock.holder.state"], "blocked");
            assert!(has(stack, holder), "{holder:?} expected in\n{stack}");
            counts[1] += 1;
        }
    }
    counts
}

#[test]
fn functions_and_lines_of_waiter_and_holder_are_right() {
    let directory = tempfile::tempdir().unwrap();
    for flags in [&["-O0", "-g"][..], &["-O2", "-g"], &["-O2", "-g", "-fno-omit-frame-pointer"]] {
        let program = program(directory.path(), flags);
        let (records, said) = traced(&[&program, "rounds", "12", "60"]);
        let line = |name: &str| format!("stacks.c:{})", said[name]);
        let waiter = [("post_entry", line("lock")), ("transfer", line("post"))];
        let holder = [("take_a_nap", line("nap")), ("write_page", line("write"))];
        let [waiters, holders, all] = count(&records, &waiter, &holder);
        assert_eq!(all, 12, "{flags:?}");
        assert!(waiters >= 10 && holders >= 10, "{flags:?}: {waiters} and {holders} of {all}");
    }
}

#[test]
fn a_stripped_program_has_the_names_it_exports() {
    let directory = tempfile::tempdir().unwrap();
    let program = program(directory.path(), &["-O2", "-rdynamic", "-s"]);
    let (records, _) = traced(&[&program, "rounds", "12", "60"]);
    let place = || "stacks+0x".to_owned();
    let waiter = [("post_entry", place()), ("transfer", place())];
    let holder = [("take_a_nap", place()), ("write_page", place()), ("hold_the_ledger", place())];
    let [waiters, holders, all] = count(&records, &waiter, &holder);
    assert_eq!(all, 12);
    assert!(waiters >= 10 && holders >= 10, "{waiters} and {holders} of {all}");
}

#[cfg(target_arch = "x86_64")]
#[test]
fn generated_code_has_the_names_its_maker_wrote() {
    let directory = tempfile::tempdir().unwrap();
    let program = program(directory.path(), &["-O1", "-g"]);
    let (records, said) = traced(&[&program, "generated", "12", "60"]);
    let line = |name: &str| format!("stacks.c:{})", said[name]);
    let stacks = records.acquires().into_iter().filter_map(|r| r["code.stacktrace"].as_str());
    let whole = |stack: &&str| stack.contains("post_entry") && !stack.ends_with("\n...");
    let stacks: Vec<&str> = stacks.filter(whole).collect();
    let lock = line("lock");
    let with = |name: &str| format!("{lock}\n{name}\ntransfer (");
    // The program takes its map away when it ends, and the last stack may be read after that.
    let (named, nameless) = (with("made_at_run_time ledger.js:7"), with("??"));
    let count = stacks.iter().filter(|stack| stack.contains(&named)).count();
    assert!(count >= 8, "{count} of 12: {stacks:#?}");
    assert!(stacks.iter().all(|stack| stack.contains(&named) || stack.contains(&nameless)));
}

#[test]
fn waits_of_a_few_times_the_threshold_are_seen_too() {
    let directory = tempfile::tempdir().unwrap();
    let program = program(directory.path(), &["-O1", "-g"]);
    let (records, said) = traced(&[&program, "rounds", "40", "35"]);
    let line = |name: &str| format!("stacks.c:{})", said[name]);
    let waiter = [("post_entry", line("lock")), ("transfer", line("post"))];
    let [waiters, _, all] = count(&records, &waiter, &[("write_page", line("write"))]);
    let limited =
        records.acquires().into_iter().filter(|r| r["lock.stack.missing"] == "rate_limited");
    let (limited, wanted) = (limited.count(), all / 2);
    assert!(all >= 36, "{all}");
    assert!(waiters + limited >= wanted, "{waiters} stacks of {all}, {limited} not wanted");
    assert!(waiters >= 8, "{waiters} stacks of {all}");
}

#[test]
fn no_more_stacks_are_taken_of_one_lock_than_wanted_and_the_rest_is_counted() {
    let directory = tempfile::tempdir().unwrap();
    let program = program(directory.path(), &["-O1", "-g"]);
    let (records, _) = traced(&[&program, "crowd", "40", "300"]);
    let acquires = records.acquires();
    let long = acquires.iter().filter(|r| nanos(r, "lock.wait.duration") >= 10_000_000);
    let mut reasons: BTreeMap<&str, u64> = BTreeMap::new();
    let mut taken = 0;
    for record in long {
        match record["lock.stack.missing"].as_str() {
            Some(why) => *reasons.entry(why).or_default() += 1,
            None => taken += 1,
        }
    }
    assert!((1..=30).contains(&taken), "{taken}: {reasons:?}");
    assert!(reasons["rate_limited"] > 0, "{reasons:?}");
    let skipped = records.summary()["skipped"].as_array().unwrap();
    for entry in skipped {
        if let Some(why) = text(entry, "cause").strip_prefix("stack_") {
            assert_eq!(number(entry, "count"), reasons.get(why).copied().unwrap_or(0), "{why}");
        }
    }
}

#[test]
fn without_stacks_nothing_is_said_of_them() {
    let directory = tempfile::tempdir().unwrap();
    let program = program(directory.path(), &["-O1", "-g"]);
    let ended = watched(&["trace", "--no-stacks", "--stacks"], [&program, "rounds", "3", "40"]);
    let shown = ended.expect(0).stdout;
    assert!(!shown.contains("post_entry (") && !shown.contains("stack_"), "{shown}");
    let ended = watched(&["trace"], [&program, "rounds", "3", "40"]).expect(0);
    assert!(!ended.stdout.contains("take_a_nap"), "on request only: {}", ended.stdout);
    let ended = watched(&["trace", "--stacks"], [&program, "rounds", "8", "60"]).expect(0);
    assert!(ended.stdout.contains("            post_entry ("), "{}", ended.stdout);
    assert!(ended.stdout.contains(" held it here:\n"), "{}", ended.stdout);
}

#[test]
fn a_deadlock_is_told_with_the_stacks_of_its_threads() {
    let mut program = Program::start("scene", ["deadlock"]);
    let watch = Watch::pid(program.pid());
    program.go_on();
    program.says();
    watch.until(r#""record":"finding""#);
    program.end();
    let records = watch.records();
    let findings = records.findings();
    let cycle = findings[0]["cycle"].as_array().unwrap();
    for edge in cycle {
        assert!(text(edge, "code.stacktrace").contains("scene.c:"), "{edge}");
    }
    assert_eq!(compiled("scene").file_name().unwrap(), "scene");
}

#[test]
fn folded_stacks_weigh_what_was_waited_and_a_replay_has_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let program = program(directory.path(), &["-O1", "-g"]);
    let recording = directory.path().join("stacks.lprec");
    let recording = recording.to_str().unwrap();
    watched(&["record", "-o", recording], [&program, "rounds", "8", "60"]).expect(0);
    let replay = |format| run(["replay", recording, "--format", format]).expect(0).stdout;
    let (folded, records) = (replay("folded"), Records::read(&replay("jsonl")));
    assert_eq!(folded, replay("folded"));
    let waited: u64 = records.acquires().iter().map(|r| nanos(r, "lock.wait.duration")).sum();
    let lines: Vec<(&str, u64)> = folded
        .lines()
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(frames, weight)| (frames, weight.parse().unwrap()))
        .collect();
    let weight: u64 = lines.iter().map(|(_, weight)| weight * 1000).sum();
    assert!(weight.abs_diff(waited) <= 1000 * lines.len() as u64, "{weight} and {waited}");
    // The holder is the root, and what waits for it stands on top.
    let order = ["holder: stacks;", "hold_the_ledger (", "write_page (", "[waits on ledger];"];
    let order = [&order[..], &["waiter: stacks;", "transfer (", "post_entry (stacks.c:"]].concat();
    let (heaviest, _) = lines.iter().max_by_key(|(_, weight)| *weight).unwrap();
    let found: Vec<Option<usize>> = order.iter().map(|part| heaviest.find(part)).collect();
    assert!(found.is_sorted() && found[0] == Some(0), "{heaviest}");
}

/// Interpreters that are here: the system's, those kept beside each other by pyenv, and those that
/// setup unpacks.
fn interpreters() -> Vec<Vec<String>> {
    let home = std::env::var_os("PYENV_ROOT").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".pyenv")));
    let kept = home.and_then(|home| std::fs::read_dir(home.join("versions")).ok());
    let kept = kept.into_iter().flatten().flatten().map(|entry| entry.path().join("bin/python3"));
    let mut found: BTreeMap<PathBuf, PathBuf> = BTreeMap::new();
    for path in kept.chain(["/usr/bin/python3".into()]) {
        let ask = "import sys; print(sys.version_info >= (3, 11) and sys.version_info < (3, 16))";
        let answer = Command::new(&path).args(["-c", ask]).output();
        if answer.is_ok_and(|answer| answer.stdout == b"True\n") {
            found.insert(path.canonicalize().unwrap(), path);
        }
    }
    let found = found.into_values().map(|path| vec![path.to_str().unwrap().to_owned()]);
    found.chain(["3.13", "3.14"].map(unpacked::python)).collect()
}

#[test]
fn python_programs_are_told_in_their_own_functions_and_lines() {
    let script = source("stacks.py");
    let script = script.to_str().unwrap();
    let text = std::fs::read_to_string(script).unwrap();
    let line = |mark: &str| {
        let mark = format!("# mark: {mark}");
        let at = text.lines().position(|line| line.ends_with(&mark)).unwrap();
        format!("stacks.py:{})", at + 1)
    };
    let waiter = [
        ("Account.post_entry", line("lock")),
        ("Account.transfer", line("post")),
        ("größer", line("größer")),
    ];
    let holder = [("write_page", line("nap")), ("hold_the_ledger", line("write"))];
    for interpreter in interpreters() {
        let program = interpreter.iter().map(String::as_str).chain([script, "12", "0.12"]);
        let (records, _) = traced(&program.collect::<Vec<_>>());
        let about = |r: &&Value| {
            let stack = r["code.stacktrace"].as_str();
            stack.is_some_and(|stack| stack.contains("Account.post_entry"))
        };
        let waits: Vec<&Value> = records.acquires().into_iter().filter(about).collect();
        assert!(waits.len() >= 8, "{interpreter:?}: {} of 12 waits", waits.len());
        let stack = |r: &Value, key: &str| r[key].as_str().unwrap_or_default().to_owned();
        for wait in &waits {
            let stack = stack(wait, "code.stacktrace");
            assert!(has(&stack, &waiter), "{interpreter:?}: {waiter:?} expected in\n{stack}");
        }
        let held = waits.iter().map(|r| stack(r, "lock.holder.stacktrace"));
        let held: Vec<String> = held.filter(|stack| !stack.is_empty()).collect();
        for stack in &held {
            assert!(has(stack, &holder), "{interpreter:?}: {holder:?} expected in\n{stack}");
        }
        assert!(held.len() >= 6, "{interpreter:?}: {} holders of {}", held.len(), waits.len());
    }
}
