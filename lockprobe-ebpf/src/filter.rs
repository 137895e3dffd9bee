//! Early outs: whom not to watch, and where not to look.

use lockprobe_ebpf::wire::{Counter, SiteKey, choice, verdict};

use crate::emit::count;
use crate::maps::{ONLY_TARGETS, SELF_TGID, SITES, TARGETS, WAITER_SLOTS, WAITERS};
use crate::tally;

/// Whether a process is observed.
#[inline(always)]
pub fn is_target(tgid: u32) -> bool {
    if tgid as u64 == SELF_TGID.load() {
        return false;
    }
    let of_whom = ONLY_TARGETS.load();
    if of_whom == choice::ALL {
        return true;
    }
    // SAFETY: a value of the map, at least four bytes, alive for this run of the program.
    let said = TARGETS.get_ptr(tgid).map_or(0, |said| unsafe { *said });
    if of_whom == choice::LISTED { said == choice::WATCHED } else { said != choice::LEFT_OUT }
}

/// A new process is watched as the one is that forked it. What is still said of another that had
/// its id before is void.
#[inline(always)]
pub fn inherit(parent: u32, child: u32) {
    let of_whom = ONLY_TARGETS.load();
    if of_whom == choice::ALL {
        return;
    }
    let watched = is_target(parent);
    if watched == (of_whom == choice::ALL_BUT) {
        let _ = TARGETS.remove(child);
        return;
    }
    let said = if watched { choice::WATCHED } else { choice::LEFT_OUT };
    if TARGETS.insert(child, said, 0).is_err() {
        count(Counter::DroppedTargetTableFull);
    }
}

/// The agent's verdict on an instruction, `UNKNOWN` where it has given none.
#[inline(always)]
pub fn verdict_on(tgid: u32, level: u32, ip: u64) -> u32 {
    match SITES.get_ptr(SiteKey { tgid, level, ip }) {
        // SAFETY: a value of the map, at least four bytes, alive for this run of the program.
        Some(value) => unsafe { *value },
        None => verdict::UNKNOWN,
    }
}

/// Whether a thread may have an entry in the table of waits: no is certain.
///
/// The kernel inlines look-ups in arrays. Anything else that tells a thread in a lock call from
/// the others is a call of a helper, dear where returns are mitigated, at every switch and wake-up
/// of the machine.
#[inline(always)]
pub fn may_wait(tid: u32) -> bool {
    // SAFETY: a value of the map, alive for this run of the program.
    WAITERS.get_ptr(tid % WAITER_SLOTS).is_some_and(|slot| unsafe { *slot } != 0)
}

/// Notes that a thread is about to get an entry.
#[inline(always)]
pub fn enters(tid: u32) {
    shift(tid, 1);
}

/// Takes [`enters`] back, once each: one too many would hide another thread. One too few (the
/// agent takes an entry out) only costs time.
#[inline(always)]
pub fn leaves(tid: u32) {
    shift(tid, u64::MAX);
}

#[inline(always)]
fn shift(tid: u32, by: u64) {
    if let Some(slot) = WAITERS.get_ptr_mut(tid % WAITER_SLOTS) {
        tally::add(slot, by);
    }
}
