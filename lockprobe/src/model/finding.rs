//! Conclusions.

use super::{Inversion, LockDescription, Thread, ThreadId, WaitStacks};
use std::sync::Arc;

/// A conclusion with its evidence.
#[derive(Clone, Debug, PartialEq)]
pub enum Finding {
    /// A circle of threads, each waiting for the next.
    Deadlock(Deadlock),
    /// Locks taken in a circle, though nobody has waited in it yet.
    Inversion(Inversion),
}

impl Finding {
    /// Value of `lock.finding.type`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Deadlock(_) => "deadlock",
            Self::Inversion(_) => "lock_order_inversion",
        }
    }
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
    /// Who has it.
    pub holder: ThreadId,
    /// Name of the holder, empty when unknown.
    pub holder_name: String,
    /// Where the waiter stands, once it has been looked at.
    pub stacks: Option<Arc<WaitStacks>>,
}

/// Threads that wait for each other in a circle.
#[derive(Clone, Debug, PartialEq)]
pub struct Deadlock {
    /// When the last of the waits began.
    pub formed: u64,
    /// When it was found.
    pub found: u64,
    /// Around the circle: the holder of each is the waiter of the next.
    pub cycle: Vec<Edge>,
}
