//! Who waited for one lock lately: for the depth of the queue and the start of holds.

use std::collections::VecDeque;

use crate::model::ThreadId;

/// Most waits remembered for one lock.
const AT_MOST: usize = 256;

struct Past {
    thread: ThreadId,
    holder: Option<ThreadId>,
    start: u64,
    end: u64,
}

/// Waits on one lock: those that ended lately.
#[derive(Default)]
pub struct Queue {
    past: VecDeque<Past>,
}

impl Queue {
    /// Notes a wait that ended.
    pub fn ended(&mut self, thread: ThreadId, holder: Option<ThreadId>, start: u64, end: u64) {
        if self.past.len() == AT_MOST {
            self.past.pop_front();
        }
        self.past.push_back(Past { thread, holder, start, end });
    }

    /// How many other threads waited at a moment, of those remembered.
    pub fn waiting_at(&self, moment: u64, except: ThreadId) -> u32 {
        let others = self.past.iter().filter(|w| w.thread != except);
        others.filter(|w| w.start <= moment && moment < w.end).count() as u32
    }

    /// The earliest start among waits for this holder that had not ended before a moment.
    pub fn earliest_for(&self, holder: ThreadId, moment: u64) -> Option<u64> {
        let its = self.past.iter().filter(|w| w.holder == Some(holder) && w.end >= moment);
        its.map(|w| w.start).min()
    }
}
