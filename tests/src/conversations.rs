//! The truth of clients of lock servers, and how a report differs.
//!
//! A client writes a line for each attempt, each hold and each thing that is to be found
//! (`tests/clients/truth.py`). Every line has its record, and there is no record without a line.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;

use crate::program::watched;
use crate::records::{Records, nanos, number, text};

/// What a wait or hold may differ by from the client's own clock, whichever is larger: nanoseconds,
/// and a share.
const SLACK: u64 = 5_000_000;
const SHARE: f64 = 0.02;
/// Runs of a client whose report differs from its truth; the last one counts. A busy machine keeps
/// a client from looking at its clock in time.
const RUNS: usize = 3;

/// One run of a client.
#[derive(Debug)]
pub struct Talk {
    /// What it says.
    pub truth: Vec<Value>,
    /// What was reported.
    pub records: Records,
    system: String,
}

impl Talk {
    /// Runs lockprobe, with these arguments too, on a client, which `command` makes of the file its
    /// truth goes to.
    pub fn observe(
        system: &str,
        servers: &[u16],
        more: &[&str],
        command: &impl Fn(&Path) -> Vec<String>,
    ) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (truth, output) = (directory.path().join("truth"), directory.path().join("records"));
        let servers: Vec<String> = servers.iter().map(|port| format!("{port}={system}")).collect();
        let mut arguments =
            vec!["trace", "--format", "jsonl", "--min-wait", "100ms", "--no-stacks"];
        arguments.extend(["--output", output.to_str().expect("UTF-8")]);
        arguments.extend(more);
        servers.iter().for_each(|server| arguments.extend(["--server", server]));
        watched(&arguments, command(&truth)).expect(0);
        let text = std::fs::read_to_string(&truth).expect("the client wrote its truth");
        let line =
            |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"));
        let records = Records::of_file(&output);
        Self { truth: text.lines().map(line).collect(), records, system: system.to_owned() }
    }

    /// Runs a client until its report has no faults, three times at most.
    #[track_caller]
    pub fn check(system: &str, servers: &[u16], command: impl Fn(&Path) -> Vec<String>) -> Self {
        Self::check_with(system, servers, &[], command)
    }

    /// The same with more arguments for lockprobe.
    #[track_caller]
    pub fn check_with(
        system: &str,
        servers: &[u16],
        more: &[&str],
        command: impl Fn(&Path) -> Vec<String>,
    ) -> Self {
        let mut faults = String::new();
        for _ in 0..RUNS {
            let talk = Self::observe(system, servers, more, &command);
            faults = talk.faults();
            if faults.is_empty() {
                return talk;
            }
            eprintln!("not as it was:\n{faults}");
        }
        panic!("{faults}");
    }

    fn of_system<'a>(&'a self, kind: &'a str) -> Vec<&'a Value> {
        let of_system = |r: &&Value| r["lock.system.name"] == self.system.as_str();
        self.records.of_kind(kind).filter(of_system).collect()
    }

    fn said(&self, what: &str) -> Vec<&Value> {
        self.truth.iter().filter(|line| line["what"] == what).collect()
    }

    /// A finding of this system with what it says of the lock: of one about waits, the first for
    /// such a lock, and who has it.
    fn about(&self, finding: &Value) -> Option<Value> {
        let of_system = |r: &&Value| r["lock.system.name"] == self.system.as_str();
        let edges = ["waits", "cycle"].map(|key| finding[key].as_array().into_iter().flatten());
        let edge = edges.into_iter().flatten().find(of_system);
        let Some(edge) = edge else { return Some(finding.clone()).filter(|f| of_system(&f)) };
        let mut about = edge.clone();
        about["lock.finding.type"] = finding["lock.finding.type"].clone();
        about["process.pid"] = Value::Null;
        Some(about)
    }

    /// How the report differs; empty where it does not.
    pub fn faults(&self) -> String {
        let mut faults = String::new();
        let acquire = |line: &Value, record: &Value| {
            text(line, "outcome") == text(record, "lock.outcome")
                && near(line, nanos(record, "lock.wait.duration"))
                && line["holder"].as_u64().is_none_or(|pid| record["lock.holder.pid"] == pid)
        };
        let hold = |line: &Value, record: &Value| {
            text(line, "ended") == text(record, "lock.hold.end")
                && near(line, nanos(record, "lock.hold.duration"))
                && line["renewals"].as_u64().is_none_or(|n| renewals(record) == n)
        };
        compare(&self.said("acquire"), &self.of_system("acquire"), &acquire, &mut faults);
        compare(&self.said("hold"), &self.of_system("hold"), &hold, &mut faults);
        let found =
            |line: &Value, record: &Value| text(line, "kind") == text(record, "lock.finding.type");
        let begun = self.records.of_kind("finding").filter(|r| r["lock.finding.state"] != "end");
        let begun: Vec<Value> = begun.filter_map(|record| self.about(record)).collect();
        compare(&self.said("finding"), &begun.iter().collect::<Vec<_>>(), &found, &mut faults);
        let lost = &self.records.summary()["dropped"];
        let _ = writeln!(
            faults,
            "{}",
            if faults.is_empty() { String::new() } else { format!("lost: {lost}") }
        );
        faults.trim().to_owned()
    }
}

/// How often it was prolonged: not told of what never was.
fn renewals(record: &Value) -> u64 {
    record["lock.renewal.count"].as_u64().unwrap_or(0)
}

fn near(line: &Value, told: u64) -> bool {
    let length = number(line, "end") - number(line, "begin");
    let slack = crate::slack(line["slack"].as_u64().unwrap_or(SLACK));
    told.abs_diff(length) as f64 <= (slack as f64).max(length as f64 * SHARE)
}

/// Each line has a record of its own that fits it, and no record is left.
fn compare(
    lines: &[&Value],
    records: &[&Value],
    fits: &dyn Fn(&Value, &Value) -> bool,
    faults: &mut String,
) {
    let mut left: Vec<&Value> = records.to_vec();
    for line in lines {
        let same = |record: &&Value| {
            let pid = record["process.pid"].as_u64().or_else(|| record["lock.holder.pid"].as_u64());
            let (id, lock) = (text(record, "lock.id"), text(line, "lock"));
            // What ends a row's name only the server of the words could tell.
            let named = if lock.ends_with('/') { id.contains(lock) } else { id.ends_with(lock) };
            pid == line["pid"].as_u64() && named
        };
        match left.iter().position(|record| same(record) && fits(line, record)) {
            Some(at) => drop(left.remove(at)),
            None => {
                let _ = writeln!(faults, "not reported: {line}");
            }
        }
    }
    for record in left {
        let _ = writeln!(faults, "too much: {record}");
    }
}
