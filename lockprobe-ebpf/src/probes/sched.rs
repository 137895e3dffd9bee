//! The scheduler's own view of waiting: falling asleep, being woken, running again.
//!
//! `sched_switch(bool preempt, struct task_struct *prev, struct task_struct *next,
//! unsigned int prev_state)` and `sched_waking(struct task_struct *p)`. Both run with interrupts
//! off on the processor concerned. What a task that is in no lock wait costs: going to sleep, a call
//! for its registers and a comparison; being woken and running again, a look into an array.

use aya_ebpf::EbpfContext;
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use lockprobe_ebpf::wire::{Counter, call, reason, state};

use crate::attempt;
use crate::emit::{self, count};
use crate::filter;
use crate::maps::*;
use crate::semaphore;
use crate::sleep;
use crate::tally;
use crate::task::Task;

const TASK_INTERRUPTIBLE: u64 = 1;

#[btf_tracepoint(function = "sched_switch")]
fn sched_switch(ctx: BtfTracePointContext) -> u32 {
    let prev = Task::new(ctx.arg::<*const u8>(1));
    let prev_state = if SWITCH_HAS_STATE.load() != 0 {
        // SAFETY: the fourth word of the context, there since Linux 5.18.
        unsafe { *ctx.as_ptr().cast::<u64>().add(3) }
    } else {
        prev.state() as u64
    };
    let asks = prev_state & TASK_INTERRUPTIBLE != 0 && prev.registers().are_of_lock_call();
    if !(asks && sleep::begins()) && filter::may_wait(prev.tid()) {
        lockprobe_left();
    }
    on_run(Task::new(ctx.arg::<*const u8>(2)));
    0
}

/// The task running here leaves the processor, not for a lock. A function of its own for the
/// verifier, which looks at it once.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lockprobe_left() -> u32 {
    on_leave(Task::current());
    0
}

#[btf_tracepoint(function = "sched_waking")]
fn sched_waking(ctx: BtfTracePointContext) -> u32 {
    on_wake(Task::new(ctx.arg::<*const u8>(0)));
    0
}

/// A task leaves the processor, not for a lock. Now and then it was not seen to come, when it came
/// in place of an idle one: its wait was over when it was woken, not when it comes the next time.
#[inline(always)]
fn on_leave(task: Task) {
    let Some(wait) = WAITS.get_ptr_mut(task.tid()) else { return };
    // SAFETY: a value of the map; the task is running here.
    let wait = unsafe { &mut *wait };
    if wait.state == state::WOKEN {
        tally::ran_unseen(task, wait);
    }
}

/// A sleeping task is about to be woken.
#[inline(always)]
fn on_wake(task: Task) {
    let tid = task.tid();
    if !filter::may_wait(tid) {
        return;
    }
    let Some(mut call) = task.registers().lock_call() else { return };
    let Some(wait) = WAITS.get_ptr_mut(tid) else { return };
    // SAFETY: a value of the map; wakers are serialised by the sleeper's scheduler lock.
    let wait = unsafe { &mut *wait };
    if call.is_kernels() {
        // What the descriptor means was looked up when the thread fell asleep.
        call.lock = wait.lock;
        call.futex = wait.lock;
    } else if wait.state == state::SLEEPING && call.futex == wait.futex() {
        call.lock = wait.lock;
    }
    attempt::wake(wait, call, task);
    if call.call == call::SEMOP && wait.state == state::WOKEN {
        semaphore::note_waker(wait, task);
    }
}

/// A task is about to run.
#[inline(always)]
fn on_run(task: Task) {
    let tid = task.tid();
    if !filter::may_wait(tid) {
        return;
    }
    let Some(wait) = WAITS.get_ptr_mut(tid) else { return };
    // SAFETY: a value of the map; the task is not running anywhere else.
    let wait = unsafe { &mut *wait };
    if wait.state != state::SLEEPING && wait.state != state::WOKEN {
        return;
    }
    let now = emit::now();
    if wait.state == state::SLEEPING {
        // The wake-up came between leaving the processor and our noting it.
        wait.woken_ns = now;
        wait.reason = reason::UNKNOWN;
        // Somebody may have let the lock go: nobody's hold is known to reach further back.
        tally::note_release(task.tgid(), wait.lock, now);
        count(Counter::WakerUnseen);
    }
    tally::ran(task, wait, now);
}
