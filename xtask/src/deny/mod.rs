//! `cargo xtask deny`: what `cargo deny check` says, from the registry alone.
//!
//! cargo-deny takes minutes to build and fetches the RustSec database, which is in no registry.
//! This reads the same `deny.toml`; where cargo-deny is installed, advisories are left to it.

mod advisories;
mod licences;
mod sources;
mod yanked;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::shell;

/// A crate of the dependency graph, as cargo describes it.
#[derive(Default)]
struct Dependency {
    name: String,
    version: String,
    /// SPDX expression in its Cargo.toml.
    licence: Option<String>,
    /// Where it came from; `None` is this workspace.
    source: Option<String>,
    /// Never published, so its licence is nobody's business.
    private: bool,
}

/// Checks every dependency on every target against `deny.toml`.
pub fn run() -> Result<()> {
    let rules = std::fs::read_to_string(shell::workspace().join("deny.toml"))?;
    let rules: toml::Table = rules.parse().context("deny.toml")?;
    let dependencies = dependencies(&rules)?;

    let mut found = licences::check(&rules, &dependencies)?;
    found.extend(sources::check(&rules, &dependencies));
    let (yanked, remark) = yanked::check(&dependencies);
    found.extend(yanked);

    let count = dependencies.len();
    println!("deny: {count} crates: licences and sources checked; {remark}");
    println!("deny: {}", advisories::check()?);
    if !found.is_empty() {
        bail!("deny.toml does not allow:\n  {}", found.join("\n  "));
    }
    Ok(())
}

/// The graph on the targets that deny.toml names.
fn dependencies(rules: &toml::Table) -> Result<Vec<Dependency>> {
    let mut command = shell::cargo();
    command.args(["metadata", "--locked", "--all-features", "--format-version=1"]);
    for target in strings(rules, "graph", "targets") {
        command.args(["--filter-platform", target]);
    }
    let metadata: Value = serde_json::from_str(&shell::output(&mut command)?)?;
    // `packages` lists all of Cargo.lock; the resolved graph only what these targets use.
    let nodes = metadata["resolve"]["nodes"].as_array().context("cargo metadata: no graph")?;
    let used: Vec<&Value> = nodes.iter().map(|node| &node["id"]).collect();
    let packages = metadata["packages"].as_array().context("cargo metadata: no packages")?;
    let packages = packages.iter().filter(|package| used.contains(&&package["id"]));
    Ok(packages.map(Dependency::read).collect())
}

impl Dependency {
    fn read(package: &Value) -> Self {
        let text = |field: &str| package[field].as_str().map(str::to_owned);
        Self {
            name: text("name").unwrap_or_default(),
            version: text("version").unwrap_or_default(),
            licence: text("license"),
            source: text("source"),
            private: package["publish"].as_array().is_some_and(Vec::is_empty),
        }
    }
}

/// The list of strings `section.key` of deny.toml; empty when absent.
fn strings<'a>(rules: &'a toml::Table, section: &str, key: &str) -> Vec<&'a str> {
    let list = rules.get(section).and_then(|section| section.get(key)?.as_array());
    list.into_iter().flatten().filter_map(toml::Value::as_str).collect()
}
