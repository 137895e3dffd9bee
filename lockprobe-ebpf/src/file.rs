//! Locks of files as the kernel keeps them: which file a descriptor means, who is in the way.
//!
//! `struct file_lock` (fs/locks.c) has had its common part in a `struct file_lock_core` of its own,
//! at its beginning, since Linux 6.9; the offsets are those of whichever there is. Everything is
//! read without the kernel's locks, so what was read is looked at again before it is believed.

use aya_ebpf::Global;
use aya_ebpf::helpers::generated::{bpf_probe_read_kernel, bpf_probe_read_user};
use lockprobe_ebpf::wire::{LockRecord, Place, Request, Wait, call, class, mode, wait_flag};

use crate::maps::*;
use crate::semaphore;
use crate::task::{LockCall, Registers, Task};

/// Last byte of a lock that reaches to the end of the file.
const END_OF_FILE: u64 = i64::MAX as u64;
/// The lock is of an open file description (FL_OFDLCK, include/linux/filelock.h).
const OFD: u32 = 1024;
/// Not a lock but a question about one (FL_ACCESS).
const ACCESS: u32 = 8;
/// flock(2): shared.
const LOCK_SH: u64 = 1;
/// fcntl(2).
const F_OFD_SETLKW: u64 = 38;
/// Most waiters that may queue up below each other before the holder goes unnamed.
const CHAIN_AT_MOST: u32 = 16;
/// Most locks of one file looked at for the one in the way.
const LOCKS_AT_MOST: u32 = 16;

/// Reads kernel memory; zero where it cannot be read.
#[inline(always)]
pub fn read<T: Copy + Default>(at: u64) -> T {
    let mut value = T::default();
    // SAFETY: the helper checks the address and writes no more than the value.
    unsafe {
        bpf_probe_read_kernel((&raw mut value).cast(), size_of::<T>() as u32, at as *const _)
    };
    value
}

/// Reads a member of a kernel structure.
#[inline(always)]
pub fn member<T: Copy + Default>(of: u64, offset: &Global<u64>) -> T {
    read(of + offset.load())
}

/// A `struct inode`.
#[derive(Clone, Copy)]
pub struct Inode(pub u64);

impl Inode {
    /// The one a descriptor of a task means; zero when it means none.
    #[inline(always)]
    pub fn of(task: Task, descriptor: u64) -> Self {
        let table: u64 = member(task.files(), &FILES_FDT);
        let size: u32 = member(table, &FDT_MAX);
        if descriptor >= size as u64 {
            return Self(0);
        }
        let files: u64 = member(table, &FDT_FD);
        let file: u64 = read(files + 8 * descriptor);
        Self(member(file, &FILE_INODE))
    }

    /// Its number.
    #[inline(always)]
    pub fn number(self) -> u64 {
        member(self.0, &INODE_NUMBER)
    }

    /// The process that took the only lock in one of its tables; 0 where there are others.
    #[inline(always)]
    fn only_holder(self, table: u32) -> u32 {
        let head = self.locks(table);
        let first: u64 = read(head);
        let alone = first != 0 && first != head && read::<u64>(first) == head;
        if alone { FileLock::in_list(first).owner().process } else { 0 }
    }

    /// Head of the list of its locks of one table.
    #[inline(always)]
    fn locks(self, table: u32) -> u64 {
        let locks: u64 = member(self.0, &INODE_LOCKS);
        let list = if table == class::FLOCK { &LOCKS_FLOCK } else { &LOCKS_POSIX };
        locks + list.load()
    }

    /// Its device.
    #[inline(always)]
    pub fn device(self) -> u32 {
        let superblock: u64 = member(self.0, &INODE_SB);
        member(superblock, &SB_DEVICE)
    }
}

/// A `struct file_lock`: held, waited for, or asked for.
#[derive(Clone, Copy)]
pub struct FileLock(pub u64);

/// Whom a lock belongs to.
#[derive(Clone, Copy)]
pub struct Owner {
    /// The process that took it.
    pub process: u32,
    /// Who owns it, as [`lockprobe_ebpf::wire::FileRecord::owner`] has it.
    pub token: u64,
}

/// Nobody that is known.
pub const NOBODY: Owner = Owner { process: 0, token: 0 };

impl FileLock {
    /// The one with this place in the list of its inode.
    #[inline(always)]
    fn in_list(at: u64) -> Self {
        Self(at.wrapping_sub(FL_LIST.load()))
    }

    /// Whether this only asks what a lock would meet.
    #[inline(always)]
    pub fn is_question(self) -> bool {
        member::<u32>(self.0, &FL_FLAGS) & ACCESS != 0
    }

    /// What it covers, and how; `class` is that of its table.
    #[inline(always)]
    pub fn place(self, device: u32, table: u32) -> Place {
        let flags: u32 = member(self.0, &FL_FLAGS);
        let of = if table == class::POSIX && flags & OFD != 0 { class::OFD } else { table };
        Place {
            device,
            how: of | (self.mode() << 8),
            start: member(self.0, &FL_START),
            end: member(self.0, &FL_END),
        }
    }

    /// How it is asked for or had.
    #[inline(always)]
    pub fn mode(self) -> u32 {
        member::<u8>(self.0, &FL_TYPE) as u32
    }

    /// Whose it is.
    #[inline(always)]
    pub fn owner(self) -> Owner {
        let address: u64 = member(self.0, &FL_OWNER);
        let token = (address ^ OWNER_SALT.load()).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Owner { process: member(self.0, &FL_PID), token: token ^ (token >> 32) }
    }

