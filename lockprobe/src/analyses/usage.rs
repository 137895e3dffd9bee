//! Sums by lock: who held it most, how long, how often waiting was in vain.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::{
    AcquireSpan, HoldSpan, Holder, LockDescription, LockId, Outcome, Precision, ThreadId,
};

/// Most locks summed up one by one.
const AT_MOST: usize = 65_536;
/// Most holders counted for one lock.
const HOLDERS_AT_MOST: usize = 1024;

/// What the spans of one lock add up to.
#[derive(Clone, Debug, Default)]
pub struct LockUsage {
    holders: HashMap<ThreadId, (u64, Holder)>,
    /// Which lock, and the process it was waited for in.
    pub lock: Option<(Arc<LockDescription>, u32)>,
    /// Waits seen one by one.
    pub waits: u64,
    /// The longest of them, nanoseconds.
    pub longest_wait: u64,
    /// Their total, nanoseconds.
    pub total_wait: u64,
    /// Longest hold that is known to have lasted so long, nanoseconds, and whether exactly.
    pub longest_hold: Option<(u64, Precision)>,
    /// Waits that ended without the lock.
    pub abandoned: u64,
    /// Threads that waited when observation ended.
    pub still_waiting: u32,
}

impl LockUsage {
    /// The thread most of the waits were for, and how many they were.
    pub fn top_holder(&self) -> Option<(Holder, u64)> {
        let top = self.holders.values().max_by_key(|(count, h)| (*count, std::cmp::Reverse(h.id)));
        top.map(|(count, holder)| (holder.clone(), *count))
    }
}

/// Sums by lock.
#[derive(Default)]
pub struct Usage {
    locks: HashMap<LockId, LockUsage>,
}

impl Usage {
    fn lock(&mut self, id: LockId) -> Option<&mut LockUsage> {
        if self.locks.len() >= AT_MOST && !self.locks.contains_key(&id) {
            return None;
        }
        Some(self.locks.entry(id).or_default())
    }

    /// Adds an acquire span.
    pub fn acquire(&mut self, span: &AcquireSpan) {
        let Some(usage) = self.lock(span.lock.id) else { return };
        let wait = span.end.saturating_sub(span.start);
        usage.waits += 1;
        usage.lock.get_or_insert_with(|| (span.lock.clone(), span.thread.id.pid));
        usage.total_wait += wait;
        usage.longest_wait = usage.longest_wait.max(wait);
        match span.outcome {
            Outcome::Acquired => {}
            Outcome::Abandoned | Outcome::Refused => usage.abandoned += 1,
            Outcome::Waiting => usage.still_waiting += 1,
        }
        if let Some(holder) = &span.holder
            && (usage.holders.len() < HOLDERS_AT_MOST || usage.holders.contains_key(&holder.id))
        {
            usage.holders.entry(holder.id).or_insert_with(|| (0, holder.clone())).0 += 1;
        }
    }

    /// Adds a hold span.
    pub fn hold(&mut self, span: &HoldSpan) {
        if span.precision == Precision::Unknown {
            return;
        }
        if let Some(usage) = self.lock(span.lock.id) {
            let length = span.end.saturating_sub(span.start);
            if usage.longest_hold.is_none_or(|(longest, _)| length > longest) {
                usage.longest_hold = Some((length, span.precision));
            }
        }
    }

    /// The sums of one lock.
    pub fn of(&self, id: &LockId) -> Option<&LockUsage> {
        self.locks.get(id)
    }

    /// The sums of all locks that were waited for.
    pub fn all(&self) -> impl Iterator<Item = &LockUsage> {
        self.locks.values()
    }
}
