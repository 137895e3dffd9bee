//! Holds that were not over as far as was seen when another got the lock.
//!
//! What a server answers is seen when the client reads it: one who is told that the lock is let go
//! may read that later than the next one reads that he has it. That they had it both is certain
//! when the end of the first does not come to light soon.

use super::Outcomes;
use super::holds::Hold;
use crate::model::{HoldEnd, NoticeKind, Owner, RemoteStep, Thread};

/// An answer is read within this time, nanoseconds.
const SETTLED_AFTER: u64 = 500_000_000;
/// A lease begins when the server grants it and is counted from when that is read: it may end so
/// much earlier than it seems, nanoseconds.
const READ_LATE: u64 = 100_000_000;
/// Most of one lock at a time.
const AT_MOST: usize = 64;

/// A hold, and who got the lock beside it.
#[derive(Debug)]
pub struct Displaced {
    /// The hold.
    pub hold: Hold,
    /// When another got it.
    pub at: u64,
    /// Who.
    pub by: (Thread, Option<Owner>),
}

impl Displaced {
    /// Whether its lease had ended by the server's clock, for all that is known.
    fn had_ended(&self) -> bool {
        self.hold.has_ended(self.at.saturating_add(READ_LATE))
    }

    /// Says what is to be noticed.
    pub fn tell(&self, out: &mut Outcomes) {
        let (what, other) = match self.had_ended() {
            true if self.hold.remote.gone => return,
            true => (NoticeKind::Overrun, None),
            false => (NoticeKind::Overlap, Some(self.by)),
        };
        out.notices.push(self.hold.notice(what, self.at, other));
    }

    /// When and how it ended, if its holder says nothing more of it.
    pub fn end(&self) -> (u64, HoldEnd) {
        let how = match (self.hold.remote.gone, self.had_ended()) {
            (true, _) => HoldEnd::Orphaned,
            (false, true) => HoldEnd::Expired,
            (false, false) => HoldEnd::Revoked,
        };
        (self.at, how)
    }
}

/// All of one lock.
#[derive(Debug, Default)]
pub struct AllDisplaced(Vec<Displaced>);

impl AllDisplaced {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds one; the oldest, if there is no place for it.
    pub fn add(&mut self, displaced: Displaced) -> Option<Displaced> {
        let oldest = (self.0.len() >= AT_MOST).then(|| self.0.remove(0));
        self.0.push(displaced);
        oldest
    }

    /// The hold a step is about.
    pub fn of_step(&mut self, step: &RemoteStep) -> Option<&mut Displaced> {
        let at = self.position(step)?;
        self.0.get_mut(at)
    }

    /// The same, and it is over.
    pub fn take(&mut self, step: &RemoteStep) -> Option<Displaced> {
        self.position(step).map(|at| self.0.remove(at))
    }

    fn position(&self, step: &RemoteStep) -> Option<usize> {
        self.0.iter().position(|displaced| {
            let hold = &displaced.hold.remote;
            hold.owner == step.owner
                && (step.owner.is_some() || hold.thread.id.pid == step.thread.id.pid)
        })
    }

    /// Takes out those whose end would have come to light.
    pub fn settled(&mut self, now: u64) -> Vec<Displaced> {
        let is_settled = |d: &mut Displaced| d.at.saturating_add(SETTLED_AFTER) <= now;
        self.0.extract_if(.., is_settled).collect()
    }
}
