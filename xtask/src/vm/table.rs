//! The table of features by kernel, for people and for README.

use std::fs;

use anyhow::{Context as _, Result};

use super::features::Feature;
use super::{Cell, Column};
use crate::shell;

const BEGIN: &str = "<!-- kernels: written by `cargo xtask vm` -->";
const END: &str = "<!-- end of kernels -->";

/// As Markdown, which people can read too.
pub fn text(columns: &[Column], features: &[&Feature]) -> String {
    let mut rows = vec![vec!["".to_owned()], vec!["---".to_owned()]];
    for column in columns {
        rows[0].push(column.release.clone());
        rows[1].push(":-:".to_owned());
    }
    for (at, feature) in features.iter().enumerate() {
        let cells = columns.iter().map(|column| word(column.cells[at]).to_owned());
        rows.push([feature.name.to_owned()].into_iter().chain(cells).collect());
    }
    rows.iter().map(|row| format!("| {} |\n", row.join(" | "))).collect()
}

fn word(cell: Cell) -> &'static str {
    match cell {
        Cell::Works => "yes",
        Cell::Fails => "FAILS",
        Cell::NotPromised => "no",
    }
}

/// Puts it into README, between its marks.
pub fn write(columns: &[Column], features: &[&Feature]) -> Result<()> {
    let path = shell::workspace().join("README.md");
    let readme = fs::read_to_string(&path)?;
    let (before, rest) = readme.split_once(BEGIN).context("README.md has no mark for kernels")?;
    let (_, after) = rest.split_once(END).context("README.md has no mark for their end")?;
    let releases = columns
        .iter()
        .map(|column| format!("{} is of Debian's {}", column.release, column.kernel.release));
    let releases: Vec<String> = releases.collect();
    let table = text(columns, features);
    let note = format!("Kernels under emulation: {}.", releases.join(", "));
    fs::write(&path, format!("{before}{BEGIN}\n\n{table}\n{note}\n\n{END}{after}"))?;
    println!("vm: README.md");
    Ok(())
}
