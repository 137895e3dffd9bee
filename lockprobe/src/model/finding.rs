//! Conclusions.

use super::{Activity, LockDescription, Notice, SpanId, Thread, ThreadId, WaitStacks};
use std::sync::Arc;

/// What a finding says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FindingKind {
    /// A circle of threads, each waiting for the next.
    Deadlock,
    /// A thread that waits for a lock it has itself.
    SelfDeadlock,
    /// A lock whose owner is gone and will never let it go.
    Orphan,
    /// A lock whose owner ended and that was handed on: what it guards may be half done.
    OwnerDied,
    /// The holder of a lock was stopped, by a signal or a debugger.
    HolderStopped,
    /// The holder of a lock is in a frozen cgroup.
    HolderFrozen,
    /// The holder of a lock sleeps in the kernel, where no signal reaches it.
    HolderInIo,
    /// The lease of a server's lock ended, and its holder goes on as if it had it.
    StaleHolder,
    /// The server took a lock back from a holder that had not let go.
    LeaseLost,
    /// Two had an exclusive lock of a server at one time.
    Overlap,
    /// A holder let go of a lock of a server's that was not its any more.
    LateRelease,
    /// A lock of a server was deleted by another than its holder.
    RemovedByOther,
    /// A lock of a server that nothing ends if its holder does not.
    ImmortalLock,
    /// The holder of a lock of a server is stopped, and has missed renewals.
    HolderPaused,
    /// Many asked a server for a lock at the moment it was let go.
    ThunderingHerd,
}

impl FindingKind {
    /// Every kind.
    pub const ALL: [Self; 15] = [
        Self::Deadlock,
        Self::SelfDeadlock,
        Self::Orphan,
        Self::OwnerDied,
        Self::HolderStopped,
        Self::HolderFrozen,
        Self::HolderInIo,
        Self::StaleHolder,
        Self::LeaseLost,
        Self::Overlap,
        Self::LateRelease,
        Self::RemovedByOther,
        Self::ImmortalLock,
        Self::HolderPaused,
        Self::ThunderingHerd,
    ];

    /// Value of `lock.finding.type`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Deadlock => "deadlock",
            Self::SelfDeadlock => "self_deadlock",
            Self::Orphan => "orphan",
            Self::OwnerDied => "owner_died",
            Self::HolderStopped => "holder_stopped",
            Self::HolderFrozen => "holder_frozen",
            Self::HolderInIo => "holder_in_io",
            Self::StaleHolder => "stale_holder",
            Self::LeaseLost => "lease_lost",
            Self::Overlap => "overlap",
            Self::LateRelease => "late_release",
            Self::RemovedByOther => "removed_by_other",
            Self::ImmortalLock => "immortal_lock",
            Self::HolderPaused => "holder_paused",
            Self::ThunderingHerd => "thundering_herd",
        }
    }

    /// Whether the waits of the finding are a circle.
    pub fn is_circle(self) -> bool {
        matches!(self, Self::Deadlock | Self::SelfDeadlock)
    }

    /// Whether it is about a moment, and has no end of its own.
    pub fn is_moment(self) -> bool {
        matches!(
            self,
            Self::LeaseLost
                | Self::Overlap
                | Self::LateRelease
                | Self::RemovedByOther
                | Self::ThunderingHerd
        )
    }

    /// Whether those who wait can never go on by themselves.
    pub fn is_for_ever(self) -> bool {
        matches!(self, Self::Deadlock | Self::SelfDeadlock | Self::Orphan)
    }
}

/// A conclusion with its evidence: told once when it is found, and once more when it is over.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// What it says.
    pub kind: FindingKind,
    /// The same at its begin and at its end, and in every replay.
    pub id: u64,
    /// Since when it is so, CLOCK_MONOTONIC nanoseconds.
    pub formed: u64,
    /// When it was found.
    pub found: u64,
    /// When it was seen to be over; `None` while it is not.
    pub ended: Option<u64>,
    /// The waits it is about. Of a circle all, each one's holder the waiter of the next, or its
    /// process where the thread is not known: then all other waits of that process follow. Else
    /// the longest.
    pub waits: Vec<Edge>,
    /// How many threads wait, those not among `waits` included.
    pub waiters: u32,
    /// What the holder was doing, where that is the point.
    pub holder: Option<Activity>,
    /// Of a lock that a server keeps: what was noticed.
    pub remote: Option<Arc<Notice>>,
}

/// One wait in a graph.
#[derive(Clone, Debug, PartialEq)]
pub struct Edge {
    /// Who waits.
    pub waiter: Thread,
    /// For which lock.
    pub lock: Arc<LockDescription>,
    /// Since when, CLOCK_MONOTONIC nanoseconds.
    pub since: u64,
    /// That time is an estimate.
    pub estimated: bool,
    /// Who has it.
    pub holder: ThreadId,
    /// Name of the holder, empty when unknown.
    pub holder_name: String,
    /// The acquire span that the wait becomes, where that is certain.
    pub span: Option<SpanId>,
    /// Where the waiter stands, once it has been looked at.
    pub stacks: Option<Arc<WaitStacks>>,
}
