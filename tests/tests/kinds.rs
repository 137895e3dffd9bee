//! Every kind of lock, each against what the program that uses it says of itself.

use std::path::Path;

use lockprobe_tests::kinds::{Expected, Holder, Run, hold_faults};
use lockprobe_tests::program::{
    built, compiled, compiled_statically_with_musl, compiled_with_musl, source,
};
use lockprobe_tests::unpacked;

/// A row: scene, `lock.system.name`, `lock.type`, `lock.mode`, how the holder is known.
type Row = (&'static str, &'static str, &'static str, &'static str, Holder);

fn held_to(program: impl Fn(&Path) -> Vec<String>, rows: &[Row]) {
    let expected = rows.iter().map(|&(scene, system, kind, mode, holder)| Expected {
        scene,
        system,
        kind,
        mode,
        holder,
    });
    Run::held_to(program, &expected.collect::<Vec<_>>());
}

fn path(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

fn c_program(rows: &[Row]) {
    kinds_of(&compiled("kinds"), rows);
}

fn kinds_of(program: &Path, rows: &[Row]) {
    let program = path(program);
    let names = ["not_condition", "not_barrier"].into_iter().chain(rows.iter().map(|row| row.0));
    let names: Vec<String> = names.map(str::to_owned).collect();
    held_to(|truth| [vec![program.clone(), path(truth)], names.clone()].concat(), rows);
}

#[test]
fn mutexes_of_every_type() {
    let mutex = |scene| (scene, "pthread", "mutex", "exclusive", Holder::Owner);
    c_program(&[
        mutex("mutex_normal"),
        mutex("mutex_recursive"),
        mutex("mutex_errorcheck"),
        mutex("mutex_adaptive"),
        mutex("mutex_timed"),
        mutex("mutex_robust"),
        ("mutex_robust_died", "pthread", "mutex", "exclusive", Holder::Gone),
        ("mutex_inherit", "futex", "pi_mutex", "exclusive", Holder::Owner),
        ("mutex_robust_inherit", "futex", "pi_mutex", "exclusive", Holder::Owner),
        mutex("mutex_after_condition"),
    ]);
}

#[test]
fn readers_and_writers_wait_for_one_lock() {
    let lock = |scene, mode, holder| (scene, "pthread", "rwlock", mode, holder);
    c_program(&[
        lock("read_while_written", "shared", Holder::Owner),
        lock("write_while_written", "exclusive", Holder::Owner),
        lock("write_while_read", "exclusive", Holder::Unknown),
        lock("read_behind_writer", "shared", Holder::Unknown),
    ]);
}

#[test]
fn semaphores_and_once() {
    c_program(&[
        ("semaphore", "pthread", "semaphore", "unknown", Holder::Unknown),
        ("semaphore_named", "pthread", "semaphore", "unknown", Holder::Unknown),
        ("once", "pthread", "once", "exclusive", Holder::Waker),
    ]);
}

#[test]
fn a_lock_that_processes_share_is_one_lock() {
    let mutex = |scene| (scene, "pthread", "mutex", "exclusive", Holder::Owner);
    c_program(&[mutex("mutex_of_forked"), mutex("mutex_of_file")]);
}

fn rows_of(program: &[&str], rows: &[Row], also: &[&str]) {
    let scenes = rows.iter().map(|row| row.0).chain(also.iter().copied());
    let scenes: Vec<String> = scenes.map(str::to_owned).collect();
    let program: Vec<String> = program.iter().map(|&p| p.to_owned()).collect();
    held_to(|truth| [program.clone(), vec![path(truth)], scenes.clone()].concat(), rows);
}

#[test]
fn locks_of_musl() {
    let mutex = |scene, holder| (scene, "musl", "mutex", "exclusive", holder);
    let rwlock = |scene, mode| (scene, "musl", "rwlock", mode, Holder::Unknown);
    let semaphore = |scene| (scene, "musl", "semaphore", "unknown", Holder::Unknown);
    for program in [compiled_with_musl("kinds"), compiled_statically_with_musl("kinds")] {
        kinds_of(
            &program,
            &[
                // A normal mutex says that it is taken, not by whom.
                mutex("mutex_normal", Holder::Waker),
                mutex("mutex_timed", Holder::Waker),
                mutex("mutex_after_condition", Holder::Waker),
                mutex("mutex_recursive", Holder::Owner),
                mutex("mutex_errorcheck", Holder::Owner),
                mutex("mutex_robust", Holder::Owner),
                mutex("mutex_robust_died", Holder::Gone),
                mutex("mutex_inherit", Holder::Owner),
                mutex("mutex_robust_inherit", Holder::Owner),
                mutex("mutex_of_forked", Holder::Waker),
                mutex("mutex_of_file", Holder::Waker),
                rwlock("read_while_written", "shared"),
                rwlock("write_while_written", "exclusive"),
                rwlock("write_while_read", "exclusive"),
                semaphore("semaphore"),
                semaphore("semaphore_named"),
                ("once", "musl", "once", "exclusive", Holder::Waker),
            ],
        );
    }
}

#[test]
fn locks_of_the_cxx_library() {
    let program = path(&built("kinds.cc", "g++", &["-std=c++17", "-O1", "-g", "-pthread"]));
    rows_of(
        &[&program],
        &[
            ("mutex", "pthread", "mutex", "exclusive", Holder::Owner),
            ("shared_mutex_read", "pthread", "rwlock", "shared", Holder::Owner),
            ("shared_mutex_write", "pthread", "rwlock", "exclusive", Holder::Unknown),
            ("call_once", "pthread", "once", "exclusive", Holder::Waker),
            ("static_init", "cxx", "static_init", "exclusive", Holder::Waker),
        ],
        &[],
    );
}

#[test]
fn locks_of_rust() {
    rows_of(
        &[env!("CARGO_BIN_EXE_rust_kinds")],
        &[
            ("mutex", "rust_std", "mutex", "exclusive", Holder::Waker),
            ("rwlock_read", "rust_std", "rwlock", "shared", Holder::Unknown),
            ("rwlock_write", "rust_std", "rwlock", "exclusive", Holder::Unknown),
            ("once", "rust_std", "once", "exclusive", Holder::Waker),
            ("parked_mutex", "parking_lot", "mutex", "exclusive", Holder::Perhaps),
            ("parked_read", "parking_lot", "rwlock", "shared", Holder::Unknown),
            ("parked_write", "parking_lot", "rwlock", "exclusive", Holder::Unknown),
        ],
        &[],
    );
}

#[test]
fn locks_of_python() {
    rows_of(
        &["/usr/bin/python3", &path(&source("kinds.py"))],
        &[
            ("lock", "cpython", "mutex", "exclusive", Holder::Waker),
            ("reentrant", "cpython", "mutex", "exclusive", Holder::Waker),
            ("gil", "cpython", "gil", "exclusive", Holder::Perhaps),
            ("process_lock", "multiprocessing", "semaphore", "unknown", Holder::Unknown),
        ],
        &["not_condition", "not_condition_short"],
    );
}

/// Interpreters whose locks are `PyMutex`: the first wait is seen at a place that is not known yet,
/// which tells the lock and not its holder.
fn locks_of_newer_python(version: &str, reentrant: Row) {
    let mut program = unpacked::python(version);
    program.push(path(&source("kinds.py")));
    let program: Vec<&str> = program.iter().map(String::as_str).collect();
    rows_of(
        &program,
        &[
            ("lock", "cpython", "parked_mutex", "exclusive", Holder::Perhaps),
            ("lock_known", "cpython", "parked_mutex", "exclusive", Holder::Waker),
            reentrant,
            ("gil", "cpython", "gil", "exclusive", Holder::Perhaps),
            ("process_lock", "multiprocessing", "semaphore", "unknown", Holder::Unknown),
        ],
        &["not_condition", "not_condition_short"],
    );
}

#[test]
fn locks_of_python_3_13() {
    let reentrant = ("reentrant", "cpython", "mutex", "exclusive", Holder::Waker);
    locks_of_newer_python("3.13", reentrant);
}

#[test]
fn locks_of_python_3_14() {
    let reentrant = ("reentrant", "cpython", "parked_mutex", "exclusive", Holder::Waker);
    locks_of_newer_python("3.14", reentrant);
}

#[test]
fn locks_of_java() {
    let classes = path(&built("Kinds.java", "javac", &[]));
    rows_of(
        &["java", "-cp", &classes, "Kinds"],
        &[
            ("monitor", "java", "monitor", "exclusive", Holder::Perhaps),
            ("reentrant", "java", "park", "unknown", Holder::Unknown),
        ],
        &["not_condition"],
    );
}

#[test]
fn waits_of_javascript() {
    let row = ("wait", "v8", "atomics_wait", "unknown", Holder::Unknown);
    rows_of(&["node", &path(&source("kinds.js"))], &[row], &[]);
}

#[test]
fn goroutines_wait_for_no_thread_and_idle_threads_for_no_lock() {
    for stripped in [&["build"][..], &["build", "-ldflags=-s -w"]] {
        let program = path(&built("kinds.go", "go", stripped));
        rows_of(&[&program], &[], &["not_mutex"]);
    }
}

#[test]
fn holds_under_contention_are_known_from_end_to_end() {
    let program = path(&compiled("kinds"));
    let observed =
        Run::observe(|truth| vec![program.clone(), path(truth), "holds".into()], hold_faults);
    assert_eq!(observed.holds.len(), 120, "the program did not follow its schedule");
}
