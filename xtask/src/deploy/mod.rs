//! `cargo xtask check-deploy`: what people install is checked by the tools that will read it.
//!
//! Nothing here is deployed: there is no cluster, no systemd and no registry of images on a machine
//! that builds. But Helm's own engine renders the chart, Kubernetes' schemas judge it, and systemd,
//! Prometheus and a linter of Dockerfiles read what is theirs.

mod collector;
mod dashboard;
mod image;
mod notices;
pub mod package;
mod prometheus;
mod tree;
mod unit;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::{build, setup, shell};

/// All that lockprobe is given, wherever it runs: `CAP_` before it is Linux's name.
const CAPABILITIES: [&str; 5] =
    ["BPF", "PERFMON", "SYS_PTRACE", "DAC_READ_SEARCH", "CHECKPOINT_RESTORE"];

/// Checks everything below `deploy/`; with `write`, first makes what is made from something else.
pub fn run(write: bool) -> Result<()> {
    let folder = shell::target()?.join("check-deploy");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;
    let mut faults = Vec::new();
    for check in [chart(write, &folder), collector::check()] {
        faults.extend(check.err().map(|error| format!("{error:#}")));
    }
    faults.extend(prometheus::check()?);
    faults.extend(dashboard::check(&folder)?);
    faults.extend(unit::check(&folder)?);
    faults.extend(image::check()?);
    faults.extend(rights()?);
    faults.extend(configurations(&folder)?);
    if !faults.is_empty() {
        bail!("deploy/ is not as it should be:\n  {}", faults.join("\n  "));
    }
    Ok(())
}

/// The text of a file of the repository.
fn read(path: &str) -> Result<String> {
    fs::read_to_string(shell::workspace().join(path)).with_context(|| format!("read {path}"))
}

/// A script beside this file, run by the Python that has what it imports.
fn script(text: &str) -> Result<Command> {
    let mut python = shell::program(setup::deploy_tool("python")?);
    python.args(["-I", "-c", text]);
    Ok(python)
}

/// Renders the chart and looks at what comes out; what is made from it is written first, since what
/// is written may be checked.
fn chart(write: bool, folder: &Path) -> Result<()> {
    for command in write.then_some("write").into_iter().chain(["check"]) {
        shell::run(script(include_str!("chart.py"))?.arg(command).arg(folder))
            .context("the Helm chart (see above)")?;
    }
    Ok(())
}

/// The same five capabilities everywhere, and each explained.
fn rights() -> Result<Vec<String>> {
    let mut faults = Vec::new();
    let security = read("docs/security.md")?;
    for name in CAPABILITIES {
        if !security.contains(&format!("| `CAP_{name}` |")) {
            faults.push(format!("docs/security.md does not explain CAP_{name}"));
        }
    }
    let list = CAPABILITIES.join(", ");
    for path in ["deploy/helm/lockprobe/values.yaml", "xtask/src/deploy/chart.py"] {
        let text = read(path)?.replace('"', "");
        if !text.contains(&format!("[{list}]")) {
            faults.push(format!("{path} has other capabilities than {list}"));
        }
    }
    Ok(faults)
}

/// The configurations that the chart renders, and the one that is installed, as lockprobe sees them.
fn configurations(folder: &Path) -> Result<Vec<String>> {
    let Some(program) = built()? else {
        bail!(
            "lockprobe is not built, and its configuration is to be checked: `cargo xtask build`"
        );
    };
    let rendered = fs::read_dir(folder)?.flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> =
        rendered.filter(|path| path.to_string_lossy().ends_with(".lockprobe.yaml")).collect();
    files.push(shell::workspace().join(tree::CONFIGURATION));
    files.sort();
    let mut faults = Vec::new();
    for file in &files {
        let mut validate = shell::program(&program);
        validate.args(["config", "validate"]).arg(file);
        faults.extend(shell::output(&mut validate).err().map(|error| error.to_string()));
    }
    if faults.is_empty() {
        println!("deploy: lockprobe takes {} configurations", files.len());
    }
    Ok(faults)
}

/// The program as it was built last, optimised or not.
fn built() -> Result<Option<PathBuf>> {
    let candidates = [build::lockprobe()?, shell::target()?.join("debug").join("lockprobe")];
    let age = |path: &PathBuf| fs::metadata(path).and_then(|file| file.modified()).ok();
    Ok(candidates.into_iter().filter(|path| path.is_file()).max_by_key(age))
}
