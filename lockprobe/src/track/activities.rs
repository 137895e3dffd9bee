//! What holders were doing when they were looked at, and since when they did nothing else.

use std::collections::HashMap;

use crate::model::{Activity, ThreadId};

/// Most threads remembered; beyond it all are forgotten and looked at anew.
const AT_MOST: usize = 16_384;

/// The latest look at a thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// What it showed.
    pub activity: Activity,
    /// The first of the looks in a row that showed the same: the same state, and no sleep ended
    /// and begun in between.
    pub since: u64,
}

/// Threads that were looked at.
#[derive(Debug, Default)]
pub struct Activities {
    threads: HashMap<ThreadId, Seen>,
}

impl Activities {
    /// Notes a look.
    pub fn learn(&mut self, activity: Activity) {
        let same = |seen: &&Seen| {
            let before = &seen.activity;
            (before.doing, before.switches, before.start_ticks)
                == (activity.doing, activity.switches, activity.start_ticks)
        };
        let before = self.threads.get(&activity.id).filter(same);
        let since = before.map_or(activity.time, |seen| seen.since);
        if self.threads.len() >= AT_MOST {
            self.threads.clear();
        }
        self.threads.insert(activity.id, Seen { activity, since });
    }

    /// The latest look at a thread.
    pub fn of(&self, id: ThreadId) -> Option<&Seen> {
        self.threads.get(&id)
    }

    /// Forgets threads not looked at since a moment: nobody waits for them.
    pub fn forget_before(&mut self, moment: u64) {
        self.threads.retain(|_, seen| seen.activity.time >= moment);
    }
}
