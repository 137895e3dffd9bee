//! Programs newer than the system's, unpacked beside the build from Debian's archive.
//!
//! CPython keeps its locks in another way since 3.13.1, and Debian 12 has 3.11; it has no Valkey. The
//! packages of later releases are taken from the archive that apt uses anyway, checked by the
//! archive's keys, and only unpacked: with their own C library and loader they run where they lie,
//! and nothing of the system changes. A release of Debian has one minor version for good.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use super::apt;
use crate::shell;

/// What is unpacked of a release.
pub struct Release<'a> {
    /// Its name.
    pub name: &'a str,
    /// A package that needs those that are meant, where their names change: they are taken too.
    pub behind: Option<&'a str>,
    /// The packages by name.
    pub packages: &'a [&'a str],
}

/// What is unpacked.
struct Program {
    /// Its name, and the release of Debian that has it.
    name: &'static str,
    release: &'static str,
    /// Where below `target`, and what is there when it is.
    folder: &'static str,
    program: &'static str,
    /// The packages it is made of.
    packages: &'static [&'static str],
    /// What for.
    why: &'static str,
}

/// Interpreters: their library, and what those of its modules need that the tests import.
const PROGRAMS: &[Program] = &[
    Program {
        name: "Python 3.13",
        release: "trixie",
        folder: "pythons/3.13",
        program: "usr/bin/python3.13",
        packages: &[
            "python3.13-minimal",
            "libpython3.13-minimal",
            "libpython3.13-stdlib",
            "libc6",
            "libexpat1",
            "libffi8",
            "zlib1g",
        ],
        why: "live tests watch its locks",
    },
    Program {
        name: "Python 3.14",
        release: "forky",
        folder: "pythons/3.14",
        program: "usr/bin/python3.14",
        packages: &[
            "python3.14-minimal",
            "libpython3.14-minimal",
            "libpython3.14-stdlib",
            "libc6",
            "libexpat1",
            "libffi8",
            "zlib1g",
        ],
        why: "live tests watch its locks",
    },
    Program {
        name: "Valkey",
        release: "forky",
        folder: "servers/valkey",
        program: "usr/bin/valkey-server",
        packages: &[
            "valkey-server",
            "valkey-tools",
            "libatomic1",
            "libc6",
            "libgcc-s1",
            "libjemalloc2",
            "liblzf1",
            "libssl3t64",
            "libstdc++6",
            "libsystemd0",
            "libzstd1",
            "zlib1g",
        ],
        why: "live tests watch its clients",
    },
];
/// Keys of Debian's archive, later releases among them.
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Unpacks those that are not there. Only live tests need them, so that what hinders it is said
/// and nothing else fails.
pub fn install(installed: &mut Vec<String>) -> Result<()> {
    for wanted in PROGRAMS {
        let home = shell::target()?.join(wanted.folder);
        if home.join(wanted.program).exists() {
            continue;
        }
        println!("setup: {} is missing ({})", wanted.name, wanted.why);
        let release = Release { name: wanted.release, behind: None, packages: wanted.packages };
        match unpack(&home, &release) {
            Ok(()) => installed.push(wanted.name.to_owned()),
            Err(error) => println!("setup: no {}: {error:#}", wanted.name),
        }
    }
    Ok(())
}

/// Unpacks packages of a release into a folder, which is there whole or not at all.
pub fn unpack(home: &Path, wanted: &Release<'_>) -> Result<()> {
    ensure!(shell::find("apt-get").is_some(), "it comes from Debian's archive, by apt");
    ensure!(Path::new(KEYS).exists(), "the keys of Debian's archive are not here");
    let archive = archive()?;
    let work = home.with_extension("new");
    let _ = fs::remove_dir_all(&work);
    for folder in ["apt/lists/partial", "apt/cache/archives/partial", "debs"] {
        fs::create_dir_all(work.join(folder))?;
    }
    let apt = work.join("apt");
    let list = format!("deb [signed-by={KEYS}] {archive} {} main\n", wanted.name);
    fs::write(apt.join("list"), list)?;
    shell::output(apt_get(&apt).arg("update"))?;
    let mut names: Vec<String> = wanted.packages.iter().map(|&name| name.to_owned()).collect();
    if let Some(behind) = wanted.behind {
        names.extend(needed_by(behind, &apt)?);
    }
    let mut download = apt_get(&apt);
    shell::output(download.current_dir(work.join("debs")).arg("download").args(&names))?;
    let mut packages: Vec<PathBuf> =
        fs::read_dir(work.join("debs"))?.flatten().map(|entry| entry.path()).collect();
    packages.sort();
    ensure!(packages.len() == names.len(), "not all packages came: {packages:?}");
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

/// What the meta package of a kernel stands for: the packages with a version in their names among
/// those it needs, and those that these need. Since Linux 7 the kernel is in several.
fn needed_by(package: &str, apt: &Path) -> Result<Vec<String>> {
    let mut ask = configured("apt-cache", apt);
    let listed = shell::output(ask.args(["depends", "--recurse", "--important", package]))?;
    let parts = ["linux-image-", "linux-modules-", "linux-binary-"];
    let of_kernel = |name: &&str| {
        parts.iter().any(|part| {
            name.strip_prefix(part)
                .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        })
    };
    let mut needed: Vec<String> = listed.lines().filter(of_kernel).map(str::to_owned).collect();
    needed.sort();
    needed.dedup();
    Ok(needed)
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
    let mut command = configured("apt-get", folder);
    command.arg("-qq");
    command
}

fn configured(program: &str, folder: &Path) -> Command {
    let mut command = shell::program(program);
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
