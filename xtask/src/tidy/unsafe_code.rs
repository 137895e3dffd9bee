//! `unsafe` in named files only, each use argued for.

use super::source::Source;
use super::{Fault, fault};

/// Lines of code between an argument and its `unsafe`: a multi-line statement, no more.
const REACH: usize = 3;

/// Files of `unsafe-files.txt`, with `*` for the rest of a path.
pub struct Allowed(Vec<String>);

impl Allowed {
    /// One `path: reason` a line; `#` starts a comment.
    pub fn read(list: &str) -> Result<Self, String> {
        let lines = list.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        let entry = |line: &str| match line.split_once(": ") {
            Some((path, reason)) if !reason.trim().is_empty() => Ok(path.to_owned()),
            _ => Err(format!("`{line}` gives no reason")),
        };
        lines.map(entry).collect::<Result<_, _>>().map(Self)
    }

    fn contains(&self, path: &str) -> bool {
        self.0.iter().any(|entry| match entry.strip_suffix('*') {
            Some(start) => path.starts_with(start),
            None => path == entry,
        })
    }
}

/// `unsafe` stands in the allowed files, and each has its SAFETY comment.
pub fn check(sources: &[Source], allowed: &Allowed) -> Vec<Fault> {
    let mut faults = Vec::new();
    for source in sources {
        for (at, code) in source.code.iter().enumerate() {
            if !uses_unsafe(code) {
                continue;
            }
            if !allowed.contains(&source.path) {
                let sentence = "`unsafe` outside the files of xtask/unsafe-files.txt";
                faults.push(fault(source, at + 1, sentence.to_owned()));
            } else if !argued(source, at) {
                let sentence = "`unsafe` without a `// SAFETY:` comment above";
                faults.push(fault(source, at + 1, sentence.to_owned()));
            }
        }
    }
    faults
}

/// The word, but not the attribute `#[unsafe(link_section = ...)]`, which the loader checks.
fn uses_unsafe(code: &str) -> bool {
    let attribute = code.trim_start().starts_with("#[unsafe(");
    let mut words = code.split(|c: char| !(c.is_alphanumeric() || c == '_'));
    !attribute && words.any(|word| word == "unsafe")
}

fn argued(source: &Source, at: usize) -> bool {
    let argues = |line: &str| line.contains("// SAFETY:") || line.contains("/// # Safety");
    let mut code_lines = 0;
    for line in source.lines[..=at].iter().rev() {
        if argues(line) {
            return true;
        }
        let comment = line.trim_start().starts_with("//") || line.trim_start().starts_with("#[");
        code_lines += usize::from(!comment);
        if code_lines > REACH + 1 {
            return false;
        }
    }
    false
}
