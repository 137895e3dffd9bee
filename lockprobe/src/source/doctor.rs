//! Whether this machine can be observed, check by check.

use std::fs;

use super::live::{self, Live, Options, Targets};

/// Result of one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As it should be.
    Good,
    /// lockprobe works, with something missing.
    Limited,
    /// Live capture does not work.
    Bad,
}

/// One check.
#[derive(Clone, Debug)]
pub struct Check {
    /// What was checked, one or two words.
    pub name: &'static str,
    /// How it came out.
    pub verdict: Verdict,
    /// What was found, and what to do if it is not good.
    pub found: String,
}

/// Runs all checks, the real thing last: loading and attaching, and detaching again.
pub fn checks() -> Vec<Check> {
    let mut checks = vec![programs(), kernel(), types(), lockdown(), other_processes()];
    checks.push(capture());
    checks
}

fn check(name: &'static str, good: bool, found: String) -> Check {
    Check { name, verdict: if good { Verdict::Good } else { Verdict::Bad }, found }
}

fn programs() -> Check {
    let good = live::has_programs();
    let found = if good {
        "built in".to_owned()
    } else {
        "missing; build lockprobe with `cargo xtask build`".to_owned()
    };
    check("eBPF programs", good, found)
}

fn kernel() -> Check {
    let release = live::kernel_release();
    check("kernel", live::is_new_enough(&release), format!("{release} (5.18 or newer is tested)"))
}

fn types() -> Check {
    let path = "/sys/kernel/btf/vmlinux";
    match fs::metadata(path) {
        Ok(meta) => check("type information", true, format!("{path}, {} KiB", meta.len() / 1024)),
        Err(e) => {
            let found = format!("{path}: {e}; the kernel needs CONFIG_DEBUG_INFO_BTF");
            check("type information", false, found)
        }
    }
}

fn lockdown() -> Check {
    let text = fs::read_to_string("/sys/kernel/security/lockdown").unwrap_or_default();
    let confidential = text.contains("[confidentiality]");
    let found = if confidential {
        "confidentiality: the kernel forbids eBPF to read memory; boot with lockdown=integrity"
    } else if text.is_empty() {
        "not in use"
    } else {
        "does not stand in the way"
    };
    check("lockdown", !confidential, found.to_owned())
}

/// Other processes' memory, maps and executables: needed for names, not for waits.
fn other_processes() -> Check {
    let good = live::may_look_at_others();
    let found = if good {
        "can be looked at (names of locks, processes and threads)".to_owned()
    } else {
        "cannot be looked at, so locks will have addresses for names; CAP_SYS_PTRACE is missing"
            .to_owned()
    };
    let verdict = if good { Verdict::Good } else { Verdict::Limited };
    Check { name: "other processes", verdict, found }
}

fn capture() -> Check {
    let options = Options {
        min_wait: 1_000_000,
        stack_threshold: None,
        ring_bytes: 1 << 20,
        targets: Targets::everything(),
        lock_files: false,
        servers: super::live::Servers::default(),
        full: None,
    };
    let begun = std::time::Instant::now();
    match Live::start(&options) {
        Ok(live) => {
            let took = begun.elapsed().as_millis();
            let mut found = format!("loaded, attached and detached; ready in {took} ms");
            let verified = live.verified();
            if !verified.is_empty() {
                let all: u32 = verified.iter().map(|(.., n)| n).sum();
                let each = verified.iter().map(|(name, _, n)| format!("{name} {n}"));
                let each = each.collect::<Vec<_>>().join(", ");
                found += &format!("; verified {all} instructions ({each})");
            }
            drop(live);
            check("live capture", true, found)
        }
        Err(error) => check("live capture", false, error.to_string()),
    }
}
