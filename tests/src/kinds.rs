//! The truth of programs that use one kind of lock after the other, and how a report differs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use crate::program::watched;
use crate::records::{Records, nanos, number, text};
use crate::unpacked::is_python;

/// What a report may differ by, whichever is larger: a share, and nanoseconds.
const SHARE: f64 = 0.05;
fn slack() -> u64 {
    crate::slack(200_000)
}
/// Runs of a program whose report differs from its truth; the last one counts.
const RUNS: usize = 3;

/// How the holder of a lock is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// The lock's memory names it.
    Owner,
    /// The same, but it is a thread that has ended: 0 says so, where it was not known before.
    Gone,
    /// Inferred from who let it go.
    Waker,
    /// Inferred, where it did not change hands as far as anybody can tell: right, or not told.
    Perhaps,
    /// Not at all.
    Unknown,
}

/// What is to be reported of the waits of one scene.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    /// Which scene.
    pub scene: &'static str,
    /// `lock.system.name`.
    pub system: &'static str,
    /// `lock.type`.
    pub kind: &'static str,
    /// `lock.mode`.
    pub mode: &'static str,
    /// `lock.holder.*`.
    pub holder: Holder,
}

/// A wait as the program saw it. Times are nanoseconds.
#[derive(Clone, Debug)]
pub struct Wait {
    scene: String,
    pid: u64,
    lock: u64,
    waiter: u64,
    holder: u64,
    length: u64,
}

/// A hold as the program saw it.
#[derive(Clone, Debug)]
pub struct Hold {
    tid: u64,
    begin: u64,
    length: u64,
}

/// One run of a program: what it says of itself, and what was reported.
#[derive(Debug)]
pub struct Run {
    /// Its waits.
    pub waits: Vec<Wait>,
    /// Its holds.
    pub holds: Vec<Hold>,
    /// The report.
    pub records: Records,
    /// The program has a run time with threads of its own.
    runtime: bool,
}

fn near(a: u64, b: u64) -> bool {
    a.abs_diff(b) as f64 <= (b as f64 * SHARE).max(slack() as f64)
}

impl Run {
    fn of(program: &impl Fn(&Path) -> Vec<String>) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (truth, output) = (directory.path().join("truth"), directory.path().join("records"));
        let arguments = ["trace", "--format", "jsonl", "--output", output.to_str().expect("UTF-8")];
        watched(&arguments, program(&truth)).expect(0);
        let text_of = std::fs::read_to_string(&truth).expect("the program wrote its truth");
        let command = program(&truth);
        let runtime =
            is_python(&command) || ["java", "node"].iter().any(|name| command[0].ends_with(name));
        let records = Records::of_file(&output);
        let mut run = Self { waits: vec![], holds: vec![], records, runtime };
        for line in text_of.lines() {
            let line: Value = serde_json::from_str(line).expect(line);
            let (begin, end) = (number(&line, "begin"), number(&line, "end"));
            let length = end - begin;
            if line["hold"].is_null() {
                run.waits.push(Wait {
                    scene: text(&line, "scene").to_owned(),
                    pid: number(&line, "pid"),
                    lock: number(&line, "lock"),
                    waiter: number(&line, "waiter"),
                    holder: number(&line, "holder"),
                    length,
                });
            } else {
                run.holds.push(Hold { tid: number(&line, "tid"), begin, length });
            }
        }
        run
    }

    /// Runs a program until its report has no faults, three times at most: its own clock readings
    /// are not those of the scheduler when the machine is busy.
    #[track_caller]
    pub fn observe(
        program: impl Fn(&Path) -> Vec<String>,
        faults: impl Fn(&Self) -> Vec<String>,
    ) -> Self {
        for last in (0..RUNS).rev() {
            let run = Self::of(&program);
            let faults = faults(&run);
            if faults.is_empty() {
                return run;
            }
            let listed = faults.join("\n\n");
            assert!(last > 0, "{} faults:\n{listed}", faults.len());
            eprintln!("once more:\n{listed}");
        }
        unreachable!("the last run returns or fails")
    }

    /// Runs a program and holds its report to its truth.
    #[track_caller]
    pub fn held_to(program: impl Fn(&Path) -> Vec<String>, rows: &[Expected]) {
        Self::observe(program, |run| run.faults(rows));
    }

    fn faults(&self, rows: &[Expected]) -> Vec<String> {
        let mut faults = Vec::new();
        let mut left: Vec<&Value> = self.records.acquires();
        // What the C library locks for itself, as when it starts a thread, is not told here.
        left.retain(|r| r["lock.type"] != "low_level" && self.of_ours(r));
        let mut ids: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for wait in &self.waits {
            let is_it = |r: &&&Value| {
                r["thread.id"] == wait.waiter && near(nanos(r, "lock.wait.duration"), wait.length)
            };
            let found: Vec<&Value> = left.iter().filter(is_it).copied().collect();
            let row = rows.iter().find(|row| row.scene == wait.scene);
            match (row, &found[..]) {
                (None, []) => assert!(wait.scene.starts_with("not_"), "no row for {wait:?}"),
                // Where nothing but the stack could tell, and there is none, it says so.
                (None, all) if all.iter().all(|r| !r["lock.stack.missing"].is_null()) => {}
                (None, all) if all.iter().all(|r| r["lock.confidence"] == "candidate") => {}
                (None, _) => faults.push(format!("no lock at all: {wait:?}: {found:?}")),
                (Some(_), []) => faults.push(format!("not reported: {wait:?}")),
                (Some(row), [record, ..]) => {
                    wait.compare(row, record, &mut faults);
                    ids.entry(row.scene).or_default().insert(text(record, "lock.id"));
                    left.retain(|r| !std::ptr::eq(*r, *record));
                }
            }
        }
        for row in rows {
            match ids.get(row.scene).map_or(0, BTreeSet::len) {
                1 => {}
                n => faults.push(format!("{n} locks instead of one: {row:?}: {ids:?}")),
            }
        }
        // A thread that was let pass by a waiter of the scene has waited too.
        let known: BTreeSet<&str> = ids.into_values().flatten().collect();
        left.retain(|r| !known.contains(text(r, "lock.id")));
        // What a run time does for itself is not told.
        if !self.runtime {
            faults.extend(left.iter().map(|r| format!("nobody waited so: {r}")));
        }
        faults.extend(self.records.dropped().iter().map(|d| format!("dropped: {d:?}")));
        faults
    }

    fn of_ours(&self, record: &Value) -> bool {
        self.waits.iter().any(|w| w.pid == number(record, "process.pid"))
    }
}

