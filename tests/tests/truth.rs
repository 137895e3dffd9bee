//! A program that knows its own truth, and every word of the report held to it.

use std::path::Path;

use lockprobe_tests::program::{compiled, watched};
use lockprobe_tests::records::Records;
use lockprobe_tests::schedule::{Known, Truth};

/// Watches a program that writes its truth, and returns both sides.
fn observe(program: &[&str], truth: &Path, records: &Path) -> (Truth, Records) {
    let output = records.to_str().unwrap();
    let arguments = ["trace", "--format", "jsonl", "--output", output];
    watched(&arguments, program).expect(0);
    (Truth::read(truth), Records::of_file(records))
}

/// A report that differs from the truth fails, but for the two times that the program itself says
/// that it was disturbed.
fn compare(known: Known, program: impl Fn(&Path) -> Vec<String>) -> (Truth, Records) {
    let directory = tempfile::tempdir().unwrap();
    let (truth, records) = (directory.path().join("truth"), directory.path().join("records"));
    let program = program(&truth);
    let program: Vec<&str> = program.iter().map(String::as_str).collect();
    for last in [false, false, true] {
        let (truth, records) = observe(&program, &truth, &records);
        let faults = truth.faults(&records, known);
        if faults.is_empty() {
            return (truth, records);
        }
        let listed = faults.join("\n\n");
        assert!(!last && truth.disturbed(), "{} faults:\n{listed}", faults.len());
        eprintln!("the machine disturbed the program's own measurements; once more:\n{listed}");
    }
    unreachable!("the third run is the last")
}

fn path(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

#[test]
fn posix_mutexes_are_reported_as_they_were() {
    let program = path(&compiled("schedule"));
    let (truth, _) = compare(Known::ByOwnerWord, |truth| vec![program.clone(), path(truth)]);
    let scene = |name| truth.waits.iter().filter(|w| w.scene == name).count();
    let counts =
        ["hold", "queue", "timed", "recursive", "below", "signalled", "again", "relock", "doze"];
    let counts = counts.map(scene);
    // A stolen lock makes the thief wait, now and then.
    assert_eq!(counts[..6], [15, 6, 2, 2, 20, 2], "the program did not follow its schedule");
    assert!(counts[6] >= 3 && counts[7] == 1 && counts[8] == 4, "{counts:?}");
}

#[test]
fn holders_in_another_pid_namespace_are_known_by_their_ids_on_the_host() {
    let program = path(&compiled("schedule"));
    let (truth, _) = compare(Known::ByOwnerWord, |truth| {
        // The program looks itself up in the host's /proc, which it has as descriptor 9.
        let line = format!(
            "exec 9</proc; HOST_PROC=1 exec unshare --pid --fork --mount-proc {program} {}",
            truth.display()
        );
        vec!["sh".into(), "-c".into(), line]
    });
    assert_ne!(truth.pid, truth.ns_pid, "the program was in a namespace of its own");
}

#[test]
fn rust_mutexes_are_reported_as_they_were() {
    let program = env!("CARGO_BIN_EXE_rust_schedule").to_owned();
    let (truth, records) = compare(Known::ByWaker, |truth| vec![program.clone(), path(truth)]);
    assert!(truth.waits.len() >= 15, "the program did not follow its schedule");
    let systems = records.acquires().into_iter().map(|r| r["lock.system.name"].clone());
    assert!(systems.into_iter().all(|system| system == "rust_std"));
}
