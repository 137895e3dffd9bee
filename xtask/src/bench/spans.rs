//! What waits cost lockprobe itself, from ring to sink: processor time and memory.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::figures::Spread;
use super::page::Row;
use crate::{build, shell};

/// Name for `--only`.
pub const NAME: &str = "spans";

/// Each ends as two spans: of the wait, and of the hold it ended.
const WAITS_A_SECOND: u64 = 10_000;
const PROCESSOR_BAR: f64 = 0.10;
const MEMORY_BAR_MB: f64 = 64.0;

/// Ten thousand waits a second, of 256 threads for 256 locks, written as JSON lines to nowhere.
pub fn measure(rounds: usize, quick: bool) -> Result<Row> {
    let (mut shares, mut each, mut memory) = (Vec::new(), Vec::new(), 0f64);
    for _ in 0..rounds {
        let run = run(if quick { "3s" } else { "8s" })?;
        shares.push(run.processor / run.seconds);
        each.push(1e6 * run.processor / run.spans);
        memory = memory.max(run.resident / 1e6);
    }
    let (share, each) = (Spread::of(&shares), Spread::of(&each));
    Ok(Row::judged(
        "20,000 spans a second, ring to JSON lines",
        format!("{:.1} % of a core", 100.0 * share.median),
        format!("{:.2} us a span; {memory:.1} MB", each.median),
        "10 %, 64 MB",
        share.median <= PROCESSOR_BAR && memory <= MEMORY_BAR_MB,
    ))
}

struct Run {
    seconds: f64,
    processor: f64,
    spans: f64,
    resident: f64,
}

fn run(duration: &str) -> Result<Run> {
    let mut bench = shell::program(build::lockprobe()?);
    bench.args(["bench", "--rate", &WAITS_A_SECOND.to_string(), "--duration", duration]);
    let printed = shell::output(bench.args(["--output", "/dev/null"]))?;
    let report: Value = serde_json::from_str(&printed)?;
    let number = |key: &str| report[key].as_f64().with_context(|| format!("bench: no {key}"));
    let (made, received) = (number("made")?, number("received")?);
    ensure!(made == received, "bench: {made} waits made, {received} received");
    Ok(Run {
        seconds: number("seconds")?,
        processor: number("processor_seconds")?,
        spans: number("spans")?,
        resident: number("resident_bytes")?,
    })
}
