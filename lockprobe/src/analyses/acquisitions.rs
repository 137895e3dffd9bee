//! Acquisitions by lock, as full mode counts them.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::{AcquisitionCounts, LockDescription, LockId};

/// Most locks with counts of their own; those of more are summed up together.
const AT_MOST: usize = 65_536;

/// The counts of one lock.
pub struct Acquired {
    /// Which.
    pub lock: Arc<LockDescription>,
    /// Process it was seen in first.
    pub pid: u32,
    /// The counts.
    pub counts: AcquisitionCounts,
}

/// Sums by lock.
#[derive(Default)]
pub struct Acquisitions {
    locks: HashMap<LockId, Acquired>,
    elsewhere: u64,
}

impl Acquisitions {
    /// Adds counts.
    pub fn add(&mut self, lock: Arc<LockDescription>, pid: u32, counts: &AcquisitionCounts) {
        if self.locks.len() >= AT_MOST && !self.locks.contains_key(&lock.id) {
            self.elsewhere += counts.acquisitions;
            return;
        }
        let fresh = || Acquired { lock: lock.clone(), pid, counts: AcquisitionCounts::default() };
        self.locks.entry(lock.id).or_insert_with(fresh).counts.merge(counts);
    }

    /// Most acquired first.
    pub fn all(&self) -> Vec<&Acquired> {
        let mut all: Vec<&Acquired> = self.locks.values().collect();
        all.sort_by_key(|a| (std::cmp::Reverse(a.counts.acquisitions), a.lock.id));
        all
    }

    /// Acquisitions of locks there was no room for.
    pub fn elsewhere(&self) -> u64 {
        self.elsewhere
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::LockKind;

    #[test]
    fn counts_of_one_lock_add_up_and_the_most_acquired_comes_first() {
        let lock = |address| {
            Arc::new(LockDescription {
                id: LockId::Private { pid: 1, image: 0, address },
                kind: LockKind::PthreadMutex,
                name: "l".into(),
                confirmed: true,
                call_site: None,
                address: None,
            })
        };
        let counts = |acquisitions, contended| AcquisitionCounts {
            acquisitions,
            contended,
            ..AcquisitionCounts::default()
        };
        let mut all = Acquisitions::default();
        all.add(lock(1), 1, &counts(5, 1));
        all.add(lock(2), 1, &counts(7, 0));
        all.add(lock(1), 1, &counts(5, 1));
        let sums: Vec<u64> = all.all().iter().map(|a| a.counts.acquisitions).collect();
        assert_eq!(sums, [10, 7]);
        assert_eq!(all.all()[0].counts.contention_rate(), Some(0.2));
    }
}
