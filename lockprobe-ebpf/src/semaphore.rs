//! System V semaphores as the kernel keeps them: which one a call waits for, who used it last.
//!
//! `struct sem_array` (ipc/sem.c) is found by its number in the radix tree of the IPC namespace
//! (lib/xarray.c). The process that used a semaphore last has it, as far as the kernel knows: with a
//! value of 0 and a use as a lock, that is who took it.

use aya_ebpf::helpers::generated::bpf_probe_read_user;
use lockprobe_ebpf::wire::{Place, Request, Wait, class, mode, reason};

use crate::file::{member, read};
use crate::maps::*;
use crate::task::{Registers, Task};

/// Bits of a set's number that say where it is in the tree (IPCMNI_SHIFT).
const INDEX: u32 = 0x7fff;
/// Levels of a tree with so many places, 64 a level.
const LEVELS: u32 = 3;
/// Low bits of a pointer to a node of the tree.
const TAG: u64 = 3;
/// What they are for an inner node.
const NODE: u64 = 2;
/// semctl(2): the set goes.
const IPC_RMID: u64 = 0;
/// Steps of one call looked at for the one that has to wait.
const STEPS: usize = 4;

/// A `struct sem_array`.
#[derive(Clone, Copy)]
struct Set(u64);

impl Set {
    /// The one with this number in a namespace; zero where there is none.
    #[inline(always)]
    fn find(namespace: u64, number: u32) -> Self {
        let mut entry: u64 = member(namespace, &IPC_SEMAPHORES);
        let index = (number & INDEX) as u64;
        let mut i = 0;
        while i < LEVELS && entry & TAG == NODE {
            let node = entry - NODE;
            let shift: u8 = member(node, &NODE_SHIFT);
            let slot = (index >> (shift & 63)) & 63;
            entry = read(node + NODE_SLOTS.load() + 8 * slot);
            i += 1;
        }
        let known: u32 = member(entry, &IPC_ID);
        Self(if entry & TAG == 0 && known == number { entry } else { 0 })
    }

    #[inline(always)]
    fn semaphore(self, number: u64) -> u64 {
        self.0 + SET_SEMAPHORES.load() + number * SEMAPHORE_SIZE.load()
    }

    #[inline(always)]
    fn value(self, number: u64) -> i32 {
        member(self.semaphore(number), &SEMAPHORE_VALUE)
    }

    /// The process that used one last, as the host numbers it.
    #[inline(always)]
    fn last_user(self, number: u64) -> u32 {
        let process: u64 = member(self.semaphore(number), &SEMAPHORE_PID);
        if process == 0 { 0 } else { member(process, &PID_NUMBERS) }
    }
}

/// What a thread that sleeps in semop(2) waits for; which semaphore of the set only where `own`
/// says that the memory at hand is the thread's.
#[inline(always)]
pub fn request(task: Task, registers: Registers, own: bool) -> Request {
    let descriptor = registers.get(&REG_ARG0) as u32;
    let namespace: u64 = member(task.nsproxy(), &NSPROXY_IPC);
    let inum: u32 = member(namespace, &IPC_INUM);
    let set = Set::find(namespace, descriptor);
    let mut number = 0;
    if own {
        number = blocking(registers, set);
    }
    let how = class::SYSV | mode::WRITE << 8;
    let place = Place { device: 0, how, start: number, end: number };
    let holder = if set.0 == 0 { 0 } else { set.last_user(number) };
    Request { inode: (inum as u64) << 32 | descriptor as u64, place, holder, descriptor }
}

/// Number of the semaphore that has to change first: that of the first step that cannot be taken.
#[inline(always)]
fn blocking(registers: Registers, set: Set) -> u64 {
    let steps = registers.get(&REG_ARG1);
    let count = registers.get(&REG_ARG2) as usize;
    let mut first = 0;
    let mut i = 0;
    while i < STEPS && i < count {
        // struct sembuf: number, operation, flags, 16 bits each.
        let mut step = [0u16; 3];
        let at = steps + 6 * i as u64;
        // SAFETY: the helper checks the user address and writes the size named, zeros if it fails.
        unsafe { bpf_probe_read_user((&raw mut step).cast(), 6, at as *const _) };
        let (number, by) = (step[0] as u64, step[1] as i16 as i32);
        if i == 0 {
            first = number;
        }
        let value = set.value(number);
        if by <= 0 && (value + by < 0 || (by == 0 && value != 0)) {
            return number;
        }
        i += 1;
    }
    first
}

/// Who ended a sleep for a semaphore: the kernel takes the step of the sleeper in the call that
/// makes it possible, be that another step, a change of the value, or the end of a process that has
/// steps to undo. Removing the set ends the sleep without it.
#[inline(always)]
pub fn note_waker(wait: &mut Wait, sleeper: Task) {
    let waker = Task::current();
    let nr = wait.waker_call as u64;
    let steps = nr == NR_SEMOP.load() || nr == NR_SEMTIMEDOP.load();
    // One that a signal ends is not in a call that says so.
    let ends = (wait.reason == reason::EXIT || waker.leaves()) && waker.tgid() != sleeper.tgid();
    let controls = nr == NR_SEMCTL.load();
    if controls && waker.registers().get(&REG_ARG2) == IPC_RMID {
        wait.reason = reason::EXIT;
    } else if steps || ends || controls {
        wait.reason = reason::RELEASE;
        waker.describe(&mut wait.waker);
    }
}
