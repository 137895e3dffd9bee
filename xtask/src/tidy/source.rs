//! A source file as the rules see it: lines of code with comments and literals blanked out.

use std::ops::Range;
use std::path::PathBuf;

/// One Rust file.
pub struct Source {
    /// Path from the root of the workspace, with `/`.
    pub path: String,
    /// Lines as written.
    pub lines: Vec<String>,
    /// The same lines with comments, strings and characters turned to spaces.
    pub code: Vec<String>,
    /// Per line: inside a `#[cfg(test)]` module, or the whole file is tests.
    pub test: Vec<bool>,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Self {
        let code: Vec<String> = blank(text).lines().map(str::to_owned).collect();
        let tests = path.ends_with("/tests.rs") || path.starts_with("tests/");
        let mut test = vec![tests; code.len()];
        for range in test_modules(&code) {
            test[range].fill(true);
        }
        Self { path: path.to_owned(), lines: text.lines().map(str::to_owned).collect(), code, test }
    }

    /// Line number (from 1) and blanked text of every line that is not test code.
    pub fn product(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.code.iter().zip(&self.test).enumerate();
        lines.filter(|(_, (_, test))| !**test).map(|(at, (code, _))| (at + 1, code.as_str()))
    }

    /// Below `lockprobe/src` or another crate's `src`: the path split at `/`, without `.rs`.
    pub fn module(&self, src: &str) -> Option<Vec<String>> {
        let path = self.path.strip_prefix(src)?.strip_prefix('/')?.strip_suffix(".rs")?;
        let mut parts: Vec<String> = path.split('/').map(str::to_owned).collect();
        parts.pop_if(|last| last == "mod");
        Some(parts)
    }

    /// Whether the file is `mod.rs`.
    pub fn is_mod_rs(&self) -> bool {
        PathBuf::from(&self.path).file_name().is_some_and(|name| name == "mod.rs")
    }
}

/// Lines of `#[cfg(test)] mod name { ... }`, from rustfmt's indentation: the closing brace stands
/// under the attribute.
fn test_modules(code: &[String]) -> Vec<Range<usize>> {
    let opens = |at: &usize| {
        let next = code[*at + 1..].iter().find(|line| !line.trim_start().starts_with("#["));
        code[*at].trim() == "#[cfg(test)]" && next.is_some_and(|line| line.trim().ends_with('{'))
    };
    let module = |start: usize| {
        let indent = code[start].len() - code[start].trim_start().len();
        let close = format!("{}}}", " ".repeat(indent));
        let end = code[start..].iter().position(|line| line.trim_end() == close);
        start..end.map_or(code.len(), |length| start + length + 1)
    };
    (0..code.len()).filter(opens).map(module).collect()
}

/// Replaces comments and literals by spaces; lines stay where they are.
pub fn blank(text: &str) -> String {
    let text: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let length = skipped(&text[at..], at.checked_sub(1).map(|before| text[before]));
        if length == 0 {
            out.push(text[at]);
            at += 1;
            continue;
        }
        let end = (at + length).min(text.len());
        out.extend(text[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
        at = end;
    }
    out
}

/// Length of the comment or literal that starts here; 0 when none does.
fn skipped(rest: &[char], before: Option<char>) -> usize {
    let in_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    match rest {
        ['/', '/', ..] => rest.iter().position(|c| *c == '\n').unwrap_or(rest.len()),
        ['/', '*', ..] => block_comment(rest),
        ['"', ..] => string(rest, 1),
        ['r', '"' | '#', ..] if !in_word => raw_string(rest),
        ['b' | 'c', 'r', '"' | '#', ..] if !in_word => match raw_string(&rest[1..]) {
            0 => 0,
            length => 1 + length,
        },
        ['\'', '\\', ..] => string_until(rest, 3, '\''),
        // A quote two characters on closes a character; without it this is a lifetime.
        ['\'', _, '\'', ..] => 3,
        _ => 0,
    }
}

fn block_comment(rest: &[char]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at + 1 < rest.len() {
        match (rest[at], rest[at + 1]) {
            ('/', '*') => depth += 1,
            ('*', '/') => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

fn string(rest: &[char], start: usize) -> usize {
    string_until(rest, start, '"')
}

fn string_until(rest: &[char], start: usize, close: char) -> usize {
    let mut at = start;
    while at < rest.len() && rest[at] != close {
        at += if rest[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

fn raw_string(rest: &[char]) -> usize {
    let hashes = rest[1..].iter().take_while(|c| **c == '#').count();
    if rest.get(1 + hashes) != Some(&'"') {
        // `r#type`: an identifier.
        return 0;
    }
    let close: Vec<char> = std::iter::once('"').chain("#".repeat(hashes).chars()).collect();
    let body = &rest[2 + hashes..];
    let end = body.windows(close.len()).position(|window| window == close);
    end.map_or(rest.len(), |end| 2 + hashes + end + close.len())
}
