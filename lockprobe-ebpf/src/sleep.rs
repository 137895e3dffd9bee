//! A task falls asleep inside a lock call: whether that is a wait for a lock, and noting it.
//!
//! What every wait needs is in one piece: the entry of the thread is looked up once and handed on.
//! What few need is in functions of their own, called `lockprobe_...`: the verifier looks at such a
//! one once, whatever led to it. They take numbers only, so the rest is in a slot of the processor.

use aya_ebpf::bindings::BPF_NOEXIST;
use lockprobe_ebpf::wire::{
    Counter, LockKey, LockRecord, Wait, call, kind, reason, state, verdict, wait_flag,
};

use crate::attempt::{self, Place};
use crate::emit::{self, count};
use crate::file;
use crate::filter;
use crate::maps::*;
use crate::tally;
use crate::task::{LockCall, Task};
use crate::user::{self, Frame};

/// Most callers in a row that leave it to their own caller what a sleep is for.
const MOST_HOPS: u32 = 3;

/// Who falls asleep on this processor, and where.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Sleeper {
    call: LockCall,
    at: Place,
    key: LockKey,
    now: u64,
}

/// The task running here leaves the processor to sleep in what may be a lock call. Returns whether
/// it waits for a lock.
#[inline(always)]
pub fn begins() -> bool {
    lockprobe_slept() != 0
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lockprobe_slept() -> u32 {
    u32::from(on_sleep(Task::current()))
}

#[inline(always)]
fn on_sleep(task: Task) -> bool {
    let registers = task.registers();
    let Some(mut call) = registers.lock_call() else { return false };
    let tgid = task.tgid();
    if !filter::is_target(tgid) {
        return false;
    }
    if call.is_kernels() {
        call.lock = lockprobe_request();
        call.futex = call.lock;
    }
    let tid = task.tid();
    let wait = if filter::may_wait(tid) { WAITS.get_ptr_mut(tid) } else { None };
    let ip = registers.get(&REG_IP);
    let sp = registers.get(&REG_SP);
    let flags = call.flags;
    let at = Place { tgid, tid, ip, sp, caller: 0, flags, hash: 0, new: false, near: true };
    let Some(at) = known_place(wait, at).or_else(|| place(at)) else {
        count(Counter::SkippedIdle);
        return false;
    };
    if at.flags & wait_flag::PARKED != 0 {
        let lock = lockprobe_parked(call.futex, sp);
        if lock == 0 {
            count(Counter::SkippedIdle);
            return false;
        }
        call.lock = lock;
    }
    // Of a lock the kernel keeps the place says nothing.
    let at = Place { new: at.new & !call.is_kernels(), ..at };
    let sleeper = Sleeper { call, at, key: LockKey::default(), now: emit::now() };
    match wait {
        // SAFETY: a value of the map; only this thread's own sleeping and waking write it, and
        // the scheduler keeps those apart.
        Some(wait) => sleeps(task, unsafe { &mut *wait }, sleeper),
        None => {
            with(sleeper, || lockprobe_first());
        }
    }
    true
}

/// Calls a function of its own with what it needs in the slot.
#[inline(always)]
fn with(sleeper: Sleeper, then: impl FnOnce() -> u32) -> u32 {
    let Some(slot) = SLEEPER.get_ptr_mut(0) else { return 0 };
    // SAFETY: this processor's slot, interrupts off.
    unsafe { *slot = sleeper };
    then()
}

#[inline(always)]
fn sleeper() -> Option<&'static mut Sleeper> {
    // SAFETY: as above.
    SLEEPER.get_ptr_mut(0).map(|slot| unsafe { &mut *slot })
}

/// What the task running here waits for in a lock the kernel keeps, noted for this processor.
/// Returns the inode.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lockprobe_request() -> u64 {
    let task = Task::current();
    let registers = task.registers();
    match registers.lock_call() {
        Some(call) if call.is_kernels() => file::note_request(task, registers, call),
        _ => 0,
    }
}

/// [`Frame::hash`] of the task running here.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lockprobe_hash(sp: u64) -> u64 {
    Frame::read(sp).map_or(0, |frame| frame.hash(Task::current().registers()))
}

/// [`user::parked`], 0 for none.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lockprobe_parked(futex: u64, sp: u64) -> u64 {
    user::parked(futex, sp).unwrap_or(0)
}

/// The place, if it is where this thread waited for a lock before: a thread comes back to the same
/// few places, and the same stack has the same callers. Saves asking for the verdicts.
#[inline(always)]
fn known_place(wait: Option<*mut Wait>, at: Place) -> Option<Place> {
    // SAFETY: a value of the map, alive for this run of the program.
    let wait = unsafe { &*wait? };
    if wait.told == 0 || wait.ip != at.ip || wait.sp != at.sp {
        return None;
    }
    let hash = lockprobe_hash(at.sp);
    let flags = at.flags | (wait.flags & (wait_flag::CALLER_KNOWN | wait_flag::PARKED));
    (hash == wait.frame_hash).then_some(Place { caller: wait.caller, flags, hash, ..at })
}

