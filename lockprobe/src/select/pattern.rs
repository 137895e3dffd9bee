//! Patterns as users write them, bounded in what they may cost.

use std::path::Path;

use globset::{GlobBuilder, GlobMatcher};

/// Longest pattern, bytes.
pub const PATTERN_BYTES: usize = 1024;
/// Most memory a regular expression may take, bytes.
const COMPILED_BYTES: usize = 1 << 20;

/// A glob.
#[derive(Clone, Debug)]
pub struct Glob(GlobMatcher);

impl Glob {
    /// Whether all of it matches.
    pub fn is_match(&self, text: impl AsRef<Path>) -> bool {
        self.0.is_match(text)
    }
}

/// A regular expression.
#[derive(Clone, Debug)]
pub struct Words(regex::Regex);

impl Words {
    /// Whether a part of the text matches.
    pub fn is_match(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

/// A glob for names: `*` stands for anything, slashes too.
pub fn glob(pattern: &str) -> Result<Glob, String> {
    build("", pattern, false)
}

/// A glob for paths: `*` stands for anything but a slash, and a pattern without a slash is matched
/// against the last part.
pub fn path_glob(pattern: &str) -> Result<Glob, String> {
    let anywhere = if pattern.contains('/') { "" } else { "**/" };
    build(anywhere, pattern, true)
}

fn build(before: &str, pattern: &str, separate: bool) -> Result<Glob, String> {
    bounded(pattern)?;
    let whole = format!("{before}{pattern}");
    let glob = GlobBuilder::new(&whole).literal_separator(separate).backslash_escape(true).build();
    let glob = glob.map_err(|e| format!("`{pattern}` is no pattern: {}", e.kind()))?;
    Ok(Glob(glob.compile_matcher()))
}

/// A regular expression for command lines.
pub fn words(pattern: &str) -> Result<Words, String> {
    bounded(pattern)?;
    let built = regex::RegexBuilder::new(pattern).size_limit(COMPILED_BYTES).build();
    built.map(Words).map_err(|e| {
        let why = match e {
            regex::Error::CompiledTooBig(_) => "it takes too much memory".to_owned(),
            // The last line says it; those before point at the place.
            e => e
                .to_string()
                .lines()
                .last()
                .unwrap_or_default()
                .trim_start_matches("error: ")
                .to_owned(),
        };
        format!("`{pattern}` is no regular expression: {why}")
    })
}

fn bounded(pattern: &str) -> Result<(), String> {
    match pattern.len() {
        0 => Err("an empty pattern matches nothing; leave the key out to match everything".into()),
        n if n > PATTERN_BYTES => {
            Err(format!("a pattern of {n} bytes; {PATTERN_BYTES} is the most there may be"))
        }
        _ => Ok(()),
    }
}
