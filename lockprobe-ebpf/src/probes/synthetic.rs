//! A source of records that exercises the ring, the reader and the accounting at any rate.
//!
//! Never attached: `lockprobe bench ring` runs it by BPF_PROG_RUN, a batch of records a call.

use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;
use lockprobe_ebpf::wire::{Counter, WaitRecord, call, kind, reason, state, wait_flag};

use crate::emit;

const BATCH: u64 = 256;
const MILLISECOND: u64 = 1_000_000;

#[raw_tracepoint(tracepoint = "synthetic")]
fn synthetic(_ctx: RawTracePointContext) -> i32 {
    let now = emit::now();
    let mut i = 0;
    while i < BATCH {
        one(now + i, i);
        i += 1;
    }
    BATCH as i32
}

#[inline(always)]
fn one(now: u64, i: u64) {
    emit::count(Counter::Waits);
    let full = Counter::DroppedWaitRingFull;
    let Some(mut entry) = emit::reserve::<WaitRecord>(kind::WAIT, now, full) else { return };
    // SAFETY: the slot is a whole `WaitRecord`.
    let record = unsafe { &mut *entry.as_mut_ptr() };
    record.thread.tgid = 1;
    record.thread.tid = 1000 + i as u32;
    record.thread.ns_tid = 1000 + i as u32;
    record.thread.ns_level = 0;
    record.thread.comm = *b"synthetic\0\0\0\0\0\0\0";
    let wait = &mut record.wait;
    wait.state = state::RUNNING;
    wait.flags = wait_flag::PRIVATE;
    wait.call = call::FUTEX_LOCK_PI;
    wait.sleeps = 1;
    wait.lock = 0x1000 + i * 64;
    wait.ip = 0x10;
    wait.caller = 0;
    wait.sp = 0;
    wait.start_ns = now - MILLISECOND;
    wait.sleep_ns = now - MILLISECOND;
    wait.woken_ns = now - 1000;
    wait.run_ns = now;
    wait.holder_since_ns = 0;
    wait.release_before_ns = 0;
    wait.run_cpu_ns = 0;
    wait.frame_hash = 0;
    wait.counted_ns = MILLISECOND;
    wait.value = 2;
    wait.reason = reason::RELEASE;
    wait.words = [0; 6];
    wait.bucket = 0;
    wait.waker_call = 202;
    wait.first_owner = 0;
    wait.early_ns = 0;
    wait.early_lock = 0;
    wait.early_release_before_ns = 0;
    wait.early_reason = 0;
    wait.waker.tgid = 1;
    wait.waker.tid = 999;
    wait.waker.ns_tid = 999;
    wait.waker.ns_level = 0;
    wait.waker.comm = [0; 16];
    emit::submit(entry);
}
