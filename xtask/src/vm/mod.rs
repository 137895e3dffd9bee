//! `cargo xtask vm`: lockprobe on the kernels people have.
//!
//! Debian's own kernels are booted under emulation with this machine's files, and live tests are
//! run inside. What is promised and missing is a failure; the table goes into README.

mod features;
mod kernels;
mod machine;
mod table;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{build, setup, shell};
use features::Feature;
use kernels::Kernel;

/// What emulation needs, asked of apt only when it is wanted.
const PACKAGES: &[&str] = &["qemu-system-x86", "busybox-static", "cpio", "xz-utils"];
/// For one kernel; it takes a quarter of that.
const PATIENCE: Duration = Duration::from_secs(40 * 60);
/// For the tests of one feature.
const FEATURE_PATIENCE: u32 = 600;
/// Times are this much less exact where a processor is emulated.
const SLACK: u32 = 30;

/// A feature on a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    /// All its tests passed.
    Works,
    /// One failed, or none ran.
    Fails,
    /// Not promised, so not tried.
    NotPromised,
}

/// A column of the table.
pub struct Column {
    kernel: Kernel,
    /// What `uname -r` says.
    release: String,
    cells: Vec<Cell>,
}

/// Runs it: kernels by name, `all`, or `ci` for what every change is tried with.
pub fn run(arguments: &[&str]) -> Result<()> {
    let quick = arguments.contains(&"ci");
    let wanted: Vec<Kernel> = match arguments {
        [] | ["all"] => kernels::ALL.to_vec(),
        ["ci"] => kernels::ALL.into_iter().filter(|k| ["6.1", "7"].contains(&k.name)).collect(),
        names => names.iter().map(|name| named(name)).collect::<Result<_>>()?,
    };
    ensure!(shell::is_root(), "the machines read this one's files as root: run it as root");
    setup::run()?;
    setup::packages(PACKAGES)?;
    build::run()?;
    let programs = test_programs()?;
    let chosen: Vec<&Feature> = features::ALL.iter().filter(|f| f.always || !quick).collect();
    let mut columns = Vec::new();
    for kernel in wanted {
        let began = Instant::now();
        let column = try_on(kernel, &chosen, &programs)?;
        println!("vm: Linux {} took {:.0} s", column.release, began.elapsed().as_secs_f32());
        columns.push(column);
    }
    print!("{}", table::text(&columns, &chosen));
    if columns.len() == kernels::ALL.len() && !quick {
        table::write(&columns, &chosen)?;
    }
    let broken: Vec<String> = columns.iter().flat_map(|column| broken(column, &chosen)).collect();
    ensure!(broken.is_empty(), "promised and not there: {}", broken.join("; "));
    Ok(())
}

fn named(name: &str) -> Result<Kernel> {
    let found = kernels::ALL.into_iter().find(|kernel| kernel.name == name);
    let all = kernels::ALL.map(|kernel| kernel.name).join(", ");
    found.with_context(|| format!("there is no kernel {name}; there are {all}, `all` and `ci`"))
}

fn broken(column: &Column, features: &[&Feature]) -> Vec<String> {
    let pairs = features.iter().zip(&column.cells);
    let failed = pairs.filter(|(_, cell)| **cell == Cell::Fails);
    failed.map(|(feature, _)| format!("{} on {}", feature.name, column.release)).collect()
}

/// The test programs by name, built but not run.
fn test_programs() -> Result<Vec<(String, PathBuf)>> {
    let mut cargo = shell::cargo();
    cargo.args(["test", "--package", "lockprobe-tests", "--no-run", "--message-format=json"]);
    let told = shell::output(&mut cargo)?;
    let programs = told.lines().filter_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let target = &message["target"];
        let path = message["executable"].as_str()?;
        if !target["kind"].as_array()?.iter().any(|kind| kind == "test") {
            return None;
        }
        Some((target["name"].as_str()?.to_owned(), PathBuf::from(path)))
    });
    Ok(programs.collect())
}

