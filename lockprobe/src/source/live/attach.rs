//! Loading programs into the kernel and attaching them.

use std::io::Read;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::sync::Mutex;

use aya::programs::{BtfTracePoint, Iter, Program};
use aya::{Btf, Ebpf};

use super::load::{Programs, explain};
use super::standing;
use crate::source::Error;

/// Program, and the tracepoint it belongs to.
pub const TRACEPOINTS: [(&str, &str); 7] = [
    ("process_fork", "sched_process_fork"),
    ("process_exec", "sched_process_exec"),
    ("process_exit", "sched_process_exit"),
    ("flock_lock_inode", "flock_lock_inode"),
    ("posix_lock_inode", "posix_lock_inode"),
    ("sched_waking", "sched_waking"),
    ("sched_switch", "sched_switch"),
];

const ITERATOR: &str = "already_waiting";

fn tracepoint<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut BtfTracePoint, Error> {
    let missing =
        || Error::Failed(format!("the eBPF object has no program {name}; rebuild lockprobe"));
    ebpf.program_mut(name).ok_or_else(missing)?.try_into().map_err(|_| missing())
}

fn iterator<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Iter, Error> {
    let missing =
        || Error::Failed(format!("the eBPF object has no iterator {name}; rebuild lockprobe"));
    ebpf.program_mut(name).ok_or_else(missing)?.try_into().map_err(|_| missing())
}

/// Programs whose verification takes longest, the longest first.
const LONGEST: [&str; 4] = ["sched_switch", "sock_send", "flock_lock_inode", "posix_lock_inode"];

/// Has the kernel verify the programs, the longest first, on two threads: that is what lockprobe
/// needs most of its time to start for. `more` are tracepoint programs beyond those all need.
pub fn load(
    ebpf: &mut Ebpf,
    btf: &Btf,
    programs: Programs,
    more: &[(&str, &str)],
) -> Result<(), Error> {
    let always = if programs == Programs::All { &TRACEPOINTS[..] } else { &[] };
    let tracepoints = [always, more].concat();
    let mut wanted = Vec::new();
    for (name, program) in ebpf.programs_mut() {
        let point = tracepoints.iter().find(|(known, _)| *known == name).map(|(_, point)| *point);
        let iterates = [ITERATOR, standing::PROGRAM].contains(&name);
        if let Some(point) = point.or(iterates.then_some("task")) {
            let rank = LONGEST.iter().position(|long| *long == name);
            wanted.push((rank.unwrap_or(LONGEST.len()), point, program));
        }
    }
    let found = wanted.len();
    if found != tracepoints.len() + 2 {
        let all = format!("the eBPF object has {found} of its programs; rebuild lockprobe");
        return Err(Error::Failed(all));
    }
    wanted.sort_by_key(|(rank, ..)| *rank);
    let queue = Mutex::new(wanted.into_iter());
    let next = || queue.lock().ok()?.next();
    let work = || std::iter::from_fn(next).try_for_each(|(_, at, p)| load_one(p, at, btf));
    std::thread::scope(|scope| {
        let beside = scope.spawn(work);
        work()?;
        beside.join().unwrap_or_else(|_| Err(Error::Failed("loading failed".into())))
    })
}

/// What the kernel's verifier had to look at, by program, as far as the kernel tells (Linux 5.16):
/// name, instructions, and how many it went through on all ways.
pub fn verified(ebpf: &Ebpf) -> Vec<(String, u32, u32)> {
    let told = |(name, program): (&str, &Program)| {
        let info = program.info().ok()?;
        let verified = info.verified_instruction_count()?;
        Some((name.to_owned(), info.size_translated().unwrap_or(0) / 8, verified))
    };
    let mut programs: Vec<_> = ebpf.programs().filter_map(told).collect();
    programs.sort_by_key(|(name, _, verified)| (std::cmp::Reverse(*verified), name.clone()));
    programs
}

fn load_one(program: &mut Program, point: &str, btf: &Btf) -> Result<(), Error> {
    let result = match program {
        Program::BtfTracePoint(program) => program.load(point, btf),
        Program::Iter(program) => program.load(point, btf),
        _ => return Err(Error::Failed("the eBPF object has a program of another kind".into())),
    };
    result.map_err(|e| explain(&format!("load the program for {point}"), &e))
}

/// Attaches every program, then notes the threads that wait already. The order matters: a thread
/// that falls asleep in between is seen by the one or the other, and its entry is made once.
pub fn attach(ebpf: &mut Ebpf) -> Result<(), Error> {
    for (program, point) in TRACEPOINTS {
        let what = format!("attach to {point}");
        tracepoint(ebpf, program)?.attach().map_err(|e| explain(&what, &e))?;
    }
    iterate(ebpf)
}

/// What follows lock files, which is asked for by itself.
pub const LOCK_FILES: &str = "sys_exit";

/// Has the kernel verify what follows lock files.
pub fn load_lock_files(ebpf: &mut Ebpf, btf: &Btf) -> Result<(), Error> {
    let load = "load the program for system calls";
    tracepoint(ebpf, LOCK_FILES)?.load(LOCK_FILES, btf).map_err(|e| explain(load, &e))
}

/// Attaches it.
pub fn attach_lock_files(ebpf: &mut Ebpf) -> Result<(), Error> {
    let what = "attach to system calls";
    tracepoint(ebpf, LOCK_FILES)?.attach().map(drop).map_err(|e| explain(what, &e))
}

/// How often the kernel did not run it, since the processor ran it already: the end of a system
/// call can be preempted by that of another.
pub fn lock_files_missed(ebpf: &mut Ebpf) -> u64 {
    let Ok(program) = tracepoint(ebpf, LOCK_FILES) else { return 0 };
    let Ok(fd) = program.fd() else { return 0 };
    let path = format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd());
    let told = std::fs::read_to_string(path).unwrap_or_default();
    let misses = told.lines().find_map(|line| line.strip_prefix("recursion_misses:"));
    misses.and_then(|n| n.trim().parse().ok()).unwrap_or(0)
}

/// Notes the threads that wait now and are not noted yet.
pub fn iterate(ebpf: &mut Ebpf) -> Result<(), Error> {
    let what = "run the task iterator";
    let iterator = iterator(ebpf, ITERATOR)?;
    let link = iterator.attach().map_err(|e| explain(what, &e))?;
    let link = iterator.take_link(link).map_err(|e| explain(what, &e))?;
    let mut file = link.into_file().map_err(|e| explain(what, &e))?;
    let mut nothing = Vec::new();
    file.read_to_end(&mut nothing).map_err(|e| explain(what, &e))?;
    Ok(())
}
