//! The state of all locks at one moment.

use super::{Activity, Finding, Holder, LockDescription, RemoteHold, ThreadId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Everybody who waits for a lock, and everybody who has one that somebody waits for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// When, CLOCK_MONOTONIC nanoseconds.
    pub time: u64,
    /// Threads, in order of their ids.
    pub agents: Vec<Agent>,
    /// Deadlocks and orphans among them.
    pub findings: Vec<Finding>,
    /// Names of processes.
    pub services: BTreeMap<u32, String>,
    /// Locks of servers that processes of this host have, whether anybody waits for them or not;
    /// `None` where no servers were listened to.
    pub remote: Option<Vec<RemoteHold>>,
}

/// A thread that waits, or has what another waits for.
#[derive(Clone, Debug, PartialEq)]
pub struct Agent {
    /// Who; thread id 0 for owners that are not there any more.
    pub id: ThreadId,
    /// Its name, empty when unknown.
    pub name: String,
    /// It stands for a process of several threads, which of them has the lock is not known.
    pub is_process: bool,
    /// What it waits for.
    pub waits: Option<StandingWait>,
    /// What it has, as far as somebody waits for it, in order of identity.
    pub holds: Vec<Arc<LockDescription>>,
    /// What it does now, if it has something and waits for nothing.
    pub activity: Option<Activity>,
    /// Threads that wait for it, directly or behind one another.
    pub blocks: u32,
}

impl Agent {
    /// Whether it is at the end of a chain: others wait for it, it for none.
    pub fn is_root(&self) -> bool {
        self.waits.is_none() && !self.holds.is_empty()
    }
}

/// A wait that goes on.
#[derive(Clone, Debug, PartialEq)]
pub struct StandingWait {
    /// For which lock.
    pub lock: Arc<LockDescription>,
    /// Since when, CLOCK_MONOTONIC nanoseconds.
    pub since: u64,
    /// That time is an estimate.
    pub estimated: bool,
    /// Who has it, if that is known.
    pub holder: Option<Holder>,
}
