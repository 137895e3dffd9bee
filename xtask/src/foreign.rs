//! `cargo xtask check-aarch64`: whether the agent still compiles for the other processor.
//!
//! The pinned compiler has no standard library for it, but the toolchain of the eBPF programs has
//! the sources of one. A check links nothing, so what is written in C needs no compiler either.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::{setup, shell};

const TARGET: &str = "aarch64-unknown-linux-gnu";

/// Stands in for the C compiler: makes whatever object it is asked for, with nothing in it.
const COMPILER: &str =
    "#!/bin/sh\nwhile [ $# -gt 0 ]; do [ \"$1\" = -o ] && : > \"$2\"; shift; done\nexit 0\n";
/// Stands in for the archiver: an archive of nothing.
const ARCHIVER: &str = "#!/bin/sh\nprintf '!<arch>\\n' > \"$2\"\n";

/// Checks everything but xtask itself and the programs that run in the kernel.
pub fn run() -> Result<()> {
    let (toolchain, _) = setup::ebpf().context("no toolchain: run `cargo xtask setup`")?;
    let folder = shell::target()?.join("foreign");
    fs::create_dir_all(&folder)?;
    let compiler = script(&folder, "cc", COMPILER)?;
    let archiver = script(&folder, "ar", ARCHIVER)?;
    let mut check = toolchain.cargo();
    check.args(["check", "--quiet", "--locked", "--target", TARGET]);
    check.args(["--package", "lockprobe", "--package", "lockprobe-tests", "--all-targets"]);
    // `test` is the library that runs tests.
    check.args(["-Z", "build-std=std,panic_abort,test"]);
    check.env("CC_aarch64_unknown_linux_gnu", compiler);
    check.env("AR_aarch64_unknown_linux_gnu", archiver);
    shell::run(&mut check)
}

fn script(folder: &Path, name: &str, text: &str) -> Result<PathBuf> {
    let path = folder.join(name);
    fs::write(&path, text)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    Ok(path)
}
