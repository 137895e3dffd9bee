//! Synthetic records through ring, reader and pipeline: how many, and whether all are accounted for.

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::page::Row;
use crate::{build, shell};

/// Name for `--only`.
pub const NAME: &str = "ring";

/// As fast as it goes, then at a rate for the accounting.
pub fn measure(quick: bool, faults: &mut Vec<String>) -> Result<Vec<Row>> {
    let full = run("0", "3s", faults)?;
    let steady = run("500000", if quick { "3s" } else { "10s" }, faults)?;
    let lost = format!("{} of {} dropped, counted", full.dropped, full.made);
    Ok(vec![
        Row::figure("ring, as fast as made", format!("{:.2} M records/s", full.rate() / 1e6), lost),
        Row::judged(
            "ring, 500 000 records/s",
            format!("{} made", steady.made),
            format!("{} received + {} dropped", steady.received, steady.dropped),
            "made = received + dropped",
            steady.adds_up(),
        ),
    ])
}

struct Account {
    made: u64,
    received: u64,
    dropped: u64,
    seconds: f64,
}

impl Account {
    fn rate(&self) -> f64 {
        self.received as f64 / self.seconds
    }

    fn adds_up(&self) -> bool {
        self.made == self.received + self.dropped
    }
}

fn run(rate: &str, duration: &str, faults: &mut Vec<String>) -> Result<Account> {
    let mut bench = shell::program(build::lockprobe()?);
    let printed = shell::output(bench.args(["bench", "--rate", rate, "--duration", duration]))?;
    let report: Value = serde_json::from_str(&printed)?;
    let number = |key: &str| report[key].as_u64().with_context(|| format!("bench: no {key}"));
    let dropped = report["dropped"].as_array().context("bench: no dropped")?;
    let account = Account {
        made: number("made")?,
        received: number("received")?,
        dropped: dropped.iter().filter_map(|loss| loss["count"].as_u64()).sum(),
        seconds: report["seconds"].as_f64().context("bench: no seconds")?,
    };
    let Account { made, received, dropped, .. } = account;
    println!(
        "bench: rate {rate} for {duration}: {made} made, {received} received, {dropped} dropped"
    );
    if !account.adds_up() {
        faults.push(format!("rate {rate}: {made} made, but {received} + {dropped} accounted for"));
    }
    Ok(account)
}
