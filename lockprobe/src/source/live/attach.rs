//! Loading programs into the kernel and attaching them.

use std::io::Read;

use aya::programs::{BtfTracePoint, Iter};
use aya::{Btf, Ebpf};

use super::load::{Programs, explain};
use super::standing;
use crate::source::Error;

/// Program, and the tracepoint it belongs to.
const TRACEPOINTS: [(&str, &str); 7] = [
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

/// Has the kernel verify the programs.
pub fn load(ebpf: &mut Ebpf, btf: &Btf, programs: Programs) -> Result<(), Error> {
    let tracepoints = if programs == Programs::All { &TRACEPOINTS[..] } else { &[] };
    for (program, point) in tracepoints {
        let load = format!("load the program for {point}");
        tracepoint(ebpf, program)?.load(point, btf).map_err(|e| explain(&load, &e))?;
    }
    for name in [ITERATOR, standing::PROGRAM] {
        let load = format!("load the task iterator {name}");
        iterator(ebpf, name)?.load("task", btf).map_err(|e| explain(&load, &e))?;
    }
    Ok(())
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
