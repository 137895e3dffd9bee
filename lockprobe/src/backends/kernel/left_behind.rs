//! Locks whose holder has ended: of files that stay when their maker goes.
//!
//! That a maker has ended says little: `mkdir lock` in a script makes the lock for the script. One
//! that a signal ended had no say in the matter.

use std::collections::{HashMap, HashSet};

use crate::model::LockId;

/// Most processes and locks remembered; beyond it all are forgotten.
const AT_MOST: usize = 16_384;

/// How a process id was last given up.
#[derive(Clone, Copy, Debug)]
struct End {
    /// When another process had ended by the same id.
    before: u64,
    time: u64,
    killed: bool,
}

/// Processes that ended, by id.
#[derive(Default)]
pub struct Ended {
    known: HashMap<u32, End>,
    /// What was before is forgotten.
    since: u64,
}

impl Ended {
    /// A process ended.
    pub fn note(&mut self, pid: u32, time: u64, killed: bool) {
        if self.known.len() >= AT_MOST {
            self.known.clear();
            self.since = time;
        }
        let before = self.known.get(&pid).map_or(self.since, |end| end.time);
        self.known.insert(pid, End { before, time, killed });
    }

    /// Whether a signal ended the process that had an id at a time.
    pub fn was_killed(&self, pid: u32, then: u64) -> bool {
        let end = self.known.get(&pid);
        end.is_some_and(|end| end.killed && end.before <= then && then <= end.time)
    }
}

/// Locks that are known to have been left behind.
#[derive(Default)]
pub struct LeftBehind(HashSet<LockId>);

impl LeftBehind {
    /// The holder of a lock has ended.
    pub fn note(&mut self, id: LockId) {
        if self.0.len() >= AT_MOST {
            self.0.clear();
        }
        self.0.insert(id);
    }

    /// A lock is somebody's or nobody's; whether it had been left behind.
    pub fn clear(&mut self, id: &LockId) -> bool {
        self.0.remove(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_that_had_the_id_then_is_meant() {
        let mut ended = Ended::default();
        ended.note(7, 100, true);
        assert!(ended.was_killed(7, 50));
        assert!(!ended.was_killed(7, 150), "another by then");
        assert!(!ended.was_killed(8, 50));
        ended.note(7, 200, false);
        assert!(!ended.was_killed(7, 150), "it ended by itself");
        assert!(!ended.was_killed(7, 50), "not known any more");
        ended.note(7, 300, true);
        assert!(ended.was_killed(7, 250) && !ended.was_killed(7, 150));
    }

    #[test]
    fn what_was_forgotten_proves_nothing() {
        let mut ended = Ended::default();
        (0..AT_MOST as u32).for_each(|pid| ended.note(pid, 100, false));
        ended.note(70_000, 200, true);
        assert!(!ended.was_killed(70_000, 150));
        assert!(ended.known.len() < AT_MOST);
    }
}
