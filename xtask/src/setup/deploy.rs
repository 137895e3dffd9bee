//! Tools that check `deploy/`, from PyPI at fixed versions: in `target/deploy-tools`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use super::clients;
use crate::shell;

const LIST: &str = "xtask/src/deploy/requirements.txt";

/// Installs them unless those that are wanted are there.
pub fn install(installed: &mut Vec<String>) -> Result<()> {
    let home = home()?;
    let mark = home.join("installed");
    let list = shell::workspace().join(LIST);
    let wanted = fs::read_to_string(&list)?;
    if fs::read_to_string(&mark).is_ok_and(|made| made == wanted) {
        return Ok(());
    }
    println!("setup: tools that check deploy/ are missing");
    fs::create_dir_all(&home)?;
    clients::python(&home, &list).context("install the tools that check deploy/")?;
    once(&home)?;
    fs::write(&mark, wanted)?;
    installed.push("tools that check deploy/".to_owned());
    Ok(())
}

/// One of the tools.
pub fn tool(name: &str) -> Result<PathBuf> {
    let path = home()?.join("venv/bin").join(name);
    ensure!(path.is_file(), "{} is not there: run `cargo xtask setup`", path.display());
    Ok(path)
}

fn home() -> Result<PathBuf> {
    Ok(shell::target()?.join("deploy-tools"))
}

/// Helm's engine comes three times, each of 85 MB: links of a library, which the format of the
/// package cannot express.
fn once(home: &Path) -> Result<()> {
    let found = shell::output(shell::program("find").arg(home).args(["-name", "libhelm_c.so*"]))?;
    let mut files = found.lines();
    let Some(first) = files.next() else { return Ok(()) };
    let bytes = fs::read(first)?;
    for other in files {
        if fs::read(other)? == bytes {
            fs::remove_file(other)?;
            fs::hard_link(first, other)?;
        }
    }
    Ok(())
}
