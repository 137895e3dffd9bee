//! Locks that servers keep: what clients do with them, and what is known of an attempt or a hold.

use core::net::SocketAddr;
use std::sync::Arc;

use super::{LockDescription, Mode, SpanId, Thread, ThreadId, TraceContext};

/// One step of a client with a lock that a server keeps.
#[derive(Clone, Debug, PartialEq)]
pub struct RemoteStep {
    /// When, CLOCK_MONOTONIC nanoseconds: a request when it was sent, an answer when it was received.
    pub time: u64,
    /// The thread that sent or received it; whose attempt it is, is a matter of the process.
    pub thread: Thread,
    /// Which lock.
    pub lock: Arc<LockDescription>,
    /// Over which connection; 0 where it went over several.
    pub connection: u64,
    /// The server.
    pub server: SocketAddr,
    /// Whose lock it is or would be.
    pub owner: Option<Owner>,
    /// What happened.
    pub act: RemoteAct,
}

/// A secret that proves ownership, or a session: only its hash is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Owner(pub u64);

/// Who has a lock, as the server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// The owner, where the server names it in the way the owner does itself.
    pub owner: Option<Owner>,
    /// In words, for people: a session, an address, a number of a process at the server.
    pub words: Option<Arc<str>>,
}

/// Steps. Durations are nanoseconds.
#[derive(Clone, Debug, PartialEq)]
pub enum RemoteAct {
    /// It asks for the lock.
    Asked {
        /// How it would have it.
        mode: Mode,
        /// For how long it would have it.
        lease: Option<u64>,
        /// The server answers only when it has it, or has waited long enough.
        queued: bool,
    },
    /// What was asked last is part of this trace, as the request itself says.
    Traced(TraceContext),
    /// Not now: somebody else has it. The attempt may go on.
    Refused {
        /// Who, as far as the server says.
        holder: Option<Said>,
        /// How many are before it.
        ahead: Option<u32>,
    },
    /// It has it. Without an `Asked` before: by an attempt that was not seen.
    Acquired {
        /// How it has it.
        mode: Mode,
        /// For how long, unless renewed.
        lease: Option<u64>,
        /// A number that grows with each grant.
        fence: Option<u64>,
    },
    /// The attempt is over without the lock.
    Ended {
        /// `error.type`: `timeout`, `deadlock`, `interrupted`, `gave_up`, `refused`.
        error: &'static str,
        /// Who had it, as far as the server says.
        holder: Option<Said>,
    },
    /// The hold goes on for so long from now.
    Renewed {
        /// For how long.
        lease: Option<u64>,
    },
    /// The owner let go.
    Released,
    /// One of several holds of one owner ended; it still has the lock.
    ReleasedOnce,
    /// The server did not accept a release: the lock is not the owner's.
    ReleaseRefused,
    /// The lock went without a look at whose it is.
    Removed,
    /// The server says that the hold is over, though the owner did not let go.
    Lost {
        /// Why, in one word: `expired`, `session_expired`, `revoked`.
        why: &'static str,
    },
    /// The connection is closed, which ends the hold.
    Disconnected,
}

/// What a span of a server's lock has beside that of any lock.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Remote {
    /// The server.
    pub server: Option<SocketAddr>,
    /// The owner, as a hash.
    pub owner: Option<Owner>,
    /// How often the lock was asked for.
    pub requests: u32,
    /// For how long it was asked for or granted, nanoseconds; `None`: for ever.
    pub lease: Option<u64>,
    /// How often the hold was prolonged.
    pub renewals: u32,
    /// Number of the grant.
    pub fence: Option<u64>,
    /// Who has it, as the server says.
    pub said: Option<Arc<str>>,
    /// How many were before it.
    pub ahead: Option<u32>,
    /// The attempt a hold began with.
    pub attempt: Option<SpanId>,
    /// The trace that the lock call itself says it is part of.
    pub context: Option<TraceContext>,
}

/// A hold of a server's lock by a process on this host, now.
#[derive(Clone, Debug, PartialEq)]
pub struct RemoteHold {
    /// Which lock.
    pub lock: Arc<LockDescription>,
    /// The thread that was given it.
    pub thread: Thread,
    /// Its owner.
    pub owner: Option<Owner>,
    /// How it is held.
    pub mode: Mode,
    /// Since when.
    pub since: u64,
    /// Until when, unless renewed.
    pub deadline: Option<u64>,
    /// The latest lease, nanoseconds.
    pub lease: Option<u64>,
    /// When it was last granted or prolonged.
    pub renewed: u64,
    /// How often it was prolonged.
    pub renewals: u32,
    /// The thread that did so last, or else was given it.
    pub renewer: ThreadId,
    /// Over which connection.
    pub connection: u64,
    /// The server.
    pub server: SocketAddr,
    /// The attempt it began with.
    pub attempt: Option<SpanId>,
    /// Number of the grant.
    pub fence: Option<u64>,
    /// The process is gone.
    pub gone: bool,
    /// The trace that the lock call itself said it was part of.
    pub context: Option<TraceContext>,
}

/// Something about a server's lock that a person may have to know of, with its evidence.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// When it was so.
    pub time: u64,
    /// What.
    pub what: NoticeKind,
    /// The hold it is about.
    pub hold: Arc<RemoteHold>,
    /// Another who has to do with it.
    pub other: Option<(Thread, Option<Owner>)>,
}

/// What is to be noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NoticeKind {
    /// The hold's lease ended, and its process goes on without having let go.
    Overrun,
    /// The server said that the hold is over, and its process had not let go.
    Lost,
    /// Another was given the lock while the hold went on.
    Overlap,
    /// The owner let go of what was not its any more.
    LateRelease,
    /// Another took the lock away.
    Removed,
    /// The lock was taken for ever: nothing ends it if its process does not.
    Immortal,
    /// The process is gone, and the lock stays.
    Orphaned,
    /// It was let go, and so many attempts asked for it at that moment.
    Herd(u32),
    /// The process is stopped past the time of its next renewal.
    Paused,
    /// The hold is over, and with it whatever was said of it.
    Over,
}
