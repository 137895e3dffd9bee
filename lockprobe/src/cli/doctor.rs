//! `lockprobe doctor`.

use std::io::{IsTerminal, Write, stdout};

use anstyle::AnsiColor;
use serde_json::json;

use super::command::{DoctorArgs, DoctorFormat};
use super::run::colour_wanted;
use crate::source::doctor::{Check, Report, Verdict, examine};

/// Runs it. The status is that of live capture: 0 when it works, with whatever is missing.
pub fn main(args: &DoctorArgs) -> anyhow::Result<u8> {
    let Report { checks, status } = examine();
    match args.format {
        DoctorFormat::Table => table(&checks)?,
        DoctorFormat::Json => {
            let list: Vec<_> = checks.iter().map(to_json).collect();
            writeln!(stdout(), "{:#}", json!({ "ready": status == 0, "checks": list }))?;
        }
    }
    Ok(status)
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Good => "good",
        Verdict::Off => "off",
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
            Verdict::Off => AnsiColor::BrightBlack,
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
