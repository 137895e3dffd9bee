//! What the acquisitions of a lock add up to.

use aya_ebpf::bindings::BPF_NOEXIST;
use lockprobe_ebpf::wire::{
    BUCKETS, Counter, FullCounter, FullLockRecord, FullStats, Held, LockKey, act, bucket_of,
    held_flag, kind,
};

use super::{Call, SHARED, count};
use crate::emit;
use crate::maps::{FULL_LOCKS, FULL_NO_STATS, SELF_TGID};
use crate::tally::add;
use crate::task::Task;

/// A hold ends.
#[inline(always)]
pub fn ended(tgid: u32, held: &Held, now: u64) {
    let Some(stats) = stats(tgid, held.lock, held.site, held.flags) else {
        return;
    };
    // SAFETY: members of a value of the map.
    unsafe {
        add(&raw mut (*stats).acquisitions, 1 + held.again);
        if held.flags & held_flag::CONTENDED != 0 {
            add(&raw mut (*stats).contended, 1);
        }
        if held.flags & SHARED != 0 {
            add(&raw mut (*stats).shared, 1 + held.again);
        }
        if held.flags & held_flag::START_UNKNOWN != 0 {
            return;
        }
        let hold = now.wrapping_sub(held.since_ns);
        add(&raw mut (*stats).holds, 1);
        add(&raw mut (*stats).hold_sum_ns, hold);
        if hold > (*stats).hold_max_ns {
            (*stats).hold_max_ns = hold;
        }
        let bucket = bucket_of(hold) as usize;
        if bucket < BUCKETS {
            let slot = (&raw mut (*stats).buckets).cast::<u32>().add(bucket);
            core::intrinsics::atomic_xadd::<u32, u32, { core::intrinsics::AtomicOrdering::Relaxed }>(
                slot, 1,
            );
        }
    }
}

/// A lock is let go that was not seen to be acquired: it was before we came.
#[inline(always)]
pub fn unseen(call: Call) {
    if call.flags & act::CONDITION as u32 != 0 {
        return;
    }
    if let Some(stats) = stats(call.tgid, call.lock, 0, call.flags) {
        // SAFETY: a member of a value of the map.
        add(unsafe { &raw mut (*stats).unseen }, 1);
    }
}

/// The counts of a lock, made when there are none.
#[inline(always)]
pub fn stats(tgid: u32, lock: u64, site: u64, flags: u32) -> Option<*mut FullStats> {
    let key = LockKey { tgid, reserved: 0, lock };
    match FULL_LOCKS.get_ptr_mut(key) {
        Some(stats) => Some(stats),
        None => first_stats(&key, site, flags),
    }
}

#[inline(never)]
fn first_stats(key: &LockKey, site: u64, flags: u32) -> Option<*mut FullStats> {
    let nothing = FULL_NO_STATS.get_ptr(0)?;
    // SAFETY: a value of the map, never written.
    let made = FULL_LOCKS.insert(key, unsafe { &*nothing }, BPF_NOEXIST as u64).is_ok();
    let Some(stats) = FULL_LOCKS.get_ptr_mut(key) else {
        count(FullCounter::LockTableFull);
        return None;
    };
    if made {
        // SAFETY: members of a value of the map.
        unsafe {
            (*stats).opened_ns = emit::now();
            (*stats).site = site;
            (*stats).flags = flags as u64;
        }
        announce_lock(*key, site, flags);
    }
    Some(stats)
}

#[inline(always)]
fn announce_lock(key: LockKey, site: u64, flags: u32) {
    // What lockprobe does to itself to see what it costs is nobody's business.
    if key.tgid as u64 == SELF_TGID.load() {
        return;
    }
    let full = Counter::DroppedLockRingFull;
    let entry = emit::reserve::<FullLockRecord>(kind::FULL_LOCK, emit::now(), full);
    let Some(mut entry) = entry else { return };
    // SAFETY: the slot is a whole `FullLockRecord`.
    let record = unsafe { &mut *entry.as_mut_ptr() };
    Task::current().describe(&mut record.thread);
    record.lock = key.lock;
    record.site = site;
    record.flags = flags as u64;
    // To name the lock, the agent needs the process, which may end any moment.
    emit::submit_now(entry);
}
