//! What can go wrong: one clear sentence, the documented status, nothing left behind.

use std::path::Path;

use lockprobe_tests::kernel::{loaded_since, programs, until_only};
use lockprobe_tests::probe::{Ended, Probe, binary, run};
use lockprobe_tests::program::Program;

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap().flatten();
    let mut names: Vec<_> = entries.map(|e| e.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn an_ordinary_user_is_told_so() {
    lockprobe_tests::need_root();
    // Where an ordinary user may go.
    let directory = tempfile::tempdir().unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(directory.path(), open).unwrap();
    let program = directory.path().join("lockprobe");
    std::fs::copy(binary(), &program).unwrap();
    let mut command = std::process::Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&program);
    let ended = Probe::start(command.args(["trace", "--", "true"])).wait().expect(4);
    let sentence = ended.sentence();
    assert!(sentence.contains("root"), "{sentence}");
}

#[test]
fn an_output_that_cannot_be_written_is_found_out_before_anything_is_attached() {
    let before = programs();
    for arguments in [
        &["trace", "--output", "/no/such/directory/file", "--duration", "1h"][..],
        &["record", "-o", "/no/such/directory/file.lprec", "--duration", "1h"],
    ] {
        let ended = run(arguments).expect(1);
        assert!(ended.sentence().contains("/no/such/directory/file"), "{}", ended.stderr);
    }
    until_only(&before);
}

#[test]
fn a_full_disk_is_one_sentence() {
    let program = Program::start("scene", ["blocked"]);
    program.says();
    let pid = program.pid().to_string();
    let arguments =
        ["trace", "--format", "jsonl", "--output", "/dev/full", "--duration", "200ms", "-p"];
    let ended = run(arguments.into_iter().chain([pid.as_str()])).expect(1);
    ended.sentence();
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let line = format!("{} trace --format jsonl --duration 300ms | true", binary().display());
    let mut command = std::process::Command::new("bash");
    let ended = Probe::start(command.args(["-c", &format!("set -o pipefail; {line}")])).wait();
    assert_eq!((ended.status, ended.stderr.as_str()), (0, ""));
}

#[test]
fn a_killed_lockprobe_leaves_nothing_in_the_kernel() {
    let before = programs();
    let program = Program::start("scene", ["blocked"]);
    program.says();
    let probe = Probe::lockprobe(["trace", "-p", &program.pid().to_string()]);
    assert!(!loaded_since(&before, &probe).is_empty(), "its programs are known by their names");
    probe.signal(libc::SIGKILL);
    probe.wait().expect(137);
    until_only(&before);
}

#[test]
fn an_ended_lockprobe_leaves_nothing_in_the_kernel() {
    let before = programs();
    for arguments in [
        &["trace", "--duration", "100ms"][..],
        &["trace", "--", "true"],
        &["trace", "-p", "4194305"],
    ] {
        run(arguments);
        until_only(&before);
    }
}

#[test]
fn a_recording_has_its_name_only_when_it_is_complete() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.lprec");
    let program = Program::start("scene", ["blocked"]);
    program.says();
    let pid = program.pid().to_string();
    let start = || Probe::lockprobe(["record", "-o", path.to_str().unwrap(), "-p", &pid]);
    let probe = start();
    probe.attached();
    assert!(!path.exists());
    probe.signal(libc::SIGKILL);
    probe.wait().expect(137);
    assert!(!path.exists(), "{:?}", names(directory.path()));

    let probe = start();
    probe.attached();
    probe.signal(libc::SIGTERM);
    let ended = probe.wait().expect(0);
    ended.sentence();
    assert_eq!(names(directory.path()), ["a.lprec"]);
}

#[test]
fn a_recording_that_cannot_begin_leaves_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.lprec");
    let ended = run(["record", "-o", path.to_str().unwrap(), "-p", "4194305"]).expect(6);
    ended.sentence();
    assert_eq!(names(directory.path()), Vec::<String>::new());
}

#[test]
fn a_command_line_that_makes_no_sense_has_status_2() {
    for arguments in [
        &["trace", "--min-wait", "5"][..],
        &["trace", "--duration", "soon"],
        &["trace", "--ring-size", "3M"],
        &["trace", "-p", "x"],
        &["frobnicate"],
        &["replay"],
    ] {
        let ended = run(arguments).expect(2);
        assert!(ended.stderr.starts_with("error: "), "{}", ended.stderr);
    }
}

/// A recording of a short program, as bytes.
fn recording(directory: &Path) -> Vec<u8> {
    let path = directory.join("good.lprec");
    let scene = lockprobe_tests::program::compiled("scene");
    let arguments = ["record", "-o", path.to_str().unwrap()];
    lockprobe_tests::program::watched(&arguments, [scene.to_str().unwrap(), "brief", "60"])
        .expect(0);
    std::fs::read(path).unwrap()
}

fn replay(path: &Path) -> Ended {
    run(["replay", path.to_str().unwrap(), "--format", "jsonl"])
}

#[test]
fn a_recording_that_is_none_or_is_damaged_has_status_8() {
    let directory = tempfile::tempdir().unwrap();
    let good = recording(directory.path());
    let path = directory.path().join("bad.lprec");
    let middle = good.len() / 2;
    let mut flipped = good.clone();
    flipped[middle] ^= 1;
    let version = String::from_utf8_lossy(&good[..400]).find("\"wire_version\":").unwrap();
    let mut foreign = good.clone();
    foreign[version + "\"wire_version\":".len()] = b'9';
    for (what, bytes) in [
        ("empty", Vec::new()),
        ("of another kind", b"#!/bin/sh\necho\n".repeat(20)),
        ("cut in its header", good[..30].to_vec()),
        ("cut", good[..middle].to_vec()),
        ("without its end", good[..good.len() - 1].to_vec()),
        ("flipped", flipped),
        ("of another version", foreign),
    ] {
        std::fs::write(&path, bytes).unwrap();
        let ended = replay(&path).expect(8);
        assert!(ended.sentence().contains("bad.lprec"), "{what}: {}", ended.stderr);
    }
    replay(&directory.path().join("missing.lprec")).expect(8).sentence();
    replay(directory.path()).expect(8).sentence();
}
