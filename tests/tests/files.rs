//! Locks the kernel itself keeps, each way of asking for one held to what the program knows.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use lockprobe_tests::program::{compiled, watched};
use lockprobe_tests::records::{Records, nanos, number, text};
use serde_json::Value;

/// A scene of `files.c` and what the records must say of it.
struct Row {
    scene: &'static str,
    system: &'static str,
    kind: &'static str,
    mode: &'static str,
    /// What follows the path in the name.
    range: &'static str,
}

const fn row(
    scene: &'static str,
    system: &'static str,
    kind: &'static str,
    mode: &'static str,
    range: &'static str,
) -> Row {
    Row { scene, system, kind, mode, range }
}

const ROWS: [Row; 14] = [
    row("flock", "flock", "file", "exclusive", ""),
    row("flock_shared", "flock", "file", "exclusive", ""),
    row("flock_reader", "flock", "file", "shared", ""),
    row("flock_closed", "flock", "file", "exclusive", ""),
    row("flock_exit", "flock", "file", "exclusive", ""),
    row("flock_polled", "flock", "file", "exclusive", ""),
    row("posix", "fcntl", "posix", "exclusive", "[100..=149]"),
    row("posix_reader", "fcntl", "posix", "shared", "[100..=149]"),
    row("posix_closed", "fcntl", "posix", "exclusive", "[100..=149]"),
    row("posix_polled", "fcntl", "posix", "exclusive", "[100..=149]"),
    row("ofd", "fcntl", "ofd", "exclusive", ""),
    row("ofd_polled", "fcntl", "ofd", "exclusive", ""),
    row("sysv", "sysv_semaphore", "semaphore", "exclusive", ""),
    row("sysv_undo", "sysv_semaphore", "semaphore", "exclusive", ""),
];

/// What the program said of itself.
struct Truth(Vec<Value>);

impl Truth {
    fn all(&self, what: &str) -> Vec<&Value> {
        self.0.iter().filter(|line| line["what"] == what).collect()
    }
}

fn length(truth: &Value) -> u64 {
    number(truth, "end") - number(truth, "begin")
}

/// Within 5 % or 200 us.
fn near(told: u64, truth: u64) -> bool {
    told.abs_diff(truth) <= (truth / 20).max(200_000)
}

/// Runs a scene with lockprobe watching.
fn observe(scene: &str, file: &Path) -> (Truth, Records) {
    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().join("records");
    let program = compiled("files");
    let arguments = ["trace", "--format", "jsonl", "--output", output.to_str().unwrap()];
    let program = [program.to_str().unwrap(), scene, file.to_str().unwrap()];
    let ended = watched(&arguments, program).expect(0);
    let said = ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap());
    (Truth(said.collect()), Records::of_file(&output))
}

/// What differs from the truth in time, which the machine may have done; all else is asserted.
fn check(row: &Row, truth: &Truth, records: &Records, file: &Path) -> Vec<String> {
    records.expect_complete();
    let scene = row.scene;
    let (waits, holds) = (truth.all("wait"), truth.all("hold"));
    let lock = &truth.all("lock")[0];
    let waiter = number(lock, "pid");
    let mine = |r: &&Value| r["thread.id"] == waiter;
    let acquires: Vec<&Value> = records.acquires().into_iter().filter(mine).collect();
    assert_eq!(acquires.len(), waits.len(), "{scene}: {records:#?}");
    let mut faults = Vec::new();
    let mut threads_known = 0;
    for (told, truth) in acquires.iter().zip(&waits) {
        let said = |key| text(told, key);
        assert_eq!((said("lock.system.name"), said("lock.type")), (row.system, row.kind));
        assert_eq!((said("lock.mode"), said("lock.outcome")), (row.mode, "acquired"), "{scene}");
        let semaphore = row.kind == "semaphore";
        if semaphore {
            assert!(said("lock.name").ends_with(&format!(":set{}:1", number(lock, "set"))));
        } else {
            assert_eq!(said("lock.name"), format!("{}{}", file.display(), row.range));
            assert!(said("lock.id").contains(&format!(":ino{}", number(lock, "inode"))), "{told}");
        }
        assert_eq!(said("lock.confidence"), "confirmed");
        let source = if semaphore { "last_acquirer" } else { "lock_table" };
        assert_eq!(said("lock.holder.source"), source);
        assert_eq!(number(told, "lock.holder.pid"), number(truth, "holder"), "{scene}: {told}");
        // The holder may be gone by the time anyone looks how many threads it has.
        let tid = number(told, "lock.holder.tid");
        assert!(tid == 0 || tid == number(truth, "holder"), "{scene}: {told}");
        threads_known += usize::from(tid != 0);
        assert_eq!(number(told, "lock.handed_over_by.tid"), number(truth, "holder"), "{scene}");
        if scene.ends_with("_polled") {
            assert_eq!(number(told, "lock.attempt.count"), number(truth, "attempts"));
        }
        let (told, truth) = (nanos(told, "lock.wait.duration"), length(truth));
        if !near(told, truth) {
            faults.push(format!("{scene}: a wait of {truth} ns was told as {told} ns"));
        }
    }
    assert!(threads_known + 1 >= waits.len(), "{scene}: {acquires:#?}");
    let told: Vec<&Value> = records.holds();
    for truth in &holds {
        let its = |r: &&&Value| r["thread.id"] == truth["tid"];
        let Some(told) = told.iter().find(its) else {
            faults.push(format!("{scene}: no hold of {truth}"));
            continue;
        };
        let first = text(told, "lock.hold.precision") != "exact" && row.kind != "semaphore";
        let (told, truth) = (nanos(told, "lock.hold.duration"), length(truth));
        if !first && !near(told, truth) {
            faults.push(format!("{scene}: a hold of {truth} ns was told as {told} ns"));
        }
    }
    // Only the first began before anyone was in want of the file; of a semaphore none is seen.
    let exact = told.iter().filter(|r| text(r, "lock.hold.precision") == "exact").count();
    let expected = if row.kind == "semaphore" { 0 } else { holds.len() - 1 };
    assert!(exact >= expected, "{scene}: {told:#?}");
    let summary = records.summary()["locks"].as_array().unwrap();
    let [lock] = &summary[..] else { panic!("{scene}: {summary:#?}") };
    assert_eq!(number(lock, "waits"), waits.len() as u64, "{scene}: {lock}");
    faults
}

#[test]
fn every_way_to_lock_a_file_is_told_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    for row in &ROWS {
        let file = directory.path().join(row.scene);
        let mut faults = Vec::new();
        for _ in 0..3 {
            let (truth, records) = observe(row.scene, &file);
            let inode = std::fs::metadata(&file).unwrap().ino();
            assert_eq!(number(truth.all("lock")[0], "inode"), inode);
            faults = check(row, &truth, &records, &file);
            if faults.is_empty() {
                break;
            }
            eprintln!("once more, the machine may have been busy:\n{}", faults.join("\n"));
        }
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    }
}
