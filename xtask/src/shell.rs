//! Running other programs: where things are, and an environment that does not leak.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// Root of the workspace, wherever cargo was called from.
pub fn workspace() -> PathBuf {
    let here = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let here = here.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")));
    here.parent().map_or(here.clone(), Path::to_owned)
}

/// Cargo's target folder, as cargo itself sees it (environment, configuration or default).
pub fn target() -> Result<PathBuf> {
    let metadata = output(cargo().args(["metadata", "--no-deps", "--format-version=1"]))?;
    let metadata: serde_json::Value = serde_json::from_str(&metadata)?;
    let folder = metadata["target_directory"].as_str().context("cargo metadata: no target")?;
    Ok(PathBuf::from(folder))
}

/// A program that does not inherit what the cargo that runs xtask set for itself.
///
/// `cargo run` puts the stable toolchain's libraries first in LD_LIBRARY_PATH, where a compiler of
/// another toolchain or an observed program would find them.
pub fn program(name: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(name);
    command.current_dir(workspace()).env_remove("LD_LIBRARY_PATH");
    for (key, _) in env::vars_os() {
        let name = key.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&key);
        }
    }
    command
}

/// The cargo that runs us, on the same toolchain.
pub fn cargo() -> Command {
    program(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Runs to the end, output straight through; a failure names the command.
pub fn run(command: &mut Command) -> Result<()> {
    let line = line(command);
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("run `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed ({status})");
    }
    Ok(())
}

/// Runs to the end and returns what it printed; a failure carries its error output.
pub fn output(command: &mut Command) -> Result<String> {
    let line = line(command);
    let done = command.stdin(Stdio::null()).output().with_context(|| format!("run `{line}`"))?;
    if !done.status.success() {
        bail!("`{line}` failed: {}", String::from_utf8_lossy(&done.stderr).trim());
    }
    String::from_utf8(done.stdout).with_context(|| format!("`{line}` printed no UTF-8"))
}

/// The first executable of this name on PATH, or in cargo's own folder for installed programs.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = env::split_paths(&path).collect();
    places.push(cargo_home().join("bin"));
    places.into_iter().map(|place| place.join(name)).find(|path| path.is_file())
}

/// Cargo's home folder.
pub fn cargo_home() -> PathBuf {
    let home = || PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(".cargo");
    env::var_os("CARGO_HOME").map_or_else(home, PathBuf::from)
}

/// Whether we are root: live capture and apt need it.
pub fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    // Real, effective, saved, file system: the effective one decides.
    uid.and_then(|ids| ids.split_whitespace().nth(1)) == Some("0")
}

/// A command as one would type it.
fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}
