//! Costs with and without lockprobe, in pairs.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::Plan;
use super::figures::Spread;
use super::observer::{Observer, strangers};
use crate::shell;

/// A mode of the `loops` program, and what the house promises for it.
pub struct Loop {
    pub name: &'static str,
    /// What the program calls it: one loop may be measured in several ways.
    mode: &'static str,
    /// What lockprobe is asked for beside.
    flags: &'static [&'static str],
    pub what: &'static str,
    /// Highest ratio of the cost with lockprobe to the cost without.
    pub bar: f64,
}

const LOCK_FILES: &[&str] = &["--lock-files"];

const fn of(name: &'static str, what: &'static str, bar: f64) -> Loop {
    Loop { name, mode: name, flags: &[], what, bar }
}

/// With lock files followed, which costs something at every system call.
const fn followed(name: &'static str, mode: &'static str, what: &'static str, bar: f64) -> Loop {
    Loop { name, mode, flags: LOCK_FILES, what, bar }
}

pub const LOOPS: &[Loop] = &[
    of("mutex", "uncontended mutex, lock and unlock", 1.02),
    of("syscall", "unrelated system call (getppid)", 1.02),
    of("wake", "FUTEX_WAKE without waiters", 1.02),
    of("contended", "contended mutex, 4 threads, per section", 1.05),
    of("pingpong", "pipe round trip on one core", 1.12),
    followed("files_syscall", "syscall", "unrelated system call, `--lock-files`", 2.5),
    followed("files_open", "open", "open and close a file, `--lock-files`", 1.5),
];

/// What the pairs of one loop came to.
pub struct Ratio {
    pub of: &'static Loop,
    pub bare: f64,
    pub attached: f64,
    pub ratio: Spread,
    /// Every pair, for the file.
    pub pairs: Vec<(f64, f64)>,
    /// Pairs with another lockprobe on the machine, to the end of our patience.
    pub disturbed: usize,
}

/// How often a pair is tried again, and how long we wait, when another lockprobe is about.
const TRIES: usize = 3;
const PATIENCE: Duration = Duration::from_secs(20);

/// Measures what the plan wants, all loops once a round, so that drift meets them alike.
pub fn measure(plan: &Plan) -> Result<Vec<Ratio>> {
    let wanted: Vec<&'static Loop> = LOOPS.iter().filter(|l| plan.wants(l.name)).collect();
    let mut pairs: Vec<Vec<(f64, f64)>> = wanted.iter().map(|_| Vec::new()).collect();
    let mut disturbed = vec![0; wanted.len()];
    for round in 0..plan.rounds {
        for (at, of) in wanted.iter().enumerate() {
            let (pair, clean) = pair(of, round % 2 == 0)?;
            pairs[at].push(pair);
            disturbed[at] += usize::from(!clean);
        }
        if !wanted.is_empty() {
            let ratio = |pairs: &Vec<(f64, f64)>| pairs.last().map(|(bare, with)| with / bare);
            let ratios = pairs.iter().filter_map(ratio).map(|r| format!("{r:.3}"));
            let ratios = ratios.collect::<Vec<_>>().join(" ");
            println!("bench: round {} of {}: {ratios}", round + 1, plan.rounds);
        }
    }
    let measured = wanted.into_iter().zip(pairs).zip(disturbed);
    Ok(measured.map(|((of, pairs), disturbed)| sum(of, pairs, disturbed)).collect())
}

fn sum(of: &'static Loop, pairs: Vec<(f64, f64)>, disturbed: usize) -> Ratio {
    let side = |pick: fn(&(f64, f64)) -> f64| -> Vec<f64> { pairs.iter().map(pick).collect() };
    Ratio {
        of,
        bare: Spread::of(&side(|pair| pair.0)).median,
        attached: Spread::of(&side(|pair| pair.1)).median,
        ratio: Spread::of(&side(|pair| pair.1 / pair.0)),
        pairs,
        disturbed,
    }
}

/// One bare and one attached measurement, and whether no other lockprobe ran meanwhile.
fn pair(of: &Loop, bare_first: bool) -> Result<((f64, f64), bool)> {
    let mut tries = 0;
    loop {
        tries += 1;
        let mut clean = alone();
        let mut bare = || -> Result<f64> { side(of.mode, None, &mut clean) };
        let early = if bare_first { Some(bare()?) } else { None };
        let observer = Observer::start(of.flags)?;
        let mut undisturbed = true;
        let attached = side(of.mode, Some(observer.id()), &mut undisturbed)?;
        observer.stop()?;
        let bare = match early {
            Some(bare) => bare,
            None => bare()?,
        };
        clean &= undisturbed;
        if clean || tries == TRIES {
            return Ok(((bare, attached), clean));
        }
    }
}

/// Waits until no lockprobe runs; false when that takes too long.
fn alone() -> bool {
    let began = Instant::now();
    while strangers(None) > 0 {
        if began.elapsed() > PATIENCE {
            return false;
        }
        sleep(Duration::from_millis(200));
    }
    true
}

fn side(name: &str, own: Option<u32>, clean: &mut bool) -> Result<f64> {
    *clean &= strangers(own) == 0;
    let ns = run(name)?;
    *clean &= strangers(own) == 0;
    Ok(ns)
}

/// Nanoseconds an operation.
fn run(name: &str) -> Result<f64> {
    let printed = shell::output(shell::program(program()?).arg(name))?;
    let figure: serde_json::Value = serde_json::from_str(&printed)?;
    figure["ns"].as_f64().with_context(|| format!("loops {name} printed {printed}"))
}

/// The program with the loops.
pub fn program() -> Result<std::path::PathBuf> {
    Ok(shell::target()?.join("release").join("loops"))
}
