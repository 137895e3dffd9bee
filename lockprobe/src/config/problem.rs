//! What is wrong, where, and what would be right.

use std::fmt;

/// One thing that is wrong with what was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// `FILE:LINE:COLUMN`, a variable, a flag.
    pub place: String,
    /// What is wrong; what would be right.
    pub text: String,
}

impl Problem {
    /// A problem at a place.
    pub fn new(place: impl Into<String>, text: impl Into<String>) -> Self {
        Self { place: place.into(), text: text.into() }
    }
}

impl fmt::Display for Problem {
    /// One line, whatever somebody wrote into the file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = format!("{}: {}", self.place, self.text);
        line.chars().try_for_each(|c| match c.is_control() {
            true => write!(f, "{}", c.escape_default()),
            false => write!(f, "{c}"),
        })
    }
}

/// The name among these that was probably meant.
pub fn meant<'a>(said: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if said.len() > 64 {
        return None;
    }
    let distance = |name: &str| strsim::damerau_levenshtein(said, name);
    let near = known.map(|name| (distance(name), name)).min_by_key(|(distance, _)| *distance)?;
    let most = (near.1.len() / 3).clamp(1, 3);
    (near.0 <= most).then_some(near.1)
}
