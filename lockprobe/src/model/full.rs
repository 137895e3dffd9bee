//! Full mode: acquisitions, contended or not, and the order in which locks are taken.

use super::{CallSite, Histogram, LockDescription, LockId, LockKind, ThreadId};
use std::sync::Arc;

/// A lock was acquired for the first time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcquiredSeen {
    /// By whom.
    pub thread: ThreadId,
    /// Address of the lock object.
    pub address: u64,
    /// Return address of the call; 0 where it was acquired before.
    pub site: u64,
    /// What the function called says.
    pub kind: LockKind,
}

/// Every acquisition of one lock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AcquisitionCounts {
    /// Acquisitions.
    pub acquisitions: u64,
    /// Those the thread slept for.
    pub contended: u64,
    /// Those in company, of a read-write lock.
    pub shared: u64,
    /// Calls that came back without the lock.
    pub refused: u64,
    /// Releases whose acquisition came before observation.
    pub unseen: u64,
    /// Holds seen from end to end.
    pub holds: u64,
    /// Their total, nanoseconds.
    pub hold_total: u64,
    /// The longest, nanoseconds.
    pub hold_longest: u64,
    /// By length.
    pub histogram: Histogram,
}

impl AcquisitionCounts {
    /// Adds another's counts.
    pub fn merge(&mut self, other: &Self) {
        let sum = |mine: &mut u64, theirs: u64| *mine = mine.saturating_add(theirs);
        sum(&mut self.acquisitions, other.acquisitions);
        sum(&mut self.contended, other.contended);
        sum(&mut self.shared, other.shared);
        sum(&mut self.refused, other.refused);
        sum(&mut self.unseen, other.unseen);
        sum(&mut self.holds, other.holds);
        sum(&mut self.hold_total, other.hold_total);
        self.hold_longest = self.hold_longest.max(other.hold_longest);
        self.histogram.merge(&other.histogram);
    }

    /// Share of the acquisitions that the thread slept for, from 0 to 1.
    pub fn contention_rate(&self) -> Option<f64> {
        (self.acquisitions > 0).then(|| self.contended as f64 / self.acquisitions as f64)
    }

    /// Mean length of a hold, nanoseconds.
    pub fn mean_hold(&self) -> Option<u64> {
        self.hold_total.checked_div(self.holds)
    }
}

/// One lock was asked for while another was held, as the kernel half counted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrderSeen {
    /// Process.
    pub pid: u32,
    /// Address of the lock held.
    pub from: u64,
    /// It was held in company.
    pub from_shared: bool,
    /// Address of the lock asked for.
    pub to: u64,
    /// It was asked for in company.
    pub to_shared: bool,
    /// How often.
    pub count: u64,
    /// Where `from` was acquired, the first time.
    pub from_site: u64,
    /// Where `to` was asked for, the first time.
    pub to_site: u64,
    /// Address of a lock that was held as well every time, 0 for none.
    pub guard: u64,
    /// The thread that did it first.
    pub tid: u32,
    /// Another thread did it too.
    pub several: bool,
}

/// The same with names.
#[derive(Clone, Debug, PartialEq)]
pub struct LockOrder {
    /// Process.
    pub pid: u32,
    /// The lock held.
    pub from: Arc<LockDescription>,
    /// It was held in company.
    pub from_shared: bool,
    /// The lock asked for.
    pub to: Arc<LockDescription>,
    /// It was asked for in company.
    pub to_shared: bool,
    /// How often.
    pub count: u64,
    /// Where `from` was acquired, the first time.
    pub from_site: Option<CallSite>,
    /// Where `to` was asked for, the first time.
    pub to_site: Option<CallSite>,
    /// A lock that was held as well every time.
    pub guard: Option<LockId>,
    /// The thread that did it first.
    pub thread: ThreadId,
    /// Another thread did it too.
    pub several: bool,
}

/// Locks that are taken in a circle: threads that do so at the same time wait for each other for
/// ever.
#[derive(Clone, Debug, PartialEq)]
pub struct Inversion {
    /// When it was found.
    pub found: u64,
    /// Around the circle: the lock asked for in each is the lock held in the next.
    pub orders: Vec<Arc<LockOrder>>,
}

/// Everything about the acquisitions of one lock.
#[derive(Clone, Debug, PartialEq)]
pub struct AcquisitionSummary {
    /// Which lock.
    pub lock: Arc<LockDescription>,
    /// Process it was seen in first.
    pub pid: u32,
    /// Name of that process.
    pub service: String,
    /// The counts.
    pub counts: AcquisitionCounts,
}
