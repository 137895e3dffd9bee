//! The systemd unit: understood by systemd, and how far it is closed off.

use std::fs;
use std::path::Path;

use anyhow::Result;

use super::{CAPABILITIES, read};
use crate::shell;

const UNIT: &str = "deploy/systemd/lockprobe.service";
const SYSUSERS: &str = "deploy/systemd/lockprobe.sysusers";
/// Ten times the exposure that `systemd-analyze security` may find: 0 is none, 100 is all.
const EXPOSURE: &str = "25";

/// Checks unit and user.
pub fn check(folder: &Path) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    let text = read(UNIT)?;
    // The program of a machine that only builds is not where it will be installed.
    let copy = folder.join("lockprobe.service");
    fs::write(&copy, text.replace("/usr/bin/lockprobe", "/bin/true"))?;
    let mut verify = shell::program("systemd-analyze");
    let done = verify.args(["verify", "--man=no", "--recursive-errors=no"]).arg(&copy).output()?;
    let said = String::from_utf8_lossy(&done.stderr);
    // It exits with 0 where a line is not understood and passed over.
    faults.extend(said.lines().map(|line| format!("{UNIT}: {line}")));
    let mut security = shell::program("systemd-analyze");
    security.args(["security", "--no-pager", "--offline=true"]);
    let done = security.arg(format!("--threshold={EXPOSURE}")).arg(&copy).output()?;
    let said = String::from_utf8_lossy(&done.stdout);
    let score =
        said.lines().find_map(|line| line.split_once("service: ")).map_or("?", |(_, score)| score);
    let score = score.split_whitespace().next().unwrap_or("?");
    if !done.status.success() {
        faults.push(format!("{UNIT}: systemd-analyze security finds an exposure of {score}"));
    }
    let all = CAPABILITIES.map(|name| format!("CAP_{name}")).join(" ");
    for key in ["AmbientCapabilities", "CapabilityBoundingSet"] {
        if !text.contains(&format!("\n{key}={all}\n")) {
            faults.push(format!("{UNIT}: {key} is not {all}"));
        }
    }
    let mut sysusers = shell::program("systemd-sysusers");
    let root = folder.join("root");
    fs::create_dir_all(root.join("etc"))?;
    let done = shell::output(
        sysusers.arg(format!("--root={}", root.display())).arg(shell::workspace().join(SYSUSERS)),
    );
    faults.extend(done.err().map(|error| error.to_string()));
    let made = fs::read_to_string(root.join("etc/passwd")).unwrap_or_default();
    if !made.lines().any(|line| line.starts_with("lockprobe:") && line.ends_with("/nologin")) {
        faults.push(format!("{SYSUSERS} makes no user lockprobe without a shell: {made:?}"));
    }
    println!("deploy: systemd takes the unit; exposure {score} of 10");
    Ok(faults)
}
