//! The example of a collector's configuration: its pipelines name what there is.

use anyhow::{Context as _, Result};

use super::script;
use crate::shell;

/// Checks it. No registry has a Collector that could read it.
pub fn check() -> Result<()> {
    let mut python = script(include_str!("collector.py"))?;
    shell::run(python.arg("deploy/collector/config.yaml")).context("the collector's configuration")
}
