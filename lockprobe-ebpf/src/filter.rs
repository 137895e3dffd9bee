//! Early outs: whom not to watch, and where not to look.

use lockprobe_ebpf::wire::{SiteKey, verdict};

use crate::maps::{ONLY_TARGETS, SELF_TGID, SITES, TARGETS};

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
