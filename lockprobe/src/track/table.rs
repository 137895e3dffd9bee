//! The state of all locks: who waits, who has, who had.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::identity::{Role, span_id};
use super::queue::Queue;
use crate::model::{Holder, LockDescription, LockId, Mode, SpanId, Thread, ThreadId};

/// Most locks remembered; beyond it those nobody waits for are forgotten.
const AT_MOST: usize = 32_768;
/// Most waits that ended lately remembered, of all locks, 64 bytes each; beyond it the older half of
/// each lock's is forgotten.
const PAST_AT_MOST: usize = 65_536;
/// Most locks left behind that are remembered; no more are told of.
const LEFT_AT_MOST: usize = 4096;
/// Most threads told that were refused one of them.
const REFUSED_AT_MOST: usize = 16;

/// A wait that is going on.
#[derive(Clone, Debug, PartialEq)]
pub struct Ongoing {
    /// For which lock.
    pub lock: Arc<LockDescription>,
    /// Who.
    pub thread: Thread,
    /// Since when.
    pub since: u64,
    /// Who had the lock when the wait began.
    pub holder: Option<Holder>,
    /// Who has it, as last looked at.
    pub current_holder: Option<Holder>,
    /// How the thread would have the lock.
    pub mode: Mode,
    /// The start is an estimate.
    pub estimated: bool,
    /// When it was last seen to go on.
    pub confirmed: u64,
    /// The thread does not sleep for the lock but asks for it again and again.
    pub polled: bool,
}

impl Ongoing {
    /// The span it becomes when it ends.
    pub fn span(&self) -> SpanId {
        span_id(&self.lock.id, self.thread.id, self.since, Role::Acquire)
    }
}

/// A lock whose holder has ended without letting it go.
#[derive(Clone, Debug, PartialEq)]
pub struct Left {
    /// Which.
    pub lock: Arc<LockDescription>,
    /// Who had it.
    pub holder: Holder,
    /// Threads that were refused it, each since when, the first of them; of a lock that was handed
    /// on, who has it now.
    pub refused: Vec<(Thread, u64)>,
    /// How many threads were refused.
    pub count: u32,
    /// Since when it is so, as far as is known.
    pub since: u64,
    /// It was handed on to the one that waited.
    pub handed_on: bool,
    /// It is so no more.
    pub over: bool,
    /// And that has been there to see.
    told: bool,
}

impl Left {
    /// A lock that the end of its holder handed on to this thread, which had waited since then.
    pub fn handed_on(
        lock: Arc<LockDescription>,
        holder: Holder,
        heir: (Thread, u64),
        since: u64,
    ) -> Self {
        let (refused, handed_on) = (vec![heir], true);
        Self { lock, holder, refused, count: 1, since, handed_on, over: false, told: false }
    }
}

#[derive(Default)]
struct Lock {
    queue: Queue,
    waiting: BTreeSet<ThreadId>,
    /// Who acquired it last, when, and by which attempt.
    acquired: Option<(ThreadId, u64, SpanId)>,
    /// The hold that ended last: whose, when, which.
    held: Option<(ThreadId, u64, SpanId)>,
}

/// The table.
#[derive(Default)]
pub struct LockTable {
    waiting: BTreeMap<ThreadId, Ongoing>,
    /// Attempts at locks of servers. A thread may have many under way, and wait for a mutex in
    /// between.
    remote: BTreeMap<(ThreadId, LockId), Ongoing>,
    locks: HashMap<LockId, Lock>,
    /// Waits that ended lately, of all locks.
    past: usize,
    left: BTreeMap<LockId, Left>,
}

impl LockTable {
    /// Locks that were left behind, in order of identity.
    pub fn left_behind(&self) -> impl Iterator<Item = &Left> {
        self.left.values()
    }

    /// A lock that was left behind.
    pub fn left(&self, lock: &LockId) -> Option<&Left> {
        self.left.get(lock)
    }

    pub(super) fn leave(
        &mut self,
        lock: &Arc<LockDescription>,
        holder: Holder,
        (thread, since): (Thread, u64),
    ) {
        let other = |left: &Left| left.over || left.holder.id != holder.id;
        if self.left.get(&lock.id).is_some_and(other) {
            self.left.remove(&lock.id);
        }
        if self.left.len() >= LEFT_AT_MOST && !self.left.contains_key(&lock.id) {
            return;
        }
        let (lock, refused, handed_on) = (lock.clone(), Vec::new(), false);
        let id = lock.id;
        let (over, told) = (false, false);
        let fresh = || Left { lock, holder, refused, count: 0, since, handed_on, over, told };
        let left = self.left.entry(id).or_insert_with(fresh);
        if left.refused.iter().all(|(known, _)| known.id != thread.id) {
            left.count += 1;
            if left.refused.len() < REFUSED_AT_MOST {
                left.refused.push((thread, since));
            }
        }
    }

