//! The locks a thread holds, in the order of asking.

use lockprobe_ebpf::wire::{HELD, Held, Holding};

/// The lock at a place.
#[inline(always)]
pub fn slot(h: &mut Holding, at: u32) -> *mut Held {
    // SAFETY: inside the array by the mask.
    unsafe { (&raw mut h.held).cast::<Held>().add((at & (HELD as u32 - 1)) as usize) }
}

/// Where a lock is among them.
#[inline(always)]
pub fn index_of(h: &mut Holding, lock: u64) -> Option<u32> {
    let mut i = 0;
    while i < HELD as u32 && i < h.depth {
        // SAFETY: a member of the value.
        if unsafe { (*slot(h, i)).lock } == lock {
            return Some(i);
        }
        i += 1;
    }
    None
}

/// A lock among them.
#[inline(always)]
pub fn find(h: &mut Holding, lock: u64) -> Option<*mut Held> {
    index_of(h, lock).map(|at| slot(h, at))
}

/// Closes the gap that a lock leaves: mostly it was the last one.
#[inline(always)]
pub fn take_out(h: &mut Holding, at: u32) {
    let mut i = at;
    let mut n = 0;
    while n < HELD as u32 && i + 1 < h.depth {
        // SAFETY: members of the value.
        unsafe { *slot(h, i) = *slot(h, i + 1) };
        i += 1;
        n += 1;
    }
    h.depth = h.depth.wrapping_sub(1);
}
