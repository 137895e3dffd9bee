//! Reading the memory of the task that is leaving the processor: its stack, and the lock itself.

use aya_ebpf::helpers::generated::bpf_probe_read_user;
use lockprobe_ebpf::wire::{LockRecord, STACK_BYTES, Wait, call, wait_flag};

use crate::file;
use crate::maps::REG_SAVED;
use crate::task::Registers;

/// The smallest page there is: no mapping ends within one.
const PAGE: u64 = 4096;
const FRAME_WORDS: usize = 16;
/// How much of the stack [`Frame::hash`] is made of; a power of two.
pub const FRAME_BYTES: u64 = 8 * FRAME_WORDS as u64;

/// The top of a user stack.
pub struct Frame([u64; FRAME_WORDS]);

impl Frame {
    /// Copies it; zeros where it cannot be read.
    #[inline(always)]
    pub fn read(sp: u64) -> Self {
        let mut words = [0u64; FRAME_WORDS];
        let size = 8 * FRAME_WORDS as u32;
        // SAFETY: the helper checks the user address and writes the size named, zeros if it fails.
        unsafe { bpf_probe_read_user((&raw mut words).cast(), size, sp as *const _) };
        Self(words)
    }

    /// The word this far above the stack pointer.
    #[inline(always)]
    pub fn word(&self, sp: u64, offset: u64) -> u64 {
        if offset == 0 { self.0[0] } else { read_word(sp + offset) }
    }

    /// Mixes what a thread that tries again cannot have changed: this, and the registers that a
    /// callee preserves.
    #[inline(always)]
    pub fn hash(&self, registers: Registers) -> u64 {
        let base = REG_SAVED.load() as usize;
        let mut hash = 0x9e37_79b9_7f4a_7c15u64;
        let mut i = 0;
        while i < 6 {
            hash = (hash ^ registers.at(base + 8 * i)).wrapping_mul(0xff51_afd7_ed55_8ccd);
            i += 1;
        }
        let mut i = 0;
        while i < FRAME_WORDS {
            hash = (hash.rotate_left(5) ^ self.0[i]).wrapping_mul(0xff51_afd7_ed55_8ccd);
            i += 1;
        }
        hash
    }
}

#[inline(always)]
fn read_word(address: u64) -> u64 {
    let mut value = 0u64;
    // SAFETY: the helper checks the user address and writes eight bytes, zeros if it fails.
    unsafe { bpf_probe_read_user((&raw mut value).cast(), 8, address as *const _) };
    value
}

/// Copies the lock's own memory: for a glibc mutex it says who holds it. A lock the kernel keeps has
/// none.
#[inline(always)]
pub fn read_lock(lock: u64, wait: &mut Wait) {
    if wait.call >= call::KERNEL {
        return file::read_request(wait);
    }
    // SAFETY: the helper checks the user address and writes the size named, zeros if it fails.
    let failed =
        unsafe { bpf_probe_read_user((&raw mut wait.words).cast(), 24, lock as *const _) != 0 };
    if failed {
        wait.flags &= !wait_flag::WORDS;
    } else {
        wait.flags |= wait_flag::WORDS;
    }
}

/// Copies the lock's memory and as much of the stack as there is into a record.
#[inline(always)]
pub fn copy(lock: u64, sp: u64, record: &mut LockRecord) {
    // SAFETY: the helper checks the user addresses and writes within the record.
    unsafe {
        let words = (&raw mut record.words).cast();
        if record.call < call::KERNEL && bpf_probe_read_user(words, 24, lock as *const _) == 0 {
            record.flags |= wait_flag::WORDS;
        }
        let stack = (&raw mut record.stack).cast();
        // Near the end of the stack's mapping a whole copy fails: take what there is of the page.
        // Threads of musl begin a few hundred bytes below it.
        let rest = (PAGE - (sp & (PAGE - 1))) as u32 & (STACK_BYTES as u32 - 1);
        record.stack_len = if bpf_probe_read_user(stack, STACK_BYTES as u32, sp as *const _) == 0 {
            STACK_BYTES as u32
        } else if bpf_probe_read_user(stack, rest, sp as *const _) == 0 {
            rest
        } else {
            0
        };
    }
}
