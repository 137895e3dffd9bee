//! Debian packages: which are absent, and installing those.

use std::fs;
use std::time::{Duration, SystemTime};

use anyhow::{Result, bail};

use crate::shell;

const LISTS: &str = "/var/lib/apt/lists";
/// Older lists may name versions the archive no longer holds.
const STALE: Duration = Duration::from_secs(24 * 60 * 60);

/// Those of `packages` that are not installed.
pub fn missing<'a>(packages: &[&'a str]) -> Vec<&'a str> {
    let mut query = shell::program("dpkg-query");
    query.args(["-W", "-f", "${Package} ${db:Status-Status}\n"]).args(packages);
    // It exits with 1 when it knows nothing of one of them, and still lists the others.
    let listed = query.output().map(|done| done.stdout).unwrap_or_default();
    let listed = String::from_utf8_lossy(&listed);
    let installed: Vec<&str> =
        listed.lines().filter_map(|line| line.strip_suffix(" installed")).collect();
    packages.iter().copied().filter(|package| !installed.contains(package)).collect()
}

/// Whether apt is here, may be used, and has every one of `packages`.
pub fn offers(packages: &[&str]) -> bool {
    if !shell::is_root() || shell::find("apt-get").is_none() {
        return false;
    }
    // A refresh that fails leaves the old lists, which may well do.
    let _ = refresh();
    let known = |package: &&str| {
        let mut show = shell::program("apt-cache");
        shell::output(show.args(["show", "--no-all-versions", *package])).is_ok()
    };
    packages.iter().all(known)
}

/// Installs `packages`, none of them recommended ones, without asking anything.
pub fn install(packages: &[&str]) -> Result<()> {
    let list = packages.join(" ");
    if shell::find("apt-get").is_none() {
        bail!("please install {list} (Debian's names) with your package manager");
    }
    if !shell::is_root() {
        bail!("please run `sudo apt-get install {list}`, or this command as root");
    }
    refresh()?;
    println!("setup: apt-get install {list}");
    let mut install = apt_get();
    let _no_services = NoServices::arrange();
    shell::run(install.args(["install", "--yes", "--no-install-recommends"]).args(packages))
}

/// Where Debian's packages ask whether they may start what they install.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// While it lives, nothing that is installed is started: a server of the system's would take the
/// port that everybody uses. Where somebody has a policy already, that counts.
struct NoServices(bool);

impl NoServices {
    fn arrange() -> Self {
        use std::os::unix::fs::OpenOptionsExt as _;
        let mut options = fs::OpenOptions::new();
        let made = options.write(true).create_new(true).mode(0o755).open(POLICY);
        let written = made
            .and_then(|mut file| std::io::Write::write_all(&mut file, b"#!/bin/sh\nexit 101\n"));
        Self(written.is_ok())
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.0 {
            let _ = fs::remove_file(POLICY);
        }
    }
}

/// `apt-get update` when there are no lists or old ones.
pub fn refresh() -> Result<()> {
    let now = SystemTime::now();
    let fresh = fs::read_dir(LISTS).into_iter().flatten().flatten().any(|entry| {
        let name = entry.file_name();
        let list = name.to_string_lossy().ends_with("Release");
        let changed = fs::metadata(LISTS).and_then(|folder| folder.modified());
        list && changed.is_ok_and(|at| now.duration_since(at).is_ok_and(|age| age < STALE))
    });
    if fresh {
        return Ok(());
    }
    println!("setup: apt-get update");
    shell::run(apt_get().arg("update"))
}

fn apt_get() -> std::process::Command {
    let mut command = shell::program("apt-get");
    // A machine that has just started may still hold the lock for its own updates.
    command.args(["-q", "-o", "DPkg::Lock::Timeout=120"]).env("DEBIAN_FRONTEND", "noninteractive");
    command
}
