//! A wait: a task asleep inside a lock system call, from its first sleep to running again.

use super::Header;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The system call a task sleeps in, as far as locks are concerned: one more than the futex
/// operation, which the programs can tell without a branch for each.
pub mod call {
    /// FUTEX_WAIT.
    pub const FUTEX_WAIT: u32 = 1;
    /// FUTEX_LOCK_PI.
    pub const FUTEX_LOCK_PI: u32 = 7;
    /// FUTEX_WAIT_BITSET.
    pub const FUTEX_WAIT_BITSET: u32 = 10;
    /// FUTEX_WAIT_REQUEUE_PI.
    pub const FUTEX_WAIT_REQUEUE_PI: u32 = 12;
    /// FUTEX_LOCK_PI2.
    pub const FUTEX_LOCK_PI2: u32 = 14;
    /// futex_wait(2), the system call of Linux 6.7.
    pub const FUTEX2_WAIT: u32 = 64;

    /// From here on the kernel itself keeps the lock, and [`super::Wait`] says which in another
    /// form: `lock` is an inode, `words` a [`super::Place`], `first_owner` and `value` the
    /// processes that had it first and last (0 where not known).
    pub const KERNEL: u32 = 128;
    /// flock(2).
    pub const FLOCK: u32 = 128;
    /// fcntl(2) with F_SETLKW or F_OFD_SETLKW.
    pub const FCNTL: u32 = 129;
    /// semop(2) and semtimedop(2).
    pub const SEMOP: u32 = 130;

    /// The futex operations, as bits.
    pub const OPERATIONS: u64 = (1 << FUTEX_WAIT)
        | (1 << FUTEX_LOCK_PI)
        | (1 << FUTEX_WAIT_BITSET)
        | (1 << FUTEX_WAIT_REQUEUE_PI)
        | (1 << FUTEX_LOCK_PI2);
}

/// Where a thread is in its attempt ([`Wait::state`]).
pub mod state {
    /// Asleep in the call.
    pub const SLEEPING: u32 = 1;
    /// Woken, not yet on a processor.
    pub const WOKEN: u32 = 2;
    /// Running again: it has the lock, gave up, or is about to sleep once more.
    pub const RUNNING: u32 = 3;
    /// The attempt is over for certain: the thread was seen releasing the lock.
    pub const OVER: u32 = 4;
}

/// What ended a sleep ([`Wait::reason`]).
pub mod reason {
    /// Not seen.
    pub const UNKNOWN: u32 = 0;
    /// A thread inside a futex wake call on the same lock: the holder letting go.
    pub const RELEASE: u32 = 1;
    /// A thread inside a system call that sends signals.
    pub const SIGNAL: u32 = 2;
    /// A thread inside exit: a joined thread, a robust lock, a dying process.
    pub const EXIT: u32 = 3;
    /// Anything else: a timer, an interrupt, another futex.
    pub const OTHER: u32 = 4;
}

/// Bits of [`Wait::flags`].
pub mod wait_flag {
    /// The futex is private to the address space.
    pub const PRIVATE: u32 = 1;
    /// The call has a time-out.
    pub const TIMED: u32 = 2;
    /// The thread already slept when tracing began: `start_ns` is an estimate.
    pub const PREEXISTING: u32 = 4;
    /// A record of this attempt has been sent, so its continuation must be sent too.
    pub const SENT: u32 = 8;
    /// `words` was read; otherwise the memory could not be read at that moment.
    pub const WORDS: u32 = 16;
    /// The waker had acquired this lock after a wait of its own, at `holder_since_ns`, and this
    /// thread slept the whole time since: the hold is known from end to end.
    pub const HOLD_EXACT: u32 = 32;
    /// The wait is in the histogram of the table's overflow entry, not of its own lock.
    pub const OVERFLOW: u32 = 64;
    /// The caller's address was found by a learnt frame offset, not taken from the stack top.
    pub const CALLER_KNOWN: u32 = 128;
    /// `lock` is what the thread has noted beside the semaphore of its own that it sleeps on, whose
    /// address is in `words[4]` and `words[5]`; the other words say nothing.
    pub const PARKED: u32 = 256;
    /// The waker was on its way out, and is described, though the sleep was not ended by a release:
    /// it leaves a robust lock, or sends a last signal.
    pub const WAKER_LEAVES: u32 = 512;
}

