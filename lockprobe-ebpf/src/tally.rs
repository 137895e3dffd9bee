//! Counts and histograms of every wait, kept in the kernel whatever the threshold.

use aya_ebpf::bindings::BPF_NOEXIST;
use lockprobe_ebpf::wire::{
    BUCKETS, Counter, LockKey, LockStats, Place, Wait, bucket_of, call, kind, reason, state,
    wait_flag,
};

use crate::emit::{self, count};
use crate::full;
use crate::maps::{EXECS, LOCKS, MIN_WAIT_NS, NEW_STATS};
use crate::task::Task;

/// Key of the entry that takes the waits of locks the table has no room for.
pub const OVERFLOW: LockKey = LockKey { tgid: 0, reserved: 0, lock: 0 };

/// Key of the counts of the lock a thread waits for.
#[inline(always)]
pub fn key(tgid: u32, wait: &Wait) -> LockKey {
    if wait.call >= call::KERNEL {
        return Place::of_words(&wait.words).key(wait.lock);
    }
    LockKey { tgid, reserved: 0, lock: wait.lock }
}

/// Makes room for a lock's counts. Where there is none, its waits go to the overflow entry.
#[inline(always)]
pub fn open(key: LockKey, ip: u64, caller: u64) {
    let Some(stats) = NEW_STATS.get_ptr_mut(0) else { return };
    // SAFETY: this processor's slot, interrupts off; its counts stay zero.
    let stats = unsafe { &mut *stats };
    stats.opened_ns = crate::emit::now();
    stats.ip = ip;
    stats.caller = caller;
    let _full = LOCKS.insert(key, &*stats, BPF_NOEXIST as u64);
}

/// A thread runs again: its wait is counted, and sent if it was long enough.
#[inline(never)]
pub fn ran(task: Task, wait: &mut Wait, now: u64) {
    wait.state = state::RUNNING;
    wait.run_ns = now;
    full::ran(task.tid(), wait.lock, now);
    let elapsed = now.wrapping_sub(wait.start_ns);
    count_attempt(task.tgid(), wait, elapsed);
    if elapsed < MIN_WAIT_NS.load() {
        return count(Counter::SkippedShort);
    }
    emit::wait(kind::WAIT, task, wait, now);
}

/// A thread that was woken is found running without having been seen to begin: now and then the
/// switch away from an idle processor is not traced. It ran about when it was woken.
#[inline(always)]
pub fn ran_unseen(task: Task, wait: &mut Wait) {
    let woken = wait.woken_ns;
    ran(task, wait, woken);
}

/// Counts an attempt in its lock's histogram.
#[inline(always)]
pub fn count_attempt(tgid: u32, wait: &mut Wait, elapsed: u64) {
    let own = key(tgid, wait);
    let mut found = None;
    if wait.flags & wait_flag::OVERFLOW == 0 {
        found = LOCKS.get_ptr_mut(own);
        if found.is_none() {
            // Not there yet (the thread slept before we came), or the agent has taken the counts.
            open(own, wait.ip, wait.caller);
            found = LOCKS.get_ptr_mut(own);
        }
    }
    if found.is_none() {
        if wait.flags & wait_flag::OVERFLOW == 0 {
            wait.flags |= wait_flag::OVERFLOW;
            count(Counter::DroppedLockTableFull);
        }
        found = LOCKS.get_ptr_mut(OVERFLOW);
    }
    let Some(stats) = found else { return };
    let bucket = bucket_of(elapsed);
    count(Counter::Waits);
    // SAFETY: members of a value of the map.
    unsafe {
        add(&raw mut (*stats).count, one(wait));
        add(&raw mut (*stats).sum_ns, elapsed);
    }
    bump(stats, bucket, 1);
    wait.bucket = bucket + 1;
    wait.counted_ns = elapsed;
    // SAFETY: a value of the map.
    let longest = unsafe { &mut (*stats).max_ns };
    if elapsed > *longest {
        *longest = elapsed;
    }
}

/// What a wait adds to [`LockStats::count`]: one, and one more higher up where nobody who had the
/// lock let the thread on.
#[inline(always)]
fn one(wait: &Wait) -> u64 {
    let timed = wait.flags & wait_flag::TIMED != 0 || wait.call >= call::KERNEL;
    let doubtful = match wait.reason {
        reason::SIGNAL | reason::EXIT => true,
        reason::OTHER => timed,
        _ => false,
    };
    1 + doubtful as u64 * LockStats::DOUBTFUL
}

/// An attempt that was counted, since its thread ran, goes on: it is counted when it ends. To be
/// called before anything about the wake-up is forgotten.
#[inline(never)]
pub fn take_back(tgid: u32, wait: &mut Wait) {
    if wait.bucket == 0 {
        return;
    }
    let own = if wait.flags & wait_flag::OVERFLOW == 0 { key(tgid, wait) } else { OVERFLOW };
    // Where the agent has taken the counts of a lock nobody used for long, it stays counted.
    if let Some(stats) = LOCKS.get_ptr_mut(own) {
        // SAFETY: members of a value of the map.
        unsafe {
            add(&raw mut (*stats).count, one(wait).wrapping_neg());
            add(&raw mut (*stats).sum_ns, wait.counted_ns.wrapping_neg());
        }
        bump(stats, wait.bucket - 1, u32::MAX);
        emit::uncount(Counter::Waits);
    }
    wait.bucket = 0;
    wait.counted_ns = 0;
}

/// Whether a lock is seen for the first time: there is no entry, or it is of the program that the
/// process ran before.
#[inline(always)]
pub fn is_new(key: LockKey) -> bool {
    let Some(stats) = LOCKS.get_ptr(key) else { return true };
    let Some(exec) = EXECS.get_ptr(key.tgid) else { return false };
    // SAFETY: values of the maps.
    unsafe { (*stats).opened_ns < *exec }
}

/// Notes that the lock was let go; returns when it was let go before.
#[inline(always)]
pub fn note_release(tgid: u32, lock: u64, now: u64) -> u64 {
    let key = LockKey { tgid, reserved: 0, lock };
    // Without an entry nothing can be said, and 'just now' claims the least.
    let Some(stats) = LOCKS.get_ptr_mut(key) else { return now };
    // SAFETY: a value of the map; a torn view is impossible for an aligned word.
    let last = unsafe { &mut (*stats).released_ns };
    let before = *last;
    *last = now;
    before
}

#[inline(always)]
fn bump(stats: *mut LockStats, bucket: u32, by: u32) {
    let bucket = bucket as usize;
    if bucket < BUCKETS {
        // SAFETY: inside the array, by the test above, of a value of the map.
        let slot = unsafe { (&raw mut (*stats).buckets).cast::<u32>().add(bucket) };
        // SAFETY: as above; the addition is one atomic instruction.
        unsafe {
            core::intrinsics::atomic_xadd::<u32, u32, { core::intrinsics::AtomicOrdering::Relaxed }>(
                slot, by,
            )
        };
    }
}

/// One atomic addition: these counts are shared by all processors.
#[inline(always)]
pub fn add(slot: *mut u64, by: u64) {
    // SAFETY: a member of a map value, aligned to eight bytes.
    unsafe {
        core::intrinsics::atomic_xadd::<u64, u64, { core::intrinsics::AtomicOrdering::Relaxed }>(
            slot, by,
        )
    };
}
