//! `cargo xtask bench`: what lockprobe costs the machine it watches, and itself.
//!
//! Every cost is measured with and without lockprobe in one run, in pairs a second apart that
//! take turns in who goes first. The ratio of a pair stands on a noisy machine where the times do
//! not. It reports, and judges only what must be exact: the accounting of records.

mod deadlocks;
mod figures;
mod full;
mod loops;
mod observer;
mod page;
mod ring;
mod servers;
mod spans;
mod start;

use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use crate::{build, setup, shell};
use page::Row;

const ROUNDS: usize = 9;
const QUICK_ROUNDS: usize = 3;

/// What the command line asks for.
struct Plan {
    rounds: usize,
    quick: bool,
    only: Option<String>,
}

impl Plan {
    fn parse(arguments: &[&str]) -> Result<Self> {
        let mut plan = Self { rounds: 0, quick: false, only: None };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let mut value = || rest.next().with_context(|| format!("{argument} needs a value"));
            match *argument {
                "--quick" => plan.quick = true,
                "--rounds" => plan.rounds = value()?.parse().context("--rounds takes a number")?,
                "--only" => plan.only = Some((*value()?).to_owned()),
                other => bail!("bench: unknown argument `{other}`"),
            }
        }
        if plan.rounds == 0 {
            plan.rounds = if plan.quick { QUICK_ROUNDS } else { ROUNDS };
        }
        let names = || {
            loops::LOOPS.iter().map(|l| l.name).chain([
                ring::NAME,
                spans::NAME,
                full::NAME,
                start::NAME,
                deadlocks::NAME,
                servers::NAME,
            ])
        };
        match &plan.only {
            Some(only) if !names().any(|name| name == only) => {
                bail!("bench: no `{only}`; there are {}", names().collect::<Vec<_>>().join(", "))
            }
            _ => Ok(plan),
        }
    }

    fn wants(&self, name: &str) -> bool {
        self.only.as_deref().is_none_or(|only| only == name)
    }

    /// Whether the result stands for the version and goes into `docs/`.
    fn is_whole(&self) -> bool {
        !self.quick && self.only.is_none()
    }
}

/// Builds, measures, prints the table and, after a whole run, writes it to `docs/`.
pub fn run(arguments: &[&str]) -> Result<()> {
    let plan = Plan::parse(arguments)?;
    if !shell::is_root() {
        bail!("bench: watching the whole host needs root");
    }
    setup::run()?;
    build::run()?;
    let mut cargo = shell::cargo();
    shell::run(cargo.args([
        "build",
        "--release",
        "--package",
        "lockprobe-tests",
        "--bin",
        "loops",
    ]))?;

    let began = Instant::now();
    let mut rows: Vec<Row> = Vec::new();
    for ratio in loops::measure(&plan)? {
        rows.push(ratio.into());
    }
    // Accounting that does not add up is a fault, but the figures come first.
    let mut faults = Vec::new();
    if plan.wants(ring::NAME) {
        rows.extend(ring::measure(plan.quick, &mut faults)?);
    }
    if plan.wants(spans::NAME) {
        rows.push(spans::measure(plan.rounds, plan.quick)?);
    }
    if plan.wants(full::NAME) {
        rows.extend(full::measure(plan.rounds)?);
    }
    if plan.wants(start::NAME) {
        rows.extend(start::measure()?);
    }
    if plan.wants(deadlocks::NAME) {
        rows.extend(deadlocks::measure()?);
    }
    if plan.wants(servers::NAME) {
        rows.extend(servers::measure(plan.rounds)?);
    }
    print!("{}", page::table(&rows));
    println!("bench: {} figures ({:.0} s)", rows.len(), began.elapsed().as_secs_f32());
    if plan.is_whole() {
        page::write(&rows, plan.rounds)?;
    }
    if !faults.is_empty() {
        bail!("bench: {}", faults.join("; "));
    }
    Ok(())
}
