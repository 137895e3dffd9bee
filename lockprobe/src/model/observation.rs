//! What the kernel half saw, decoded, before anyone has said what it means.

use super::{
    AcquiredSeen, AcquisitionCounts, CountsKey, Fact, FileSeen, KernelLockSeen, KernelWait,
    LockCounts, LockFileSeen, Losses, OrderSeen, TalkSeen, Thread, ThreadId,
};

/// One decoded record.
#[derive(Clone, Debug, PartialEq)]
pub enum Observation {
    /// A wait ended: the thread runs again.
    Wait(WaitSeen),
    /// The thread went back to sleep in the same attempt.
    Resume(WaitSeen),
    /// A thread is still asleep.
    Waiting(WaitSeen),
    /// A lock was contended for the first time.
    Lock(Box<LockSeen>),
    /// A wait for a lock the kernel keeps.
    KernelWait(KernelWait),
    /// A lock the kernel keeps was contended for the first time.
    KernelLock(KernelLockSeen),
    /// Something happened to a contended lock of a file.
    File(FileSeen),
    /// Something happened to a file that is a lock by being there.
    LockFile(Box<LockFileSeen>),
    /// Something happened between a client and a lock server.
    Talk(TalkSeen),
    /// Counts of one lock the kernel keeps, at the end.
    KernelCounts {
        /// Which.
        key: CountsKey,
        /// The counts.
        counts: LockCounts,
    },
    /// A process or thread began, changed or ended.
    Process(ProcessSeen),
    /// Counts of one lock, at the end.
    Counts {
        /// Process id; 0 for the overflow entry.
        pid: u32,
        /// Address of the lock in it.
        address: u64,
        /// Call site of the first contention: instruction and caller.
        site: (u64, u64),
        /// The counts.
        counts: LockCounts,
    },
    /// The kernel half's own counters, at the end.
    Losses(Losses),
    /// Everything up to this time (CLOCK_MONOTONIC, nanoseconds) has been delivered.
    Tick(u64),
    /// This process listens at this TCP port; told where processes are chosen by that.
    Listens(u32, u16),
    /// Something learnt outside the kernel.
    Fact(Fact),
    /// Full mode: a lock was acquired for the first time.
    Acquired(AcquiredSeen),
    /// Full mode: a lock was asked for while another was held, for the first time.
    FirstOrder(OrderSeen),
    /// Full mode: every acquisition of a lock, at the end.
    Acquisitions {
        /// Which lock, and where it was acquired first.
        seen: AcquiredSeen,
        /// The counts.
        counts: AcquisitionCounts,
    },
    /// Full mode: an order of two locks, at the end.
    Order(OrderSeen),
    /// Full mode: what it lost, by cause, at the end.
    FullLosses(Vec<(&'static str, u64)>),
}

/// Why a frame of the source is no observation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Shorter or longer than a record of its kind.
    Length,
    /// No kind of record this version knows.
    Kind,
    /// Values that no kernel half writes.
    Value,
}

/// What ended a sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WakeReason {
    /// Not seen.
    Unknown,
    /// The waker was waking waiters of this lock.
    Release,
    /// A signal.
    Signal,
    /// The process ending.
    Exit,
    /// Another thread ending: it leaves a robust lock.
    ThreadExit,
    /// A timer, an interrupt, something else.
    Other,
}

/// One wait of one thread. Times are CLOCK_MONOTONIC nanoseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct WaitSeen {
    /// When the record was made.
    pub time: u64,
    /// The waiter.
    pub thread: Thread,
    /// Address waited on: of the lock, as far as the kernel half can tell.
    pub address: u64,
    /// Address slept on.
    pub futex: u64,
    /// That is a semaphore of the thread's own, beside which it has noted the lock.
    pub parked: bool,
    /// The futex is private to the process.
    pub private: bool,
    /// The call had a time-out.
    pub timed: bool,
    /// The thread slept already when tracing began: `start` is an estimate.
    pub preexisting: bool,
    /// The call is a priority-inheritance operation.
    pub priority_inheritance: bool,
    /// The call was FUTEX_WAIT_BITSET (Rust std and newer runtimes) rather than FUTEX_WAIT.
    pub bitset: bool,
    /// User instruction pointer.
    pub ip: u64,
    /// Caller of that frame, certain only with `caller_known`.
    pub caller: u64,
    /// The caller's place in the frame was known.
    pub caller_known: bool,
    /// User stack pointer.
    pub sp: u64,
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
    /// Value the call expected.
    pub value: u32,
    /// The first six words at the address, if they could be read.
    pub words: Option<[u32; 6]>,
    /// Word 2 when the attempt began.
    pub first_owner: Option<u32>,
    /// What ended the sleep.
    pub reason: WakeReason,
    /// Who ended it, for a release.
    pub waker: Option<Thread>,
    /// Who ended it by ending itself, as far as seen.
    pub leaver: Option<Thread>,
    /// When the waker had acquired the lock, if it had waited for it.
    pub holder_since: Option<u64>,
    /// When the lock was last let go before that, 0 if never seen.
    pub released_before: u64,
    /// The waker held it all the time since.
    pub hold_exact: bool,
    /// Processor time the thread had used when it slept, nanoseconds.
    pub cpu: u64,
}

/// First contention of a lock.
#[derive(Clone, Debug, PartialEq)]
pub struct LockSeen {
    /// When.
    pub time: u64,
    /// The waiter.
    pub thread: Thread,
    /// Address waited on.
    pub address: u64,
    /// That is not the address slept on: see [`WaitSeen::parked`].
    pub parked: bool,
    /// The futex is private to the process.
    pub private: bool,
    /// The call is a priority-inheritance operation.
    pub priority_inheritance: bool,
    /// Value the call expected.
    pub value: u32,
    /// User instruction, stack and frame pointer.
    pub ip: u64,
    /// Stack pointer.
    pub sp: u64,
    /// Frame pointer.
    pub bp: u64,
    /// Bytes of the user stack from `sp` upwards.
    pub stack: Vec<u8>,
}

/// What happened to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessEvent {
    /// Forked from this process.
    Fork(u32),
    /// Runs a new program.
    Exec,
    /// Ended.
    Exit,
    /// One of its threads ended.
    ThreadExit,
}

/// A process event.
#[derive(Clone, Debug, PartialEq)]
pub struct ProcessSeen {
    /// When.
    pub time: u64,
    /// Whom it happened to.
    pub thread: Thread,
    /// What.
    pub event: ProcessEvent,
    /// A signal ended it.
    pub killed: bool,
}

impl Observation {
    /// The thread an observation is about, if it is about one.
    pub fn thread(&self) -> Option<ThreadId> {
        match self {
            Self::Wait(w) | Self::Resume(w) | Self::Waiting(w) => Some(w.thread.id),
            Self::Lock(l) => Some(l.thread.id),
            Self::KernelWait(w) => Some(w.thread.id),
            Self::KernelLock(l) => Some(l.thread.id),
            Self::File(f) => Some(f.thread.id),
            Self::LockFile(f) => Some(f.thread.id),
            Self::Talk(TalkSeen::Bytes(b)) => Some(b.thread.id),
            Self::Process(p) => Some(p.thread.id),
            Self::Acquired(a) => Some(a.thread),
            _ => None,
        }
    }
}
