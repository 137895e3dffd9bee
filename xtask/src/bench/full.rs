//! Full mode: what every lock and unlock costs while each is probed, chosen sites beside entries.

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::figures::Spread;
use super::loops;
use super::page::Row;
use crate::{build, shell};

/// Name for `--only`.
pub const NAME: &str = "full";

/// Highest cost of a lock and unlock, nanoseconds.
const BAR: f64 = 1500.0;

/// Bare, with probes at the entries of the functions, and with those that full mode chooses, in
/// turn each round.
pub fn measure(rounds: usize) -> Result<Vec<Row>> {
    let mut figures: [Vec<f64>; 3] = Default::default();
    for round in 0..rounds {
        for (at, figures) in figures.iter_mut().enumerate() {
            figures.push(run(at)?);
        }
        let last: Vec<String> =
            figures.iter().filter_map(|all| all.last()).map(|ns| format!("{ns:.0} ns")).collect();
        println!("bench: full mode, round {} of {rounds}: {}", round + 1, last.join(", "));
    }
    let [bare, naive, chosen] = figures.map(|all| Spread::of(&all));
    let more = format!(
        "{:.0} to {:.0} ns; bare {:.2} ns",
        chosen.quartiles.0, chosen.quartiles.1, bare.median
    );
    let quartiles = format!("{:.1} to {:.1} us", naive.quartiles.0 / 1e3, naive.quartiles.1 / 1e3);
    Ok(vec![
        Row::judged(
            "full mode, uncontended lock and unlock",
            format!("{:.0} ns", chosen.median),
            more,
            "1500 ns",
            chosen.median <= BAR,
        ),
        Row::figure(
            "the same with probes at the entries of the functions",
            format!("{:.1} us", naive.median / 1e3),
            quartiles,
        ),
    ])
}

/// Nanoseconds a lock and unlock: bare, with probes at entries, with chosen ones.
fn run(how: usize) -> Result<f64> {
    let loops = loops::program()?;
    let mut command = match how {
        0 => shell::program(&loops),
        _ => {
            let mut lockprobe = shell::program(build::lockprobe()?);
            lockprobe.args(["trace", "--full", "--format", "jsonl", "--output", "/dev/null"]);
            lockprobe.args(if how == 1 { &["--naive-probes"][..] } else { &[] });
            lockprobe.arg("--").arg(&loops);
            lockprobe
        }
    };
    let printed = shell::output(command.arg("mutex"))?;
    let figure: Value = serde_json::from_str(&printed)?;
    figure["ns"].as_f64().with_context(|| format!("loops mutex printed {printed}"))
}
