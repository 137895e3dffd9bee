//! The compiler for the eBPF programs: a rustup nightly with its sources, or Debian's packages.
//!
//! `-Z build-std` needs the sources of `core` and unstable flags. A nightly has both; Debian's
//! `rustc-web` has the sources as a package and takes the flags with RUSTC_BOOTSTRAP.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use super::apt;
use crate::shell;

/// Everything the Debian way needs; the libraries are what linking with LLVM asks for.
pub const DEBIAN: &[&str] = &[
    "rustc-web",
    "rust-web-src",
    "cargo-web",
    "llvm-22-dev",
    "libpolly-22-dev",
    "libzstd-dev",
    "zlib1g-dev",
];
/// LLVM inside Debian's rustc-web.
const DEBIAN_LLVM: u32 = 22;
/// What the outer cargo, rustup or the user's own settings would carry into the eBPF build.
const LEAKS: &[&str] = &[
    "CARGO",
    "CARGO_BUILD_RUSTC_WRAPPER",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_ENCODED_RUSTFLAGS",
    "RUSTC",
    "RUSTC_BOOTSTRAP",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTFLAGS",
    "RUSTUP_TOOLCHAIN",
];

/// A compiler that can build `core` for eBPF.
pub enum Toolchain {
    /// rustup's nightly with the component rust-src.
    Nightly {
        /// Major version of the LLVM inside.
        llvm: u32,
    },
    /// Debian's rustc-web and its friends.
    Debian,
}

impl Toolchain {
    /// What is on this machine, a nightly first.
    pub fn find() -> Option<Self> {
        nightly().or_else(|| apt::missing(DEBIAN).is_empty().then_some(Self::Debian))
    }

    /// `cargo` of this toolchain, free of the settings of the cargo that runs us.
    pub fn cargo(&self) -> Command {
        let mut command = match self {
            Self::Nightly { .. } => {
                let mut rustup = shell::program("rustup");
                rustup.args(["run", "nightly", "cargo"]);
                rustup
            }
            Self::Debian => shell::program("/usr/bin/cargo"),
        };
        for leak in LEAKS {
            command.env_remove(leak);
        }
        if matches!(self, Self::Debian) {
            command.env("RUSTC", "/usr/bin/rustc").env("RUSTC_BOOTSTRAP", "1");
        }
        command
    }

    /// Major version of its LLVM; a linker with an older one cannot read its bitcode.
    pub fn llvm(&self) -> u32 {
        match self {
            Self::Nightly { llvm } => *llvm,
            Self::Debian => DEBIAN_LLVM,
        }
    }
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nightly { .. } => "rustup's nightly",
            Self::Debian => "Debian's rustc-web",
        })
    }
}

/// Finds a toolchain or installs one.
///
/// Debian's packages come first where root can have them: one version, tried with this code.
/// A nightly is a new compiler every night.
pub fn install(installed: &mut Vec<String>) -> Result<Toolchain> {
    if let Some(toolchain) = Toolchain::find() {
        return Ok(toolchain);
    }
    println!("setup: no eBPF toolchain yet");
    if apt::offers(DEBIAN) {
        let missing = apt::missing(DEBIAN);
        apt::install(&missing)?;
        installed.extend(missing.into_iter().map(str::to_owned));
    } else if fetch_nightly() {
        installed.push("rustup's nightly with rust-src".to_owned());
    }
    let Some(toolchain) = Toolchain::find() else {
        bail!(
            "no eBPF toolchain: run `rustup toolchain install nightly --component rust-src`, \
             or as root on Debian `apt-get install {}`",
            DEBIAN.join(" ")
        );
    };
    Ok(toolchain)
}

fn fetch_nightly() -> bool {
    if shell::find("rustup").is_none() {
        return false;
    }
    println!("setup: rustup toolchain install nightly --component rust-src (up to 5 minutes)");
    // Without a network it would try again and again.
    let mut command = shell::program("timeout");
    command.args(["300", "rustup", "toolchain", "install", "nightly", "--profile", "minimal"]);
    command.args(["--component", "rust-src"]).env("RUSTUP_MAX_RETRIES", "1");
    shell::output(&mut command).is_ok()
}

/// rustup's nightly when it has the sources and is no older than the workspace asks for.
fn nightly() -> Option<Toolchain> {
    shell::find("rustup")?;
    let listed = shell::output(shell::program("rustup").args(["toolchain", "list", "-v"])).ok()?;
    let home = listed.lines().find_map(nightly_home)?;
    if !home.join("lib/rustlib/src/rust/library/core/Cargo.toml").is_file() {
        return None;
    }
    let about = shell::output(shell::program(home.join("bin/rustc")).arg("-vV")).ok()?;
    let field = |name: &str| about.lines().find_map(|line| line.strip_prefix(name));
    let release = version(field("release: ")?)?;
    let (llvm, _) = version(field("LLVM version: ")?)?;
    (release >= version(env!("CARGO_PKG_RUST_VERSION"))?).then_some(Toolchain::Nightly { llvm })
}

/// The folder of the rolling nightly in a line of `rustup toolchain list -v`; dated ones are not it.
fn nightly_home(line: &str) -> Option<PathBuf> {
    let host = line.strip_prefix("nightly-")?;
    let dated = host.starts_with(|first: char| first.is_ascii_digit());
    let path = &line[line.find('/')?..];
    (!dated).then(|| Path::new(path.trim_end()).to_owned())
}

/// Major and minor of `1.96.0-nightly`, `22.1.8`, `1.95`.
pub fn version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.split(['.', '-']).map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_rolling_nightly_counts() {
        let line = "nightly-x86_64-unknown-linux-gnu (override) /home/a b/toolchains/nightly-x";
        assert_eq!(nightly_home(line), Some(PathBuf::from("/home/a b/toolchains/nightly-x")));
        assert_eq!(nightly_home("nightly-2026-01-02-x86_64-unknown-linux-gnu /home/x"), None);
        assert_eq!(nightly_home("stable-x86_64-unknown-linux-gnu (default) /home/x"), None);
    }

    #[test]
    fn versions_compare_by_number() {
        assert_eq!(version("1.96.0-nightly"), Some((1, 96)));
        assert!(version("1.100.0") > version("1.95"));
        assert_eq!(version("unknown"), None);
    }
}
