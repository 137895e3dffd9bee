//! Locks the kernel itself keeps, as it tells of them: of files and of System V semaphores.

use super::{LockId, LockKind, Mode, Thread, ThreadId, WakeReason};

/// A lock the kernel keeps, or a part of one that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelLock {
    /// Which.
    pub id: LockId,
    /// Of which kind.
    pub kind: LockKind,
    /// How it is asked for or had.
    pub mode: Mode,
    /// What its counts go by.
    pub key: CountsKey,
}

/// What the kernel half counts the waits for a kernel's lock under.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CountsKey {
    /// Range and table, mixed.
    pub mixed: u32,
    /// Device.
    pub device: u32,
    /// Inode; for a semaphore, its namespace and set.
    pub inode: u64,
}

/// How far a wait has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The thread runs again.
    Ran,
    /// It went back to sleep in the same attempt.
    Resumed,
    /// It is still asleep.
    Asleep,
}

/// A wait for a kernel's lock. Times are CLOCK_MONOTONIC nanoseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct KernelWait {
    /// How far it has come.
    pub phase: Phase,
    /// When the record was made.
    pub time: u64,
    /// The waiter.
    pub thread: Thread,
    /// For what.
    pub lock: KernelLock,
    /// First sleep of the attempt.
    pub start: u64,
    /// Latest sleep.
    pub slept: u64,
    /// Latest wake-up, 0 while asleep.
    pub woken: u64,
    /// When the thread ran again, 0 while asleep.
    pub ran: u64,
    /// How often it slept.
    pub sleeps: u32,
    /// The call has a time-out.
    pub timed: bool,
    /// The thread slept already when tracing began: `start` is an estimate.
    pub preexisting: bool,
    /// What ended the sleep.
    pub reason: WakeReason,
    /// Who let a semaphore go, where that was seen.
    pub waker: Option<Thread>,
    /// Process that had the lock when the attempt began.
    pub first_holder: Option<u32>,
    /// Process that had it when it was last looked.
    pub holder: Option<u32>,
}

/// First contention of a kernel's lock.
#[derive(Clone, Debug, PartialEq)]
pub struct KernelLockSeen {
    /// When.
    pub time: u64,
    /// The waiter.
    pub thread: Thread,
    /// The lock.
    pub lock: KernelLock,
    /// File descriptor the waiter names the file by.
    pub descriptor: u32,
}

/// What happened to a lock of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileEvent {
    /// Asked for, and the thread goes to sleep.
    Blocked,
    /// Asked for, and refused.
    Refused,
    /// Refused, since waiting would have been a deadlock.
    Deadlock,
    /// Had.
    Acquired,
    /// Let go, if it was held.
    Released,
    /// Had since this time, when nobody was in want of it.
    Taken(u64),
    /// What the thread last asked for is no lock: it uses another.
    Otherwise,
}

/// An event of a lock of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct FileSeen {
    /// When.
    pub time: u64,
    /// Who did it.
    pub thread: Thread,
    /// To what.
    pub lock: KernelLock,
    /// What.
    pub event: FileEvent,
    /// Who owns what is asked for: a process or an open file description, as a number that only
    /// tells owners apart.
    pub owner: u64,
    /// Owner of what is in the way.
    pub holder_owner: Option<u64>,
    /// Process that took what is in the way.
    pub holder: Option<u32>,
    /// When the thread was first refused in this run of attempts, and how often since.
    pub refused: Option<(u64, u32)>,
    /// File descriptor of the call.
    pub descriptor: u32,
}

/// A file that is a lock by being there: something happened to its name.
#[derive(Clone, Debug, PartialEq)]
pub struct LockFileSeen {
    /// When.
    pub time: u64,
    /// Who did it.
    pub thread: Thread,
    /// What: refused, acquired by making it, released by taking it away.
    pub event: FileEvent,
    /// A directory rather than a file.
    pub directory: bool,
    /// Who had made it, and when.
    pub maker: Option<(u64, ThreadId)>,
    /// The thread's root directory: device and inode.
    pub root: (u32, u64),
    /// The directory the path starts from: device and inode.
    pub base: (u32, u64),
    /// Descriptor of that directory; `None` for the working directory.
    pub descriptor: Option<u32>,
    /// When the thread was first refused in this run of attempts, and how often since.
    pub refused: Option<(u64, u32)>,
    /// The path as the thread spells it.
    pub path: String,
}