fn try_on(kernel: Kernel, features: &[&Feature], programs: &[(String, PathBuf)]) -> Result<Column> {
    let promised = |feature: &Feature| kernel.version >= feature.since;
    let target = shell::target()?;
    let script = script(features.iter().filter(|f| promised(f)), programs, &target)?;
    let tell = |line: &str| {
        if line.starts_with("test ") || line.starts_with("lockprobe-vm: ") {
            println!("vm {}: {line}", kernel.name);
        }
    };
    let said = machine::run(kernel, &script, &target.join("tmp"), PATIENCE, tell)?;
    let release = said.lines.iter().find_map(|line| line.strip_prefix("lockprobe-vm: release "));
    let Some(release) = release else {
        bail!("Linux {} did not boot: {}", kernel.name, said.lines.join(" | "));
    };
    let cells = features.iter().map(|feature| match promised(feature) {
        true => cell(feature, &said.lines),
        false => Cell::NotPromised,
    });
    let cells: Vec<Cell> = cells.collect();
    if cells.contains(&Cell::Fails) || !said.whole {
        let log = target.join(format!("vm-{}.log", kernel.name));
        std::fs::write(&log, said.lines.join("\n"))?;
        println!("vm: what Linux {} said is in {}", kernel.name, log.display());
    }
    Ok(Column { kernel, release: release.to_owned(), cells })
}

/// What the machine runs: `lockprobe doctor`, then the tests of each feature.
fn script<'a>(
    features: impl Iterator<Item = &'a &'a Feature>,
    programs: &[(String, PathBuf)],
    target: &Path,
) -> Result<String> {
    let tests = shell::workspace().join("tests");
    let mut script = format!(
        "cd {tests}\n\
         export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp CARGO_MANIFEST_DIR={tests}\n\
         export CARGO_TARGET_DIR={target} LOCKPROBE_BIN={target}/release/lockprobe\n\
         export LOCKPROBE_SLACK={SLACK}\n\
         echo \"lockprobe-vm: release $(uname -r)\"\n\
         $LOCKPROBE_BIN doctor\n",
        tests = tests.display(),
        target = target.display(),
    );
    for feature in features {
        script += &format!("echo 'lockprobe-vm: feature {}'\n", feature.name);
        for (name, tests) in feature.tests {
            let program = programs.iter().find(|(known, _)| known == name);
            let (_, program) =
                program.with_context(|| format!("there is no test program {name}"))?;
            let run = format!("timeout {FEATURE_PATIENCE} {} --test-threads=1", program.display());
            script += &format!("{run} --exact {} 2>&1\n", tests.join(" "));
        }
    }
    Ok(script)
}

/// Whether all tests of a feature passed, by the lines behind its name.
fn cell(feature: &Feature, lines: &[String]) -> Cell {
    let mark = format!("lockprobe-vm: feature {}", feature.name);
    let behind = lines.iter().skip_while(|line| **line != mark).skip(1);
    let behind = behind.take_while(|line| !line.starts_with("lockprobe-vm: "));
    let passed =
        behind.filter(|line| line.starts_with("test ") && line.ends_with("... ok")).count();
    let all: usize = feature.tests.iter().map(|(_, tests)| tests.len()).sum();
    if passed == all { Cell::Works } else { Cell::Fails }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feature_works_when_all_of_its_tests_passed() {
        let feature =
            Feature { name: "x", since: (6, 1), tests: &[("a", &["one", "two"])], always: true };
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        let whole = "lockprobe-vm: feature x\ntest one ... ok\ntest two ... ok\nlockprobe-vm: end";
        assert_eq!(cell(&feature, &lines(whole)), Cell::Works);
        assert_eq!(
            cell(&feature, &lines(&whole.replace("two ... ok", "two ... FAILED"))),
            Cell::Fails
        );
        let other =
            "lockprobe-vm: feature x\ntest one ... ok\nlockprobe-vm: feature y\ntest two ... ok";
        assert_eq!(cell(&feature, &lines(other)), Cell::Fails);
        assert_eq!(cell(&feature, &[]), Cell::Fails);
    }
}
