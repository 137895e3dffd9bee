//! Calls of POSIX lock functions, in full mode: by uprobes where the agent chose to put them.
//!
//! What a function does comes as the cookie of its probe (`wire::act`). The ends of threads and of
//! programs are tracepoints: `sched_process_exit(struct task_struct *p)`,
//! `sched_process_exec(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)`.

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated::bpf_get_attach_cookie;
use aya_ebpf::macros::{btf_tracepoint, uprobe};
use aya_ebpf::programs::{BtfTracePointContext, ProbeContext};
use lockprobe_ebpf::wire::act;

use crate::full::{self, Call};
use crate::task::Task;

/// Members of `struct pt_regs` of x86-64. Full mode needs a decoder of instructions, and there is
/// one for this machine only.
const DI: usize = 112;
const SI: usize = 104;
const SP: usize = 152;

#[uprobe]
fn full_acquire(ctx: ProbeContext) -> u32 {
    full::acquire(call(&ctx));
    0
}

#[uprobe]
fn full_release(ctx: ProbeContext) -> u32 {
    full::release(call(&ctx));
    0
}

#[btf_tracepoint(function = "sched_process_exit")]
fn full_exit(ctx: BtfTracePointContext) -> u32 {
    full::exited(Task::new(ctx.arg::<*const u8>(0)).tid());
    0
}

#[btf_tracepoint(function = "sched_process_exec")]
fn full_exec(ctx: BtfTracePointContext) -> u32 {
    // What the program before held is gone with its memory. Had the thread not been the first
    // one, it has just taken that one's id.
    full::exited(Task::new(ctx.arg::<*const u8>(0)).tid());
    full::exited(ctx.arg::<i32>(1) as u32);
    0
}

#[inline(always)]
fn call(ctx: &ProbeContext) -> Call {
    // SAFETY: the context of this program.
    let cookie = unsafe { bpf_get_attach_cookie(ctx.as_ptr()) };
    // Both are read: the verifier allows no choice between two places in the context.
    let (first, second) = (register(ctx, DI), register(ctx, SI));
    let lock = if cookie & act::SECOND == 0 { first } else { second };
    let frame = register(ctx, SP) + (cookie >> act::RETURN_SHIFT);
    Call::new(lock, cookie as u32 & 0xff, frame)
}

#[inline(always)]
fn register(ctx: &ProbeContext, offset: usize) -> u64 {
    // SAFETY: a member of the context, which is a `struct pt_regs`.
    unsafe { core::ptr::read_volatile(ctx.as_ptr().byte_add(offset).cast::<u64>()) }
}
