//! Licences of the crates that are part of the program: they ask to be passed on with it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::shell;

const TARGET: &str = "x86_64-unknown-linux-gnu";
/// Beginnings of names of files that hold a licence.
const LICENCES: &[&str] = &["license", "licence", "copying", "copyright", "notice", "unlicense"];

/// Every crate with its licence, then every text once.
pub fn text() -> Result<String> {
    let mut metadata = shell::cargo();
    metadata.args(["metadata", "--locked", "--format-version=1", "--filter-platform", TARGET]);
    let metadata: Value = serde_json::from_str(&shell::output(&mut metadata)?)?;
    let packages = metadata["packages"].as_array().context("cargo metadata: no packages")?;
    let linked = linked(&metadata)?;
    let mut list = String::new();
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in packages.iter().filter(|package| !package["source"].is_null()) {
        let field = |key: &str| package[key].as_str().unwrap_or_default();
        if !linked.contains(field("id")) {
            continue;
        }
        let name = format!("{} {}", field("name"), field("version"));
        let _ = writeln!(list, "{name}: {}", field("license"));
        let folder =
            Path::new(field("manifest_path")).parent().context("a manifest in a folder")?;
        for text in licences(folder) {
            texts.entry(text).or_default().push(name.clone());
        }
    }
    let mut out = format!(
        "lockprobe is made with these crates, which are part of the program. Where a licence offers a\n\
         choice, lockprobe takes those that LICENSE names first. Their texts follow.\n\n{list}"
    );
    for (text, names) in &texts {
        let rule = "=".repeat(78);
        let _ = write!(out, "\n{rule}\n{}:\n\n{}\n", names.join(", "), text.trim_end());
    }
    Ok(out)
}

/// Ids of what the program is linked with: no tests, no build scripts, no macros' own needs.
fn linked(metadata: &Value) -> Result<BTreeSet<String>> {
    let nodes = metadata["resolve"]["nodes"].as_array().context("cargo metadata: no graph")?;
    let packages = metadata["packages"].as_array().context("cargo metadata: no packages")?;
    let root = packages.iter().find(|package| package["name"] == "lockprobe");
    let root = root.and_then(|package| package["id"].as_str()).context("no crate lockprobe")?;
    let is_macro = |id: &str| {
        let package = packages.iter().find(|package| package["id"] == *id);
        let targets =
            package.and_then(|package| package["targets"].as_array()).into_iter().flatten();
        let mut kinds = targets.filter_map(|target| target["kind"].as_array()).flatten();
        kinds.any(|kind| kind == "proc-macro")
    };
    let mut found = BTreeSet::new();
    let mut ahead = vec![root.to_owned()];
    while let Some(id) = ahead.pop() {
        if is_macro(&id) || !found.insert(id.clone()) {
            continue;
        }
        let node =
            nodes.iter().find(|node| node["id"] == *id).context("a crate outside the graph")?;
        for dependency in node["deps"].as_array().into_iter().flatten() {
            let kinds = dependency["dep_kinds"].as_array().into_iter().flatten();
            // No kind is the usual one.
            let normal = kinds.into_iter().any(|kind| kind["kind"].is_null());
            if let (true, Some(id)) = (normal, dependency["pkg"].as_str()) {
                ahead.push(id.to_owned());
            }
        }
    }
    Ok(found)
}

/// Texts of the licences in a crate's folder.
fn licences(folder: &Path) -> Vec<String> {
    let mut files: Vec<_> = fs::read_dir(folder).into_iter().flatten().flatten().collect();
    files.sort_by_key(fs::DirEntry::file_name);
    let is_one = |name: &str| LICENCES.iter().any(|begin| name.to_lowercase().starts_with(begin));
    let files = files.iter().filter(|file| is_one(&file.file_name().to_string_lossy()));
    files.filter_map(|file| fs::read_to_string(file.path()).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_linked_is_named_with_its_licence() {
        let text = text().unwrap();
        for expected in
            ["\naya 0.14.0: MIT OR Apache-2.0\n", "\nclap ", "Permission is hereby granted"]
        {
            assert!(text.contains(expected), "{expected}");
        }
        // Of tests alone; a macro, which is run while building, and what only it needs.
        for other in ["\nrcgen ", "\nserde_derive ", "\nsyn "] {
            assert!(!text.contains(other), "{other}");
        }
    }
}
