//! `cargo xtask test`: everything CI checks, in order, up to the first failure.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use crate::{build, deny, deploy, foreign, generate, setup, shell, tidy};

/// One step; `rerun` is how to repeat just it.
struct Step {
    name: &'static str,
    rerun: &'static str,
    run: fn(&mut Tally) -> Result<()>,
}

/// Tests counted over all test programs.
#[derive(Default, Debug, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
    ignored: u64,
    failures: Vec<String>,
}

const PURE: &[&str] = &["test", "--workspace", "--exclude", "lockprobe-tests", "--no-fail-fast"];
// One at a time: they count events, and one test's locks would be another's noise.
const LIVE: &[&str] =
    &["test", "--package", "lockprobe-tests", "--no-fail-fast", "--", "--test-threads=1"];
const CLIPPY: &[&str] = &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];

const STEPS: &[Step] = &[
    Step { name: "setup", rerun: "cargo xtask setup", run: |_| setup::run() },
    Step { name: "build", rerun: "cargo xtask build", run: |_| build::run() },
    Step {
        name: "fmt",
        rerun: "cargo fmt --all --check",
        run: |_| shell::run(shell::cargo().args(["fmt", "--all", "--check"])),
    },
    Step {
        name: "clippy",
        rerun: "cargo clippy --workspace --all-targets -- -D warnings",
        run: |_| shell::run(shell::cargo().args(CLIPPY)),
    },
    Step { name: "aarch64", rerun: "cargo xtask check-aarch64", run: |_| foreign::run() },
    Step { name: "tidy", rerun: "cargo xtask tidy", run: |_| tidy::run() },
    Step { name: "deny", rerun: "cargo xtask deny", run: |_| deny::run() },
    Step { name: "deploy", rerun: "cargo xtask check-deploy", run: |_| deploy::run(false) },
    Step { name: "package", rerun: "cargo xtask package", run: |_| deploy::package::run() },
    Step { name: "generate", rerun: "cargo xtask generate --check", run: |_| generated() },
    Step {
        name: "pure tests",
        rerun: "cargo test --workspace --exclude lockprobe-tests",
        run: |tally| count(shell::cargo().args(PURE), tally),
    },
];

/// Needs root and a kernel with BTF; everything else runs anywhere.
const LIVE_STEP: Step = Step {
    name: "live tests",
    rerun: "LOCKPROBE_BIN=$PWD/target/release/lockprobe cargo test -p lockprobe-tests -- --test-threads=1",
    run: live,
};

/// So many live tests may fail at first and be given a second run, in which a machine shared with
/// others may leave them alone. More are no accident.
const SECOND_RUNS: usize = 3;

/// Runs the steps; the last line on standard output is the number of tests passed and failed.
pub fn run(fast: bool) {
    let began = Instant::now();
    let mut tally = Tally::default();
    let result = steps(fast, began, &mut tally);
    if let Err(error) = &result {
        println!("\n{error}");
    }
    if tally.ignored > 0 {
        println!("{} ignored", tally.ignored);
    }
    println!("{} passed, {} failed", tally.passed, tally.failed);
    if result.is_err() {
        // Said above; nothing comes after the count.
        std::process::exit(1);
    }
}

fn steps(fast: bool, began: Instant, tally: &mut Tally) -> Result<()> {
    let live = !fast && shell::is_root();
    for step in STEPS.iter().chain(live.then_some(&LIVE_STEP)) {
        println!("\n== {} [{:.0} s]", step.name, began.elapsed().as_secs_f32());
        if let Err(error) = (step.run)(tally) {
            bail!("{}: {error:#}\nTo repeat just this step: {}", step.name, step.rerun);
        }
    }
    println!("\n== done [{:.0} s]", began.elapsed().as_secs_f32());
    if fast {
        println!("The live tests were left out, as --fast asks.");
    } else if !live {
        bail!("the live tests were left out: they need root (--fast leaves them out on purpose)");
    }
    Ok(())
}

/// Committed artefacts are checked as soon as there are any.
fn generated() -> Result<()> {
    if generate::begun() {
        return generate::check();
    }
    println!("generate: nothing generated is committed yet");
    Ok(())
}

/// The live tests. They measure a real machine, which others may have disturbed: a few that fail run
/// once more, alone, and it is said that they did.
fn live(tally: &mut Tally) -> Result<()> {
    let lockprobe = build::lockprobe()?;
    let Err(error) = count(shell::cargo().args(LIVE).env("LOCKPROBE_BIN", &lockprobe), tally)
    else {
        return Ok(());
    };
    let names = std::mem::take(&mut tally.failures);
    if names.is_empty() || names.len() > SECOND_RUNS || names.len() as u64 != tally.failed {
        return Err(error);
    }
    println!("\n== once more: {}", names.join(", "));
    tally.failed = 0;
    let mut again = shell::cargo();
    again.args(LIVE).arg("--exact").args(&names).env("LOCKPROBE_BIN", &lockprobe);
    count(&mut again, tally)?;
    println!(
        "\nPassed at the second run only, which is a fault of the machine or of the test: {}",
        names.join(", ")
    );
    Ok(())
}

/// The tests of receivers, with the store that is too large to be installed for every run.
pub fn receivers() -> Result<()> {
    setup::run()?;
    setup::install_store()?;
    build::run()?;
    let lockprobe = build::lockprobe()?;
    let mut tests = shell::cargo();
    tests.args(["test", "--package", "lockprobe-tests", "--test", "receivers", "--"]);
    tests.args(["--include-ignored", "--test-threads=1"]).env("LOCKPROBE_BIN", lockprobe);
    shell::run(&mut tests)
}

/// Runs `cargo test`, shows its output as it comes and adds up its results.
fn count(command: &mut Command, tally: &mut Tally) -> Result<()> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let output = BufReader::new(child.stdout.take().context("standard output is piped")?);
    let mut screen = std::io::stdout();
    // Tests may print anything; a byte that is no UTF-8 must not end the run.
    for line in output.split(b'\n') {
        let line = line?;
        screen.write_all(&line)?;
        screen.write_all(b"\n")?;
        tally.add(&String::from_utf8_lossy(&line));
    }
    let status = child.wait()?;
    if !status.success() {
        let arguments: Vec<_> = command.get_args().map(OsStr::to_string_lossy).collect();
        bail!("`cargo {}` failed ({status})", arguments.join(" "));
    }
    Ok(())
}

impl Tally {
    /// Adds a line like `test result: ok. 12 passed; 0 failed; 1 ignored; ...`, or
    /// `test a_name ... FAILED`.
    fn add(&mut self, line: &str) {
        if let Some(name) = line.strip_prefix("test ").and_then(|l| l.strip_suffix(" ... FAILED")) {
            self.failures.push(name.to_owned());
        }
        let Some((_, counts)) =
            line.strip_prefix("test result: ").and_then(|rest| rest.split_once(". "))
        else {
            return;
        };
        for count in counts.split("; ") {
            let Some((number, what)) = count.split_once(' ') else { continue };
            let number = number.parse().unwrap_or(0);
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_add_up_over_test_programs() {
        let mut tally = Tally::default();
        tally.add("running 2 tests");
        tally.add("test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out");
        tally.add("test whole::a_part ... FAILED");
        tally.add("test result: FAILED. 3 passed; 4 failed; 0 ignored; 0 measured");
        let failures = vec!["whole::a_part".to_owned()];
        assert_eq!(tally, Tally { passed: 5, failed: 4, ignored: 1, failures });
    }
}
