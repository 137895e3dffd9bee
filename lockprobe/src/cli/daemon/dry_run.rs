//! `lockprobe run --dry-run`: what it would do, without doing it.

use std::collections::BTreeMap;
use std::io::{BufWriter, Write, stdout};
use std::path::Path;

use super::assemble;
use super::log::printable;
use super::surroundings::Surroundings;
use crate::config::Settings;
use crate::select::{Choice, Decision};
use crate::source::live::{Chosen, probes, sightings};

/// Most processes listed of one selector.
const LISTED: usize = 100;

/// Prints it.
pub fn main(settings: &Settings, file: Option<&Path>) -> anyhow::Result<u8> {
    let mut out = BufWriter::new(stdout().lock());
    let choice = assemble::choice(settings)?;
    let around = Surroundings::at_hand();
    let options = assemble::options(settings, &around)?;
    let file = file.map_or("none".into(), |file| printable(&file.display().to_string()));
    writeln!(out, "Configuration: {file}")?;
    processes(&mut out, &choice, sightings(&choice, Some(around.locator())))?;
    writeln!(out, "\nWould attach to:")?;
    probes(&options).iter().try_for_each(|probe| writeln!(out, "  {probe}"))?;
    outputs(&mut out, settings)?;
    writeln!(out, "\nNothing was attached.")?;
    out.flush()?;
    Ok(0)
}

fn processes(out: &mut dyn Write, choice: &Choice, seen: Vec<Chosen>) -> std::io::Result<()> {
    let watched = seen.iter().filter(|process| process.decision.is_watched()).count();
    writeln!(out, "Would watch {watched} of {} processes.", seen.len())?;
    let mut groups: BTreeMap<(u8, usize), Vec<&Chosen>> = BTreeMap::new();
    for process in &seen {
        let group = match process.decision {
            Decision::Included(at) => (0, at),
            Decision::Excluded(at) => (2, at),
            Decision::Everybody => (1, 0),
            Decision::NotIncluded => continue,
        };
        groups.entry(group).or_default().push(process);
    }
    // A selector that means nobody is most likely a slip.
    let included = (0..choice.include().len()).map(|at| (0, at));
    for group in included.chain((0..choice.exclude().len()).map(|at| (2, at))) {
        groups.entry(group).or_default();
    }
    for ((list, at), group) in groups {
        match list {
            0 => writeln!(out, "\ntargets.include[{at}] means {}:", count(group.len()))?,
            1 => writeln!(
                out,
                "\nWatched, there being nobody in particular: {}:",
                count(group.len())
            )?,
            _ => writeln!(out, "\ntargets.exclude[{at}] leaves out {}:", count(group.len()))?,
        }
        for process in group.iter().take(LISTED) {
            writeln!(out, "  {:>8}  {}", process.pid, printable(&process.name))?;
        }
        if group.len() > LISTED {
            writeln!(out, "  and {} more", group.len() - LISTED)?;
        }
    }
    Ok(())
}

fn count(n: usize) -> String {
    if n == 1 { "1 process".into() } else { format!("{n} processes") }
}

fn outputs(out: &mut dyn Write, settings: &Settings) -> std::io::Result<()> {
    writeln!(out, "\nWould send:")?;
    let otlp = &settings.otlp;
    match &otlp.endpoint {
        None => writeln!(out, "  nothing to a collector; otlp.endpoint is not set")?,
        Some(endpoint) => {
            let signals = [(otlp.traces, "traces"), (otlp.metrics, "metrics"), (otlp.logs, "logs")];
            let signals = signals.iter().filter(|(on, _)| *on).map(|(_, name)| *name);
            let signals: Vec<&str> = signals.collect();
            let (protocol, signals) = (&otlp.protocol, signals.join(", "));
            writeln!(out, "  {signals} to {} over {protocol}", printable(endpoint))?;
        }
    }
    match settings.http.listen.as_str() {
        "off" => writeln!(out, "  no endpoints; http.listen is off")?,
        listen => writeln!(out, "  /metrics, /healthz, /readyz and /snapshot at http://{listen}")?,
    }
    if let Some(path) = &settings.jsonl.path {
        writeln!(out, "  JSON lines to {}", printable(path))?;
    }
    writeln!(out, "  state to {}", printable(&settings.state.directory))
}
