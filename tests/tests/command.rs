//! `lockprobe trace -- CMD`: the command's own end, its children, its programs.

use std::collections::BTreeSet;

use lockprobe_tests::probe::{Probe, Watch, lockprobe};
use lockprobe_tests::program::{Program, compiled, watched};
use lockprobe_tests::records::{number, text};

fn scene() -> String {
    compiled("scene").to_str().unwrap().to_owned()
}

#[test]
fn the_exit_status_is_the_commands_own() {
    for (line, status) in
        [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill -TERM $$", 143)]
    {
        let ended = watched(&["trace", "--format", "jsonl"], ["sh", "-c", line]).expect(status);
        ended.records().expect_complete();
    }
}

#[test]
fn a_command_that_cannot_be_run_has_the_status_of_a_shell() {
    let missing = watched(&["trace"], ["no-such-program-anywhere"]).expect(127);
    assert!(missing.stderr.contains("no-such-program-anywhere"), "{}", missing.stderr);
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap().to_owned();
    let plain = watched(&["trace"], [path.as_str()]).expect(126);
    assert!(plain.stderr.contains(&path), "{}", plain.stderr);
}

#[test]
fn the_commands_output_stays_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().join("records");
    let arguments = ["trace", "--format", "jsonl", "--output", output.to_str().unwrap()];
    let ended = watched(&arguments, ["sh", "-c", "echo out; echo err >&2"]).expect(0);
    assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("out\n", "err\n"));
}

#[test]
fn children_are_watched_through_fork_and_exec() {
    let line = format!("{0} brief 60 & {0} brief 60; wait", scene());
    let ended = watched(&["trace", "--format", "jsonl"], ["sh", "-c", &line]).expect(0);
    let records = ended.records();
    records.expect_complete();
    let pids: Vec<u64> = records.acquires().iter().map(|r| number(r, "process.pid")).collect();
    assert_eq!(pids.len(), 2, "{records:#?}");
    assert_eq!(pids.iter().collect::<BTreeSet<_>>().len(), 2);
    assert!(records.acquires().iter().all(|r| text(r, "service.name") == "scene"));
}

#[test]
fn an_exec_voids_the_locks_of_the_program_before() {
    // Without address randomisation both programs have their mutex at the same place.
    let scene = scene();
    let mut watch = Watch::start(&["trace", "--", "setarch", "-R", &scene, "exec"]);
    watch.until(r#""record":"process""#);
    watch.probe.go_on();
    watch.until(r#""lock.outcome":"acquired""#);
    watch.probe.go_on();
    let (records, ended) = watch.ended();
    let said: serde_json::Value = serde_json::from_str(ended.stdout.trim()).unwrap();
    records.expect_complete();
    let acquires = records.acquires();
    let [before, after] = acquires[..] else { panic!("{records:#?}") };
    assert_eq!(before["thread.id"], said["waiter"]);
    assert_eq!(before["lock.outcome"], "abandoned");
    assert_eq!(before["error.type"], "thread_exit");
    assert_eq!(after["lock.outcome"], "acquired");
    assert_eq!(before["process.pid"], after["process.pid"]);
    let address = |r: &serde_json::Value| text(r, "lock.id").rsplit(':').next().unwrap().to_owned();
    assert_eq!(address(before), address(after), "the scene puts them at the same address");
    assert_ne!(text(before, "lock.id"), text(after, "lock.id"));
    assert_eq!(records.summary()["locks"].as_array().unwrap().len(), 2, "{records:#?}");
}

#[test]
fn an_interrupt_is_passed_on_and_the_summary_comes() {
    let mut command = lockprobe(["trace", "--format", "jsonl", "--"]);
    command.args(["sh", "-c", "trap 'exit 5' INT TERM; echo >&2; while :; do sleep 0.01; done"]);
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let probe = Probe::start(command.stdin(std::process::Stdio::null()));
        probe.attached();
        // The trap is set once the shell has children.
        lockprobe_tests::until("the shell is at work", || {
            let shell = child_of(probe.pid())?;
            child_of(shell)
        });
        probe.signal(signal);
        let ended = probe.wait().expect(5);
        ended.records();
    }
}

fn child_of(pid: u32) -> Option<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten();
    let mut children =
        tasks.filter_map(|t| std::fs::read_to_string(t.path().join("children")).ok());
    children.find_map(|list| list.split_whitespace().next()?.parse().ok())
}

#[test]
fn a_command_that_ends_takes_no_one_else_with_it() {
    let mut bystander = Program::start("scene", ["blocked"]);
    bystander.says();
    let ended = watched(&["trace", "--format", "jsonl"], [&scene(), "brief", "60"]).expect(0);
    let records = ended.records();
    assert_eq!(records.acquires().len(), 1, "{records:#?}");
    assert!(records.acquires().iter().all(|r| r["process.pid"] != bystander.pid()));
    bystander.go_on();
    bystander.end();
}
