//! `cargo xtask package`: the Debian package, made with Debian's own tools.
//!
//! Not by `cargo deb`: it takes minutes to build, and what it would take off our hands is the list of
//! files in [`super::tree`], which images need too.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use super::tree;
use crate::shell;

const SCRIPTS: &[&str] = &["postinst", "prerm", "postrm"];
const MAINTAINER: &str = "The lockprobe authors <lockprobe@users.noreply.github.com>";
const HOMEPAGE: &str = "https://github.com/lockprobe/lockprobe";
/// Of the package, not of the program.
const REVISION: &str = "1";

/// Makes the package from the release build, and one with its debug information, in
/// `target/package`; checks both, and the first by using it.
pub fn run() -> Result<()> {
    let home = shell::target()?.join("package");
    let _ = fs::remove_dir_all(&home);
    let (root, debug) = (home.join("lockprobe"), home.join("lockprobe-dbgsym"));
    tree::stage(&root, &debug)?;
    let version = format!("{}-{REVISION}", upstream()?);
    let architecture = shell::output(shell::program("dpkg").arg("--print-architecture"))?;
    let architecture = architecture.trim();
    documents(&root, &debug, &version)?;
    let head = |name: &str, depends: &str, about: &str| {
        format!(
            "Package: {name}\nVersion: {version}\nArchitecture: {architecture}\n\
             Maintainer: {MAINTAINER}\nHomepage: {HOMEPAGE}\n{depends}{about}"
        )
    };
    let needs = format!("Depends: {}, {}\n", libraries(&root)?, SYSUSERS);
    control(&root, &head("lockprobe", &needs, ABOUT))?;
    let needs = format!("Source: lockprobe\nDepends: lockprobe (= {version})\n");
    control(&debug, &head("lockprobe-dbgsym", &needs, ABOUT_DEBUG))?;
    let mut made = Vec::new();
    for folder in [&root, &debug] {
        made.push(build(folder, &home, &version, architecture)?);
    }
    try_out(&made[0], &home)?;
    lint(&made)?;
    for package in made {
        let kibibytes = fs::metadata(&package)?.len() / 1024;
        println!("package: {} ({kibibytes} KiB)", package.display());
    }
    Ok(())
}

/// The version of the program.
fn upstream() -> Result<String> {
    let manifest: toml::Table = super::read("Cargo.toml")?.parse()?;
    let version = manifest["workspace"]["package"]["version"].as_str();
    Ok(version.context("Cargo.toml: no version of the workspace")?.to_owned())
}

/// Only the tree, for images.
pub fn stage(root: &Path) -> Result<()> {
    tree::stage(root, &shell::target()?.join("package").join("debug"))?;
    println!("package: everything is in {}", root.display());
    Ok(())
}

const SYSUSERS: &str = "systemd | systemd-standalone-sysusers | systemd-sysusers";
const ABOUT: &str = "\
Section: admin
Priority: optional
Description: sees who holds which lock and who waits for it
 lockprobe watches lock contention in programs that nobody changed: mutexes,
 file locks, and locks that clients keep in Redis, etcd, ZooKeeper, PostgreSQL,
 MySQL, memcached and Consul. It tells who holds which lock, who waits for it
 and since when, and finds deadlocks and orphaned locks.
 .
 It needs a kernel of version 5.18 or newer with type information (BTF). The
 service is not enabled by installing it: systemctl enable --now lockprobe.
";
const ABOUT_DEBUG: &str = "\
Section: debug
Priority: optional
Auto-Built-Package: debug-symbols
Description: debug symbols for lockprobe
";

/// What lintian is told to pass over, each with its reason.
const OVERRIDES: &str = "\
# Any few bytes of code look like a word in some build.
lockprobe: spelling-error-in-binary * [usr/bin/lockprobe]
# It holds secrets, and systemd reads it as root.
lockprobe: non-standard-file-perm 0640 != 0644 [etc/default/lockprobe]
# It is not uploaded to Debian: there is no bug that asks for it.
lockprobe: initial-upload-closes-no-bugs *
# What it looks for is of C: Rust checks bounds itself.
lockprobe: hardening-no-fortify-functions [usr/bin/lockprobe]
# Half of what the service is consists in how systemd closes it off.
lockprobe: package-supports-alternative-init-but-no-init.d-script *
";

/// Copyright, changelog and overrides, which Debian wants in places of its own.
fn documents(root: &Path, debug: &Path, version: &str) -> Result<()> {
    let doc = root.join("usr/share/doc/lockprobe");
    fs::copy(shell::workspace().join("deploy/package/copyright"), doc.join("copyright"))?;
    // The licence is in `copyright`.
    fs::remove_file(doc.join("LICENSE"))?;
    let date = shell::output(shell::program("git").args(["log", "-1", "--format=%cD"]))?;
    let changes = format!(
        "lockprobe ({version}) unstable; urgency=medium\n\n  * See changelog.gz.\n\n -- {MAINTAINER}  {}\n",
        date.trim()
    );
    let path = doc.join("changelog.Debian");
    fs::write(&path, changes)?;
    tree::gzip(&path)?;
    let overrides = root.join("usr/share/lintian/overrides");
    fs::create_dir_all(&overrides)?;
    fs::write(overrides.join("lockprobe"), OVERRIDES)?;
    let links = debug.join("usr/share/doc");
    fs::create_dir_all(&links)?;
    std::os::unix::fs::symlink("lockprobe", links.join("lockprobe-dbgsym"))?;
    Ok(())
}

