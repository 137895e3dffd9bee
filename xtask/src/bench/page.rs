//! The results as a table, and as `docs/benchmarks.md` and `.json`.

use std::fmt::Write as _;
use std::fs;

use anyhow::Result;
use serde_json::{Value, json};

use super::loops::Ratio;
use crate::shell;

/// A line of the table.
pub struct Row {
    /// What, without lockprobe, with it, their ratio, its spread, the bar, whether it is met.
    cells: [String; 7],
    json: Value,
}

const HEAD: [&str; 7] = ["what", "bare", "attached", "ratio", "half of the pairs", "bar", "met"];

impl Row {
    /// A figure that nothing is promised about.
    pub fn figure(what: &str, figure: String, more: String) -> Self {
        let json = json!({ "what": what, "figure": figure, "more": more });
        let cells = [what.to_owned(), String::new(), figure, String::new(), more];
        let [what, bare, figure, ratio, more] = cells;
        Self { cells: [what, bare, figure, ratio, more, String::new(), String::new()], json }
    }

    /// A figure with a promise.
    pub fn judged(what: &str, figure: String, more: String, bar: &str, met: bool) -> Self {
        let mut row = Self::figure(what, figure, more);
        row.json["bar"] = json!(bar);
        row.json["met"] = json!(met);
        row.cells[5] = bar.to_owned();
        row.cells[6] = yes_or_no(met);
        row
    }
}

impl From<Ratio> for Row {
    fn from(ratio: Ratio) -> Self {
        let Ratio { of, bare, attached, ratio: spread, pairs, disturbed } = ratio;
        let met = spread.median <= of.bar;
        let mut quartiles = format!("{:.3} to {:.3}", spread.quartiles.0, spread.quartiles.1);
        if disturbed > 0 {
            let _ = write!(quartiles, " ({disturbed} pairs disturbed)");
        }
        let json = json!({
            "what": of.what, "name": of.name, "unit": "ns", "bare": bare, "attached": attached,
            "ratio": spread.median, "quartiles": [spread.quartiles.0, spread.quartiles.1],
            "pairs": pairs, "disturbed": disturbed, "bar": of.bar, "met": met,
        });
        let cells = [
            of.what.to_owned(),
            nanoseconds(bare),
            nanoseconds(attached),
            format!("{:.3}", spread.median),
            quartiles,
            format!("{:.2}", of.bar),
            yes_or_no(met),
        ];
        Self { cells, json }
    }
}

fn yes_or_no(met: bool) -> String {
    if met { "yes" } else { "no" }.to_owned()
}

fn nanoseconds(ns: f64) -> String {
    if ns < 100.0 { format!("{ns:.2} ns") } else { format!("{ns:.0} ns") }
}

/// The rows under their heads, readable as it is and as Markdown.
pub fn table(rows: &[Row]) -> String {
    let head = HEAD.map(str::to_owned);
    let lines = || std::iter::once(&head).chain(rows.iter().map(|row| &row.cells));
    let width = |at: usize| lines().map(|cells| cells[at].len()).max().unwrap_or(0);
    let mut text = String::new();
    for (number, cells) in lines().enumerate() {
        for (at, cell) in cells.iter().enumerate() {
            let _ = write!(text, "| {cell:width$} ", width = width(at));
        }
        text.push_str("|\n");
        if number == 0 {
            for at in 0..cells.len() {
                let _ = write!(text, "|{}", "-".repeat(width(at) + 2));
            }
            text.push_str("|\n");
        }
    }
    text
}

/// Writes both files.
pub fn write(rows: &[Row], rounds: usize) -> Result<()> {
    let docs = shell::workspace().join("docs");
    fs::create_dir_all(&docs)?;
    let machine = Machine::here()?;
    let text = format!(
        "# Benchmarks\n\n\
         Made by `cargo xtask bench --rounds {rounds}` on {}; run it on yours. The figures as JSON:\n\
         [benchmarks.json](benchmarks.json).\n\n\
         {} with {} processors, Linux {}, {}.\n\n{}\n{METHOD}",
        machine.date,
        machine.processor,
        machine.processors,
        machine.kernel,
        if machine.is_virtual { "in a virtual machine" } else { "on bare metal" },
        table(rows),
    );
    fs::write(docs.join("benchmarks.md"), text)?;
    let rows: Vec<&Value> = rows.iter().map(|row| &row.json).collect();
    let whole = json!({
        "date": machine.date, "rounds": rounds,
        "machine": {
            "processor": machine.processor, "processors": machine.processors,
            "kernel": machine.kernel, "virtual": machine.is_virtual,
        },
        "rows": rows,
    });
    fs::write(docs.join("benchmarks.json"), format!("{whole:#}\n"))?;
    println!("bench: docs/benchmarks.md, docs/benchmarks.json");
    Ok(())
}

const METHOD: &str = "\
## How to read it

- Attached is `lockprobe trace --format jsonl --output /dev/null` on the whole host. The loops are in
  `tests/src/bin/loops.rs` and run at nice -20; all but the contended one are pinned to a processor.
- A round measures each loop in a pair, with and without lockprobe, a second apart and in
  alternating order. Bare and attached are medians over the rounds; the ratio is the median of the
  ratios of pairs, and half of the pairs lie in the range beside it. Compare ratios, not times.
- The pipe round trip is the worst case: its two context switches, where all of lockprobe's hooks
  sit, are most of what it does.
- Memory is what is resident, files included: for a while after it starts lockprobe maps binaries
  of the programs that wait, more of it the more of them there are. The ring, mapped twice, counts
  twice.
- Start to first event runs from the start of `lockprobe trace -- COMMAND` until the command's first
  lock wait can be read, less the wait itself. Its median and spread are over five starts.
- The spans are those of synthetic waits of 256 threads for 256 locks; what it takes to make them is
  left out, what the kernel does for the reader is not.
- Looking for deadlocks is timed from the start of the process to its end, over nine looks.
- Of the synthetic records each is either received or counted as dropped; `bench` fails otherwise.
";

struct Machine {
    processor: String,
    processors: usize,
    kernel: String,
    is_virtual: bool,
    date: String,
}

impl Machine {
    fn here() -> Result<Self> {
        let processors = fs::read_to_string("/proc/cpuinfo")?;
        let value = |key: &str| {
            let line = processors.lines().find(|line| line.starts_with(key))?;
            line.split_once(':').map(|(_, value)| value.trim().to_owned())
        };
        let flags = value("flags").unwrap_or_default();
        Ok(Self {
            // Only x86 says so here.
            processor: value("model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            is_virtual: flags.split_whitespace().any(|flag| flag == "hypervisor"),
            date: shell::output(shell::program("date").args(["-u", "+%Y-%m-%d"]))?
                .trim()
                .to_owned(),
        })
    }
}
