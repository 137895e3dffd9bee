//! The only writer of the ring and of the counters.

use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use aya_ebpf::maps::ring_buf::RingBufEntry;
use lockprobe_ebpf::wire::{Counter, Header, Wait, WaitRecord, wait_flag};

use crate::maps::{COUNTERS, RING};
use crate::task::Task;

const RB_NO_WAKEUP: u64 = 1;
const RB_FORCE_WAKEUP: u64 = 2;
const RB_AVAIL_DATA: u64 = 0;
/// What the kernel puts before a record (BPF_RINGBUF_HDR_SZ).
const RB_HEADER: u64 = 8;

/// The agent polls every 20 ms; only this much waiting data is worth waking it for.
const WAKEUP_BYTES: u64 = 64 << 10;

/// Adds one to a counter.
#[inline(always)]
pub fn count(counter: Counter) {
    if let Some(slot) = COUNTERS.get_ptr_mut(counter as u32) {
        // SAFETY: a slot of this processor's array; programs that nest on one processor do not
        // share a counter (the kernel refuses recursion).
        unsafe { *slot += 1 };
    }
}

/// CLOCK_MONOTONIC now.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: no arguments.
    unsafe { bpf_ktime_get_ns() }
}

/// A slot for a record with its header filled in, or `None` with the loss counted.
#[inline(always)]
pub fn reserve<T>(kind: u32, time_ns: u64, full: Counter) -> Option<RingBufEntry<T>> {
    let Some(mut entry) = RING.reserve::<T>(0) else {
        count(full);
        return None;
    };
    let header = entry.as_mut_ptr().cast::<Header>();
    // SAFETY: every record begins with a `Header`, and the slot is as large as the record.
    unsafe {
        (*header).kind = kind;
        (*header).len = size_of::<T>() as u32;
        (*header).time_ns = time_ns;
    }
    Some(entry)
}

/// Hands a slot over, waking the agent only when much has gathered: each time another
/// [`WAKEUP_BYTES`] have, since a wake-up is an interrupt the processor sends itself, which in a
/// virtual machine takes longer than all the rest. Should two processors pass the mark together
/// and neither see it, the poll does.
#[inline(always)]
pub fn submit<T>(entry: RingBufEntry<T>) {
    let waiting = RING.query(RB_AVAIL_DATA);
    let passed =
        waiting % WAKEUP_BYTES < (size_of::<T>() as u64 + RB_HEADER) && waiting >= WAKEUP_BYTES;
    let flags = if passed { RB_FORCE_WAKEUP } else { RB_NO_WAKEUP };
    entry.submit(flags);
    count(Counter::Emitted);
}

/// Sends a wait as it stands.
#[inline(always)]
pub fn wait(kind: u32, task: Task, wait: &mut Wait, now: u64) {
    let Some(mut entry) = reserve::<WaitRecord>(kind, now, Counter::DroppedWaitRingFull) else {
        return;
    };
    wait.flags |= wait_flag::SENT;
    // SAFETY: the slot is a whole `WaitRecord`.
    let record = unsafe { &mut *entry.as_mut_ptr() };
    task.describe(&mut record.thread);
    copy(wait, &mut record.wait);
    submit(entry);
}

/// Copies word by word, which the compiler leaves alone: what it calls instead goes byte by byte,
/// and its frame counts against the stack.
#[inline(always)]
fn copy(from: &Wait, to: &mut Wait) {
    const { assert!(size_of::<Wait>() % 8 == 0 && align_of::<Wait>() == 8) };
    let (from, to) = ((&raw const *from).cast::<u64>(), (&raw mut *to).cast::<u64>());
    let mut i = 0;
    while i < size_of::<Wait>() / 8 {
        // SAFETY: within both, aligned as both are.
        unsafe { to.add(i).write_volatile(from.add(i).read_volatile()) };
        i += 1;
    }
}

/// Hands a slot over and wakes the agent: what it will look for does not wait 20 ms.
#[inline(always)]
pub fn submit_now<T>(entry: RingBufEntry<T>) {
    entry.submit(RB_FORCE_WAKEUP);
    count(Counter::Emitted);
}