    /// Notes a lock that the end of its holder handed on.
    pub(super) fn hand_on(&mut self, left: Left) {
        if self.left.len() < LEFT_AT_MOST || self.left.contains_key(&left.lock.id) {
            self.left.insert(left.lock.id, left);
        }
    }

    /// Somebody lets a lock go, or has it now: if it is one that was handed on, to another.
    pub(super) fn moved_on(&mut self, lock: &LockId, by: ThreadId, released: bool) {
        if let Some(left) = self.left.get_mut(lock).filter(|left| left.handed_on) {
            left.over |= released == left.refused.iter().any(|(thread, _)| thread.id == by);
        }
    }

    /// Threads ended: what was handed on to them is theirs no more.
    pub(super) fn ended(&mut self, is_gone: impl Fn(ThreadId) -> bool) {
        for left in self.left.values_mut().filter(|left| left.handed_on) {
            left.over |= left.refused.iter().any(|(thread, _)| is_gone(thread.id));
        }
    }

    pub(super) fn clear(&mut self, lock: &LockId) {
        if let Some(left) = self.left.get_mut(lock) {
            left.over = true;
        }
    }

    /// Forgets what was over a while ago.
    pub(super) fn forget_the_cleared(&mut self) {
        self.left.retain(|_, left| !left.told);
        self.left.values_mut().for_each(|left| left.told = left.over);
    }

    /// Notes a thread that asks again and again, unless it is known to sleep for a lock.
    pub(super) fn poll(&mut self, wait: Ongoing) {
        let (id, time, holder) = (wait.thread.id, wait.confirmed, wait.current_holder.clone());
        if self.waiting.get(&id).is_none_or(|known| known.polled) {
            self.begin(wait);
            self.confirm(id, time, holder);
        }
    }

    /// It does so no more.
    pub(super) fn end_poll(&mut self, id: ThreadId) {
        if self.waiting.get(&id).is_some_and(|wait| wait.polled) {
            self.end(id);
        }
    }

    /// Waits going on, in order of thread.
    pub fn waiting(&self) -> impl Iterator<Item = &Ongoing> {
        self.waiting.values().chain(self.remote.values())
    }

    /// The wait of a thread, if it waits.
    pub fn wait_of(&self, id: ThreadId) -> Option<&Ongoing> {
        self.waiting.get(&id).or_else(|| self.remote_of(id).next())
    }

    /// The attempts of a thread at locks of servers.
    pub fn remote_of(&self, id: ThreadId) -> impl Iterator<Item = &Ongoing> {
        let all = self.remote.range((id, LockId::FIRST)..);
        all.take_while(move |((thread, _), _)| *thread == id).map(|(_, wait)| wait)
    }

    /// All that a thread waits for.
    pub fn waits_of(&self, id: ThreadId) -> impl Iterator<Item = &Ongoing> {
        self.waiting.get(&id).into_iter().chain(self.remote_of(id))
    }

    /// The wait of a thread for one lock.
    pub fn wait_for(&self, id: ThreadId, lock: &LockId) -> Option<&Ongoing> {
        let local = self.waiting.get(&id).filter(|wait| wait.lock.id == *lock);
        local.or_else(|| self.remote.get(&(id, *lock)))
    }

    /// Waits for one lock, in order of thread.
    pub fn waiting_for(&self, lock: &LockId) -> impl Iterator<Item = &Ongoing> {
        let threads = self.locks.get(lock).into_iter().flat_map(|l| &l.waiting);
        threads.filter_map(|id| self.wait_for(*id, lock))
    }

    /// Waits of these threads, for locks of servers not among them.
    pub fn asleep_in(&self, ids: RangeInclusive<ThreadId>) -> impl Iterator<Item = &Ongoing> {
        self.waiting.range(ids).map(|(_, wait)| wait)
    }

    /// How many waits are going on.
    pub fn waiting_count(&self) -> usize {
        self.waiting.len() + self.remote.len()
    }

    /// Notes an attempt at a server's lock, or who has it now.
    pub(super) fn begin_remote(&mut self, wait: Ongoing) {
        let key = (wait.thread.id, wait.lock.id);
        if let Some(known) = self.remote.get_mut(&key) {
            known.confirmed = wait.confirmed;
            known.current_holder = wait.current_holder;
            return;
        }
        if self.remote.len() < AT_MOST {
            self.lock(key.1).waiting.insert(key.0);
            self.remote.insert(key, wait);
        }
    }

    /// Notes its end.
    pub(super) fn end_remote(&mut self, thread: ThreadId, id: LockId) {
        if self.remote.remove(&(thread, id)).is_some() {
            self.lock(id).waiting.remove(&thread);
        }
    }

    pub(super) fn begin(&mut self, wait: Ongoing) {
        if let Some(ongoing) = self.waiting.get_mut(&wait.thread.id)
            && ongoing.lock.id == wait.lock.id
            && ongoing.since == wait.since
        {
            // The same wait, told again: more may be known of the lock.
            ongoing.lock = wait.lock;
            if ongoing.holder.as_ref().is_none_or(|h| h.id.tid == 0) {
                ongoing.holder = wait.holder.or(ongoing.holder.take());
            }
            return;
        }
        self.end(wait.thread.id);
        self.lock(wait.lock.id).waiting.insert(wait.thread.id);
        self.waiting.insert(wait.thread.id, wait);
    }

