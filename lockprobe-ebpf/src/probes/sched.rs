//! The scheduler's own view of waiting: falling asleep, being woken, running again.
//!
//! `sched_switch(bool preempt, struct task_struct *prev, struct task_struct *next,
//! unsigned int prev_state)` and `sched_waking(struct task_struct *p)`. Both run with interrupts
//! off on the processor concerned. What a task that is in no lock wait costs: going to sleep, a call
//! for its registers and a comparison; being woken and running again, a look into an array.

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use lockprobe_ebpf::wire::{
    Counter, LockKey, LockRecord, Wait, call, kind, reason, state, verdict, wait_flag,
};

use crate::attempt::{self, Place};
use crate::emit::{self, count};
use crate::file;
use crate::filter;
use crate::maps::*;
use crate::semaphore;
use crate::tally;
use crate::task::{LockCall, Registers, Task};
use crate::user::{self, Frame};

const TASK_INTERRUPTIBLE: u64 = 1;
/// Most callers in a row that leave it to their own caller what a sleep is for.
const MOST_HOPS: u32 = 3;

#[btf_tracepoint(function = "sched_switch")]
fn sched_switch(ctx: BtfTracePointContext) -> u32 {
    let prev = Task::new(ctx.arg::<*const u8>(1));
    let prev_state = if SWITCH_HAS_STATE.load() != 0 {
        // SAFETY: the fourth word of the context, there since Linux 5.18.
        unsafe { *ctx.as_ptr().cast::<u64>().add(3) }
    } else {
        prev.state() as u64
    };
    let waits = prev_state & TASK_INTERRUPTIBLE != 0 && on_sleep(prev);
    if !waits {
        on_leave(prev);
    }
    on_run(Task::new(ctx.arg::<*const u8>(2)));
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
    let tid = task.tid();
    if !filter::may_wait(tid) {
        return;
    }
    let Some(wait) = WAITS.get_ptr_mut(tid) else { return };
    // SAFETY: a value of the map; the task is running here.
    let wait = unsafe { &mut *wait };
    if wait.state == state::WOKEN {
        tally::ran_unseen(task, wait);
    }
}

/// A task leaves the processor to sleep. Returns whether it waits for a lock.
#[inline(always)]
fn on_sleep(task: Task) -> bool {
    let registers = task.registers();
    let Some(mut call) = registers.lock_call() else { return false };
    let tgid = task.tgid();
    if !filter::is_target(tgid) {
        return false;
    }
    if call.is_kernels() {
        call.lock = file::note_request(task, registers, call);
        call.futex = call.lock;
    }
    let tid = task.tid();
    let ip = registers.get(&REG_IP);
    let sp = registers.get(&REG_SP);
    let flags = call.flags;
    let at = Place { tgid, tid, ip, sp, caller: 0, flags, hash: 0, new: false, near: true };
    let at = match known_place(registers, at) {
        Some(at) => at,
        None => match place(registers, at) {
            Some(at) => at,
            None => {
                count(Counter::SkippedIdle);
                return false;
            }
        },
    };
    if at.flags & wait_flag::PARKED != 0 {
        let Some(lock) = user::parked(call.futex, sp) else {
            count(Counter::SkippedIdle);
            return false;
        };
        call.lock = lock;
    }
    // Of a lock the kernel keeps the place says nothing.
    let new = at.new & !call.is_kernels();
    record_sleep(task, registers, call, Place { new, ..at });
    true
}

/// The place, if it is where this thread waited for a lock before: a thread comes back to the same
/// few places, and the same stack has the same callers. Saves asking for the verdicts.
#[inline(always)]
fn known_place(registers: Registers, at: Place) -> Option<Place> {
    if !filter::may_wait(at.tid) {
        return None;
    }
    let wait = WAITS.get_ptr(at.tid)?;
    // SAFETY: a value of the map, alive for this run of the program.
    let wait = unsafe { &*wait };
    if wait.told == 0 || wait.ip != at.ip || wait.sp != at.sp {
        return None;
    }
    let hash = Frame::read(at.sp)?.hash(registers);
    let flags = at.flags | (wait.flags & (wait_flag::CALLER_KNOWN | wait_flag::PARKED));
    (hash == wait.frame_hash).then_some(Place { caller: wait.caller, flags, hash, ..at })
}