    /// Who has what a request waits for that has just been queued.
    ///
    /// Waiters that are in each other's way are queued below each other (`__locks_insert_block`),
    /// so the holder is at the top of the chain.
    #[inline(always)]
    pub fn blocker(self) -> Owner {
        let first: u64 = member(self.0, &FL_BLOCKER);
        let mut at = first;
        let mut i = 0;
        while i < CHAIN_AT_MOST && at != 0 {
            let above: u64 = member(at, &FL_BLOCKER);
            if above == 0 {
                let owner = Self(at).owner();
                // Still where it was: so it was not freed while it was read.
                let same = member::<u64>(self.0, &FL_BLOCKER) == first;
                return if same { owner } else { NOBODY };
            }
            at = above;
            i += 1;
        }
        NOBODY
    }

    /// Who has what a request was refused for: the first lock in the list of the inode that does
    /// not go together with it.
    #[inline(always)]
    pub fn conflict(self, inode: Inode, asked: Place, own: u64) -> Owner {
        let head = inode.locks(asked.table());
        let mut before = head;
        let mut i = 0;
        while i < LOCKS_AT_MOST {
            let at: u64 = read(before);
            if at == head || at == 0 {
                break;
            }
            let other = Self::in_list(at);
            let owner = other.owner();
            let place = other.place(asked.device, asked.table());
            let alone = place.mode() == mode::WRITE || asked.mode() == mode::WRITE;
            let overlaps = place.start <= asked.end && asked.start <= place.end;
            if alone && overlaps && owner.token != own {
                // Still in the list: so it was not freed while it was read.
                return if read::<u64>(before) == at { owner } else { NOBODY };
            }
            before = at;
            i += 1;
        }
        NOBODY
    }
}

/// What a thread that sleeps in a call on a kernel's lock waits for. Where the file system has its own way
/// of waiting (network file systems), nobody has noted the request, and it is put together from the
/// registers; the range only where `own` says that the memory at hand is the thread's.
#[inline(always)]
pub fn request(task: Task, registers: Registers, call: LockCall, own: bool) -> Request {
    if call.call == call::SEMOP {
        return semaphore::request(task, registers, own);
    }
    let inode = Inode::of(task, call.lock);
    let (number, device) = (inode.number(), inode.device());
    let descriptor = call.lock as u32;
    if let Some(noted) = REQUESTS.get_ptr(task.tid()) {
        // SAFETY: a value of the map; the thread writes it itself, and it sleeps.
        let noted = unsafe { *noted };
        let same = noted.inode == number && noted.place.device == device;
        if same && noted.descriptor == descriptor {
            return noted;
        }
    }
    let mut place = Place { device, how: class::FLOCK, start: 0, end: END_OF_FILE };
    let argument = registers.get(&REG_ARG1);
    if call.call == call::FLOCK {
        place.how |= (argument & LOCK_SH == 0) as u32 * mode::WRITE << 8;
    } else {
        place.how = if argument == F_OFD_SETLKW { class::OFD } else { class::POSIX };
        if own {
            read_range(registers.get(&REG_ARG2), &mut place);
        }
    }
    // Who sleeps already is in the way of none but the only holder there is.
    let holder = if own { 0 } else { inode.only_holder(place.table()) };
    Request { inode: number, place, holder, descriptor }
}

/// Mode and range out of a `struct flock` in user memory. A start that is counted from elsewhere
/// than the beginning of the file is not known here; then so is the range.
#[inline(always)]
fn read_range(address: u64, place: &mut Place) {
    let mut words = [0u64; 3];
    // SAFETY: the helper checks the user address and writes the size named, zeros if it fails.
    unsafe { bpf_probe_read_user((&raw mut words).cast(), 24, address as *const _) };
    let whence = (words[0] >> 16) & 0xffff;
    place.how |= ((words[0] & 0xff) as u32) << 8;
    if whence == 0 {
        place.start = words[1];
        let last = words[1].wrapping_add(words[2]).wrapping_sub(1);
        place.end = if words[2] == 0 { END_OF_FILE } else { last };
    }
}

/// Notes what the thread that is leaving the processor waits for; returns the inode.
#[inline(always)]
pub fn note_request(task: Task, registers: Registers, call: LockCall) -> u64 {
    let Some(slot) = NEW_REQUEST.get_ptr_mut(0) else { return 0 };
    let request = request(task, registers, call, true);
    // SAFETY: this processor's slot, interrupts off.
    unsafe { *slot = request };
    request.inode
}

/// Copies what was noted of this processor's thread into its wait.
#[inline(always)]
pub fn read_request(wait: &mut Wait) {
    if let Some(request) = NEW_REQUEST.get_ptr(0) {
        // SAFETY: as above.
        let request = unsafe { &*request };
        wait.words = request.place.to_words();
        wait.value = request.holder;
        wait.flags |= wait_flag::WORDS;
    }
}

/// The same for the announcement of a lock, which has the descriptor for a value.
#[inline(always)]
pub fn describe(record: &mut LockRecord) {
    if let Some(request) = NEW_REQUEST.get_ptr(0) {
        // SAFETY: as above.
        let request = unsafe { &*request };
        record.words = request.place.to_words();
        record.value = request.descriptor;
        record.flags |= wait_flag::WORDS;
    }
}
