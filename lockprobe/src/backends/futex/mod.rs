//! Locks made of futexes: glibc's and Rust's mutexes and their relatives.
//!
//! Facts (held to the sources named): glibc's mutex has its lock word first and the owner's thread
//! id eight bytes on (nptl/pthread_mutex_lock.c, `__owner`); a thread that waited leaves the word at
//! 2, so its unlock always calls FUTEX_WAKE. Rust's `std::sync::Mutex` is one word without an owner
//! (library/std/src/sys/sync/mutex/futex.rs). A wake-up from inside FUTEX_WAKE on the same address
//! is the holder letting go; one from a timer is a time-out.

mod attempts;
mod callers;
mod idle;
mod locks;
mod naming;
mod owners;
mod parked;
mod people;
mod slices;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::Arc;

use attempts::{Attempt, Attempts};
use callers::Callers;
use idle::idles;
use locks::Locks;
use owners::{first_owner, had_it, is_seen, last_owner, left_by, released};
use people::People;
use slices::{Slices, sliced};

use crate::model::{
    Fact, Holder, HolderSource, LockDescription, LockEvent, LockKind, LockSeen, Look, Mode,
    Observation, ProcessEvent, ProcessSeen, StackFact, ThreadId, WaitSeen, WakeReason, Wakes, What,
};

/// How long after running again a thread may still turn out to sleep on, nanoseconds. The kernel
/// half says so within microseconds of processor time; what counts is that its record has been
/// read, which the poll every 20 ms sees to.
pub const GRACE: u64 = 40_000_000;

/// Something outside the kernel half that would help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// Which thread this id of the process's PID namespace is.
    Thread {
        /// Process.
        pid: u32,
        /// Thread id there.
        ns_tid: u32,
    },
    /// What the call site of this wait is.
    Site,
}

/// Counts of what could not be made sense of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skipped {
    /// Waits at call sites that are no locks.
    pub idle: u64,
    /// Waits at call sites nobody could classify and that do not behave like locks.
    pub unclassified: u64,
    /// Attempts forgotten because too many were open.
    pub evicted: u64,
}

/// The backend.
#[derive(Default)]
pub struct Futex {
    locks: Locks,
    people: People,
    callers: Callers,
    attempts: Attempts,
    slices: Slices,
    skipped: Skipped,
}

impl Futex {
    /// What it would help to know before [`Futex::observe`] sees this.
    pub fn wants(&self, observation: &Observation) -> Option<Want> {
        let (Observation::Wait(wait) | Observation::Waiting(wait)) = observation else {
            return None;
        };
        let wait = &*self.completed(wait);
        if !self.locks.knows(wait) {
            return Some(Want::Site);
        }
        let taking = self.locks.taking(wait)?;
        let pid = wait.thread.id.pid;
        // Who had it when the wait began, and who has it as last seen.
        let owners = [first_owner(&taking, wait), last_owner(&taking, wait)];
        let stranger =
            owners.into_iter().flatten().find(|&owner| !self.people.knows(pid, owner, wait.start));
        stranger.map(|ns_tid| Want::Thread { pid, ns_tid })
    }

