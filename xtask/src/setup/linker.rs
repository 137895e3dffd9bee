//! bpf-linker: the linker rustc calls for eBPF targets.
//!
//! It reads LLVM bitcode, so its LLVM must be at least as new as the compiler's.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::apt;
use super::toolchain::{Toolchain, version};
use crate::shell;

/// The version that is installed where none is.
pub const VERSION: &str = "0.13.0";
/// The LLVMs that version can be built with, newest first.
const LLVMS: &[u32] = &[23, 22, 21];

/// An installed linker that fits the toolchain.
pub fn find(toolchain: &Toolchain) -> Option<PathBuf> {
    let path = shell::find("bpf-linker")?;
    let said = shell::output(shell::program(&path).arg("--version")).ok()?;
    let installed = version(said.trim().strip_prefix("bpf-linker ")?)?;
    let llvm = built_with().unwrap_or(u32::MAX);
    (installed >= version(VERSION)? && llvm >= toolchain.llvm()).then_some(path)
}

/// Finds a linker or builds one.
pub fn install(toolchain: &Toolchain, installed: &mut Vec<String>) -> Result<PathBuf> {
    if let Some(path) = find(toolchain) {
        return Ok(path);
    }
    let llvm = llvm_for(toolchain, installed);
    println!("setup: building bpf-linker {VERSION}; this takes about a minute");
    let mut command = shell::cargo();
    command.args(["install", &format!("bpf-linker@{VERSION}"), "--locked", "--force"]);
    if let Some((llvm, prefix)) = &llvm {
        command.args(["--no-default-features", "--features", &format!("llvm-{llvm}")]);
        command.env("LLVM_PREFIX", prefix);
    }
    // Its own build, not one of this workspace.
    for leak in ["CARGO_TARGET_DIR", "CARGO_ENCODED_RUSTFLAGS", "RUSTFLAGS", "CARGO_BUILD_TARGET"] {
        command.env_remove(leak);
    }
    shell::run(&mut command).with_context(|| {
        format!("bpf-linker needs LLVM {} or newer with its headers", toolchain.llvm())
    })?;
    installed.push(format!("bpf-linker {VERSION}"));
    find(toolchain).context("bpf-linker was built but does not run")
}

/// An LLVM on this machine to build with; `None` leaves the choice to bpf-linker's build.
fn llvm_for(toolchain: &Toolchain, installed: &mut Vec<String>) -> Option<(u32, PathBuf)> {
    let here = || {
        let fits = LLVMS.iter().filter(|llvm| **llvm >= toolchain.llvm());
        let at = |llvm: &u32| (*llvm, PathBuf::from(format!("/usr/lib/llvm-{llvm}")));
        fits.map(at).find(|(_, prefix)| prefix.join("include/llvm/IR/Module.h").is_file())
    };
    here().or_else(|| {
        let llvm = toolchain.llvm();
        let (dev, polly) = (format!("llvm-{llvm}-dev"), format!("libpolly-{llvm}-dev"));
        let packages = [dev.as_str(), polly.as_str(), "libzstd-dev", "zlib1g-dev"];
        let missing = apt::missing(&packages);
        // Elsewhere bpf-linker looks for llvm-config by itself.
        if !apt::offers(&missing) || apt::install(&missing).is_err() {
            return None;
        }
        installed.extend(missing.into_iter().map(str::to_owned));
        here()
    })
}

/// The LLVM the installed linker was built with, from cargo's own record of what it installed.
fn built_with() -> Option<u32> {
    let record = fs::read_to_string(shell::cargo_home().join(".crates2.json")).ok()?;
    let record: serde_json::Value = serde_json::from_str(&record).ok()?;
    let (_, entry) =
        record["installs"].as_object()?.iter().find(|(name, _)| name.starts_with("bpf-linker "))?;
    let features = entry["features"].as_array()?;
    let llvm = |name: &serde_json::Value| name.as_str()?.strip_prefix("llvm-")?.parse().ok();
    features.iter().find_map(llvm)
}

/// llvm-strip, when there is one: the object is usable without, six times as large.
pub fn strip() -> Option<PathBuf> {
    let versioned = LLVMS.iter().map(|llvm| format!("/usr/lib/llvm-{llvm}/bin/llvm-strip"));
    let found = versioned.map(PathBuf::from).find(|path| Path::is_file(path));
    found.or_else(|| shell::find("llvm-strip"))
}
