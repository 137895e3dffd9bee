//! `lockprobe demo`: workloads that know their own truth, and what lockprobe says of them.

mod mutex;
mod truth;
mod workloads;

use std::io::{IsTerminal, Read, Write, stdout};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::command::{CaptureArgs, DemoArgs, Scenario, TargetArgs};
use super::run::{Ended, Opened, colour_wanted};
use super::trace::observe;
use crate::model::Session;
use truth::Truth;

/// Runs it. The status is 1 when what lockprobe reported is not the truth.
pub fn main(args: &DemoArgs) -> anyhow::Result<u8> {
    let scenarios: Vec<Scenario> = match args.scenario {
        Some(one) => vec![one],
        None => Scenario::ALL.to_vec(),
    };
    let mut agreed = true;
    for scenario in scenarios {
        let mut out = stdout().lock();
        writeln!(out, "== {}: {}\n", scenario.name(), workloads::describe(scenario))?;
        drop(out);
        let (truth, ended) = run(scenario)?;
        let mut out = stdout().lock();
        agreed &= truth::compare(&mut out, &truth, &ended)?;
        writeln!(out)?;
    }
    Ok(u8::from(!agreed))
}

/// Is a workload: does its work, then prints the truth as one JSON line.
pub fn workload(scenario: Scenario) -> anyhow::Result<u8> {
    let truth = workloads::run(scenario)?;
    writeln!(stdout(), "{}", truth.to_json())?;
    Ok(0)
}

/// Runs a workload in a process of its own and observes it.
fn run(scenario: Scenario) -> anyhow::Result<(Truth, Ended)> {
    let own = std::env::current_exe()?;
    let mut child = Command::new(own)
        .args(["demo-workload", scenario.name()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let pid = child.id();
    let colour = stdout().is_terminal() && colour_wanted();
    let console = Opened::console(Box::new(stdout()), colour);
    let target = TargetArgs { pid: vec![pid], exe: Vec::new(), command: Vec::new() };
    let capture = CaptureArgs {
        stack_threshold: Duration::from_millis(10),
        no_stacks: false,
        lock_files: false,
        no_servers: true,
        server: Vec::new(),
        min_wait: Duration::from_millis(1),
        duration: Some(Duration::from_secs(30)),
        ring_size: 4 << 20,
        full: false,
        naive_probes: false,
        harvest_every: crate::source::live::HARVEST_EVERY,
    };
    // The workload waits for a byte: it begins when everything is attached.
    let stdin = Arc::new(Mutex::new(child.stdin.take()));
    let begin = |_: &Session| {
        if let Ok(mut stdin) = stdin.lock()
            && let Some(mut pipe) = stdin.take()
        {
            pipe.write_all(b"\n")?;
        }
        Ok(None)
    };
    let observed = observe(&target, &capture, console, begin);
    // Usually it has ended; one that hangs, or was not observed to its end, must not outlive us.
    let _ = child.kill();
    let mut printed = String::new();
    if let Some(mut pipe) = child.stdout.take() {
        pipe.read_to_string(&mut printed)?;
    }
    child.wait()?;
    let ended = observed?;
    let truth = Truth::from_json(printed.trim())
        .ok_or_else(|| anyhow::anyhow!("the {} workload ended early", scenario.name()))?;
    Ok((truth, ended))
}
