//! Clients of lock servers, at fixed versions, for the live tests: in `target/clients`.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::shell;

/// Installs those that are not there. Only live tests need them, so that what hinders it is said
/// and nothing else fails.
pub fn install(installed: &mut Vec<String>) -> Result<()> {
    let lists = shell::workspace().join("tests").join("clients");
    let home = shell::target()?.join("clients");
    fs::create_dir_all(&home)?;
    for (name, list, make) in [
        ("Python", "requirements.txt", python as fn(&Path, &Path) -> Result<()>),
        ("JavaScript", "package.json", node),
    ] {
        let list = lists.join(list);
        if !list.exists() {
            continue;
        }
        let mark = home.join(format!("{name}.installed"));
        let wanted = fs::read_to_string(&list)?;
        if fs::read_to_string(&mark).is_ok_and(|made| made == wanted) {
            continue;
        }
        println!("setup: {name} clients of lock servers are missing (live tests watch them)");
        match make(&home, &list) {
            Ok(()) => {
                fs::write(&mark, wanted)?;
                installed.push(format!("{name} clients"));
            }
            Err(error) => println!("setup: no {name} clients: {error:#}"),
        }
    }
    Ok(())
}

/// A virtual environment in `home`, with the packages of the list.
pub fn python(home: &Path, list: &Path) -> Result<()> {
    virtual_environment(&home.join("venv"), list)
}

/// A Python of its own for what a list names, in place of what was there.
pub fn virtual_environment(venv: &Path, list: &Path) -> Result<()> {
    let _ = fs::remove_dir_all(venv);
    shell::output(shell::program("/usr/bin/python3").args(["-m", "venv"]).arg(venv))
        .context("make a virtual environment (Debian's package python3-venv)")?;
    let mut pip = shell::program(venv.join("bin").join("pip"));
    pip.args(["install", "--quiet", "--disable-pip-version-check", "--no-input", "-r"]).arg(list);
    shell::output(&mut pip).map(drop)
}

fn node(home: &Path, list: &Path) -> Result<()> {
    fs::copy(list, home.join("package.json"))?;
    let mut npm = shell::program("npm");
    npm.args(["install", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"]);
    shell::output(npm.current_dir(home)).map(drop)
}
