//! Whether this machine can be observed, check by check: what works, and what stands in the way.

use std::fs;

use super::Error;
use super::live::rights::{Capability, NEEDED, Rights, may_probe_by_perf, may_read_memory};
use super::live::{self, Live, Options, Targets};

/// Result of one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As it should be.
    Good,
    /// Something is missing that has to be asked for by name anyway.
    Off,
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

/// All checks.
#[derive(Clone, Debug)]
pub struct Report {
    /// In the order they are shown.
    pub checks: Vec<Check>,
    /// Exit status: 0 where live capture works, else why it does not, as everywhere.
    pub status: u8,
}

/// Runs all checks: the circumstances, the real thing (loading and attaching, and detaching again),
/// then what comes on top of it.
pub fn examine() -> Report {
    let rights = Rights::now();
    let mut checks = vec![programs(), kernel(), types(), lockdown(), rights_needed(rights)];
    checks.extend([namespaces(), process_list()].into_iter().flatten());
    let (capture, mut status) = capture();
    checks.push(capture);
    if status == 0 && checks.iter().any(|check| check.verdict == Verdict::Bad) {
        status = 5;
    }
    checks.extend([memory(rights), files(rights), servers(), encrypted(rights)]);
    checks.extend([full_mode(), program_time(rights)]);
    Report { checks, status }
}

fn check(name: &'static str, good: bool, found: String) -> Check {
    Check { name, verdict: if good { Verdict::Good } else { Verdict::Bad }, found }
}

/// A check of something that is not vital: good, or why not.
fn on_top(name: &'static str, good: &str, otherwise: Verdict, why_not: Option<String>) -> Check {
    match why_not {
        None => Check { name, verdict: Verdict::Good, found: good.to_owned() },
        Some(found) => Check { name, verdict: otherwise, found },
    }
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
    check("kernel", live::is_new_enough(&release), format!("{release} (6.1 or newer is tested)"))
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

fn rights_needed(rights: Rights) -> Check {
    match rights.missing(&NEEDED) {
        None => check("capabilities", true, "CAP_BPF and CAP_PERFMON are there".to_owned()),
        Some(names) => check(
            "capabilities",
            false,
            format!(
                "{names}: no eBPF program can be loaded; run it as root, or grant it in \
                 the service or container"
            ),
        ),
    }
}

/// The host's own namespaces; numbers of the first ones are fixed (`linux/nsfs.h`).
fn namespaces() -> Option<Check> {
    let text = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    if !is_whole_host(&text) {
        let found = "this is a user namespace, whose capabilities do not count for eBPF; run \
                     lockprobe outside of it";
        return Some(check("user namespace", false, found.to_owned()));
    }
    let own = fs::read_link("/proc/self/ns/pid").ok()?;
    let (verdict, found) = match own.to_str()? {
        "pid:[4026531836]" => return None,
        _ => (
            Verdict::Bad,
            "this is a PID namespace of its own, in which other processes have no or other \
             numbers; run lockprobe in the host's (hostPID: true, --pid=host)",
        ),
    };
    Some(Check { name: "PID namespace", verdict, found: found.to_owned() })
}

/// Whether `/proc/PID/uid_map` says that ids are those of the host.
fn is_whole_host(uid_map: &str) -> bool {
    let mut fields = uid_map.split_ascii_whitespace();
    let first = [fields.next(), fields.next(), fields.next()];
    uid_map.is_empty() || first == [Some("0"), Some("0"), Some("4294967295")]
}

/// A /proc that hides the processes of others.
fn process_list() -> Option<Check> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    if !hides_processes(&mounts) || fs::metadata("/proc/1").is_ok() && may_read_memory() {
        return None;
    }
    let found = "/proc hides the processes of others, so they have no names; mount it without \
                 hidepid, or let lockprobe's group see them (gid=)";
    Some(Check { name: "process list", verdict: Verdict::Limited, found: found.to_owned() })
}

fn hides_processes(mounts: &str) -> bool {
    let mut proc = mounts.lines().rev().filter_map(|line| {
        let mut fields = line.split(' ');
        (fields.nth(1) == Some("/proc")).then(|| fields.nth(1).unwrap_or_default().to_owned())
    });
    // The last one mounted is the one that is seen.
    let hidden = |option: &str| {
        option.strip_prefix("hidepid=").is_some_and(|how| !["0", "off"].contains(&how))
    };
    proc.next().is_some_and(|options| options.split(',').any(hidden))
}

fn capture() -> (Check, u8) {
    let options = Options {
        min_wait: 1_000_000,
        stack_threshold: None,
        ring_bytes: 1 << 20,
        targets: Targets::everything(),
        lock_files: false,
        servers: super::live::Servers::default(),
        row_locks: false,
        full: None,
        harvest_every: None,
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
            (check("live capture", true, found), 0)
        }
        Err(error) => {
            let status = error.status();
            (check("live capture", false, why(&error)), status)
        }
    }
}

