//! The Dockerfile, read by hadolint, and what it has to have in common with the set-up.

use anyhow::Result;

use super::read;
use crate::{setup, shell};

const DOCKERFILE: &str = "deploy/docker/Dockerfile";

/// Checks it.
pub fn check() -> Result<Vec<String>> {
    let mut faults = Vec::new();
    let mut hadolint = shell::program(setup::deploy_tool("hadolint")?);
    let done = hadolint.args(["--no-color", "--failure-threshold=info", DOCKERFILE]).output()?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stdout);
        faults.extend(said.lines().map(str::to_owned));
        faults.push(format!("hadolint finds fault with {DOCKERFILE}"));
    }
    let text = read(DOCKERFILE)?;
    let words: Vec<&str> = text.split_whitespace().collect();
    for package in setup::DEBIAN_TOOLCHAIN {
        if !words.contains(package) {
            faults.push(format!("{DOCKERFILE} does not install {package}, which building needs"));
        }
    }
    let linker = format!("ARG BPF_LINKER={}", setup::LINKER);
    if !text.lines().any(|line| line == linker) {
        faults.push(format!("{DOCKERFILE}: the set-up has `{linker}`"));
    }
    let last = text.lines().rfind(|line| line.starts_with("USER "));
    if last != Some("USER 65532:65532") {
        faults.push(format!("{DOCKERFILE} runs as {last:?}, not as the user that the chart names"));
    }
    println!("deploy: hadolint takes the Dockerfile");
    Ok(faults)
}