    pub(super) fn confirm(&mut self, id: ThreadId, time: u64, holder: Option<Holder>) {
        if let Some(ongoing) = self.waiting.get_mut(&id) {
            ongoing.confirmed = time;
            ongoing.current_holder = holder;
        }
    }

    pub(super) fn end(&mut self, id: ThreadId) -> Option<Ongoing> {
        let ongoing = self.waiting.remove(&id)?;
        self.lock(ongoing.lock.id).waiting.remove(&id);
        Some(ongoing)
    }

    /// Ends the waits last seen before a moment; how many there were.
    pub(super) fn expire(&mut self, before: u64) -> u64 {
        let lost = self.waiting.values().filter(|w| w.confirmed < before && w.since < before);
        let lost: Vec<ThreadId> = lost.map(|w| w.thread.id).collect();
        lost.iter().for_each(|id| drop(self.end(*id)));
        lost.len() as u64
    }

    /// Processes ended a while ago: nobody will come back to locks of theirs.
    pub(super) fn let_go(&mut self, gone: &HashSet<u32>) {
        self.locks.retain(|id, lock| match id {
            LockId::Private { pid, .. } | LockId::Process { pid, .. } => {
                !lock.waiting.is_empty() || !gone.contains(pid)
            }
            _ => true,
        });
        self.count_the_past();
    }

    fn count_the_past(&mut self) {
        self.past = self.locks.values().map(|lock| lock.queue.len()).sum();
    }

    pub(super) fn gone(&mut self, id: ThreadId) {
        self.end(id);
    }

    /// Locks of which something is remembered.
    pub fn remembered(&self) -> usize {
        self.locks.len()
    }

    /// Threads waiting for the lock now.
    pub fn waiters(&self, lock: &LockId) -> u32 {
        self.locks.get(lock).map_or(0, |l| l.waiting.len() as u32)
    }

    /// Notes a wait that ended, and tells how many waited when it began, itself included.
    pub(super) fn leave_queue(
        &mut self,
        id: &LockId,
        thread: ThreadId,
        holder: Option<&Holder>,
        (start, end): (u64, u64),
    ) -> u32 {
        if matches!(id, LockId::Process { .. }) {
            return 1; // whatever else waits may wait for another lock
        }
        let others = self.waiting_for(id).filter(|w| w.since <= start && w.thread.id != thread);
        let now = others.count() as u32;
        let lock = self.lock(*id);
        let depth = 1 + now + lock.queue.waiting_at(start, thread);
        if lock.queue.ended(thread, holder.map(|h| h.id), start, end) {
            self.past += 1;
        }
        if self.past > PAST_AT_MOST {
            self.locks.values_mut().for_each(|lock| lock.queue.halve());
            self.count_the_past();
        }
        depth
    }

    pub(super) fn acquired(&mut self, lock: &LockId, thread: ThreadId, time: u64, attempt: SpanId) {
        self.lock(*lock).acquired = Some((thread, time, attempt));
    }

    /// Takes the acquisition of this holder out: when, and by which attempt.
    pub(super) fn release(&mut self, lock: &LockId, holder: ThreadId) -> Option<(u64, SpanId)> {
        let acquired = &mut self.lock(*lock).acquired;
        match *acquired {
            Some((thread, time, attempt)) if thread == holder => {
                *acquired = None;
                Some((time, attempt))
            }
            _ => None,
        }
    }

    /// Notes a hold that ended.
    pub(super) fn held(&mut self, lock: &LockId, holder: ThreadId, end: u64, hold: SpanId) {
        self.lock(*lock).held = Some((holder, end, hold));
    }

    /// The hold of this thread that ended last, no later than a moment.
    pub(super) fn last_hold(&self, lock: &LockId, holder: ThreadId, before: u64) -> Option<SpanId> {
        let (thread, end, hold) = self.locks.get(lock)?.held?;
        (thread == holder && end <= before).then_some(hold)
    }

    /// Since when threads have been waiting for this holder without a break until a moment.
    pub(super) fn waited_for(&self, lock: &LockId, holder: ThreadId, moment: u64) -> Option<u64> {
        let is_it = |h: &Option<Holder>| h.as_ref().is_some_and(|h| h.id == holder);
        let ongoing = self.waiting_for(lock).filter(|w| is_it(&w.holder));
        let past = self.locks.get(lock).and_then(|l| l.queue.earliest_for(holder, moment));
        ongoing.map(|w| w.since).chain(past).min()
    }

    fn lock(&mut self, id: LockId) -> &mut Lock {
        if self.locks.len() >= AT_MOST && !self.locks.contains_key(&id) {
            self.locks.retain(|_, lock| !lock.waiting.is_empty());
            self.count_the_past();
        }
        self.locks.entry(id).or_default()
    }
}
