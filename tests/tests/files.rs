//! Locks the kernel itself keeps, each way of asking for one held to what the program knows.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use lockprobe_tests::probe::{Watch, run};
use lockprobe_tests::program::{Program, compiled, watched};
use lockprobe_tests::records::{Records, nanos, number, text};
use lockprobe_tests::servers::python;
use serde_json::Value;

/// A scene of `files.c` and what the records must say of it.
struct Row {
    scene: &'static str,
    system: &'static str,
    kind: &'static str,
    mode: &'static str,
    /// What follows the path in the name; for names that are locks, the name.
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

const ROWS: [Row; 19] = [
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
    row("made", "lockfile", "file", "exclusive", "x.lock"),
    row("made_renamed", "lockfile", "file", "exclusive", "x.lock"),
    row("made_link", "lockfile", "file", "exclusive", "x.lock"),
    row("made_directory", "lockfile", "directory", "exclusive", "x.lock"),
    row("made_and_flock", "flock", "file", "exclusive", "x.lock"),
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
    told.abs_diff(truth) <= (truth / 20).max(lockprobe_tests::slack(200_000))
}

/// Runs a scene with lockprobe watching.
fn observe(scene: &str, file: &Path) -> (Truth, Records) {
    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().join("records");
    let program = compiled("files");
    let mut arguments = vec!["trace", "--format", "jsonl", "--output", output.to_str().unwrap()];
    if scene.starts_with("made") {
        arguments.push("--lock-files");
    }
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
    let skipped = records.summary()["skipped"].as_array().unwrap();
    let unseen = skipped.iter().find(|s| s["cause"] == "calls_unseen").unwrap();
    let unseen = number(unseen, "count");
    let mut faults = Vec::new();
    let mut threads_known = 0;
    for (told, truth) in acquires.iter().zip(&waits) {
        let said = |key| text(told, key);
        assert_eq!((said("lock.system.name"), said("lock.type")), (row.system, row.kind));
        assert_eq!((said("lock.mode"), said("lock.outcome")), (row.mode, "acquired"), "{scene}");
        let semaphore = row.kind == "semaphore";
        if scene.starts_with("made") {
            let path = file.with_file_name(row.range);
            assert!(said("lock.name") == path.to_str().unwrap() || row.system == "flock", "{told}");
        } else if semaphore {
            assert!(said("lock.name").ends_with(&format!(":set{}:1", number(lock, "set"))));
        } else {
            assert_eq!(said("lock.name"), format!("{}{}", file.display(), row.range));
            assert!(said("lock.id").contains(&format!(":ino{}", number(lock, "inode"))), "{told}");
        }
        assert_eq!(said("lock.confidence"), "confirmed");
        let found = records.acquires().len();
        assert_eq!(found, waits.len(), "{scene}: one lock, not two: {records:#?}");
        let source =
            if semaphore || row.system == "lockfile" { "last_acquirer" } else { "lock_table" };
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
        if scene.starts_with("made") {
            // The end of a system call may be preempted by that of another, and is not seen then.
            let missed = number(truth, "attempts") - number(told, "lock.attempt.count");
            assert!(missed <= unseen, "{scene}: {told} {truth}");
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

/// A scene that lasts, and what its program says of itself at last.
fn lasting(scene: &str, file: &Path) -> (Program, Value) {
    let program = Program::start("files", [scene, file.to_str().unwrap()]);
    program.says();
    let said = program.says();
    (program, said)
}

fn ids(list: &Value) -> Vec<u64> {
    list.as_array().unwrap().iter().map(|id| id.as_u64().unwrap()).collect()
}

#[test]
fn who_slept_before_the_start_is_found_and_so_is_who_is_in_the_way() {
    let directory = tempfile::tempdir().unwrap();
    for (scene, system, range) in [
        ("flock_held", "flock", ""),
        ("posix_held", "fcntl", "[100..=149]"),
        ("ofd_held", "fcntl", ""),
        ("sysv_held", "sysv_semaphore", ""),
    ] {
        let file = directory.path().join(scene);
        let (program, said) = lasting(scene, &file);
        let waiters = ids(&said["waiters"]);
        let pid = format!("-p{}", program.pid());
        let pids: Vec<String> = waiters.iter().map(|pid| format!("-p{pid}")).collect();
        let arguments = ["snapshot", "--format", "json", &pid, &pids[0], &pids[1]];
        let ended = run(arguments).expect(0);
        let snapshot: Value = serde_json::from_str(&ended.stdout).unwrap();
        let edges = snapshot["edges"].as_array().unwrap();
        let from: Vec<u64> = edges.iter().map(|edge| number(edge, "process.pid")).collect();
        assert_eq!(from, waiters, "{scene}: {snapshot:#}");
        for edge in edges {
            assert_eq!(edge["lock.holder.pid"], said["holder"], "{scene}: {snapshot:#}");
            assert_eq!(edge["lock.holder.tid"], said["holder"], "{scene}: {snapshot:#}");
            assert_eq!(edge["lock.id"], edges[0]["lock.id"], "{scene}");
        }
        let threads = snapshot["threads"].as_array().unwrap();
        let waits: Vec<&Value> =
            threads.iter().map(|t| &t["waits"]).filter(|waits| waits.is_object()).collect();
        assert_eq!(waits.len(), 2, "{scene}: {snapshot:#}");
        for wait in waits {
            assert_eq!(text(wait, "lock.system.name"), system);
            if system != "sysv_semaphore" {
                assert_eq!(text(wait, "lock.name"), format!("{}{range}", file.display()));
            }
        }
        program.end();
    }
}

#[test]
fn a_wait_that_was_there_before_is_followed_to_its_end() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    let (program, said) = lasting("flock_held", &file);
    let waiters = ids(&said["waiters"]);
    let watch = Watch::pid(u32::try_from(waiters[0]).unwrap());
    // The holder ends first, and with it its lock.
    watch.until_some(|r| r["record"] == "process" && r["process.pid"] == waiters[0]);
    program.end();
    let records = watch.records();
    let acquire = records.acquire_of(waiters[0]);
    assert_eq!(acquire["lock.wait.start_estimated"], true);
    assert_eq!(acquire["lock.holder.pid"], said["holder"], "{acquire}");
    assert_eq!(text(acquire, "lock.name"), file.to_str().unwrap());
}

#[test]
fn a_signal_ends_a_wait_and_a_child_keeps_the_lock_of_its_parent() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    let (truth, records) = observe("oddities", &file);
    records.expect_complete();
    let truth = truth.all("interrupted")[0];
    let acquires = records.acquires();
    let outcome = |outcome: &str| {
        let all = acquires.iter().filter(|r| text(r, "lock.outcome") == outcome);
        let all: Vec<_> = all.collect();
        let [one] = all[..] else { panic!("not one {outcome}: {records:#?}") };
        *one
    };
    let interrupted = outcome("abandoned");
    assert_eq!(text(interrupted, "error.type"), "interrupted");
    assert!(near(nanos(interrupted, "lock.wait.duration"), length(truth)), "{interrupted}");
    let refused = outcome("refused");
    assert_eq!(number(refused, "lock.attempt.count"), 1);
    for told in [interrupted, refused, outcome("acquired")] {
        // It took the lock, and is gone: no thread has it by that name.
        assert_eq!(told["lock.holder.pid"], truth["gone"], "{told}");
        assert_eq!(number(told, "lock.holder.tid"), 0, "{told}");
    }
}

#[test]
fn a_mutex_and_a_file_make_a_deadlock_of_two_processes() {
    let directory = tempfile::tempdir().unwrap();
    let (program, said) = lasting("deadlock", &directory.path().join("file"));
    let both = [number(&said, "flock"), number(&said, "mutex")];
    let pids = both.map(|pid| format!("-p{pid}"));
    let ended = run(["deadlocks", "--format", "json", &pids[0], &pids[1]]).expect(3);
    assert!(ended.stdout.contains(&format!("\"lock.holder.pid\":{}", both[0])), "{}", ended.stdout);
    let watch = Watch::start(&["trace", &pids[0], &pids[1]]);
    watch.until_some(|r| r["record"] == "finding");
    program.end();
    let records = watch.records();
    let [begun, _] = records.findings()[..] else { panic!("{records:#?}") };
    assert_eq!(text(begun, "lock.finding.type"), "deadlock");
    let told: Vec<Value> = begun["cycle"].as_array().unwrap().clone();
    let edge = |system: &str| told.iter().find(|e| text(e, "lock.system.name") == system).unwrap();
    let (flock, mutex) = (edge("flock"), edge("pthread"));
    assert_eq!(
        (number(flock, "process.pid"), number(flock, "lock.holder.pid")),
        (both[1], both[0])
    );
    assert_eq!(
        (number(mutex, "process.pid"), number(mutex, "lock.holder.pid")),
        (both[0], both[1])
    );
}

#[test]
fn git_is_told_who_has_the_index() {
    let directory = tempfile::tempdir().unwrap();
    let repository = directory.path().join("repository");
    let script = format!(
        "set -e; export HOME={0} GIT_CONFIG_NOSYSTEM=1; git init -q {1}; cd {1}
        git config user.email a@example.org; git config user.name a
        echo 1 > a; git add a; git commit -q -m 1; echo 2 > a; echo 3 > b
        GIT_EDITOR='touch {0}/held; while [ -e {0}/held ]; do sleep 0.01; done; echo 2 >' \
            git commit -a -q &
        echo '{{\"what\":\"git\",\"pid\":'$!'}}'
        while [ ! -e {0}/held ]; do sleep 0.01; done
        git add b && exit 1
        sleep 0.2; rm {0}/held; wait; git add b",
        directory.path().display(),
        repository.display()
    );
    let output = directory.path().join("records");
    let output = output.to_str().unwrap();
    let arguments = ["trace", "--lock-files", "--format", "jsonl", "--output", output];
    let ended = watched(&arguments, ["sh", "-c", &script]).expect(0);
    let truth: Value = serde_json::from_str(ended.stdout.trim()).unwrap();
    let records = Records::of_file(Path::new(output));
    let [refused] = records.acquires()[..] else { panic!("{records:#?}") };
    assert_eq!(text(refused, "lock.outcome"), "refused");
    assert_eq!(text(refused, "lock.system.name"), "lockfile");
    let index = repository.join(".git/index.lock");
    assert_eq!(text(refused, "lock.name"), index.to_str().unwrap());
    assert_eq!(refused["lock.holder.pid"], truth["pid"], "{refused}");
    // It lets go by renaming the file.
    let [hold] = records.holds()[..] else { panic!("{records:#?}") };
    assert_eq!(hold["process.pid"], truth["pid"]);
    assert_eq!(text(hold, "lock.hold.precision"), "exact");
    assert!(nanos(hold, "lock.hold.duration") > 200_000_000, "{hold}");
}

/// Runs a shell script in a directory of its own with lock files followed.
fn followed(script: &str) -> (tempfile::TempDir, Records) {
    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().join("records");
    let output = output.to_str().unwrap().to_owned();
    let arguments = ["trace", "--lock-files", "--format", "jsonl", "--output", &output];
    let script = format!("cd {}; {script}", directory.path().display());
    watched(&arguments, ["bash", "-c", &script]).expect(0);
    let records = Records::of_file(Path::new(&output));
    (directory, records)
}

const ASK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/programs/lock_file.py");

#[test]
fn a_file_that_was_there_before_names_its_holder_and_two_ways_to_it_are_one_lock() {
    let (directory, records) = followed(&format!(
        "mkdir real; ln -s real link
        sleep 1 & held=$!; echo $held > real/x.lock; echo $held > held
        python3 {ASK} link/x.lock 100 & python3 {ASK} real/x.lock 100 &
        sleep 0.6; rm real/x.lock; wait"
    ));
    let held = std::fs::read_to_string(directory.path().join("held")).unwrap();
    let held: u64 = held.trim().parse().unwrap();
    let acquires = records.acquires();
    assert_eq!(acquires.len(), 2, "{records:#?}");
    for acquire in acquires {
        assert_eq!(text(acquire, "lock.outcome"), "acquired");
        assert_eq!(number(acquire, "lock.holder.pid"), held, "{acquire:#}");
        // A redirection of the shell makes no file that only one can make.
        assert_eq!(text(acquire, "lock.holder.source"), "file_content");
        let path = directory.path().canonicalize().unwrap().join("real/x.lock");
        assert_eq!(text(acquire, "lock.name"), path.to_str().unwrap());
    }
    let locks = records.summary()["locks"].as_array().unwrap();
    assert_eq!(locks.len(), 1, "{locks:#?}");
    // The first of the two was in the way of the second.
    let exact = |hold: &&Value| text(hold, "lock.hold.precision") == "exact";
    let exact = records.holds().into_iter().filter(exact);
    assert_eq!(exact.count(), 1, "{records:#?}");
    assert_eq!(records.findings(), [] as [&Value; 0]);
}

#[test]
fn a_lock_file_of_a_process_that_was_killed_or_is_gone_is_an_orphan() {
    let (_directory, records) = followed(&format!(
        "true & echo $! > named.lock; wait
        python3 -c 'import os; os.open(\"killed.lock\", os.O_CREAT | os.O_EXCL); os.kill(os.getpid(), 9)'
        mkdir script.lock
        for lock in named killed script; do python3 {ASK} $lock.lock 8; done
        rm killed.lock named.lock; rmdir script.lock"
    ));
    let told: Vec<(String, String)> = records
        .findings()
        .iter()
        .map(|finding| {
            assert_eq!(text(finding, "lock.finding.type"), "orphan");
            assert_eq!(text(&finding["holder"], "thread.state"), "gone");
            let name = text(&finding["waits"][0], "lock.name");
            let name = Path::new(name).file_name().unwrap().to_str().unwrap().to_owned();
            (name, text(finding, "lock.finding.state").to_owned())
        })
        .collect();
    let pair = |name: &str, state: &str| (name.to_owned(), state.to_owned());
    let mut told = told;
    told.sort();
    // What `mkdir` made for a script is the script's, though `mkdir` has ended.
    let expected = ["killed.lock", "named.lock"].map(|n| [pair(n, "begin"), pair(n, "end")]);
    assert_eq!(told, expected.concat(), "{records:#?}");
    assert_eq!(records.acquires().len(), 3);
}

/// Libraries that lock by files: how each is called here, and what it is.
const LIBRARIES: [(&str, &str, &str); 5] = [
    ("filelock", "flock", "file"),
    ("filelock_soft", "lockfile", "file"),
    ("fasteners", "fcntl", "posix"),
    ("fasteners_writer", "fcntl", "posix"),
    ("portalocker", "flock", "file"),
];

/// One run of a library with lock files followed: what differs from the truth in time.
fn library((library, system, kind): (&str, &str, &str), file: &Path) -> Vec<String> {
    let output = file.with_extension("records");
    let output = output.to_str().unwrap();
    let arguments = ["trace", "--lock-files", "--format", "jsonl", "--output", output];
    let mut program = python("lock_files.py");
    program.extend([library.to_owned(), file.to_str().unwrap().to_owned()]);
    let ended = watched(&arguments, &program).expect(0);
    let said: Vec<Value> =
        ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [hold, wait] = &said[..] else { panic!("{library}: {said:?}") };
    assert_eq!((text(hold, "what"), text(wait, "what")), ("hold", "wait"));
    let records = Records::of_file(Path::new(output));
    // What the program keeps step by is a lock of its own.
    let ours = |r: &&Value| text(r, "lock.system.name") != "multiprocessing";
    let acquires: Vec<&Value> = records.acquires().into_iter().filter(ours).collect();
    let [acquire] = acquires[..] else { panic!("{library}: one wait for one lock: {acquires:#?}") };
    let said = |key| text(acquire, key);
    assert_eq!((said("lock.system.name"), said("lock.type")), (system, kind), "{library}");
    assert_eq!((said("lock.outcome"), said("lock.name")), ("acquired", file.to_str().unwrap()));
    assert_eq!(acquire["process.pid"], wait["pid"], "{library}");
    assert_eq!(acquire["lock.holder.pid"], hold["pid"], "{library}: {acquire:#}");
    assert!(number(acquire, "lock.attempt.count") > 1, "{library} asks again and again");
    let first = |r: &&Value| ours(r) && r["process.pid"] == hold["pid"];
    let holds: Vec<&Value> = records.holds().into_iter().filter(first).collect();
    let [held] = holds[..] else { panic!("{library}: one hold of one lock: {holds:#?}") };
    assert_eq!(held["lock.id"], acquire["lock.id"], "{library}");
    let times = [
        ("wait", nanos(acquire, "lock.wait.duration"), length(wait)),
        ("hold", nanos(held, "lock.hold.duration"), length(hold)),
    ];
    let wrong = times.into_iter().filter(|&(_, told, truth)| !near(told, truth));
    wrong.map(|(what, told, truth)| format!("{library}: {what} of {truth} ns: {told}")).collect()
}

#[test]
fn libraries_that_lock_by_files_have_one_lock_and_a_holder() {
    for row in LIBRARIES {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().canonicalize().unwrap();
        let mut faults = Vec::new();
        // Python comes to its own clock readings when the machine lets it.
        for round in 0..3 {
            faults = library(row, &path.join(format!("{round}.lock")));
            if faults.is_empty() {
                break;
            }
        }
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    }
}
