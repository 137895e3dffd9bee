//! Attempts that sleep: held back until it is certain what came of them.

use std::collections::{BTreeSet, HashMap};

use crate::model::{FileSeen, Holder, KernelWait, LockId, ThreadId};

/// Most attempts held back; beyond it the first to have run go first.
const AT_MOST: usize = 65_536;

/// A wait, and who had the lock when it began, as known when it was seen.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The wait.
    pub wait: KernelWait,
    /// The holder.
    pub holder: Option<Holder>,
}

/// The latest sleep of every thread that is in an attempt, as far as records tell.
#[derive(Default)]
pub struct Attempts {
    open: HashMap<ThreadId, Attempt>,
    /// Threads that run again, by when.
    running: BTreeSet<(u64, ThreadId)>,
    /// Who was in the way when a thread went to sleep, as known then: by the time its wait is told
    /// of, the holder may have ended.
    asked: HashMap<ThreadId, (LockId, Holder)>,
}

impl Attempts {
    /// A thread is about to sleep for what this holder has.
    pub fn asked(&mut self, seen: &FileSeen, holder: Holder) {
        if self.asked.len() >= AT_MOST {
            self.asked.clear();
        }
        self.asked.insert(seen.thread.id, (seen.lock.id, holder));
    }

    /// Who was in a thread's way when it last went to sleep, if it is this process.
    pub fn in_the_way(&self, wait: &KernelWait, pid: u32) -> Option<Holder> {
        let (lock, holder) = self.asked.get(&wait.thread.id)?;
        (*lock == wait.lock.id && holder.id.pid == pid).then(|| holder.clone())
    }

    /// A thread sleeps or runs again. Returns its earlier attempt if this record is of another.
    pub fn note(&mut self, mut attempt: Attempt) -> Option<Attempt> {
        let id = attempt.wait.thread.id;
        let start = attempt.wait.start;
        let earlier = self.take(id);
        if let Some(same) = earlier.as_ref().filter(|e| e.wait.start == start) {
            attempt.holder = same.holder.clone().or(attempt.holder);
        }
        if self.open.len() >= AT_MOST
            && let Some((_, first)) = self.running.pop_first()
        {
            self.open.remove(&first);
        }
        if attempt.wait.ran != 0 {
            self.running.insert((attempt.wait.ran, id));
        }
        self.open.insert(id, attempt);
        earlier.filter(|e| e.wait.start != start && e.wait.ran != 0)
    }

    /// A thread sleeps on in the attempt that was noted last.
    pub fn resume(&mut self, wait: &KernelWait) {
        let id = wait.thread.id;
        if let Some(open) = self.open.get_mut(&id)
            && open.wait.start == wait.start
        {
            self.running.remove(&(open.wait.ran, id));
            open.wait.ran = 0;
        }
    }

    /// A thread has a lock: its attempt at it, if it slept for it.
    pub fn acquired(&mut self, seen: &FileSeen) -> Option<Attempt> {
        let open = self.open.get(&seen.thread.id)?;
        (open.wait.lock.id == seen.lock.id).then(|| self.take(seen.thread.id)).flatten()
    }

    /// Attempts whose thread ran again before this time, oldest first.
    pub fn settled(&mut self, before: u64) -> Vec<Attempt> {
        let later = self.running.split_off(&(before, ThreadId::default()));
        let settled = std::mem::replace(&mut self.running, later);
        settled.into_iter().filter_map(|(_, id)| self.open.remove(&id)).collect()
    }

    /// Threads ended: their attempts, in an order that is the same in every replay.
    pub fn end(&mut self, is_gone: impl Fn(ThreadId) -> bool) -> Vec<Attempt> {
        self.asked.retain(|id, _| !is_gone(*id));
        let mut ids: Vec<ThreadId> = self.open.keys().filter(|id| is_gone(**id)).copied().collect();
        ids.sort_unstable();
        ids.into_iter().filter_map(|id| self.take(id)).collect()
    }

    fn take(&mut self, id: ThreadId) -> Option<Attempt> {
        let attempt = self.open.remove(&id)?;
        self.running.remove(&(attempt.wait.ran, id));
        Some(attempt)
    }
}