    /// The wait with its caller, where that was not known when it began.
    fn completed<'a>(&self, wait: &'a WaitSeen) -> Cow<'a, WaitSeen> {
        match self.callers.of(wait) {
            Some(caller) => Cow::Owned(WaitSeen { caller, ..wait.clone() }),
            None => Cow::Borrowed(wait),
        }
    }

    /// The wait from its beginning, where the run time cuts it into slices.
    fn whole<'a>(&self, wait: &'a WaitSeen) -> Cow<'a, WaitSeen> {
        let taking = self.locks.taking(wait);
        let whole = taking.and_then(|t| self.slices.join(wait, &t, &self.attempts));
        whole.map_or(Cow::Borrowed(wait), Cow::Owned)
    }

    /// A first contention, after what was learnt of it.
    fn first(&mut self, seen: &LockSeen) {
        self.people.meet(&seen.thread);
        let caller = self.locks.caller(seen);
        if let Some(caller) = caller {
            self.callers.note(seen, caller);
        }
        self.locks.first(seen, caller);
    }

    /// Takes one observation; appends what it means. Events come out when they are certain, up to
    /// [`GRACE`] later, and in the order of their decision.
    pub fn observe(&mut self, observation: &Observation, out: &mut Vec<LockEvent>) {
        match observation {
            Observation::Wait(wait) => self.wait(&self.completed(wait), out),
            Observation::Resume(wait) => self.attempts.resume(wait),
            Observation::Waiting(wait) => self.waiting(&self.completed(wait), out),
            Observation::Lock(seen) => self.first(seen),
            Observation::Process(seen) => self.process(seen, out),
            Observation::Fact(Fact::Stack(stack)) => self.look(stack, out),
            Observation::Fact(fact) => self.learn(fact),
            Observation::Tick(now) => {
                self.people.forget_the_missing();
                self.settle(now.saturating_sub(GRACE), out);
            }
            _ => {}
        }
    }

    /// Brings out what is still held back: no more observations come.
    pub fn finish(&mut self, out: &mut Vec<LockEvent>) {
        self.settle(u64::MAX, out);
    }

    /// The lock at an address, for its counts; `None` when it is no lock.
    pub fn lock_at(
        &self,
        pid: u32,
        address: u64,
        site: (u64, u64),
    ) -> Option<Arc<LockDescription>> {
        self.locks.at(pid, address, site)
    }

    /// Whether a lock at this address has been given a name.
    pub fn names(&self, pid: u32, address: u64) -> bool {
        self.locks.names(pid, address)
    }

    /// The lock at an address, of this kind if nothing more is known of it.
    pub fn lock_of_kind(&self, pid: u32, address: u64, kind: LockKind) -> Arc<LockDescription> {
        self.locks.of_kind(pid, address, kind)
    }

    /// Whether the wait is for a lock, as far as is known.
    pub fn is_for_lock(&self, wait: &WaitSeen) -> bool {
        self.locks.taking(&self.completed(wait)).is_some()
    }

    /// Who has the lock of this wait, as the lock's own memory says.
    pub fn named_holder(&self, wait: &WaitSeen) -> Option<Holder> {
        let taking = self.locks.taking(&self.completed(wait))?;
        let holder = self.holder(wait, last_owner(&taking, wait)?, wait.time);
        (holder.id.tid != 0).then_some(holder)
    }

    /// How many programs a process had run before its present one.
    pub fn image(&self, pid: u32) -> u32 {
        self.locks.image(pid)
    }

    /// What could not be made sense of so far.
    pub fn skipped(&self) -> Skipped {
        Skipped { evicted: self.attempts.evicted, ..self.skipped }
    }

    fn learn(&mut self, fact: &Fact) {
        match fact {
            Fact::Site(site) => self.locks.learn_site(site),
            Fact::Lock(lock) => self.locks.learn_lock(lock),
            Fact::Thread(thread) => self.people.learn(thread),
            // Nothing about waits.
            _ => {}
        }
    }

    /// The stack of a waiting thread may say that it waits for no lock after all.
    fn look(&mut self, fact: &StackFact, out: &mut Vec<LockEvent>) {
        let Look::Asleep(stack) = &fact.look else { return };
        let Some(idle) = idles(stack).filter(|_| fact.thread == fact.waiter) else { return };
        if let Some(wait) = self.attempts.of(fact.waiter).filter(|wait| wait.start == fact.start) {
            self.locks.prove(wait, !idle);
        }
        if !idle {
            return;
        }
        let Some(wait) = self.attempts.is_none(fact.waiter, fact.start).cloned() else { return };
        if let Some(lock) = self.locks.describe(&wait) {
            out.push(LockEvent { time: wait.time, lock, thread: wait.thread, what: What::Gone });
        }
    }

    fn process(&mut self, seen: &ProcessSeen, out: &mut Vec<LockEvent>) {
        let id = seen.thread.id;
        match seen.event {
            ProcessEvent::Fork(_) => self.locks.renew(id.pid),
            ProcessEvent::Exec | ProcessEvent::Exit => {
                let ended = self.attempts.end_process(id.pid);
                ended.into_iter().for_each(|attempt| self.gone(&attempt, seen.time, out));
                self.people.forget(id.pid);
                self.callers.forget(id.pid);
                if seen.event == ProcessEvent::Exec {
                    self.locks.renew(id.pid);
                }
            }
            ProcessEvent::ThreadExit => {
                if let Some(attempt) = self.attempts.end_thread(id) {
                    self.gone(&attempt, seen.time, out);
                }
                self.people.forget_thread(&seen.thread, seen.time);
                self.callers.forget_thread(id);
            }
        }
    }

    /// A thread that ended: woken by nothing but its end, it never got the lock. Where another
    /// thread turns the process into a new program, that is what woke it.
    fn gone(&mut self, attempt: &Attempt, time: u64, out: &mut Vec<LockEvent>) {
        let wait = &attempt.wait;
        let killed = match wait.reason {
            WakeReason::Signal | WakeReason::Exit => true,
            WakeReason::Other => !wait.timed,
            WakeReason::Release | WakeReason::ThreadExit | WakeReason::Unknown => false,
        };
        let killed = killed || wait.ran == 0;
        let handed_on = wait.ran != 0 && left_by(self.locks.taking(wait), wait).is_some();
        if !killed || handed_on || attempt.idle {
            return self.ended(attempt, out);
        }
        let Some(lock) = self.lock_of(wait) else { return };
        let thread = wait.thread;
        self.contended(attempt, &lock, out);
        let what = What::Abandoned { error: "thread_exit", sleeps: wait.sleeps };
        out.push(LockEvent { time, lock: lock.clone(), thread, what });
        out.push(LockEvent { time, lock, thread, what: What::Gone });
    }

    fn wait(&mut self, wait: &WaitSeen, out: &mut Vec<LockEvent>) {
        self.people.meet(&wait.thread);
        if let Some(waker) = &wait.waker {
            self.people.meet(waker);
            if !wait.private {
                self.people.meet_abroad(wait.thread.id.pid, waker);
            }
        }
        self.locks.see(wait);
        let taking = self.locks.taking(wait);
        let wait = &*self.whole(wait);
        let attempt = self.attempt(wait);
        // That the lock was let go is certain, whatever becomes of the attempt.
        if let (Some(lock), Some(waker)) = (self.locks.describe(wait), &wait.waker)
            && !self.attempts.is_idle(wait)
        {
            self.contended(&attempt, &lock, out);
            let what = taking.and_then(|t| released(wait, waker, &t));
            let event = |what| LockEvent { time: wait.woken, lock, thread: *waker, what };
            out.extend(what.map(event));
            taking.iter().for_each(|taking| self.slices.note(wait, taking));
        }
        // An earlier attempt of this thread is over: it is at another one.
        if let Some(earlier) = self.attempts.ran(attempt) {
            self.ended(&earlier, out);
        }
    }

    fn waiting(&mut self, wait: &WaitSeen, out: &mut Vec<LockEvent>) {
        self.people.meet(&wait.thread);
        self.locks.see(wait);
        let wait = &*self.whole(wait);
        let attempt = self.attempt(wait);
        let first = attempt.holder.clone();
        if let Some(earlier) = self.attempts.asleep(attempt) {
            self.ended(&earlier, out);
        }
        if self.attempts.is_idle(wait) {
            return;
        }
        let Some(lock) = self.lock_of(wait) else { return };
        let taking = self.locks.taking(wait);
        let mode = taking.map_or(Mode::Unknown, |t| t.mode);
        let what = What::Contended { holder: first, mode, estimated: wait.preexisting };
        out.push(LockEvent { time: wait.start, lock: lock.clone(), thread: wait.thread, what });
        // Who has it now counts for the graph, not who had it when the attempt began.
        let owner = taking.and_then(|t| last_owner(&t, wait));
        let holder = owner.map(|owner| self.holder(wait, owner, wait.time));
        let what = What::StillWaiting { holder };
        out.push(LockEvent { time: wait.time, lock, thread: wait.thread, what });
    }

    /// Everything that ran again before this time and did not go back to sleep has decided.
    fn settle(&mut self, before: u64, out: &mut Vec<LockEvent>) {
        for attempt in self.attempts.settled(before) {
            self.ended(&attempt, out);
        }
    }

    fn lock_of(&mut self, wait: &WaitSeen) -> Option<Arc<LockDescription>> {
        let lock = self.locks.describe(wait);
        if lock.is_none() {
            match self.locks.is_idle(wait) {
                true => self.skipped.idle += 1,
                false => self.skipped.unclassified += 1,
            }
        }
        lock
    }

    /// The wait with the holder its lock's memory names now, while that can be looked up.
    fn attempt(&self, wait: &WaitSeen) -> Attempt {
        let owner = self.locks.taking(wait).and_then(|taking| first_owner(&taking, wait));
        let holder = owner.map(|owner| self.holder(wait, owner, wait.start));
        Attempt { wait: wait.clone(), holder, idle: false }
    }

    fn contended(&self, attempt: &Attempt, lock: &Arc<LockDescription>, out: &mut Vec<LockEvent>) {
        let wait = &attempt.wait;
        let taking = self.locks.taking(wait);
        let holder = match &attempt.holder {
            // Who it was may have become known by its end.
            Some(Holder { id: ThreadId { tid: 0, .. }, .. }) => taking
                .and_then(|taking| first_owner(&taking, wait))
                .map(|owner| self.holder(wait, owner, wait.start)),
            Some(holder) => Some(holder.clone()),
            // Whoever let it go had it when the sleep began, unless it changed hands since, which
            // would have woken a sleeper and been noted.
            None if wait.sleeps == 1 && wait.released_before <= wait.slept => {
                taking.filter(|t| had_it(t.kind, wait)).and_then(|_| self.waker(wait))
            }
            // A word of the thread's own says nothing of the lock's other waiters.
            None if taking.is_some_and(|t| sliced(t.kind) && is_seen(t.kind, wait))
                && self.slices.in_one_hand(wait) =>
            {
                self.waker(wait)
            }
            None => None,
        };
        let mode = taking.map_or(Mode::Unknown, |t| t.mode);
        let what = What::Contended { holder, mode, estimated: wait.preexisting };
        out.push(LockEvent { time: wait.start, lock: lock.clone(), thread: wait.thread, what });
    }

    fn holder(&self, wait: &WaitSeen, owner: u32, then: u64) -> Holder {
        self.people.holder(wait.thread.id.pid, owner, !wait.private, then)
    }

    fn waker(&self, wait: &WaitSeen) -> Option<Holder> {
        let waker = wait.waker.as_ref()?;
        Some(Holder { id: waker.id, name: waker.name(), source: HolderSource::Waker, gone: false })
    }

    /// An attempt is over: what came of it.
    fn ended(&mut self, attempt: &Attempt, out: &mut Vec<LockEvent>) {
        let wait = &attempt.wait;
        if attempt.idle {
            self.skipped.idle += 1;
            return;
        }
        let Some(lock) = self.lock_of(wait) else { return };
        self.contended(attempt, &lock, out);
        let wake_delay = (wait.woken != 0).then(|| wait.ran.saturating_sub(wait.woken));
        // The last of several slices may have been too short to be told: it got the lock then.
        let gives_up = wait.timed && !sliced(lock.kind);
        let left_by = left_by(self.locks.taking(wait), wait);
        let timed_out = gives_up && matches!(wait.reason, WakeReason::Other) && left_by.is_none();
        let sleeps = wait.sleeps;
        let (time, thread) = (wait.ran, wait.thread);
        let what = if timed_out {
            What::Abandoned { error: "timeout", sleeps }
        } else {
            let from = (lock.kind.wakes() != Wakes::Anybody).then(|| self.waker(wait)).flatten();
            What::Acquired { from: from.or(left_by.clone()), wake_delay, sleeps }
        };
        out.push(LockEvent { time, lock: lock.clone(), thread, what });
        if let Some(holder) = left_by {
            let what = What::OwnerDied { holder, since: wait.start, died: wait.woken };
            out.push(LockEvent { time, lock, thread, what });
        }
    }
}
