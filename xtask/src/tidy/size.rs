//! How long files and functions may be, tests aside.

use super::source::Source;
use super::{Fault, fault};

const FILE_LINES: usize = 400;
const FUNCTION_LINES: usize = 70;

/// Files of at most FILE_LINES lines.
pub fn files(sources: &[Source]) -> Vec<Fault> {
    let long = |source: &Source| {
        let lines = source.product().count();
        let sentence = format!("{lines} lines, of {FILE_LINES} at most");
        (lines > FILE_LINES).then(|| fault(source, FILE_LINES + 1, sentence))
    };
    sources.iter().filter_map(long).collect()
}

/// Functions of at most FUNCTION_LINES lines, from `fn` to the closing brace.
pub fn functions(sources: &[Source]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for source in sources {
        for (line, code) in source.product() {
            let Some(name) = function(code) else { continue };
            let lines = length(&source.code[line - 1..]);
            if lines > FUNCTION_LINES {
                let sentence =
                    format!("function `{name}` has {lines} lines, of {FUNCTION_LINES} at most");
                faults.push(fault(source, line, sentence));
            }
        }
    }
    faults
}

/// The name of the function whose declaration starts on this line.
fn function(code: &str) -> Option<&str> {
    let (before, after) = code.trim_start().split_once("fn ")?;
    let modifiers = ["pub", "const", "async", "unsafe", "extern", "default"];
    // `pub(crate)` and `extern "C"` leave brackets and spaces behind.
    let mut words = before.split_whitespace().map(|word| word.split('(').next().unwrap_or(word));
    let name = after.split(|c: char| !(c.is_alphanumeric() || c == '_')).next()?;
    (words.all(|word| modifiers.contains(&word)) && !name.is_empty()).then_some(name)
}

/// Lines up to the brace that closes the first one; 0 for a declaration without a body.
fn length(code: &[String]) -> usize {
    let (mut braces, mut brackets) = (0, 0);
    for (at, line) in code.iter().enumerate() {
        for c in line.chars() {
            match c {
                '(' | '[' => brackets += 1,
                ')' | ']' => brackets -= 1,
                '{' => braces += 1,
                '}' => {
                    braces -= 1;
                    if braces == 0 {
                        return at + 1;
                    }
                }
                ';' if braces == 0 && brackets == 0 => return 0,
                _ => {}
            }
        }
    }
    code.len()
}
