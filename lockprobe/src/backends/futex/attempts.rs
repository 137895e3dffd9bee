//! Attempts in flight: held back until it is certain that they ended.

use std::collections::{BTreeSet, HashMap};

use crate::model::{Holder, ThreadId, WaitSeen};

/// Most attempts held back; the oldest go first, and are counted.
const AT_MOST: usize = 65_536;

/// A wait, and who had the lock when it began, as known when it was seen: by the time the attempt
/// is certain to be over, that thread may have ended and its id may be another's.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The wait.
    pub wait: WaitSeen,
    /// The holder its lock's memory named.
    pub holder: Option<Holder>,
    /// Its stack says that it waits for no lock after all.
    pub idle: bool,
}

/// The latest sleep of every thread that is in an attempt, as far as records tell.
#[derive(Default)]
pub struct Attempts {
    open: HashMap<ThreadId, Attempt>,
    /// Threads that run again, by when.
    running: BTreeSet<(u64, ThreadId)>,
    /// Attempts given up for want of room.
    pub evicted: u64,
}

impl Attempts {
    /// A thread runs again. Returns its earlier attempt if this record is of another.
    pub fn ran(&mut self, mut attempt: Attempt) -> Option<Attempt> {
        let earlier = self.take(attempt.wait.thread.id);
        let start = attempt.wait.start;
        if let Some(same) = earlier.as_ref().filter(|e| e.wait.start == start) {
            attempt.holder = attempt.holder.or_else(|| same.holder.clone());
            attempt.idle = same.idle;
        }
        self.insert(attempt);
        earlier.filter(|e| e.wait.start != start && e.wait.ran != 0)
    }

    /// Notes that an attempt is none, and returns it.
    pub fn is_none(&mut self, id: ThreadId, start: u64) -> Option<&WaitSeen> {
        let attempt = self.open.get_mut(&id).filter(|a| a.wait.start == start && !a.idle)?;
        attempt.idle = true;
        Some(&attempt.wait)
    }

    /// Whether this attempt of a thread is known to be none.
    pub fn is_idle(&self, wait: &WaitSeen) -> bool {
        let open = self.open.get(&wait.thread.id);
        open.is_some_and(|a| a.idle && a.wait.start == wait.start)
    }

    /// The attempt a thread is in.
    pub fn of(&self, id: ThreadId) -> Option<&WaitSeen> {
        self.open.get(&id).map(|attempt| &attempt.wait)
    }

    /// A thread sleeps on in the attempt that [`Attempts::ran`] saw last.
    pub fn resume(&mut self, wait: &WaitSeen) {
        let id = wait.thread.id;
        if let Some(open) = self.open.get_mut(&id)
            && open.wait.start == wait.start
        {
            self.running.remove(&(open.wait.ran, id));
            open.wait.ran = 0;
        }
    }

    /// A thread is asleep. Returns its earlier attempt if this one is another.
    pub fn asleep(&mut self, mut attempt: Attempt) -> Option<Attempt> {
        let (start, looked) = (attempt.wait.start, attempt.wait.time);
        let earlier = self.take(attempt.wait.thread.id);
        match earlier {
            // The thread has run since the table was looked at.
            Some(e) if e.wait.start == start && e.wait.ran >= looked => {
                self.insert(e);
                None
            }
            earlier => {
                attempt.idle = earlier.as_ref().is_some_and(|e| e.idle && e.wait.start == start);
                attempt.wait.ran = 0;
                self.insert(attempt);
                earlier.filter(|e| e.wait.start != start && e.wait.ran != 0)
            }
        }
    }

    /// Attempts whose thread ran again before this time, oldest first.
    pub fn settled(&mut self, before: u64) -> Vec<Attempt> {
        let later = self.running.split_off(&(before, ThreadId::default()));
        let settled = std::mem::replace(&mut self.running, later);
        settled.into_iter().filter_map(|(_, id)| self.open.remove(&id)).collect()
    }

    /// A thread ended.
    pub fn end_thread(&mut self, id: ThreadId) -> Option<Attempt> {
        self.take(id)
    }

    /// A process ended: the attempts of all its threads.
    pub fn end_process(&mut self, pid: u32) -> Vec<Attempt> {
        let mut ids: Vec<ThreadId> = self.open.keys().filter(|id| id.pid == pid).copied().collect();
        // In an order that is the same in every replay.
        ids.sort_unstable();
        ids.into_iter().filter_map(|id| self.take(id)).collect()
    }

    fn take(&mut self, id: ThreadId) -> Option<Attempt> {
        let attempt = self.open.remove(&id)?;
        self.running.remove(&(attempt.wait.ran, id));
        Some(attempt)
    }

    fn insert(&mut self, attempt: Attempt) {
        if self.open.len() >= AT_MOST {
            let oldest = self.running.pop_first().map(|(_, id)| id);
            if let Some(id) = oldest.or_else(|| self.open.keys().next().copied()) {
                self.open.remove(&id);
                self.evicted += 1;
            }
        }
        let id = attempt.wait.thread.id;
        if attempt.wait.ran != 0 {
            self.running.insert((attempt.wait.ran, id));
        }
        self.open.insert(id, attempt);
    }
}
