//! Early outs: whom not to watch, and where not to look.

use lockprobe_ebpf::wire::{SiteKey, verdict};

use crate::maps::{ONLY_TARGETS, SELF_TGID, SITES, TARGETS, WAITED, WAITED_SLOTS};
use crate::tally;

/// Whether a process is observed.
#[inline(always)]
pub fn is_target(tgid: u32) -> bool {
    if tgid as u64 == SELF_TGID.load() {
        return false;
    }
    ONLY_TARGETS.load() == 0 || TARGETS.get_ptr(tgid).is_some()
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

/// Whether a thread may have an entry in `WAITS`: no is certain.
///
/// The kernel inlines look-ups in arrays. Anything else that tells a thread in a lock call from
/// the others is a call of a helper, dear where returns are mitigated, at every switch and wake-up
/// of the machine.
#[inline(always)]
pub fn may_have_waited(tid: u32) -> bool {
    // SAFETY: a value of the map, alive for this run of the program.
    WAITED.get_ptr(tid % WAITED_SLOTS).is_some_and(|slot| unsafe { *slot } != 0)
}

/// Before a thread gets an entry in `WAITS`.
#[inline(always)]
pub fn enter(tid: u32) {
    shift(tid, 1);
}

/// After its entry is gone, once: one too many would hide another thread, one too few (the agent
/// removes an entry now and then) only costs time.
#[inline(always)]
pub fn leave(tid: u32) {
    shift(tid, u64::MAX);
}

#[inline(always)]
fn shift(tid: u32, by: u64) {
    if let Some(slot) = WAITED.get_ptr_mut(tid % WAITED_SLOTS) {
        tally::add(slot, by);
    }
}
