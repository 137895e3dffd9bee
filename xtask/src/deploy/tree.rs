//! What is installed, and where: the tree of files that packages and images are made of.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::notices;
use crate::{build, shell};

/// The example with every key, which becomes the configuration.
pub const CONFIGURATION: &str = "deploy/lockprobe.yaml";

/// A file of the repository and its place.
struct Placed {
    from: &'static str,
    to: &'static str,
    mode: u32,
    /// Documentation and manual pages are compressed, as Debian wants it.
    gzip: bool,
}

const fn file(from: &'static str, to: &'static str) -> Placed {
    Placed { from, to, mode: 0o644, gzip: false }
}

const fn page(from: &'static str, to: &'static str) -> Placed {
    Placed { from, to, mode: 0o644, gzip: true }
}

const FILES: &[Placed] = &[
    file(CONFIGURATION, "etc/lockprobe/lockprobe.yaml"),
    // It is the place for secrets.
    Placed {
        from: "deploy/systemd/lockprobe.default",
        to: "etc/default/lockprobe",
        mode: 0o640,
        gzip: false,
    },
    file("deploy/systemd/lockprobe.service", "lib/systemd/system/lockprobe.service"),
    file("deploy/systemd/lockprobe.sysusers", "usr/lib/sysusers.d/lockprobe.conf"),
    page("docs/man/lockprobe.1", "usr/share/man/man1/lockprobe.1"),
    file("docs/completions/lockprobe.bash", "usr/share/bash-completion/completions/lockprobe"),
    file("docs/completions/_lockprobe", "usr/share/zsh/vendor-completions/_lockprobe"),
    file("docs/completions/lockprobe.fish", "usr/share/fish/vendor_completions.d/lockprobe.fish"),
    file("LICENSE", "usr/share/doc/lockprobe/LICENSE"),
    page("README.md", "usr/share/doc/lockprobe/README.md"),
    page("CHANGELOG.md", "usr/share/doc/lockprobe/changelog"),
    file("deploy/prometheus/rules.yml", "usr/share/doc/lockprobe/examples/prometheus-rules.yml"),
    file("deploy/prometheus/scrape.yml", "usr/share/doc/lockprobe/examples/prometheus-scrape.yml"),
    file("deploy/grafana/lockprobe.json", "usr/share/doc/lockprobe/examples/grafana.json"),
    file("deploy/collector/config.yaml", "usr/share/doc/lockprobe/examples/collector.yaml"),
];
/// Pages for people, as many as there are.
const PAGES: &str = "docs";

/// Files that a package manager leaves as they are when an administrator has changed them.
pub fn configuration() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|file| file.to).filter(|path| path.starts_with("etc/"))
}

/// Puts everything below `root`, the program without its debug information, which goes to `debug`.
pub fn stage(root: &Path, debug: &Path) -> Result<()> {
    program(root, debug)?;
    for file in FILES {
        place(
            root,
            file.to,
            &fs::read(shell::workspace().join(file.from)).context(file.from)?,
            file,
        )?;
    }
    let doc = |name: &str| format!("usr/share/doc/lockprobe/{name}");
    for entry in fs::read_dir(shell::workspace().join(PAGES))?.flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        if path.extension().is_some_and(|end| end == "md") {
            let like = page("", "");
            place(root, &doc(&name.to_string_lossy()), &fs::read(path)?, &like)?;
        }
    }
    place(root, &doc("THIRD-PARTY"), notices::text()?.as_bytes(), &page("", ""))
}

fn place(root: &Path, to: &str, bytes: &[u8], like: &Placed) -> Result<()> {
    let path = root.join(to);
    fs::create_dir_all(path.parent().context("a file in a folder")?)?;
    fs::write(&path, bytes)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(like.mode))?;
    if like.gzip {
        gzip(&path)?;
    }
    Ok(())
}

/// Without name and time in it, so that the same input makes the same bytes.
pub fn gzip(path: &Path) -> Result<()> {
    shell::run(shell::program("gzip").args(["-9nf"]).arg(path))
}

/// The program, stripped; its debug information in the place where debuggers look for it.
fn program(root: &Path, debug: &Path) -> Result<()> {
    let built = build::lockprobe()?;
    if !built.is_file() {
        bail!("{} is not there: run `cargo xtask build`", built.display());
    }
    let to = root.join("usr/bin/lockprobe");
    fs::create_dir_all(to.parent().context("a file in a folder")?)?;
    let symbols = debug.join(symbols(&built)?);
    fs::create_dir_all(symbols.parent().context("a file in a folder")?)?;
    let objcopy = || shell::program("objcopy");
    shell::run(
        objcopy().args(["--only-keep-debug", "--compress-debug-sections"]).args([&built, &symbols]),
    )?;
    shell::run(
        objcopy().args(["--strip-unneeded", "--remove-section=.comment"]).args([&built, &to]),
    )?;
    fs::set_permissions(&symbols, fs::Permissions::from_mode(0o644))?;
    fs::set_permissions(&to, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// `usr/lib/debug/.build-id/ab/cdef.debug` for a program with the build id `abcdef`.
fn symbols(program: &Path) -> Result<PathBuf> {
    let notes = shell::output(shell::program("readelf").arg("-n").arg(program))?;
    let id = notes.lines().find_map(|line| line.trim().strip_prefix("Build ID: "));
    let id = id.context("the program has no build id")?.trim();
    let (first, rest) = id.split_at_checked(2).context("a short build id")?;
    Ok(PathBuf::from(format!("usr/lib/debug/.build-id/{first}/{rest}.debug")))
}
