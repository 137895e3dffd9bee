//! How long looking for deadlocks takes: the whole command, and the graph alone.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::figures::Spread;
use super::page::Row;
use crate::{build, shell};

/// Name for `--only`.
pub const NAME: &str = "deadlocks";

const THREADS: u32 = 1000;
const WAITING: u32 = 200;
const LOOKS: usize = 9;
const LOOK_BAR_MS: f64 = 300.0;
const GRAPH_BAR_MS: f64 = 20.0;

/// All of it.
pub fn measure() -> Result<Vec<Row>> {
    let crowd = Crowd::start()?;
    let looks: Vec<f64> = (0..LOOKS).map(|_| look()).collect::<Result<_>>()?;
    drop(crowd);
    let look = Spread::of(&looks);
    let graph = graph()?;
    Ok(vec![
        Row::judged(
            "`deadlocks` beside 1,000 threads, 200 of them waiting",
            format!("{:.0} ms", look.median),
            format!("quartiles {:.0} to {:.0} ms", look.quartiles.0, look.quartiles.1),
            "300 ms",
            look.median <= LOOK_BAR_MS,
        ),
        Row::judged(
            "circles in a graph of 10,000 threads and 100,000 edges",
            format!("{graph:.1} ms"),
            String::new(),
            "20 ms",
            graph <= GRAPH_BAR_MS,
        ),
    ])
}

/// A thousand threads that sleep; dropped, they end.
struct Crowd(Child);

impl Crowd {
    /// Returns once all of them sleep.
    fn start() -> Result<Self> {
        let (threads, waiting) = (THREADS.to_string(), WAITING.to_string());
        let mut crowd = shell::program(program()?);
        crowd.args(["crowd", &threads, &waiting]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut crowd = Self(crowd.spawn().context("start the crowd")?);
        let mut said = String::new();
        let stdout = crowd.0.stdout.take().context("no output")?;
        BufReader::new(stdout).read_line(&mut said)?;
        if said.is_empty() {
            bail!("the crowd did not gather");
        }
        Ok(crowd)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The C program of the live tests, compiled.
fn program() -> Result<PathBuf> {
    let program = shell::target()?.join("release").join("deadlocks");
    let source = shell::workspace().join("tests/programs/deadlocks.c");
    let mut cc = shell::program("cc");
    cc.args(["-std=gnu11", "-O1", "-pthread", "-o"]).arg(&program).arg(source);
    shell::run(&mut cc)?;
    Ok(program)
}

/// Milliseconds from start to end of one look at the whole host.
fn look() -> Result<f64> {
    let mut deadlocks = shell::program(build::lockprobe()?);
    deadlocks.args(["deadlocks", "--format", "json"]).stdin(Stdio::null());
    let began = Instant::now();
    let output = deadlocks.output().context("run lockprobe")?;
    let took = began.elapsed().as_secs_f64() * 1e3;
    let last = String::from_utf8_lossy(&output.stdout);
    let last: Value = serde_json::from_str(last.lines().last().context("no output")?)?;
    let waiting = last["waiting"].as_u64().unwrap_or(0);
    if waiting < u64::from(WAITING) {
        bail!("deadlocks saw {waiting} threads wait, of {WAITING}");
    }
    Ok(took)
}

/// Milliseconds the graph takes, by the program's own account.
fn graph() -> Result<f64> {
    let mut bench = shell::program(build::lockprobe()?);
    let report: Value = serde_json::from_str(&shell::output(bench.args(["bench", "--graph"]))?)?;
    if report["found"] != report["circles"] {
        bail!("the graph: {report}");
    }
    report["milliseconds"].as_f64().context("the graph: no time")
}
