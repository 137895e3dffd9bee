//! `cargo xtask build` and `demo`: the eBPF object, then the program that embeds it.

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::{object, shell};

/// Builds the object and `target/release/lockprobe`.
pub fn run() -> Result<()> {
    object::build(&shell::target()?)?;
    shell::run(shell::cargo().args(["build", "--release", "--package", "lockprobe"]))
}

/// Builds the object and `target/debug/lockprobe`, in a fraction of the time.
pub fn debug() -> Result<()> {
    object::build(&shell::target()?)?;
    shell::run(shell::cargo().args(["build", "--package", "lockprobe"]))
}

/// Where [`run`] leaves the program.
pub fn lockprobe() -> Result<PathBuf> {
    Ok(shell::target()?.join("release").join("lockprobe"))
}

/// Becomes `lockprobe demo ...`, so that keys and the exit status need no passing on.
pub fn demo(arguments: &[&str]) -> Result<()> {
    let program = lockprobe()?;
    let error = shell::program(&program).arg("demo").args(arguments).exec();
    bail!("run {}: {error}", program.display())
}
