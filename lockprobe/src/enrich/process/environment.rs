//! The variables of a process's environment that are asked for, and no others.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};

use crate::model::thread::printable;

/// Bound of an environment that is searched.
const LONGEST: u64 = 4 << 20;
/// Bound of a variable: one that is longer is not taken at all.
const LONGEST_VARIABLE: u64 = 8 << 10;

/// Names of variables that are asked for.
#[derive(Clone, Debug, Default)]
pub struct Wanted(BTreeSet<String>);

impl Wanted {
    /// These names. The name of a variable has neither `=` nor a zero byte, so no other is ever found.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        Self(names.into_iter().map(str::to_owned).collect())
    }

    /// These as well.
    pub fn and<'a>(mut self, names: impl IntoIterator<Item = &'a str>) -> Self {
        self.0.extend(names.into_iter().map(str::to_owned));
        self
    }
}

/// Variables by name, as of when the process was started; control characters and invalid UTF-8
/// replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// Reads it once. Of other variables nothing is kept for longer than it takes to see that they
    /// are others.
    pub fn of(pid: u32, wanted: &Wanted) -> Self {
        File::open(format!("/proc/{pid}/environ"))
            .map(|file| Self::read(BufReader::with_capacity(4096, file.take(LONGEST)), wanted))
            .unwrap_or_default()
    }

    fn read(mut reader: impl BufRead, wanted: &Wanted) -> Self {
        let mut found = BTreeMap::new();
        let mut variable = Vec::new();
        while found.len() < wanted.0.len() {
            variable.clear();
            let mut bounded = reader.by_ref().take(LONGEST_VARIABLE);
            let Ok(1..) = bounded.read_until(0, &mut variable) else { break };
            let whole = variable.pop_if(|last| *last == 0).is_some();
            if !whole && reader.skip_until(0).unwrap_or(0) > 0 {
                continue;
            }
            let Some(at) = variable.iter().position(|&b| b == b'=') else { continue };
            let Ok(name) = std::str::from_utf8(&variable[..at]) else { continue };
            // Of two of one name, programs take the first (getenv of glibc and musl).
            if wanted.0.contains(name) && !found.contains_key(name) {
                let value = printable(&String::from_utf8_lossy(&variable[at + 1..]));
                found.insert(name.to_owned(), value);
            }
        }
        Self(found)
    }

    /// All that were found.
    pub fn all(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// A variable that is set to more than white space.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.trim().is_empty())
    }
}

/// For tests of what is made of it.
#[cfg(test)]
impl<const N: usize> From<[(&str, &str); N]> for Environment {
    fn from(pairs: [(&str, &str); N]) -> Self {
        Self(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Vec<(String, String)> {
        let wanted = Wanted::new(["A", "B"]).and(["C"]);
        Environment::read(BufReader::with_capacity(16, bytes), &wanted).0.into_iter().collect()
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn only_what_is_asked_for_is_taken() {
        let bytes = b"PATH=/bin\0A=1\0PASSWORD=x\0B=a=b\0AA=2\0XA=3\0";
        assert_eq!(read(bytes), pairs(&[("A", "1"), ("B", "a=b")]));
        assert_eq!(read(b"A=1\0A=2\0"), pairs(&[("A", "1")]));
        assert_eq!(read(b"B=unterminated"), pairs(&[("B", "unterminated")]));
    }

    #[test]
    fn hostile_environments_are_harmless() {
        assert_eq!(read(b""), []);
        assert_eq!(read(b"\0\0\0=\0==\0A"), []);
        assert_eq!(read(b"A=\x1b[2J\n\xff\0"), pairs(&[("A", "\u{fffd}[2J\u{fffd}\u{fffd}")]));
        let mut long = b"A=".to_vec();
        long.extend(vec![b'x'; 1 << 20]);
        long.extend(b"\0B=2\0");
        assert_eq!(read(&long), pairs(&[("B", "2")]), "too long is not taken, cut neither");
        let empty = Environment::from([("A", " \t"), ("B", "b")]);
        assert_eq!((empty.get("A"), empty.get("B"), empty.get("C")), (None, Some("b"), None));
    }
}