/// The packages whose libraries the program is linked with, by `dpkg-shlibdeps`.
fn libraries(root: &Path) -> Result<String> {
    let work = root.with_extension("shlibs");
    fs::create_dir_all(work.join("debian"))?;
    // It wants to see a source package.
    fs::write(
        work.join("debian/control"),
        "Source: lockprobe\n\nPackage: lockprobe\nArchitecture: any\n",
    )?;
    let mut ask = shell::program("dpkg-shlibdeps");
    let said = shell::output(ask.current_dir(&work).arg("-O").arg(root.join("usr/bin/lockprobe")))?;
    let needs =
        said.trim().strip_prefix("shlibs:Depends=").context("dpkg-shlibdeps says no more")?;
    Ok(needs.to_owned())
}

/// `DEBIAN/`: control, sums, configuration files and scripts.
fn control(root: &Path, head: &str) -> Result<()> {
    let files = files(root)?;
    let mut kibibytes = 0;
    for file in &files {
        kibibytes += fs::symlink_metadata(root.join(file))?.len().div_ceil(1024);
    }
    let folder = root.join("DEBIAN");
    fs::create_dir_all(&folder)?;
    // Last of the first half: what follows is the description.
    let (before, about) = head.split_once("Section: ").context("a head with a section")?;
    fs::write(
        folder.join("control"),
        format!("{before}Installed-Size: {kibibytes}\nSection: {about}"),
    )?;
    let regular =
        files.iter().filter(|file| root.join(file).symlink_metadata().is_ok_and(|m| m.is_file()));
    let summed: Vec<_> = regular.filter(|file| !file.starts_with("etc")).collect();
    let sums = shell::output(shell::program("md5sum").current_dir(root).arg("--").args(summed))?;
    fs::write(folder.join("md5sums"), sums)?;
    if !root.join("etc").is_dir() {
        return Ok(());
    }
    let kept: String = tree::configuration().map(|path| format!("/{path}\n")).collect();
    fs::write(folder.join("conffiles"), kept)?;
    for script in SCRIPTS {
        let to = folder.join(script);
        fs::copy(shell::workspace().join("deploy/package").join(script), &to)?;
        fs::set_permissions(&to, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

/// Every file and link below `root`, in the order of their names.
fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut find = shell::program("find");
    find.current_dir(root)
        .args([".", "(", "-type", "f", "-o", "-type", "l", ")", "-printf", "%P\\n"]);
    let mut files: Vec<PathBuf> = shell::output(&mut find)?.lines().map(PathBuf::from).collect();
    files.sort();
    Ok(files)
}

fn build(root: &Path, home: &Path, version: &str, architecture: &str) -> Result<PathBuf> {
    // Folders as everybody else's, whatever the umask here was.
    shell::run(shell::program("chmod").args(["-R", "u=rwX,go=rX", "--"]).arg(root.join("usr")))?;
    for entry in shell::output(shell::program("find").arg(root).args(["-type", "d"]))?.lines() {
        fs::set_permissions(entry, fs::Permissions::from_mode(0o755))?;
    }
    let name = root.file_name().context("a folder")?.to_string_lossy().into_owned();
    let package = home.join(format!("{name}_{version}_{architecture}.deb"));
    let date = shell::output(shell::program("git").args(["log", "-1", "--format=%ct"]))?;
    let mut dpkg = shell::program("dpkg-deb");
    // The same sources make the same package.
    dpkg.env("SOURCE_DATE_EPOCH", date.trim());
    // Debug information is compressed already.
    let level = if root.join("usr/lib/debug").is_dir() { "-z0" } else { "-z6" };
    dpkg.args(["--root-owner-group", "-Zxz", level, "--build"]).arg(root).arg(&package);
    shell::output(&mut dpkg)?;
    Ok(package)
}

/// Unpacks the package and uses what is in it.
fn try_out(package: &Path, home: &Path) -> Result<()> {
    let root = home.join("unpacked");
    shell::output(shell::program("dpkg-deb").arg("--extract").args([package, &root]))?;
    let program = root.join("usr/bin/lockprobe");
    let said = shell::output(shell::program(&program).arg("--version"))?;
    let expected = format!("lockprobe {}", upstream()?);
    ensure!(
        said.trim() == expected,
        "the packaged program says `{}`, not `{expected}`",
        said.trim()
    );
    let configuration = root.join("etc/lockprobe/lockprobe.yaml");
    shell::output(shell::program(&program).args(["config", "validate"]).arg(configuration))?;
    let service = fs::read_to_string(root.join("lib/systemd/system/lockprobe.service"))?;
    ensure!(
        service.contains(
            "\nExecStart=/usr/bin/lockprobe run --config /etc/lockprobe/lockprobe.yaml\n"
        ),
        "the unit starts something else than what is packaged"
    );
    Ok(())
}

/// Nothing that lintian finds but what is overridden with a reason.
fn lint(packages: &[PathBuf]) -> Result<()> {
    let mut lintian: Command = shell::program("lintian");
    lintian.args(["--fail-on", "error,warning,info", "--display-info", "--allow-root", "--no-cfg"]);
    let done = lintian.args(packages).output().context("run lintian (Debian's package lintian)")?;
    print!("{}", String::from_utf8_lossy(&done.stdout));
    if !done.status.success() {
        bail!("lintian finds fault with the packages: {}", String::from_utf8_lossy(&done.stderr));
    }
    Ok(())
}