/// The error, and what forbids it where capabilities do not.
fn why(error: &Error) -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let filtered = status.lines().any(|line| line.split_ascii_whitespace().eq(["Seccomp:", "2"]));
    let refused = matches!(error, Error::Permission(_));
    if refused && filtered && Rights::now().missing(&NEEDED).is_none() {
        return format!(
            "{error}. A seccomp filter is in force, which may forbid bpf(2): allow it in the \
             service's SystemCallFilter or the container's profile"
        );
    }
    error.to_string()
}

/// Memory of other processes: what a lock says of its owner, and stacks.
fn memory(rights: Rights) -> Check {
    let missing = rights.missing(&[Capability::SysPtrace]);
    let why_not = match missing {
        Some(name) => {
            Some(format!("not found: {name}, and with it the memory of others out of reach"))
        }
        None if may_read_memory() => None,
        None => Some(match yama() {
            Some(3) => "not found: kernel.yama.ptrace_scope is 3, so that nobody may read the \
                        memory of others; boot with a lower one"
                .to_owned(),
            _ => {
                "not found: the memory of others cannot be read, though CAP_SYS_PTRACE is there; a \
                  security module (AppArmor, SELinux) may forbid it"
                    .to_owned()
            }
        }),
    };
    on_top("stacks", "of waiters and holders are found", Verdict::Limited, why_not)
}

fn yama() -> Option<u32> {
    fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").ok()?.trim().parse().ok()
}

/// What lies in /proc/PID/fd and in files that only their owner may read.
fn files(rights: Rights) -> Check {
    let wanted = [Capability::SysPtrace, Capability::DacReadSearch];
    let why_not = rights.missing(&wanted).map(|names| {
        format!(
            "paths of locked files, and names from programs that only their owner may read, are \
             not found: {names}"
        )
    });
    on_top("files of others", "can be looked at (paths, symbols)", Verdict::Limited, why_not)
}

fn servers() -> Check {
    let why_not = (!live::can_follow_servers())
        .then(|| format!("not followed: kernel {} is older than 6.3", live::kernel_release()));
    on_top("lock servers", "their clients are followed", Verdict::Limited, why_not)
}

/// Probes on TLS libraries.
fn encrypted(rights: Rights) -> Check {
    let wanted = [Capability::SysPtrace, Capability::DacReadSearch, Capability::CheckpointRestore];
    let why_not = match rights.missing(&wanted) {
        Some(names) => Some(format!(
            "what clients of lock servers say under TLS is not heard: {names}, with which to open the \
             libraries they have mapped"
        )),
        None if live::can_probe_for_all() || may_probe_by_perf() => None,
        None => Some(format!(
            "what clients of lock servers say under TLS is not heard: kernel {} gives probes to \
             CAP_SYS_ADMIN alone",
            live::kernel_release()
        )),
    };
    on_top("encrypted clients", "are heard through OpenSSL", Verdict::Limited, why_not)
}

fn full_mode() -> Check {
    let why_not = (!may_probe_by_perf()).then(|| {
        "`--full` does not work: this kernel gives such probes to CAP_SYS_ADMIN alone, which is \
         missing"
            .to_owned()
    });
    on_top("full mode", "`--full` can follow every acquisition", Verdict::Off, why_not)
}

fn program_time(rights: Rights) -> Check {
    let why_not = rights
        .missing(&[Capability::SysAdmin])
        .map(|name| format!("lockprobe's own time in the kernel cannot be measured: {name}"));
    on_top("program time", "can be measured when asked for", Verdict::Off, why_not)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_namespace_has_other_ids() {
        assert!(is_whole_host("         0          0 4294967295\n"));
        assert!(!is_whole_host("         0       1000          1\n"));
        assert!(!is_whole_host("         0     100000      65536\n"));
        assert!(is_whole_host(""), "a kernel without user namespaces");
    }

    #[test]
    fn the_uppermost_proc_decides() {
        let plain = "proc /proc proc rw,nosuid 0 0\n";
        let hidden = "proc /proc proc rw,hidepid=invisible,gid=7 0 0\n";
        assert!(!hides_processes(plain));
        assert!(hides_processes(hidden));
        assert!(hides_processes(&format!("{plain}{hidden}")));
        assert!(!hides_processes(&format!("{hidden}{plain}")));
        assert!(!hides_processes("proc /proc proc rw,hidepid=off 0 0\n"));
        assert!(!hides_processes("proc /other proc rw,hidepid=2 0 0\n"));
    }
}
