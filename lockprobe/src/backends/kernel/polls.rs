//! Attempts that do not sleep in the lock: asked, refused, asked again.

use std::collections::{BTreeMap, HashMap};

use crate::model::{
    FileEvent, FileSeen, Holder, KernelLock, LockCounts, LockId, Outcome, Thread, ThreadId, What,
};

/// Most threads followed; beyond it the first are given up on.
const AT_MOST: usize = 16_384;
/// Most locks counted.
const LOCKS_AT_MOST: usize = 16_384;
/// From one way of asking for a file to the other, nanoseconds, as the kernel half has it.
const SOON: u64 = 50_000_000;
/// A thread that does not ask again for so long has given up: nanoseconds, at least and at most,
/// and in between so many times its own longest pause.
const PATIENCE: (u64, u64, u64) = (2_000_000_000, 5_000_000_000, 8);

/// A thread that asks again and again.
struct Poll {
    lock: KernelLock,
    thread: Thread,
    holder: Option<Holder>,
    first: u64,
    last: u64,
    pause: u64,
    count: u32,
}

/// How one ended.
struct End {
    outcome: Outcome,
    error: Option<&'static str>,
    from: Option<Holder>,
}

/// An attempt that is over, at this time.
pub struct Over {
    /// When.
    pub time: u64,
    /// At what.
    pub lock: KernelLock,
    /// Whose.
    pub thread: Thread,
    /// What came of it.
    pub what: What,
}

/// The attempts.
#[derive(Default)]
pub struct Polls {
    open: BTreeMap<ThreadId, Poll>,
    counts: HashMap<LockId, (KernelLock, u32, LockCounts)>,
}

impl Polls {
    /// A thread was refused a lock. Returns what this puts an end to.
    pub fn refused(&mut self, seen: &FileSeen, holder: Option<Holder>) -> Option<Over> {
        let id = seen.thread.id;
        let (first, count) = seen.refused.unwrap_or((seen.time, 1));
        if let Some(open) = self.open.get_mut(&id)
            && open.lock.id == seen.lock.id
            && open.first == first
        {
            open.pause = open.pause.max(seen.time.saturating_sub(open.last));
            (open.last, open.count) = (seen.time, count);
            return None;
        }
        // A file that is in the way, and asked for in another way at once, is no lock by its name.
        let by_name = |open: &Poll| matches!(open.lock.id, LockId::Name { .. });
        let at_once = |open: &Poll| seen.time.saturating_sub(open.last) < SOON;
        if matches!(seen.lock.id, LockId::File { .. })
            && self.open.get(&id).is_some_and(|open| by_name(open) && at_once(open))
        {
            self.open.remove(&id);
        }
        let mut over = self.conclude(id);
        let (lock, thread) = (seen.lock, seen.thread);
        let poll = Poll { lock, thread, holder, first, last: seen.time, pause: 0, count };
        if seen.event == FileEvent::Deadlock {
            let end = End { outcome: Outcome::Refused, error: Some("deadlock"), from: None };
            return Some(self.over(poll, end));
        }
        if self.open.len() >= AT_MOST
            && let Some(oldest) = self.open.keys().next().copied()
        {
            over = over.or_else(|| self.conclude(oldest));
        }
        self.open.insert(id, poll);
        over
    }

    /// A thread has a lock that it did not sleep for. Who let it go is told only if somebody was
    /// seen having it.
    pub fn acquired(&mut self, seen: &FileSeen, from: Option<Holder>) -> Option<Over> {
        let (first, count) = seen.refused?;
        let open = self.open.remove(&seen.thread.id).filter(|open| open.first == first);
        let holder = open.and_then(|open| open.holder);
        let (lock, thread) = (seen.lock, seen.thread);
        let from = from.filter(|_| holder.is_some());
        let poll =
            Poll { lock, thread, holder, first, last: seen.time, pause: 0, count: count + 1 };
        Some(self.over(poll, End { outcome: Outcome::Acquired, error: None, from }))
    }

    /// Who has what a thread asks for, if that was not known.
    pub fn name_holder(&mut self, id: ThreadId, lock: &LockId, holder: &Holder) {
        if let Some(open) = self.open.get_mut(&id).filter(|open| open.lock.id == *lock) {
            open.holder.get_or_insert_with(|| holder.clone());
        }
    }

    /// What a thread last asked for is no lock.
    pub fn cancel(&mut self, id: ThreadId) {
        if self.open.get(&id).is_some_and(|poll| matches!(poll.lock.id, LockId::Name { .. })) {
            self.open.remove(&id);
        }
    }

    /// Those that have not asked for long have given up.
    pub fn expire(&mut self, now: u64) -> Vec<Over> {
        let (least, most, times) = PATIENCE;
        let silent = |poll: &Poll| {
            let patience = poll.pause.saturating_mul(times).clamp(least, most);
            now.saturating_sub(poll.last) >= patience
        };
        let over = self.open.iter().filter(|(_, poll)| silent(poll)).map(|(id, _)| *id);
        let over: Vec<ThreadId> = over.collect();
        over.into_iter().filter_map(|id| self.conclude(id)).collect()
    }

    /// Threads ended.
    pub fn end(&mut self, is_gone: impl Fn(ThreadId) -> bool) -> Vec<Over> {
        let over: Vec<ThreadId> = self.open.keys().filter(|id| is_gone(**id)).copied().collect();
        over.into_iter().filter_map(|id| self.conclude(id)).collect()
    }

    /// Observation ends: those that asked more than once are at it still.
    pub fn finish(&mut self) -> Vec<Over> {
        let open = std::mem::take(&mut self.open).into_values();
        let end = |poll: &Poll| match poll.count {
            1 => Outcome::Refused,
            _ => Outcome::Waiting,
        };
        open.map(|poll| {
            let outcome = end(&poll);
            self.over(poll, End { outcome, error: None, from: None })
        })
        .collect()
    }

    /// Attempts by lock, and the process that made the first.
    pub fn counts(&self) -> impl Iterator<Item = &(KernelLock, u32, LockCounts)> {
        self.counts.values()
    }

    fn conclude(&mut self, id: ThreadId) -> Option<Over> {
        let poll = self.open.remove(&id)?;
        let (outcome, error) = match poll.count {
            1 => (Outcome::Refused, None),
            _ => (Outcome::Abandoned, Some("gave_up")),
        };
        Some(self.over(poll, End { outcome, error, from: None }))
    }

    fn over(&mut self, poll: Poll, end: End) -> Over {
        let Poll { lock, thread, holder, first, last, count, .. } = poll;
        let End { outcome, error, from } = end;
        // Who asks once and goes away does not wait.
        if outcome != Outcome::Refused
            && (self.counts.len() < LOCKS_AT_MOST || self.counts.contains_key(&lock.id))
        {
            let fresh = || (lock, thread.id.pid, LockCounts::default());
            let (.., counts) = self.counts.entry(lock.id).or_insert_with(fresh);
            counts.add(last.saturating_sub(first));
        }
        let (since, mode, attempts) = (first, lock.mode, count);
        let what = What::Polled { since, holder, from, mode, outcome, error, attempts };
        Over { time: last, lock, thread, what }
    }
}
