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
const MEMORY_BAR_MB: f64 = 24.0;
const START_BAR_MS: f64 = 300.0;

/// All of it.
pub fn measure() -> Result<Vec<Row>> {
    let (early, late) = memory()?;
    let firsts: Vec<f64> = (0..STARTS).map(|_| first_event()).collect::<Result<_>>()?;
    let readies: Vec<f64> = (0..STARTS).map(|_| ready()).collect::<Result<_>>()?;
    let verified = verified()?;
    let (first, ready) = (Spread::of(&firsts), Spread::of(&readies));
    let range = |spread: Spread| {
        format!("quartiles {:.0} to {:.0} ms", spread.quartiles.0, spread.quartiles.1)
    };
    Ok(vec![
        Row::judged(
            "memory a second after attaching",
            format!("{:.1} MB", early.all),
            early.beside_ring(),
            "24 MB and the ring (4 MiB)",
            early.all - early.ring <= MEMORY_BAR_MB,
        ),
        Row::figure("memory after five", format!("{:.1} MB", late.all), late.beside_ring()),
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
        Row::figure("instructions verified at the start", verified.0, verified.1),
    ])
}

/// Resident memory in megabytes.
struct Memory {
    all: f64,
    /// What is in no file and not the ring.
    own: f64,
    /// The ring, as far as it was touched. The kernel maps it twice in a row, so that records that
    /// wrap around are in one piece, and counts it twice.
    ring: f64,
}

impl Memory {
    fn of(pid: u32) -> Result<Self> {
        let maps = fs::read_to_string(format!("/proc/{pid}/smaps"))?;
        let (mut memory, mut is_ring) = (Self { all: 0.0, own: 0.0, ring: 0.0 }, false);
        for line in maps.lines() {
            let mut words = line.split_whitespace();
            let (Some(key), Some(value)) = (words.next(), words.next()) else { continue };
            let megabytes = || anyhow::Ok(value.parse::<f64>()? * 1024.0 / 1e6);
            match key {
                "Rss:" if is_ring => memory.ring += megabytes()?,
                "Rss:" => memory.all += megabytes()?,
                "Anonymous:" => memory.own += megabytes()?,
                _ if !key.ends_with(':') => is_ring = line.contains("bpf-map"),
                _ => {}
            }
        }
        memory.all += memory.ring;
        Ok(memory)
    }

    fn beside_ring(&self) -> String {
        format!("{:.1} MB beside the ring, {:.1} MB in no file", self.all - self.ring, self.own)
    }
}

/// A second after attaching, and when the files of others it looked at are unmapped again.
fn memory() -> Result<(Memory, Memory)> {
    let observer = Observer::start(&[])?;
    sleep(Duration::from_secs(1));
    let early = Memory::of(observer.id())?;
    sleep(Duration::from_secs(4));
    let late = Memory::of(observer.id())?;
    observer.stop()?;
    Ok((early, late))
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
    let found = live_capture()?;
    let (_, after) = found.split_once("ready in ").context("doctor does not say how long")?;
    Ok(after.split_whitespace().next().context("doctor does not say how long")?.parse()?)
}

/// How many instructions the verifier went through, and for which programs: the same at every start.
fn verified() -> Result<(String, String)> {
    let found = live_capture()?;
    let (_, after) = found.split_once("; verified ").context("doctor does not say what was")?;
    let (all, each) = after.split_once(" instructions ").context("doctor does not say what was")?;
    let each = each.trim_matches(['(', ')']).split(", ").take(4).collect::<Vec<_>>().join(", ");
    Ok((all.to_owned(), each))
}

/// What doctor says of live capture.
fn live_capture() -> Result<String> {
    let mut doctor = shell::program(build::lockprobe()?);
    let printed = shell::output(doctor.args(["doctor", "--format", "json"]))?;
    let report: Value = serde_json::from_str(&printed)?;
    let checks = report["checks"].as_array().context("doctor: no checks")?;
    let found = checks.iter().filter_map(|check| check["found"].as_str());
    let mut found = found.filter(|found| found.contains("ready in "));
    Ok(found.next().context("doctor does not say how long it took")?.to_owned())
}
