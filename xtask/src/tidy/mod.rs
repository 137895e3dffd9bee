//! `cargo xtask tidy`: the rules of the house that a compiler does not know.
//!
//! A rule is a line in RULES with its reason. It looks at text that rustfmt has laid out, not at a
//! syntax tree: what it can miss, a reviewer sees, and it takes a tenth of a second.

mod paths;
mod purity;
mod rooms;
mod size;
mod source;
#[cfg(test)]
mod tests;
mod unsafe_code;
mod words;

use std::fs;

use anyhow::{Result, bail};

use crate::shell;
use source::Source;

/// A place that breaks a rule.
pub struct Fault {
    path: String,
    line: usize,
    sentence: String,
}

/// A fault in `source`, to be reported with the reason of its rule.
fn fault(source: &Source, line: usize, sentence: String) -> Fault {
    Fault { path: source.path.clone(), line, sentence }
}

/// A rule and why it is one.
struct Rule {
    reason: &'static str,
    check: fn(&[Source]) -> Vec<Fault>,
}

const RULES: &[Rule] = &[
    Rule { reason: "data flows one way through the rooms", check: rooms::imports },
    Rule { reason: "a member of an open set comes and goes alone", check: rooms::strangers },
    Rule { reason: "pure rooms are tested without root or kernel", check: purity::check },
    Rule { reason: "a file is read in one sitting", check: size::files },
    Rule { reason: "a function fits on a screen", check: size::functions },
    Rule { reason: "a reader decides by the first line", check: words::opening },
    Rule { reason: "a room states its contract", check: words::contract },
    Rule { reason: "a name says what a thing is", check: words::names },
];

/// Checks every Rust file that git tracks or would track.
pub fn run() -> Result<()> {
    let sources = sources()?;
    let list = fs::read_to_string(shell::workspace().join("xtask/unsafe-files.txt"))?;
    let allowed = unsafe_code::Allowed::read(&list).map_err(anyhow::Error::msg)?;

    let judged = |rule: &Rule| {
        let faults = (rule.check)(&sources).into_iter();
        faults.map(|fault| (fault, rule.reason)).collect::<Vec<_>>()
    };
    let mut faults: Vec<(Fault, &str)> = RULES.iter().flat_map(judged).collect();
    let dangers = unsafe_code::check(&sources, &allowed).into_iter();
    faults.extend(dangers.map(|fault| (fault, "what the compiler cannot check, a person must")));

    faults.sort_by(|(a, _), (b, _)| (&a.path, a.line).cmp(&(&b.path, b.line)));
    for (Fault { path, line, sentence }, reason) in &faults {
        println!("{path}:{line}: {sentence} ({reason})");
    }
    if !faults.is_empty() {
        bail!("tidy: {} places break the rules of the house", faults.len());
    }
    println!("tidy: {} files keep the rules of the house", sources.len());
    Ok(())
}

fn sources() -> Result<Vec<Source>> {
    let mut git = shell::program("git");
    git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", "*.rs"]);
    let mut sources = Vec::new();
    for path in shell::output(&mut git)?.split_terminator('\0') {
        // A file deleted but not yet committed is still listed.
        if let Ok(text) = fs::read_to_string(shell::workspace().join(path)) {
            sources.push(Source::new(path, &text));
        }
    }
    Ok(sources)
}
