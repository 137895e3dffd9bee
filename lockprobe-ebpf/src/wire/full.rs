//! Full mode: every acquisition of a POSIX lock, contended or not, counted in the kernel.

use super::{BUCKETS, Header, Thread};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Locks one thread may hold at a time and still be followed.
pub const HELD: usize = 16;

/// What a probed function does: the low byte of an attach cookie.
pub mod act {
    /// Others may hold the lock at the same time.
    pub const SHARED: u64 = 1;
    /// The function may return without the lock: what became of it is read from the lock later.
    pub const MAY_FAIL: u64 = 2;
    /// The function may block for ever, so that the order of locks matters.
    pub const BLOCKS: u64 = 4;
    /// The lock is a read-write lock, not a mutex.
    pub const RWLOCK: u64 = 8;
    /// The lock is the second argument, not the first.
    pub const SECOND: u64 = 16;
    /// The mutex is let go to wait for a condition, or taken back after that.
    pub const CONDITION: u64 = 32;
    /// A mutex says who owns it at offset 8, as glibc's does.
    pub const OWNED: u64 = 64;
    /// Nobody says when a condition's mutex is taken back.
    pub const RETURN_UNSEEN: u64 = 128;

    /// Above these bits, the distance from the stack pointer to the return address.
    pub const RETURN_SHIFT: u32 = 8;
}

/// Bits of [`Held::flags`] beside those of [`act`].
pub mod held_flag {
    /// The thread slept for it.
    pub const CONTENDED: u32 = 1 << 16;
    /// Since when is not known.
    pub const START_UNKNOWN: u32 = 1 << 17;
    /// At the time of the call the lock looked taken.
    pub const LOOKED_TAKEN: u32 = 1 << 18;
    /// Only its release will tell that it was held at all.
    pub const UNCERTAIN: u32 = 1 << 19;
    /// It was let go to wait for a condition, and will be taken back unseen.
    pub const AWAY: u32 = 1 << 20;
}

/// A lock a thread holds, or has asked for last.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Held {
    /// Address of the lock object.
    pub lock: u64,
    /// Acquired, CLOCK_MONOTONIC.
    pub since_ns: u64,
    /// Return address of the call.
    pub site: u64,
    /// Acquisitions within this one that were not let go yet.
    pub count: u32,
    /// Bits of [`act`] and [`held_flag`].
    pub flags: u32,
    /// Acquisitions within this one, all in all.
    pub again: u64,
}

/// One thread and what it holds, in the order of asking: the value of the map of threads.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Holding {
    /// Process.
    pub tgid: u32,
    /// Its own id of itself.
    pub ns_tid: u32,
    /// How many of `held` are used.
    pub depth: u32,
    /// One more than the index of the lock let go to wait for a condition unseen, 0 for none.
    pub away: u32,
    /// The locks.
    pub held: [Held; HELD],
}

const _: () = assert!(size_of::<Holding>() == 16 + 40 * HELD);

/// Everything about one lock: the value of the map of locks, keyed by `LockKey`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FullStats {
    /// Acquisitions that have ended; those that go on are in [`Holding`].
    pub acquisitions: u64,
    /// Those the thread slept for.
    pub contended: u64,
    /// Those in company, of a read-write lock.
    pub shared: u64,
    /// Calls that came back without the lock.
    pub refused: u64,
    /// Releases whose acquisition was not seen.
    pub unseen: u64,
    /// Holds from end to end.
    pub holds: u64,
    /// Their total, nanoseconds.
    pub hold_sum_ns: u64,
    /// The longest, nanoseconds (two processors may race here).
    pub hold_max_ns: u64,
    /// When this entry was made, CLOCK_MONOTONIC: before an exec, it is of the program before.
    pub opened_ns: u64,
    /// Return address of the first acquisition seen.
    pub site: u64,
    /// Bits of [`act`].
    pub flags: u64,
    /// Holds by length, see `bucket_of`.
    pub buckets: [u32; BUCKETS],
}

/// Key of the map of lock orders: a thread held `from` when it asked for `to`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct OrderKey {
    /// Process.
    pub tgid: u32,
    /// 1: `from` was held in company; 2: `to` was asked for in company.
    pub shared: u32,
    /// The lock held.
    pub from: u64,
    /// The lock asked for.
    pub to: u64,
}

/// Value of the map of lock orders.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Order {
    /// How often.
    pub count: u64,
    /// Where `from` was acquired, the first time.
    pub from_site: u64,
    /// Where `to` was asked for, the first time.
    pub to_site: u64,
    /// The first lock that was held every time, 0 for none.
    pub guard: u64,
    /// The thread that did it first.
    pub tid: u32,
    /// 1: another thread did it too.
    pub several: u32,
}

/// `FULL_LOCK` record: a lock was acquired for the first time.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FullLockRecord {
    /// Kind, length, time.
    pub header: Header,
    /// Who did it.
    pub thread: Thread,
    /// Address of the lock object.
    pub lock: u64,
    /// Return address of the call.
    pub site: u64,
    /// Bits of [`act`].
    pub flags: u64,
}

const _: () = assert!(size_of::<FullLockRecord>() == 72);

/// `FULL_ORDER` record: two locks were held one within the other for the first time.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FullOrderRecord {
    /// Kind, length, time.
    pub header: Header,
    /// Who did it.
    pub thread: Thread,
    /// Which locks.
    pub key: OrderKey,
    /// Where `from` was acquired.
    pub from_site: u64,
    /// Where `to` was asked for.
    pub to_site: u64,
}

const _: () = assert!(size_of::<FullOrderRecord>() == 88);

/// What full mode counts besides: index into its per-processor array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum FullCounter {
    /// Acquisitions of threads the table of threads had no room for.
    ThreadTableFull = 0,
    /// Acquisitions of locks the table of locks had no room for.
    LockTableFull = 1,
    /// Orders the table of orders had no room for.
    OrderTableFull = 2,
    /// Acquisitions deeper than [`HELD`] locks.
    TooDeep = 3,
    /// Processes that were to be followed and could not be; counted by the agent.
    ProcessUnfollowed = 4,
}

impl FullCounter {
    /// How many there are.
    pub const COUNT: u32 = 5;
    /// Causes as users read them, in order.
    pub const CAUSES: [&str; 5] = [
        "full_thread_table_full",
        "full_lock_table_full",
        "full_order_table_full",
        "full_too_deep",
        "full_process_unfollowed",
    ];
}
