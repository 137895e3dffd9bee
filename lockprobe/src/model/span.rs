//! What a thread's dealings with a lock become: an acquire span and a hold span.

use super::{LockDescription, Mode, Remote, Thread, ThreadId, WaitStacks};
use std::sync::Arc;

/// Identity of a span, the same in every replay of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SpanId {
    /// Trace the span belongs to.
    pub trace: u128,
    /// The span within it.
    pub span: u64,
}

/// How a holder is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HolderSource {
    /// The lock's own memory named it when the wait began.
    OwnerWord,
    /// It woke the waiter by letting go; that it held from the start is inferred.
    Waker,
    /// It was seen acquiring before the wait began, and not seen letting go; inferred.
    LastAcquirer,
    /// The kernel's own table of locks named its process.
    LockTable,
    /// A file that is a lock by being there names its process; inferred.
    FileContent,
    /// A server was overheard granting it the lock, and neither to take it back nor that it let go.
    Conversation,
    /// The server said so.
    Server,
}

impl HolderSource {
    /// Every one.
    pub const ALL: [Self; 7] = [
        Self::OwnerWord,
        Self::Waker,
        Self::LastAcquirer,
        Self::LockTable,
        Self::FileContent,
        Self::Conversation,
        Self::Server,
    ];

    /// Value of `lock.holder.source`.
    pub fn name(self) -> &'static str {
        match self {
            Self::OwnerWord => "owner_word",
            Self::Waker => "waker",
            Self::LastAcquirer => "last_acquirer",
            Self::LockTable => "lock_table",
            Self::FileContent => "file_content",
            Self::Conversation => "conversation",
            Self::Server => "server",
        }
    }

    /// Whether the lock itself says so, or the kernel that keeps it.
    pub fn is_certain(self) -> bool {
        matches!(self, Self::OwnerWord | Self::LockTable | Self::Conversation | Self::Server)
    }
}

/// The thread that had the lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Who; `tid` is 0 where the owner word names a thread that is not there any more, and where the
    /// lock belongs to a process of several threads, or to one that is gone.
    pub id: ThreadId,
    /// Its name, empty when it could not be read.
    pub name: String,
    /// How it is known.
    pub source: HolderSource,
    /// It had ended by the time it was looked for.
    pub gone: bool,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// The thread has the lock.
    Acquired,
    /// It stopped waiting: time-out, or its end.
    Abandoned,
    /// It asked once, without waiting, and did not get it.
    Refused,
    /// It still waited when observation ended.
    Waiting,
}

impl Outcome {
    /// Value of `lock.outcome`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Acquired => "acquired",
            Self::Abandoned => "abandoned",
            Self::Refused => "refused",
            Self::Waiting => "waiting",
        }
    }
}

/// Request to outcome. Times are CLOCK_MONOTONIC nanoseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct AcquireSpan {
    /// Identity.
    pub id: SpanId,
    /// Which lock.
    pub lock: Arc<LockDescription>,
    /// Exclusive or not.
    pub mode: Mode,
    /// Who waited.
    pub thread: Thread,
    /// First sleep.
    pub start: u64,
    /// Outcome: running again with the lock, or without.
    pub end: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// `error.type` of an abandoned attempt: `timeout`, `thread_exit`.
    pub error: Option<&'static str>,
    /// Who had the lock when the wait began.
    pub holder: Option<Holder>,
    /// Who let it go to this waiter.
    pub handed_over_by: Option<Holder>,
    /// The hold that ended with this hand-over.
    pub blocked_by: Option<SpanId>,
    /// From woken to running, nanoseconds.
    pub wake_delay: Option<u64>,
    /// Sleeps of this one attempt.
    pub sleeps: u32,
    /// Threads waiting for the lock when this attempt began, itself included, as far as seen.
    pub queue_depth: u32,
    /// The start is an estimate: the thread slept already when observation began.
    pub start_estimated: bool,
    /// Where the waiter stood, and where the holder stood meanwhile; `None` for short waits.
    pub stacks: Option<Arc<WaitStacks>>,
    /// Of a lock that a server keeps.
    pub remote: Option<Arc<Remote>>,
}

/// How much of a hold was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Precision {
    /// Both ends were seen.
    Exact,
    /// It lasted at least this long: it began before anyone waited.
    LowerBound,
    /// Neither end is certain.
    Unknown,
}

/// How a hold ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HoldEnd {
    /// The holder let go.
    Released,
    /// Its lease ended.
    Expired,
    /// The server took it back.
    Revoked,
    /// The holder is gone, and the lock stayed until its lease ended.
    Orphaned,
    /// The connection was closed, which ends it.
    ConnectionClosed,
    /// Not seen before observation ended.
    Unknown,
}

impl HoldEnd {
    /// Every one.
    pub const ALL: [Self; 6] = [
        Self::Released,
        Self::Expired,
        Self::Revoked,
        Self::Orphaned,
        Self::ConnectionClosed,
        Self::Unknown,
    ];

    /// Value of `lock.hold.end`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Released => "released",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Orphaned => "orphaned",
            Self::ConnectionClosed => "connection_closed",
            Self::Unknown => "unknown",
        }
    }
}

/// Acquired to end.
#[derive(Clone, Debug, PartialEq)]
pub struct HoldSpan {
    /// Identity.
    pub id: SpanId,
    /// Which lock.
    pub lock: Arc<LockDescription>,
    /// Who had it.
    pub holder: Holder,
    /// Acquired, or the earliest time it is known to have been held.
    pub start: u64,
    /// Let go.
    pub end: u64,
    /// How it ended.
    pub ended: HoldEnd,
    /// How much of it was seen.
    pub precision: Precision,
    /// Threads that waited for it to end, as far as seen.
    pub waiters: u32,
    /// Of a lock that a server keeps.
    pub remote: Option<Arc<Remote>>,
}
