//! What a workload knows of itself, and how it compares with what was reported.

use std::io::Write;

use serde_json::{Value, json};

use super::super::run::Ended;
use crate::model::FindingKind;
use crate::sinks::duration;

/// Waits from this length on are compared one by one, nanoseconds.
pub const THRESHOLD: u64 = 1_000_000;
/// Shares by which truth and report may differ: the workload takes the time outside the lock
/// call, lockprobe inside the kernel, and a wait close to the threshold may fall on either side.
const TOLERANCE: f64 = 0.05;

/// The truth of one run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Truth {
    /// Waits of at least [`THRESHOLD`], as the waiting threads measured them, nanoseconds.
    pub waits: Vec<u64>,
    /// Thread that held the lock during most of them, where there is one.
    pub holder: Option<(u32, String)>,
    /// Threads in a deadlock.
    pub deadlocked: Vec<u32>,
    /// How the names of the locks end that the truth is about: the workload uses others too, to
    /// keep step.
    pub locks: Vec<String>,
}

impl Truth {
    /// As one line.
    pub fn to_json(&self) -> Value {
        json!({ "waits": self.waits, "holder": self.holder, "deadlocked": self.deadlocked,
            "locks": self.locks })
    }

    /// Reads the line back.
    pub fn from_json(line: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(line).ok()?;
        let number = |v: &Value| u32::try_from(v.as_u64()?).ok();
        Some(Self {
            waits: value["waits"].as_array()?.iter().filter_map(Value::as_u64).collect(),
            holder: number(&value["holder"][0])
                .map(|tid| (tid, value["holder"][1].as_str().unwrap_or_default().to_owned())),
            deadlocked: value["deadlocked"].as_array()?.iter().filter_map(number).collect(),
            locks: value["locks"]
                .as_array()?
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
        })
    }

    /// Adds another process's truth.
    pub fn merge(&mut self, other: Self) {
        self.waits.extend(other.waits);
        self.deadlocked.extend(other.deadlocked);
        self.holder = self.holder.take().or(other.holder);
        self.locks = other.locks;
    }
}

/// Prints both side by side; returns whether they agree.
pub fn compare(out: &mut dyn Write, truth: &Truth, ended: &Ended) -> std::io::Result<bool> {
    writeln!(out, "\n             WAITS >= 1 ms  TOTAL WAIT  LONGEST     MOST OFTEN HELD BY")?;
    let total: u64 = truth.waits.iter().sum();
    let longest = truth.waits.iter().copied().max().unwrap_or(0);
    let name = truth.holder.as_ref().map(|(tid, name)| format!("{name}/{tid}"));
    row(out, "truth", truth.waits.len() as u64, total, longest, name.as_deref())?;
    let seen = Seen::of(truth, ended);
    row(
        out,
        "lockprobe",
        seen.waits,
        seen.total,
        seen.longest,
        seen.holder.as_deref().filter(|_| name.is_some()),
    )?;
    let near = |a: u64, b: u64| (a as f64 - b as f64).abs() <= a.max(b) as f64 * TOLERANCE;
    let mut agree = near(truth.waits.len() as u64, seen.waits)
        && near(total, seen.total)
        && near(longest, seen.longest)
        && (name.is_none() || name == seen.holder);
    if !truth.deadlocked.is_empty() {
        let mut expected = truth.deadlocked.clone();
        expected.sort_unstable();
        writeln!(out, "truth        deadlock of threads {expected:?}")?;
        match seen.deadlocked(ended) {
            Some(found) => {
                writeln!(out, "lockprobe    deadlock of threads {found:?}")?;
                agree &= found == expected;
            }
            None => {
                writeln!(out, "lockprobe    no deadlock")?;
                agree = false;
            }
        }
    }
    writeln!(out, "{}", if agree { "They agree." } else { "They DIFFER." })?;
    Ok(agree)
}

fn row(
    out: &mut dyn Write,
    who: &str,
    waits: u64,
    total: u64,
    longest: u64,
    holder: Option<&str>,
) -> std::io::Result<()> {
    let (total, longest) = (duration(total), duration(longest));
    let holder = holder.unwrap_or("-");
    writeln!(out, "{who:<12} {waits:>13}  {total:<10}  {longest:<10}  {holder}")
}

/// What was reported, over all locks.
struct Seen {
    waits: u64,
    total: u64,
    longest: u64,
    holder: Option<String>,
}

impl Seen {
    fn of(truth: &Truth, ended: &Ended) -> Self {
        let about = |name: &str| truth.locks.iter().any(|lock| name.ends_with(lock));
        let waits = ended.seen.waits.iter().filter(|(name, _)| about(name)).map(|(_, wait)| *wait);
        let waits: Vec<u64> = waits.collect();
        let locks = ended.summary.locks.iter().filter(|l| about(&l.lock.name));
        let top = locks.filter_map(|l| l.top_holder.as_ref()).max_by_key(|(_, count)| *count);
        Self {
            waits: waits.len() as u64,
            total: waits.iter().sum(),
            longest: waits.iter().copied().max().unwrap_or(0),
            holder: top.map(|(h, _)| format!("{}/{}", h.name, h.id.tid)),
        }
    }

    fn deadlocked(&self, ended: &Ended) -> Option<Vec<u32>> {
        let findings = ended.seen.findings.iter();
        let deadlock = findings.into_iter().find(|f| f.kind == FindingKind::Deadlock)?;
        let mut ids: Vec<u32> = deadlock.waits.iter().map(|e| e.waiter.id.tid).collect();
        ids.sort_unstable();
        Some(ids)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_truth_survives_the_pipe() {
        let truth = Truth {
            waits: vec![1, 2],
            holder: Some((7, "slow".into())),
            locks: vec!["LOCK".into()],
            deadlocked: vec![3, 4],
        };
        assert_eq!(Truth::from_json(&truth.to_json().to_string()), Some(truth));
        assert_eq!(Truth::from_json("Segmentation fault"), None);
    }
}
