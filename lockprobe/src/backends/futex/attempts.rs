//! Attempts in flight: held back until it is certain that they ended.

use std::collections::{BTreeSet, HashMap};

use crate::model::{ThreadId, WaitSeen};

/// Most attempts held back; the oldest go first, and are counted.
const AT_MOST: usize = 65_536;

/// The latest sleep of every thread that is in an attempt, as far as records tell.
#[derive(Default)]
pub struct Attempts {
    open: HashMap<ThreadId, WaitSeen>,
    /// Threads that run again, by when.
    running: BTreeSet<(u64, ThreadId)>,
    /// Attempts given up for want of room.
    pub evicted: u64,
}

impl Attempts {
    /// A thread runs again. Returns its earlier attempt if this record is of another.
    pub fn ran(&mut self, wait: &WaitSeen) -> Option<WaitSeen> {
        let earlier = self.take(wait.thread.id);
        self.insert(wait);
        earlier.filter(|e| e.start != wait.start && e.ran != 0)
    }

    /// A thread sleeps on in the attempt that [`Attempts::ran`] saw last.
    pub fn resume(&mut self, wait: &WaitSeen) {
        let id = wait.thread.id;
        if let Some(open) = self.open.get_mut(&id)
            && open.start == wait.start
        {
            self.running.remove(&(open.ran, id));
            open.ran = 0;
        }
    }

    /// A thread is asleep. Returns its earlier attempt if this one is another.
    pub fn asleep(&mut self, wait: &WaitSeen) -> Option<WaitSeen> {
        let earlier = self.take(wait.thread.id);
        if earlier.as_ref().is_some_and(|e| e.start == wait.start && e.ran >= wait.time) {
            // The thread has run since the table was looked at.
            self.insert(earlier.as_ref()?);
            return None;
        }
        let mut asleep = wait.clone();
        asleep.ran = 0;
        self.insert(&asleep);
        earlier.filter(|e| e.start != wait.start && e.ran != 0)
    }

    /// Attempts whose thread ran again before this time, oldest first.
    pub fn settled(&mut self, before: u64) -> Vec<WaitSeen> {
        let later = self.running.split_off(&(before, ThreadId::default()));
        let settled = std::mem::replace(&mut self.running, later);
        settled.into_iter().filter_map(|(_, id)| self.open.remove(&id)).collect()
    }

    /// A thread ended.
    pub fn end_thread(&mut self, id: ThreadId) -> Option<WaitSeen> {
        self.take(id)
    }

    /// A process ended: the attempts of all its threads.
    pub fn end_process(&mut self, pid: u32) -> Vec<WaitSeen> {
        let ids: Vec<ThreadId> = self.open.keys().filter(|id| id.pid == pid).copied().collect();
        ids.into_iter().filter_map(|id| self.take(id)).collect()
    }

    fn take(&mut self, id: ThreadId) -> Option<WaitSeen> {
        let wait = self.open.remove(&id)?;
        self.running.remove(&(wait.ran, id));
        Some(wait)
    }

    fn insert(&mut self, wait: &WaitSeen) {
        if self.open.len() >= AT_MOST
            && let Some((_, id)) = self.running.pop_first()
        {
            self.open.remove(&id);
            self.evicted += 1;
        }
        let id = wait.thread.id;
        if wait.ran != 0 {
            self.running.insert((wait.ran, id));
        }
        self.open.insert(id, wait.clone());
    }
}
