//! Interpreters of Python newer than the system's, unpacked beside the build from Debian's archive.
//!
//! CPython keeps its locks in another way since 3.13.1, and Debian 12 has 3.11. The packages of
//! later releases are taken from the archive that apt uses anyway, checked by the archive's keys,
//! and only unpacked: with their own C library and loader they run where they lie, and nothing of
//! the system changes. A release of Debian has one minor version for good.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use super::apt;
use crate::shell;

/// Minor version of Python, and the release of Debian that has it.
const VERSIONS: &[(&str, &str)] = &[("3.13", "trixie"), ("3.14", "forky")];
/// Keys of Debian's archive, later releases among them.
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// The interpreter, its library, and what those of its modules need that the tests import.
const PACKAGES: &[&str] = &[
    "python{}-minimal",
    "libpython{}-minimal",
    "libpython{}-stdlib",
    "libc6",
    "libexpat1",
    "libffi8",
    "zlib1g",
];

/// Unpacks those that are not there. Only live tests need them, so that what hinders it is said
/// and nothing else fails.
pub fn install(installed: &mut Vec<String>) -> Result<()> {
    for &(version, release) in VERSIONS {
        let home = shell::target()?.join("pythons").join(version);
        if home.join("usr/bin").join(format!("python{version}")).exists() {
            continue;
        }
        println!("setup: Python {version} is missing (live tests watch its locks)");
        match unpack(&home, version, release) {
            Ok(()) => installed.push(format!("Python {version}")),
            Err(error) => println!("setup: no Python {version}: {error:#}"),
        }
    }
    Ok(())
}

fn unpack(home: &Path, version: &str, release: &str) -> Result<()> {
    ensure!(shell::find("apt-get").is_some(), "it comes from Debian's archive, by apt");
    ensure!(Path::new(KEYS).exists(), "the keys of Debian's archive are not here");
    let archive = archive()?;
    let work = home.with_extension("new");
    let _ = fs::remove_dir_all(&work);
    for folder in ["apt/lists/partial", "apt/cache/archives/partial", "debs"] {
        fs::create_dir_all(work.join(folder))?;
    }
    let apt = work.join("apt");
    fs::write(apt.join("list"), format!("deb [signed-by={KEYS}] {archive} {release} main\n"))?;
    shell::output(apt_get(&apt).arg("update"))?;
    let names = PACKAGES.iter().map(|name| name.replace("{}", version));
    shell::output(apt_get(&apt).current_dir(work.join("debs")).arg("download").args(names))?;
    let mut packages: Vec<PathBuf> =
        fs::read_dir(work.join("debs"))?.flatten().map(|entry| entry.path()).collect();
    packages.sort();
    ensure!(packages.len() == PACKAGES.len(), "not all packages came: {packages:?}");
    for package in &packages {
        shell::run(shell::program("dpkg-deb").arg("--extract").arg(package).arg(&work))?;
        println!("setup: unpacked {}", package.file_name().unwrap_or_default().display());
    }
    fs::remove_dir_all(work.join("debs"))?;
    fs::remove_dir_all(&apt)?;
    // Whole or not at all, whenever it is interrupted.
    let _ = fs::remove_dir_all(home);
    fs::rename(&work, home).context("put it in its place")
}

/// The archive of Debian that apt is set up with.
fn archive() -> Result<String> {
    apt::refresh()?;
    let mut ask = shell::program("apt-get");
    ask.args(["indextargets", "--format", "$(REPO_URI)"]);
    let listed = shell::output(ask.args(["Identifier: Packages", "Origin: Debian"]))?;
    match listed.lines().find(|line| line.contains("://")) {
        Some(line) => Ok(line.trim().to_owned()),
        None => bail!("apt is set up with no archive of Debian's"),
    }
}

/// apt with lists, caches and sources of its own, which needs no rights.
fn apt_get(folder: &Path) -> Command {
    let mut command = shell::program("apt-get");
    command.arg("-qq");
    for (option, value) in [
        ("Dir::Etc::sourcelist", folder.join("list")),
        ("Dir::Etc::sourceparts", "/dev/null".into()),
        ("Dir::State::lists", folder.join("lists")),
        ("Dir::State::status", "/dev/null".into()),
        ("Dir::Cache", folder.join("cache")),
        ("Acquire::Languages", "none".into()),
        ("Acquire::IndexTargets::deb::DEP-11::DefaultEnabled", "false".into()),
    ] {
        command.arg("-o").arg(format!("{option}={}", value.display()));
    }
    if shell::is_root() {
        // The folder is not one that apt's own user may write to.
        command.args(["-o", "APT::Sandbox::User=root"]);
    }
    command
}
