//! Sums by lock: who held it most, how long, how often waiting was in vain.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::{
    AcquireSpan, HoldSpan, Holder, LockDescription, LockId, LockKind, LockSummary, Outcome,
    Precision, ThreadId,
};

/// Most locks summed up one by one.
const AT_MOST: usize = 16_384;
/// Most holders counted for one lock, and for all of them.
const HOLDERS_AT_MOST: usize = 1024;
const ALL_HOLDERS_AT_MOST: usize = 65_536;

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
    holders: usize,
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
        let room = self.holders < ALL_HOLDERS_AT_MOST;
        let Some(usage) = self.lock(span.lock.id) else { return };
        let wait = span.end.saturating_sub(span.start);
        usage.waits += 1;
        usage.lock.get_or_insert_with(|| (span.lock.clone(), span.thread.id.pid));
        usage.total_wait = usage.total_wait.saturating_add(wait);
        usage.longest_wait = usage.longest_wait.max(wait);
        match span.outcome {
            Outcome::Acquired => {}
            Outcome::Abandoned | Outcome::Refused => usage.abandoned += 1,
            Outcome::Waiting => usage.still_waiting += 1,
        }
        let Some(holder) = &span.holder else { return };
        if let Some((count, _)) = usage.holders.get_mut(&holder.id) {
            *count += 1;
        } else if room && usage.holders.len() < HOLDERS_AT_MOST {
            usage.holders.insert(holder.id, (1, holder.clone()));
            self.holders += 1;
        }
    }

    /// Forgets a lock.
    pub fn forget(&mut self, id: &LockId) {
        let usage = self.locks.remove(id);
        self.holders -= usage.map_or(0, |usage| usage.holders.len());
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

/// What the sums of one line have in common.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GroupBy {
    /// The lock.
    #[default]
    Lock,
    /// The code that first waited: one lock in each of many objects is one line.
    CallSite,
    /// The name.
    Name,
}

/// Sums up locks of one kind and service that have more in common; the rest stay as they are.
pub fn grouped(locks: Vec<LockSummary>, by: GroupBy) -> Vec<LockSummary> {
    let key = |lock: &LockSummary| -> Option<(LockKind, String, String)> {
        let common = match by {
            GroupBy::Lock => return None,
            GroupBy::CallSite => lock.lock.call_site.as_ref()?.to_string(),
            GroupBy::Name => lock.lock.name.to_string(),
        };
        Some((lock.lock.kind, lock.service.clone(), common))
    };
    let mut places: HashMap<_, usize> = HashMap::new();
    let mut groups: Vec<LockSummary> = Vec::new();
    for lock in locks {
        let Some(key) = key(&lock) else {
            groups.push(lock);
            continue;
        };
        let common = key.2.clone();
        let Some(&at) = places.get(&key) else {
            places.insert(key, groups.len());
            groups.push(lock);
            continue;
        };
        let group = &mut groups[at];
        if group.locks == 1 {
            let one = LockDescription::clone(&group.lock);
            group.lock = Arc::new(LockDescription { name: common.into(), ..one });
        }
        add(group, lock);
    }
    groups
}

fn add(group: &mut LockSummary, lock: LockSummary) {
    group.locks += lock.locks;
    group.counts.merge(&lock.counts);
    group.abandoned += lock.abandoned;
    group.still_waiting += lock.still_waiting;
    let hold = |l: &LockSummary| l.longest_hold.map(|(length, _)| length);
    if hold(&lock) > hold(group) {
        group.longest_hold = lock.longest_hold;
    }
    let waits = |l: &LockSummary| l.top_holder.as_ref().map(|(_, waits)| *waits);
    if waits(&lock) > waits(group) {
        group.top_holder = lock.top_holder;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{CallSite, LockCounts};

    fn summary(address: u64, name: &str, line: u32, service: &str, waits: u64) -> LockSummary {
        let site = CallSite {
            function: "checkout".into(),
            source: Some(("pool.c".into(), line)),
            module: "pool".into(),
            offset: 0,
        };
        let lock = Arc::new(LockDescription {
            id: LockId::Private { pid: 1, image: 0, address },
            kind: LockKind::PthreadMutex,
            name: name.into(),
            confirmed: true,
            call_site: Some(site),
            address: None,
        });
        let counts = LockCounts { waits, total: 10 * waits, longest: waits, ..Default::default() };
        LockSummary {
            lock,
            pid: 1,
            service: service.into(),
            counts,
            top_holder: None,
            longest_hold: Some((waits, Precision::Exact)),
            abandoned: 1,
            still_waiting: 1,
            locks: 1,
        }
    }

    #[test]
    fn a_pool_of_locks_is_one_line() {
        let pool = || {
            vec![
                summary(0x10, "a", 42, "shop", 3),
                summary(0x20, "b", 42, "shop", 5),
                summary(0x30, "c", 42, "other", 7),
                summary(0x40, "a", 50, "shop", 9),
            ]
        };
        assert_eq!(grouped(pool(), GroupBy::Lock), pool());
        let by_site = grouped(pool(), GroupBy::CallSite);
        let row = |l: &LockSummary| (l.lock.name.to_string(), l.locks, l.counts.waits);
        let site = "pool.c:42 in checkout".to_owned();
        assert_eq!(
            by_site.iter().map(row).collect::<Vec<_>>(),
            [(site, 2, 8), ("c".to_owned(), 1, 7), ("a".to_owned(), 1, 9)]
        );
        let group = &by_site[0];
        assert_eq!((group.counts.total, group.counts.longest), (80, 5));
        assert_eq!((group.abandoned, group.still_waiting), (2, 2));
        assert_eq!(group.longest_hold, Some((5, Precision::Exact)));
        let by_name = grouped(pool(), GroupBy::Name);
        assert_eq!(
            by_name.iter().map(row).collect::<Vec<_>>(),
            [("a".to_owned(), 2, 12), ("b".to_owned(), 1, 5), ("c".to_owned(), 1, 7)]
        );
    }
}
