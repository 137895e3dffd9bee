//! `cargo xtask fuzz`: every parser on bytes that libFuzzer makes up, for a bounded time.
//!
//! The coverage that leads it is instrumented by flags that a stable compiler has; sanitizers, which
//! only a nightly one has, would find nothing in safe code that a panic does not tell.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};

use crate::shell;

/// What cargo-fuzz passes, sanitizers apart.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table -Ccodegen-units=1 -Cdebug-assertions --cfg fuzzing";
/// Longest input, bytes.
const LONGEST: u32 = 4096;

/// Runs each target, or one, for so many seconds.
pub fn run(arguments: &[&str]) -> Result<()> {
    let mut seconds = 60;
    let mut only = None;
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match *argument {
            "--seconds" => {
                let value = rest.next().context("--seconds takes a number")?;
                seconds = value.parse().context("--seconds takes a number")?;
            }
            name if !name.starts_with('-') => only = Some(name),
            other => bail!("fuzz: unknown argument `{other}`"),
        }
    }
    targets(seconds, only)
}

/// The same.
pub fn targets(seconds: u32, only: Option<&str>) -> Result<()> {
    let home = shell::workspace().join("tests").join("fuzz");
    let folder = shell::target()?.join("fuzz");
    let mut names: Vec<String> = fs::read_dir(home.join("fuzz_targets"))?
        .flatten()
        .filter_map(|entry| entry.path().file_stem().map(|s| s.to_string_lossy().into_owned()))
        .filter(|name| only.is_none_or(|only| only == name))
        .collect();
    names.sort();
    if names.is_empty() {
        bail!("fuzz: no such target");
    }
    let host = host()?;
    let mut build = shell::cargo();
    build.args(["build", "--locked", "--release", "--bins", "--target", &host]);
    build.arg("--manifest-path").arg(home.join("Cargo.toml"));
    build.env("RUSTFLAGS", FLAGS).env("CARGO_TARGET_DIR", &folder);
    build.env("CARGO_PROFILE_RELEASE_DEBUG", "line-tables-only");
    shell::run(&mut build)?;
    for name in names {
        one(&folder.join(&host).join("release").join(&name), &name, &home, seconds)?;
    }
    Ok(())
}

fn one(program: &PathBuf, name: &str, home: &std::path::Path, seconds: u32) -> Result<()> {
    // What is found new goes into a folder of the build, not into the repository.
    let found = shell::target()?.join("fuzz").join("corpus").join(name);
    let crashes = shell::target()?.join("fuzz").join("crashes").join(name);
    fs::create_dir_all(&found)?;
    fs::create_dir_all(&crashes)?;
    let mut fuzz = shell::program(program);
    fuzz.arg(&found);
    let kept = home.join("corpus").join(name);
    if kept.is_dir() {
        fuzz.arg(kept);
    }
    fuzz.arg(format!("-max_total_time={seconds}")).arg(format!("-max_len={LONGEST}"));
    fuzz.arg(format!("-artifact_prefix={}/", crashes.display()))
        .args(["-timeout=10", "-verbosity=0"]);
    let output = fuzz.stdin(Stdio::null()).output().context("run the fuzzer")?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        let tail: Vec<&str> = said.lines().rev().take(30).collect();
        let tail = tail.into_iter().rev().collect::<Vec<_>>().join("\n");
        bail!("fuzz: {name} fails; the input is in {}\n{tail}", crashes.display());
    }
    println!("fuzz: {name} is clean after {seconds} s");
    Ok(())
}

fn host() -> Result<String> {
    let text = shell::output(shell::program("rustc").arg("-vV"))?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc does not name its host")?.to_owned())
}
