//! Every thread that already sleeps in a lock call, noted when tracing starts.
//!
//! `iter/task`: `struct bpf_iter__task { meta; struct task_struct *task; }`, the task null at the
//! end. What is found goes into the table of waits, where its wake-up will find it.

use aya_ebpf::bindings::BPF_NOEXIST;
use lockprobe_ebpf::wire::{Counter, Wait, reason, state, wait_flag};

use crate::emit::{self, count};
use crate::file;
use crate::filter;
use crate::maps::*;
use crate::task::Task;

#[repr(C)]
struct IterContext {
    meta: *const u8,
    task: *const u8,
}

#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task")]
fn already_waiting(ctx: *const IterContext) -> u32 {
    // SAFETY: the context of a task iterator.
    let pointer = unsafe { (*ctx).task };
    if pointer.is_null() {
        return 0;
    }
    let task = Task::new(pointer);
    if task.state() & 1 != 0 {
        note(task);
    }
    0
}

#[inline(always)]
fn note(task: Task) {
    let registers = task.registers();
    let Some(call) = registers.lock_call() else { return };
    if !filter::is_target(task.tgid()) {
        return;
    }
    let now = emit::now();
    // The scheduler's clock leaves out what the host and interrupts took, so only differences of
    // it mean something: since the sleeper left the processor, as of the last tick of this task.
    let slept = Task::current().exec_start().saturating_sub(task.exec_start());
    let start = now.saturating_sub(slept);
    let Some(wait) = ITER_WAIT.get_ptr_mut(0) else { return };
    // SAFETY: this processor's slot, used by the iterator alone, which does not run twice.
    let wait = unsafe { &mut *wait };
    *wait = Wait {
        state: state::SLEEPING,
        flags: call.flags | wait_flag::PREEXISTING,
        call: call.call,
        sleeps: 1,
        lock: call.lock,
        ip: registers.get(&REG_IP),
        caller: 0,
        sp: registers.get(&REG_SP),
        start_ns: start,
        sleep_ns: start,
        value: call.value,
        reason: reason::UNKNOWN,
        frame_hash: registers.get(&REG_BP),
        switches: task.switches(),
        ..Wait::default()
    };
    if call.is_kernels() {
        let request = file::request(task, registers, call, false);
        wait.lock = request.inode;
        wait.words = request.place.to_words();
        wait.value = request.holder;
        wait.flags |= wait_flag::WORDS;
    }
    // First, so that a thread that runs again at once finds itself noted.
    filter::enters(task.tid());
    if WAITS.insert(task.tid(), &*wait, BPF_NOEXIST as u64).is_err() {
        filter::leaves(task.tid());
        count(Counter::DroppedWaitTableFull);
    }
}
