//! Memory after the start, and how long the start takes.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::figures::Spread;
use super::loops;
use super::observer::{Observer, trace};
use super::page::Row;
use crate::{build, shell};

/// Name for `--only`.
pub const NAME: &str = "start";

const STARTS: usize = 5;
/// The ring is mapped twice in a row, so that records that wrap around are in one piece.
const RING_MB: f64 = 4.2;
const MEMORY_BAR_MB: f64 = 24.0;
const START_BAR_MS: f64 = 300.0;

/// All of it.
pub fn measure() -> Result<Vec<Row>> {
    let (resident, anonymous) = memory()?;
    let firsts: Vec<f64> = (0..STARTS).map(|_| first_event()).collect::<Result<_>>()?;
    let readies: Vec<f64> = (0..STARTS).map(|_| ready()).collect::<Result<_>>()?;
    let (first, ready) = (Spread::of(&firsts), Spread::of(&readies));
    let range = |spread: Spread| {
        format!("quartiles {:.0} to {:.0} ms", spread.quartiles.0, spread.quartiles.1)
    };
    Ok(vec![
        Row::judged(
            "memory a second after attaching",
            format!("{resident:.1} MB"),
            format!("{anonymous:.1} MB of it its own; ring 4 MiB"),
            "24 MB and the ring",
            resident <= MEMORY_BAR_MB + RING_MB,
        ),
        Row::judged(
            "start to first event",
            format!("{:.0} ms", first.median),
            range(first),
            "300 ms",
            first.median <= START_BAR_MS,
        ),
        Row::figure(
            "start to attached, as doctor says",
            format!("{:.0} ms", ready.median),
            range(ready),
        ),
    ])
}

/// Resident memory in megabytes: all, and what is not files or the ring.
fn memory() -> Result<(f64, f64)> {
    let observer = Observer::start()?;
    sleep(Duration::from_secs(1));
    let status = fs::read_to_string(format!("/proc/{}/status", observer.id()))?;
    observer.stop()?;
    let megabytes = |key: &str| {
        let line =
            status.lines().find_map(|line| line.strip_prefix(key)).context("no such line")?;
        let kibibytes = line.split_whitespace().next().context("no figure")?;
        anyhow::Ok(kibibytes.parse::<f64>()? * 1024.0 / 1e6)
    };
    Ok((megabytes("VmRSS:")?, megabytes("RssAnon:")?))
}

/// Milliseconds from starting lockprobe with a command until the first wait of the command can be
/// read, less the wait: it loads, attaches, starts the command, sees it wait, and tells.
fn first_event() -> Result<f64> {
    let began = Instant::now();
    let mut child = trace()?
        .arg("--")
        .arg(loops::program()?)
        .arg("block")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("start lockprobe")?;
    let lines = BufReader::new(child.stdout.take().context("no output")?).lines();
    let mut first = None;
    for line in lines {
        let record: Value = serde_json::from_str(&line?)?;
        if first.is_none() && record["record"] == "acquire" {
            let wait = record["lock.wait.duration"].as_f64().context("a wait without length")?;
            first = Some((began.elapsed().as_secs_f64() - wait) * 1e3);
        }
    }
    child.wait()?;
    first.context("lockprobe did not report the wait")
}

/// Milliseconds until attached, by lockprobe's own account.
fn ready() -> Result<f64> {
    let mut doctor = shell::program(build::lockprobe()?);
    let printed = shell::output(doctor.args(["doctor", "--format", "json"]))?;
    let report: Value = serde_json::from_str(&printed)?;
    let found = |check: &Value| {
        let (_, after) = check["found"].as_str()?.split_once("ready in ")?;
        after.split_whitespace().next()?.parse().ok()
    };
    let checks = report["checks"].as_array().context("doctor: no checks")?;
    checks.iter().find_map(found).context("doctor does not say how long it took")
}
