//! Processes and threads as they begin, change and end.
//!
//! `sched_process_fork(struct task_struct *parent, struct task_struct *child)`,
//! `sched_process_exec(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)`,
//! `sched_process_exit(struct task_struct *p)`,
//! `inet_sock_set_state(const struct sock *sk, const int oldstate, const int newstate)`.

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use lockprobe_ebpf::wire::{Counter, ProcessRecord, choice, kind, process_event, state};

use crate::emit;
use crate::filter;
use crate::maps::*;
use crate::socket::Sock;
use crate::tally;
use crate::task::Task;

#[btf_tracepoint(function = "sched_process_fork")]
fn process_fork(ctx: BtfTracePointContext) -> u32 {
    let parent = Task::new(ctx.arg::<*const u8>(0));
    let child = Task::new(ctx.arg::<*const u8>(1));
    let tgid = child.tgid();
    if child.tid() != tgid {
        return 0;
    }
    filter::inherit(parent.tgid(), tgid);
    if !filter::is_target(parent.tgid()) {
        return 0;
    }
    send(child, process_event::FORK, parent.tgid());
    0
}

#[btf_tracepoint(function = "sched_process_exec")]
fn process_exec(ctx: BtfTracePointContext) -> u32 {
    let task = Task::new(ctx.arg::<*const u8>(0));
    // What the thread waited for lay in the memory of the program before. Had it not been the
    // first thread, it has just taken that one's id.
    forget(task.tid());
    forget(ctx.arg::<i32>(1) as u32);
    let _ = EXECS.insert(task.tgid(), emit::now(), 0);
    // Sent for every process, target or not: it may have become one the agent looks for by name.
    send(task, process_event::EXEC, 0);
    0
}

#[btf_tracepoint(function = "sched_process_exit")]
fn process_exit(ctx: BtfTracePointContext) -> u32 {
    let task = Task::new(ctx.arg::<*const u8>(0));
    let tid = task.tid();
    let tgid = task.tgid();
    let mut waited = false;
    if let Some(wait) = WAITS.get_ptr_mut(tid) {
        // SAFETY: a value of the map; its thread is the one running here.
        let wait = unsafe { &mut *wait };
        if wait.state == state::WOKEN && filter::is_target(tgid) {
            tally::ran_unseen(task, wait);
        }
        waited = forget(tid);
    }
    let watched = filter::is_target(tgid);
    // Of one that is left out the agent takes the entry out.
    if !watched && ONLY_TARGETS.load() != choice::ALL_BUT {
        return 0;
    }
    if tid == tgid {
        send(task, process_event::EXIT, task.exit_code());
    } else if waited {
        send(task, process_event::THREAD_EXIT, 0);
    }
    0
}

/// Takes a thread's entry out; whether there was one.
#[inline(always)]
fn forget(tid: u32) -> bool {
    let was_there = WAITS.remove(tid).is_ok();
    if was_there {
        filter::leaves(tid);
    }
    was_there
}

/// Attached only where processes are chosen by the ports they listen at. The port of a listening
/// socket is set by then (inet_csk_listen_start, net/ipv4/inet_connection_sock.c).
#[btf_tracepoint(function = "inet_sock_set_state")]
fn listening(ctx: BtfTracePointContext) -> u32 {
    const LISTEN: i32 = 10;
    let sock = Sock::new(ctx.arg::<*const u8>(0));
    if ctx.arg::<i32>(2) == LISTEN {
        send(Task::current(), process_event::LISTENS, u32::from(sock.client_port()));
    }
    0
}

#[inline(always)]
fn send(task: Task, event: u32, detail: u32) {
    if SEND_PROCESSES.load() == 0 {
        return;
    }
    let full = Counter::DroppedProcessRingFull;
    let Some(mut entry) = emit::reserve::<ProcessRecord>(kind::PROCESS, emit::now(), full) else {
        return;
    };
    // SAFETY: the slot is a whole `ProcessRecord`.
    let record = unsafe { &mut *entry.as_mut_ptr() };
    task.describe(&mut record.thread);
    record.event = event;
    record.detail = detail;
    // A new program may be one to watch, and what was counted of the old one must be taken out.
    // In full mode a child is to be followed at once.
    let soon = matches!(event, process_event::EXEC | process_event::LISTENS) || FULL.load() != 0;
    if soon { emit::submit_now(entry) } else { emit::submit(entry) }
}
