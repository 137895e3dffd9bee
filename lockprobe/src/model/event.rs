//! What a backend says happened to a lock.

use super::{Holder, LockDescription, Mode, Outcome, Precision, Thread};
use std::sync::Arc;

/// One step in the life of an attempt or a hold.
#[derive(Clone, Debug, PartialEq)]
pub struct LockEvent {
    /// CLOCK_MONOTONIC nanoseconds.
    pub time: u64,
    /// Which lock.
    pub lock: Arc<LockDescription>,
    /// Whose step.
    pub thread: Thread,
    /// What.
    pub what: What,
}

/// Kinds of step.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// The thread asked and has to wait.
    Contended {
        /// Who has the lock, if that is known.
        holder: Option<Holder>,
        /// How the thread would have it.
        mode: Mode,
        /// The time is an estimate.
        estimated: bool,
    },
    /// The thread has waited since the first of these times and waits still.
    StillWaiting {
        /// Who has the lock now, if that is known: it may have changed hands since.
        holder: Option<Holder>,
    },
    /// The wait ended with the lock.
    Acquired {
        /// Who let it go.
        from: Option<Holder>,
        /// From woken to running, nanoseconds.
        wake_delay: Option<u64>,
        /// Sleeps of the attempt.
        sleeps: u32,
    },
    /// The wait ended without the lock.
    Abandoned {
        /// `error.type`.
        error: &'static str,
        /// Sleeps of the attempt.
        sleeps: u32,
    },
    /// The thread asks again and again, and is refused each time.
    Polling {
        /// First refused.
        since: u64,
        /// Who has the lock, if that is known.
        holder: Option<Holder>,
        /// How it wants it.
        mode: Mode,
    },
    /// The thread was refused, and nobody is left who could let the lock go.
    LeftBehind {
        /// Who had it, and has ended.
        holder: Holder,
        /// First refused.
        since: u64,
    },
    /// The thread has the lock of one that ended without letting go, and knows (EOWNERDEAD).
    OwnerDied {
        /// Who had it.
        holder: Holder,
        /// Since when the thread had waited.
        since: u64,
        /// When the holder ended.
        died: u64,
    },
    /// A lock that was left behind is so no more.
    Cleared,
    /// The thread asked, was refused, and asked again, without sleeping for the lock.
    Polled {
        /// First refused.
        since: u64,
        /// Who had the lock then, if that is known.
        holder: Option<Holder>,
        /// Who let it go, if it was had in the end.
        from: Option<Holder>,
        /// How it wanted it.
        mode: Mode,
        /// How it ended.
        outcome: Outcome,
        /// `error.type`, where it was given up.
        error: Option<&'static str>,
        /// How often it asked.
        attempts: u32,
    },
    /// The thread let the lock go.
    Released {
        /// How this is known to be the holder.
        holder: Holder,
        /// Since when it is known to have held it.
        since: u64,
        /// It cannot have held it before: the lock was let go then.
        not_before: u64,
        /// How much that says.
        precision: Precision,
    },
    /// The thread ended.
    Gone,
}