/// Who: kernel-wide ids, the ids inside the thread's own PID namespace, and its name.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Thread {
    /// Process id as the host sees it.
    pub tgid: u32,
    /// Thread id as the host sees it; 0 means nobody.
    pub tid: u32,
    /// Thread id in the innermost PID namespace: what user memory holds.
    pub ns_tid: u32,
    /// Depth of that namespace; 0 is the host's.
    pub ns_level: u32,
    /// Name of the thread, zero-filled.
    pub comm: [u8; 16],
}

const _: () = assert!(size_of::<Thread>() == 32);

/// State of one thread's current or last attempt: the value of the `WAITS` map, keyed by thread id.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Wait {
    /// One of [`state`].
    pub state: u32,
    /// Bits of [`wait_flag`].
    pub flags: u32,
    /// One of [`call`].
    pub call: u32,
    /// How often the thread slept in this attempt.
    pub sleeps: u32,
    /// Address waited on, in the thread's address space.
    pub lock: u64,
    /// User instruction pointer at the system call.
    pub ip: u64,
    /// Return address of the frame the call was made from, or the word at the stack top.
    pub caller: u64,
    /// User stack pointer.
    pub sp: u64,
    /// First sleep of the attempt, CLOCK_MONOTONIC.
    pub start_ns: u64,
    /// Latest sleep.
    pub sleep_ns: u64,
    /// Latest wake-up.
    pub woken_ns: u64,
    /// Latest time on a processor again.
    pub run_ns: u64,
    /// When the waker had acquired the lock, 0 where not known.
    pub holder_since_ns: u64,
    /// When any thread last let this lock go before the waker did, 0 where not known: before
    /// `sleep_ns`, the waker had the lock all the time this thread slept.
    pub release_before_ns: u64,
    /// Processor time of the thread when it ran again; tells a retry from a new attempt.
    pub run_cpu_ns: u64,
    /// Hash of what a retry leaves as it was: preserved registers and the top of the stack.
    pub frame_hash: u64,
    /// Length of the attempt as it is counted, nanoseconds; 0 while it goes on.
    pub counted_ns: u64,
    /// A wake-up that came before the sleep was noted: when, 0 for none.
    pub early_ns: u64,
    /// The address that one was for.
    pub early_lock: u64,
    /// [`Wait::release_before_ns`] of it.
    pub early_release_before_ns: u64,
    /// Value the call expected in the futex word.
    pub value: u32,
    /// One of [`reason`].
    pub reason: u32,
    /// The first 24 bytes at the address: of a glibc mutex lock, count, owner, users, kind, spins.
    pub words: [u32; 6],
    /// Histogram bucket this attempt is counted in, plus one; 0 before it is counted.
    pub bucket: u32,
    /// System call number of the waker, where one was seen.
    pub waker_call: u32,
    /// `words[2]` at the first sleep: who had a glibc mutex when the attempt began.
    pub first_owner: u32,
    /// [`Wait::reason`] of the early wake-up.
    pub early_reason: u32,
    /// Who ended the sleep.
    pub waker: Thread,
    /// How often the thread has gone to sleep in its life, this time included: one that tries
    /// again has not slept anywhere else in between.
    pub switches: u32,
    /// 1: the agent has said that this place waits for a lock, and `frame_hash` tells the place.
    pub told: u32,
}

const _: () = assert!(size_of::<Wait>() == 232);

impl Wait {
    /// The address slept on.
    #[inline(always)]
    pub fn futex(&self) -> u64 {
        if self.flags & wait_flag::PARKED == 0 {
            return self.lock;
        }
        (self.words[5] as u64) << 32 | self.words[4] as u64
    }
}

/// `WAIT`, `RESUME` and `WAITING` records.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct WaitRecord {
    /// Kind, length, time.
    pub header: Header,
    /// The waiter.
    pub thread: Thread,
    /// Its wait.
    pub wait: Wait,
}

const _: () = assert!(size_of::<WaitRecord>() == 280);
