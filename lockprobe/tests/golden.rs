//! Recordings of real runs, replayed: what they come to is known to the byte.
//!
//! `tests/golden/NAME.lprec` was recorded by `lockprobe record -o NAME.lprec -- PROGRAM`, of the
//! demo's workloads and of the programs of the live tests; paths of the machine were replaced.
//! `UPDATE_GOLDEN=1` writes what is expected anew: look at the difference before it is committed.

use std::path::{Path, PathBuf};
use std::process::Command;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden")
}

/// What a replay prints.
fn replay(recording: &Path, format: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lockprobe"));
    let output = command.arg("replay").arg(recording).args(["--format", format]).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{}: {error}", recording.display());
    assert_eq!(error, "");
    String::from_utf8(output.stdout).unwrap()
}

fn check(format: &str, extension: &str) {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut recordings: Vec<PathBuf> = std::fs::read_dir(golden())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "lprec"))
        .collect();
    recordings.sort();
    assert!(recordings.len() >= 6, "{recordings:?}");
    for recording in recordings {
        let expected = recording.with_extension(extension);
        let found = replay(&recording, format);
        if update {
            std::fs::write(&expected, &found).unwrap();
            continue;
        }
        let known = std::fs::read_to_string(&expected).unwrap();
        for (line, (found, known)) in found.lines().zip(known.lines()).enumerate() {
            assert_eq!(found, known, "{} line {}", expected.display(), line + 1);
        }
        assert_eq!(found, known, "{}", expected.display());
    }
}

#[test]
fn json_lines_are_as_they_were() {
    check("jsonl", "jsonl");
}

#[test]
fn tables_are_as_they_were() {
    check("table", "txt");
}

#[test]
fn recordings_are_small_enough_to_be_kept() {
    for entry in std::fs::read_dir(golden()).unwrap() {
        let entry = entry.unwrap();
        assert!(entry.metadata().unwrap().len() < 200 << 10, "{}", entry.path().display());
    }
}