/// The place as the agent's verdicts have it; `None` where no lock is waited for.
#[inline(always)]
fn place(at: Place) -> Option<Place> {
    let slot = sleeper()?;
    slot.at = at;
    (lockprobe_place() != 0).then_some(slot.at)
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lockprobe_place() -> u32 {
    let Some(Sleeper { at, .. }) = sleeper() else { return 0 };
    let Place { tgid, ip, sp, mut flags, .. } = *at;
    let mut caller_offset = 0;
    let own = filter::verdict_on(tgid, 0, ip);
    match own {
        v if v & 0xff == verdict::IDLE => return 0,
        v if v & 0xff == verdict::PARKED => flags |= wait_flag::PARKED,
        v if v & 0xff == verdict::BY_CALLER => {
            caller_offset = (v >> 8) as u64;
            flags |= wait_flag::CALLER_KNOWN;
        }
        _ => {}
    }
    let mut caller = user::word(sp + caller_offset);
    let mut new = own == verdict::UNKNOWN;
    let mut furthest = caller_offset;
    if flags & wait_flag::CALLER_KNOWN != 0 {
        let mut above = filter::verdict_on(tgid, 1, caller);
        let mut hops = 0;
        while above & 0xff == verdict::BY_CALLER && hops < MOST_HOPS {
            caller = user::word(sp + (above >> 8) as u64);
            furthest |= (above >> 8) as u64;
            above = filter::verdict_on(tgid, 1, caller);
            hops += 1;
        }
        if above & 0xff == verdict::IDLE {
            return 0;
        }
        if above & 0xff == verdict::PARKED {
            flags |= wait_flag::PARKED;
        }
        new |= above == verdict::UNKNOWN;
    }
    at.hash = lockprobe_hash(sp);
    at.caller = caller;
    at.flags = flags;
    at.new = new;
    // A union of bits stays below a power of two just where each of them does.
    at.near = furthest < user::FRAME_BYTES;
    1
}

/// A thread falls asleep that has slept before.
#[inline(always)]
fn sleeps(task: Task, wait: &mut Wait, sleeper: Sleeper) {
    let Sleeper { call, at, now, .. } = sleeper;
    if wait.state == state::WOKEN {
        tally::ran_unseen(task, wait);
    }
    if attempt::is_retry(wait, task, call.lock, at, now) {
        return sleeps_on(task, wait, now);
    }
    // A lock this thread waited for just now has been announced, and so has the place.
    let before = (tally::key(at.tgid, wait), wait.ip, wait.caller);
    attempt::begin(wait, task, call, at, now);
    note_holder(wait);
    attempt::take_early_wake(wait, now);
    let key = tally::key(at.tgid, wait);
    if (key, wait.ip, wait.caller) != before && (at.new || tally::is_new(key)) {
        with(Sleeper { key, ..sleeper }, || lockprobe_announce());
    }
}

/// A thread falls asleep in a lock call for the first time.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lockprobe_first() -> u32 {
    let (Some(slot), Some(wait)) = (sleeper(), NEW_WAIT.get_ptr_mut(0)) else { return 0 };
    let Sleeper { call, at, now, .. } = *slot;
    // SAFETY: this processor's slot, interrupts off.
    let wait = unsafe { &mut *wait };
    attempt::begin(wait, Task::current(), call, at, now);
    note_holder(wait);
    slot.key = tally::key(at.tgid, wait);
    filter::enters(at.tid);
    if WAITS.insert(at.tid, &*wait, BPF_NOEXIST as u64).is_err() {
        filter::leaves(at.tid);
        count(Counter::DroppedWaitTableFull);
        return 0;
    }
    // The kind of wait is a matter of the place, not of the lock.
    if at.new || tally::is_new(slot.key) {
        lockprobe_announce();
    }
    0
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
fn sleeps_on(task: Task, wait: &mut Wait, now: u64) {
    tally::take_back(task.tgid(), wait);
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

/// The first contention of a lock: what is needed to tell what it is and what it is called.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lockprobe_announce() -> u32 {
    let Some(Sleeper { call, at, key, now }) = sleeper().copied() else { return 0 };
    let task = Task::current();
    tally::open(key, at.ip, at.caller);
    let full = Counter::DroppedLockRingFull;
    let Some(mut entry) = emit::reserve::<LockRecord>(kind::LOCK, now, full) else { return 0 };
    // SAFETY: the slot is a whole `LockRecord`.
    let record = unsafe { &mut *entry.as_mut_ptr() };
    task.describe(&mut record.thread);
    record.lock = call.lock;
    record.ip = at.ip;
    record.sp = at.sp;
    record.bp = task.registers().get(&REG_BP);
    record.caller = at.caller;
    record.call = call.call;
    record.flags = at.flags;
    record.value = call.value;
    user::copy(call.lock, at.sp, record);
    if call.is_kernels() {
        file::describe(record);
    }
    // To say what a new place is, the agent needs the process, which may end any moment.
    if at.new || call.is_kernels() {
        emit::submit_now(entry)
    } else {
        emit::submit(entry)
    }
    0
}
