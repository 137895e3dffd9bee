//! Yanked versions, as cargo's own copy of the registry index tells.
//!
//! Cargo refreshes an entry when it resolves or downloads that crate; no command prints the flag.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::Dependency;
use crate::shell;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The yanked ones, and a remark on what was looked at.
pub(super) fn check(dependencies: &[Dependency]) -> (Vec<String>, String) {
    let (mut yanked, mut unknown, mut oldest) = (Vec::new(), Vec::new(), Duration::ZERO);
    for dependency in dependencies.iter().filter(|dependency| dependency.source.is_some()) {
        let Dependency { name, version, .. } = dependency;
        let (flag, age) = newest_entry(name, version);
        match flag {
            Some(true) => yanked.push(format!("{name} {version}: yanked from the registry")),
            Some(false) => oldest = oldest.max(age),
            None => unknown.push(name.as_str()),
        }
    }
    let days = oldest.as_secs() / DAY.as_secs();
    let mut remark = format!("yanked versions by cargo's index, at most {days} days old");
    if !unknown.is_empty() {
        remark += &format!(", which lacks {}", unknown.join(", "));
    }
    (yanked, remark)
}

/// The flag in the most recent copy of the index that has the crate, and the age of that copy.
fn newest_entry(name: &str, version: &str) -> (Option<bool>, Duration) {
    let indexes = fs::read_dir(shell::cargo_home().join("registry/index"));
    let copies = indexes.into_iter().flatten().flatten().filter_map(|index| {
        let file = index.path().join(".cache").join(place(name));
        let age = fs::metadata(&file).ok()?.modified().ok()?.elapsed().unwrap_or_default();
        Some((flag(&fs::read(&file).ok()?, version)?, age))
    });
    let newest = copies.min_by_key(|(_, age)| *age);
    newest.map_or((None, Duration::ZERO), |(flag, age)| (Some(flag), age))
}

/// Where an index keeps a crate: `1/a`, `2/ab`, `3/a/abc`, `ab/cd/abcd...`.
fn place(name: &str) -> PathBuf {
    let name = name.to_lowercase();
    let folder = match name.len() {
        0..=2 => name.len().to_string(),
        3 => format!("3/{}", &name[..1]),
        _ => format!("{}/{}", &name[..2], &name[2..4]),
    };
    PathBuf::from(folder).join(name)
}

/// Whether a cache file says that `version` is yanked: a header, then a JSON text a version,
/// all separated by zero bytes.
fn flag(cache: &[u8], version: &str) -> Option<bool> {
    let texts = cache.split(|byte| *byte == 0).filter(|text| text.starts_with(b"{"));
    let mut entries = texts.filter_map(|text| serde_json::from_slice::<Value>(text).ok());
    entries.find(|entry| entry["vers"] == version)?["yanked"].as_bool()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_of_the_very_version_is_read() {
        let cache =
            b"\x03\x02\0\0\0Unknown\x000.1.0\0{\"vers\":\"0.1.0\",\"yanked\":true}\x000.2.0\0\
            {\"vers\":\"0.2.0\",\"yanked\":false}\0";
        assert_eq!(flag(cache, "0.1.0"), Some(true));
        assert_eq!(flag(cache, "0.2.0"), Some(false));
        assert_eq!(flag(cache, "0.3.0"), None);
    }

    #[test]
    fn places_follow_the_length_of_the_name() {
        assert_eq!(place("cc"), PathBuf::from("2/cc"));
        assert_eq!(place("aya"), PathBuf::from("3/a/aya"));
        assert_eq!(place("Anyhow"), PathBuf::from("an/yh/anyhow"));
    }
}
