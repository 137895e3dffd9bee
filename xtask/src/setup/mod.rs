//! `cargo xtask setup`: finds out what is missing, installs it, says what it did.
//!
//! Looking takes a fraction of a second, so every command that needs something calls it first.
//! It asks nothing: no terminal and no standard input are needed.

mod apt;
mod clients;
mod deploy;
pub mod later;
mod linker;
mod needs;
mod receivers;
mod toolchain;

use std::time::Instant;

use anyhow::Result;

pub use deploy::tool as deploy_tool;
pub use linker::{VERSION as LINKER, strip};
pub use receivers::install_store;
pub use toolchain::{DEBIAN as DEBIAN_TOOLCHAIN, Toolchain};

/// Installs what is missing.
pub fn run() -> Result<()> {
    let began = Instant::now();
    let mut installed = needs::install()?;
    later::install(&mut installed)?;
    clients::install(&mut installed)?;
    receivers::install(&mut installed)?;
    deploy::install(&mut installed)?;
    toolchain(began, installed)
}

/// Installs what is missing of what building needs, which is little of what tests need.
pub fn for_build() -> Result<()> {
    toolchain(Instant::now(), Vec::new())
}

fn toolchain(began: Instant, mut installed: Vec<String>) -> Result<()> {
    let toolchain = toolchain::install(&mut installed)?;
    let linker = linker::install(&toolchain, &mut installed)?;
    let (linker, seconds) = (linker.display(), began.elapsed().as_secs_f32());
    if installed.is_empty() {
        println!("setup: nothing missing; eBPF with {toolchain} and {linker} ({seconds:.1} s)");
    } else {
        let installed = installed.join(", ");
        println!(
            "setup: installed {installed}; eBPF with {toolchain} and {linker} ({seconds:.0} s)"
        );
    }
    Ok(())
}

/// Installs those of these packages that are absent: what only one command needs.
pub fn packages(names: &[&str]) -> Result<()> {
    match apt::missing(names) {
        missing if missing.is_empty() => Ok(()),
        missing => apt::install(&missing),
    }
}

/// A usable compiler and linker for eBPF, without installing anything.
pub fn ebpf() -> Option<(Toolchain, std::path::PathBuf)> {
    let toolchain = Toolchain::find()?;
    let linker = linker::find(&toolchain)?;
    Some((toolchain, linker))
}
