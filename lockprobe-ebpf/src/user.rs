//! Reading the memory of the task that is leaving the processor: its stack, and the lock itself.

use aya_ebpf::helpers::generated::bpf_probe_read_user;
use lockprobe_ebpf::wire::{LockRecord, STACK_BYTES, Wait, call, wait_flag};

use crate::file;
use crate::maps::{FRAME, REG_SAVED};
use crate::task::Registers;

/// The smallest page there is: no mapping ends within one.
const PAGE: u64 = 4096;
/// Words of the stack that are looked at.
pub const FRAME_WORDS: usize = 16;
/// How much of the stack [`Frame::hash`] is made of; a power of two.
pub const FRAME_BYTES: u64 = 8 * FRAME_WORDS as u64;

/// The top of a user stack, in this processor's own room: kernels up to 6.12 let a program and
/// what it calls have 512 bytes of stack in all.
pub struct Frame(&'static [u64; FRAME_WORDS]);

impl Frame {
    /// Copies it; zeros where it cannot be read. Whoever reads a second one has the first no more.
    #[inline(always)]
    pub fn read(sp: u64) -> Option<Self> {
        let room = FRAME.get_ptr_mut(0)?;
        let size = 8 * FRAME_WORDS as u32;
        // SAFETY: this processor's slot, interrupts off; the helper checks the user address and
        // writes the size named, zeros if it fails.
        unsafe {
            bpf_probe_read_user(room.cast(), size, sp as *const _);
            Some(Self(&*room))
        }
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

/// A word; zero where it cannot be read.
#[inline(always)]
pub fn word(address: u64) -> u64 {
    let mut value = 0u64;
    // SAFETY: the helper checks the user address and writes eight bytes, zeros if it fails.
    unsafe { bpf_probe_read_user((&raw mut value).cast(), 8, address as *const _) };
    value
}

/// The lock of CPython that a thread sleeps for on a semaphore of its own.
///
/// `_PyParkingLot_Park` (Python/parking_lot.c, since 3.13) has a `struct wait_entry` on the stack:
/// an argument, the address parked on, the semaphore. Only a `PyMutex` passes an argument, which is
/// on the same stack (`struct mutex_entry` of Python/lock.c); it is one byte with two bits in use.
#[inline(always)]
pub fn parked(futex: u64, sp: u64) -> Option<u64> {
    const LARGEST_FRAME: u64 = 4096;
    let mut entry = [0u64; 2];
    let mut state = 0xffu8;
    // SAFETY: the helper checks the user address and writes the size named, zeros if it fails.
    unsafe { bpf_probe_read_user((&raw mut entry).cast(), 16, (futex - 16) as *const _) };
    let [argument, lock] = entry;
    if argument <= sp || argument >= futex + LARGEST_FRAME || lock == 0 {
        return None;
    }
    // SAFETY: as above; a byte that cannot be read is zero, which the result tells.
    let failed = unsafe { bpf_probe_read_user((&raw mut state).cast(), 1, lock as *const _) != 0 };
    if failed || state > 3 { None } else { Some(lock) }
}

/// Copies the lock's own memory: for a glibc mutex it says who holds it. A lock the kernel keeps has
/// none.
#[inline(always)]
pub fn read_lock(lock: u64, wait: &mut Wait) {
    if wait.call >= call::KERNEL {
        return file::read_request(wait);
    }
    if wait.flags & wait_flag::PARKED != 0 {
        // There is nothing to read in it.
        wait.flags &= !wait_flag::WORDS;
        return;
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