impl Wait {
    fn compare(&self, row: &Expected, record: &Value, faults: &mut Vec<String>) {
        let mut expect = |what: &str, right: bool| {
            if !right {
                faults.push(format!("{what} is wrong: {row:?} {self:?}: {record}"));
            }
        };
        expect("system", record["lock.system.name"] == row.system);
        expect("type", record["lock.type"] == row.kind);
        expect("mode", record["lock.mode"] == row.mode);
        let looked_at = record["lock.stack.missing"].is_null();
        expect("confidence", record["lock.confidence"] == "confirmed" || !looked_at);
        expect("outcome", record["lock.outcome"] == "acquired");
        let id = text(record, "lock.id");
        if id.starts_with("process:") {
            expect("scope", record["lock.scope"] == "process" && self.lock == 0);
        } else if self.lock != 0 && !id.contains(":ino") {
            expect("identity", id.ends_with(&format!(":{:#x}", self.lock)));
        }
        let source = match row.holder {
            Holder::Owner | Holder::Gone => Value::from("owner_word"),
            Holder::Waker => Value::from("waker"),
            Holder::Perhaps => record["lock.holder.source"].clone(),
            Holder::Unknown => Value::Null,
        };
        expect("holder's source", record["lock.holder.source"] == source);
        let holder = &record["lock.holder.tid"];
        match row.holder {
            Holder::Unknown => {}
            Holder::Gone => expect("holder", *holder == 0 || *holder == self.holder),
            Holder::Perhaps => expect("holder", holder.is_null() || *holder == self.holder),
            Holder::Owner | Holder::Waker => expect("holder", *holder == self.holder),
        }
    }
}

/// At least 118 of 120 holds are reported, on the average 2 % wrong.
pub fn hold_faults(run: &Run) -> Vec<String> {
    let mut faults = Vec::new();
    let (mut reported, mut truth, mut sum) = (0, 0, 0);
    let offset = wall_minus_monotonic();
    let records = run.records.holds();
    for hold in &run.holds {
        let begin = hold.begin.saturating_add_signed(offset);
        let is_it = |r: &&&Value| {
            let start = number(r, "start_time_unix_nano");
            r["thread.id"] == hold.tid
                && r["lock.hold.precision"] == "exact"
                && start.abs_diff(begin) < hold.length / 2
        };
        let found: Vec<_> = records.iter().filter(is_it).collect();
        match found[..] {
            [] => {}
            [record] => {
                reported += 1;
                truth += hold.length;
                sum += nanos(record, "lock.hold.duration");
            }
            _ => faults.push(format!("told twice: {hold:?}: {found:?}")),
        }
    }
    if reported * 120 < run.holds.len() * 118 {
        faults.push(format!("{reported} of {} holds", run.holds.len()));
    }
    if sum.abs_diff(truth) as f64 > truth as f64 * 0.02 {
        faults.push(format!("holds of {truth} ns are told to be {sum} ns"));
    }
    eprintln!("{reported} of {} holds, {sum} ns of {truth} ns", run.holds.len());
    faults
}

/// What CLOCK_REALTIME is ahead of CLOCK_MONOTONIC.
fn wall_minus_monotonic() -> i64 {
    let wall = std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_nanos() as i64;
    wall - crate::system::monotonic() as i64
}
