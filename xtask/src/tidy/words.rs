//! How a file introduces itself, and words that names must not be made of.

use super::source::Source;
use super::{Fault, fault};

/// Every file starts with a `//!` sentence.
pub fn opening(sources: &[Source]) -> Vec<Fault> {
    let silent = |source: &Source| {
        let head = head(source);
        let first: Vec<&str> = head.iter().copied().take_while(|line| !line.is_empty()).collect();
        let sentence = "starts without a `//!` sentence that says what it is for";
        let spoken = first.last().is_some_and(|last| last.ends_with(['.', ':']));
        (!spoken).then(|| fault(source, 1, sentence.to_owned()))
    };
    sources.iter().filter_map(silent).collect()
}

/// The `mod.rs` of a room says what goes in, what comes out and what never happens there.
pub fn contract(sources: &[Source]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for source in sources.iter().filter(|source| source.is_mod_rs()) {
        let srcs = ["lockprobe/src", "lockprobe-ebpf/src"];
        if !srcs.iter().any(|src| source.module(src).is_some_and(|module| module.len() == 1)) {
            continue;
        }
        let head = head(source).join(" ");
        for word in ["In:", "Out:", "Never:"] {
            if !head.contains(word) {
                faults.push(fault(source, 1, format!("the room's description lacks `{word}`")));
            }
        }
    }
    faults
}

/// The `//!` lines at the start, without their marks.
fn head(source: &Source) -> Vec<&str> {
    let lines = source.lines.iter().map_while(|line| line.strip_prefix("//!"));
    lines.map(str::trim).collect()
}

const EMPTY: &[&str] = &["Manager", "Helper", "Utils", "Common", "Info", "Data"];

/// No type has one of EMPTY as a word of its name.
pub fn names(sources: &[Source]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for source in sources {
        for (at, code) in source.code.iter().enumerate() {
            let Some(name) = defined(code) else { continue };
            let word = words(name).into_iter().find(|word| EMPTY.contains(word));
            if let Some(word) = word {
                let sentence = format!("`{name}`: the word `{word}` says nothing");
                faults.push(fault(source, at + 1, sentence));
            }
        }
    }
    faults
}

/// The name of the type that is defined on this line.
fn defined(code: &str) -> Option<&str> {
    let mut words = code.split_whitespace().skip_while(|word| word.starts_with("pub"));
    let kind = words.next()?;
    // An associated type has the name the trait gave it.
    if kind == "type" && code.starts_with(' ') && code.contains('=') {
        return None;
    }
    let name = words.next()?.split(|c: char| !(c.is_alphanumeric() || c == '_')).next()?;
    ["struct", "enum", "trait", "union", "type"].contains(&kind).then_some(name)
}

/// `LockInfo` as `Lock` and `Info`.
fn words(name: &str) -> Vec<&str> {
    let starts = name.char_indices().filter(|(_, c)| c.is_uppercase()).map(|(at, _)| at);
    let mut starts: Vec<usize> = starts.collect();
    starts.push(name.len());
    starts.windows(2).map(|pair| &name[pair[0]..pair[1]]).collect()
}