/// The place as the agent's verdicts have it; `None` where no lock is waited for.
#[inline(always)]
fn place(registers: Registers, at: Place) -> Option<Place> {
    let Place { tgid, ip, sp, mut flags, .. } = at;
    let mut caller_offset = 0;
    let own = filter::verdict_on(tgid, 0, ip);
    match own {
        v if v & 0xff == verdict::IDLE => return None,
        v if v & 0xff == verdict::PARKED => flags |= wait_flag::PARKED,
        v if v & 0xff == verdict::BY_CALLER => {
            caller_offset = (v >> 8) as u64;
            flags |= wait_flag::CALLER_KNOWN;
        }
        _ => {}
    }
    let frame = Frame::read(sp)?;
    let mut caller = frame.word(sp, caller_offset);
    let mut new = own == verdict::UNKNOWN;
    let mut furthest = caller_offset;
    if flags & wait_flag::CALLER_KNOWN != 0 {
        let mut above = filter::verdict_on(tgid, 1, caller);
        let mut hops = 0;
        while above & 0xff == verdict::BY_CALLER && hops < MOST_HOPS {
            caller = frame.word(sp, (above >> 8) as u64);
            furthest |= (above >> 8) as u64;
            above = filter::verdict_on(tgid, 1, caller);
            hops += 1;
        }
        if above & 0xff == verdict::IDLE {
            return None;
        }
        if above & 0xff == verdict::PARKED {
            flags |= wait_flag::PARKED;
        }
        new |= above == verdict::UNKNOWN;
    }
    let hash = frame.hash(registers);
    // A union of bits stays below a power of two just where each of them does.
    let near = furthest < user::FRAME_BYTES;
    Some(Place { caller, flags, hash, new, near, ..at })
}

#[inline(always)]
fn record_sleep(task: Task, registers: Registers, call: LockCall, at: Place) {
    let now = emit::now();
    let key;
    if let Some(wait) = WAITS.get_ptr_mut(at.tid) {
        // SAFETY: a value of the map; only this thread's own sleeping and waking write it, and
        // the scheduler keeps those apart.
        let wait = unsafe { &mut *wait };
        if wait.state == state::WOKEN {
            tally::ran_unseen(task, wait);
        }
        if attempt::is_retry(wait, task, call.lock, at, now) {
            return sleep_on(task, wait, now);
        }
        // A lock this thread waited for just now has been announced, and so has the place.
        let before = (tally::key(at.tgid, wait), wait.ip, wait.caller);
        attempt::begin(wait, task, call, at, now);
        note_holder(wait);
        attempt::take_early_wake(wait, now);
        key = tally::key(at.tgid, wait);
        if (key, wait.ip, wait.caller) == before {
            return;
        }
    } else {
        let Some(wait) = NEW_WAIT.get_ptr_mut(0) else { return };
        // SAFETY: this processor's slot, interrupts off.
        let wait = unsafe { &mut *wait };
        attempt::begin(wait, task, call, at, now);
        note_holder(wait);
        key = tally::key(at.tgid, wait);
        filter::enters(at.tid);
        if WAITS.insert(at.tid, *&*wait, BPF_NOEXIST as u64).is_err() {
            filter::leaves(at.tid);
            return count(Counter::DroppedWaitTableFull);
        }
    }
    // The kind of wait is a matter of the place, not of the lock.
    if at.new || tally::is_new(key) {
        announce_lock(task, registers, call, at, key, now);
    }
}

/// Who had a lock that the kernel keeps when the attempt began: `value` is who has it.
#[inline(always)]
fn note_holder(wait: &mut Wait) {
    if wait.call >= call::KERNEL {
        wait.first_owner = wait.value;
    }
}

/// The same attempt goes on.
#[inline(always)]
fn sleep_on(task: Task, wait: &mut Wait, now: u64) {
    wait.state = state::SLEEPING;
    wait.sleeps += 1;
    wait.sleep_ns = now;
    wait.reason = reason::UNKNOWN;
    wait.run_cpu_ns = task.cpu_ns();
    wait.switches = task.switches();
    user::read_lock(wait.lock, wait);
    attempt::take_early_wake(wait, now);
    count(Counter::Retries);
    if wait.flags & wait_flag::SENT != 0 {
        emit::wait(kind::RESUME, task, wait, now);
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

/// The first contention of a lock: what is needed to tell what it is and what it is called.
#[inline(always)]
fn announce_lock(
    task: Task,
    registers: Registers,
    call: LockCall,
    at: Place,
    key: LockKey,
    now: u64,
) {
    tally::open(key, at.ip, at.caller);
    let full = Counter::DroppedLockRingFull;
    let Some(mut entry) = emit::reserve::<LockRecord>(kind::LOCK, now, full) else { return };
    // SAFETY: the slot is a whole `LockRecord`.
    let record = unsafe { &mut *entry.as_mut_ptr() };
    task.describe(&mut record.thread);
    record.lock = call.lock;
    record.ip = at.ip;
    record.sp = at.sp;
    record.bp = registers.get(&REG_BP);
    record.caller = at.caller;
    record.call = call.call;
    record.flags = at.flags;
    record.value = call.value;
    user::copy(call.lock, at.sp, record);
    if call.is_kernels() {
        file::describe(record);
    }
    // To say what a new place is, the agent needs the process, which may end any moment.
    if at.new || call.is_kernels() { emit::submit_now(entry) } else { emit::submit(entry) }
}
