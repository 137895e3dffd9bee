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
    /// The latest end of this and of all before it: those before a moment need no look.
    latest: u64,
}

/// Waits on one lock: those that ended lately.
#[derive(Default)]
pub struct Queue {
    past: VecDeque<Past>,
}

impl Queue {
    /// Notes a wait that ended. Whether one more is remembered now.
    pub fn ended(
        &mut self,
        thread: ThreadId,
        holder: Option<ThreadId>,
        start: u64,
        end: u64,
    ) -> bool {
        let latest = self.past.back().map_or(end, |last| last.latest.max(end));
        let full = self.past.len() == AT_MOST;
        if full {
            self.past.pop_front();
        }
        self.past.push_back(Past { thread, holder, start, end, latest });
        !full
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.past.len()
    }

    /// Forgets the older half of them.
    pub fn halve(&mut self) {
        self.past.drain(..self.past.len().div_ceil(2));
        self.past.shrink_to_fit();
    }

    /// Those that ended at a moment or later, and perhaps some others.
    fn since(&self, moment: u64) -> impl Iterator<Item = &Past> {
        self.past.iter().rev().take_while(move |wait| wait.latest >= moment)
    }

    /// How many other threads waited at a moment, of those remembered.
    pub fn waiting_at(&self, moment: u64, except: ThreadId) -> u32 {
        let others = self.since(moment).filter(|w| w.thread != except);
        others.filter(|w| w.start <= moment && moment < w.end).count() as u32
    }

    /// The earliest start among waits for this holder that had not ended before a moment.
    pub fn earliest_for(&self, holder: ThreadId, moment: u64) -> Option<u64> {
        let its = self.since(moment).filter(|w| w.holder == Some(holder) && w.end >= moment);
        its.map(|w| w.start).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As it is without knowing which need no look.
    fn slowly(queue: &Queue, holder: ThreadId, moment: u64) -> (u32, Option<u64>) {
        let at = |w: &&Past| w.start <= moment && moment < w.end;
        let its = |w: &&Past| w.holder == Some(holder) && w.end >= moment;
        let all = || queue.past.iter();
        (
            all().filter(|w| w.thread != holder).filter(at).count() as u32,
            all().filter(its).map(|w| w.start).min(),
        )
    }

    #[test]
    fn waits_that_ended_in_any_order_are_found() {
        let mut queue = Queue::default();
        let mut random = 7u64;
        let id = |tid: u64| ThreadId { pid: 1, tid: tid as u32 };
        for round in 0..2000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let [a, b, c] = [random >> 33 & 63, random >> 40 & 7, random >> 50 & 7];
            queue.ended(id(b), Some(id(c)), 10 * round + a, 10 * round + 2 * a);
            for moment in [0, 10 * round, 10 * round + a, 10 * round + 100] {
                let found = (queue.waiting_at(moment, id(c)), queue.earliest_for(id(c), moment));
                assert_eq!(found, slowly(&queue, id(c), moment));
            }
        }
        assert_eq!(queue.past.len(), AT_MOST);
    }
}
