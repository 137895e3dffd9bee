//! `lockprobe doctor`.

use std::io::{IsTerminal, Write, stdout};

use anstyle::AnsiColor;
use serde_json::json;

use super::command::{DoctorArgs, DoctorFormat};
use super::run::colour_wanted;
use crate::source::doctor::{Check, Verdict, checks};

/// Runs it. The status is 5 when live capture does not work.
pub fn main(args: &DoctorArgs) -> anyhow::Result<u8> {
    let checks = checks();
    match args.format {
        DoctorFormat::Table => table(&checks)?,
        DoctorFormat::Json => {
            let list: Vec<_> = checks.iter().map(to_json).collect();
            let good = checks.iter().all(|c| c.verdict != Verdict::Bad);
            writeln!(stdout(), "{:#}", json!({ "ready": good, "checks": list }))?;
        }
    }
    let bad = checks.iter().any(|c| c.verdict == Verdict::Bad);
    Ok(if bad { 5 } else { 0 })
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Good => "good",
        Verdict::Limited => "limited",
        Verdict::Bad => "bad",
    }
}

fn to_json(check: &Check) -> serde_json::Value {
    json!({ "name": check.name, "verdict": word(check.verdict), "found": check.found })
}

fn table(checks: &[Check]) -> std::io::Result<()> {
    let mut out = stdout().lock();
    let colour = out.is_terminal() && colour_wanted();
    for check in checks {
        let style = match check.verdict {
            Verdict::Good => AnsiColor::Green,
            Verdict::Limited => AnsiColor::Yellow,
            Verdict::Bad => AnsiColor::Red,
        };
        let style = style.on_default();
        let verdict = format!("{:<7}", word(check.verdict));
        let verdict = if colour { format!("{style}{verdict}{style:#}") } else { verdict };
        writeln!(out, "{verdict}  {:<17} {}", check.name, check.found)?;
    }
    let bad = checks.iter().find(|c| c.verdict == Verdict::Bad);
    match bad {
        None => writeln!(out, "\nThis machine can be observed: try `lockprobe trace`."),
        Some(check) => writeln!(out, "\nLive capture does not work here: see `{}`.", check.name),
    }
}
