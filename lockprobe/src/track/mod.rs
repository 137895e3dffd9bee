//! From lock events to spans: who has what, who waits for what, and since when.
//!
//! In: lock events. Out: acquire and hold spans, and the table the analyses read. Never: a
//! backend, a clock.

pub mod activities;
pub mod identity;
mod order;
mod queue;
pub mod remote;
mod table;
#[cfg(test)]
mod tests;
pub mod threads;
pub mod wait_for;

pub use order::Reorder;
pub use remote::Outcomes;
use remote::RemoteLocks;
pub use table::{Left, LockTable, Ongoing};

use std::collections::HashSet;
use std::sync::Arc;

use identity::{Role, span_id};

use crate::model::{
    AcquireSpan, HoldEnd, HoldSpan, Holder, LockDescription, LockEvent, Outcome, Precision,
    RemoteHold, RemoteStep, SpanId, ThreadId, What,
};

/// What tracking an event brings to light.
#[derive(Clone, Debug, PartialEq)]
pub enum Span {
    /// An attempt is over.
    Acquire(AcquireSpan),
    /// A hold is over.
    Hold(HoldSpan),
}

/// A wait that goes on is told of several times in this, however many there are; nanoseconds.
const LOST_AFTER: u64 = 120_000_000_000;

/// Builds spans; owns the table.
#[derive(Default)]
pub struct Tracker {
    table: LockTable,
    remote: RemoteLocks,
    expired: u64,
}

impl Tracker {
    /// The state of all locks, for reading.
    pub fn table(&self) -> &LockTable {
        &self.table
    }

    /// Takes the next step with a server's lock, in order of time.
    pub fn apply_remote(&mut self, step: RemoteStep, out: &mut Outcomes) {
        self.remote.apply(step, &mut self.table, out);
    }

    /// What clocks and silence tell of servers' locks: everything before this time was applied.
    pub fn tick_remote(&mut self, now: u64, out: &mut Outcomes) {
        self.remote.tick(now, &mut self.table, out);
    }

    /// A process ended that may hold servers' locks.
    pub fn process_gone(&mut self, pid: u32, now: u64, out: &mut Outcomes) {
        self.remote.process_gone(pid, now, &mut self.table, out);
    }

    /// Holds of servers' locks whose holders have missed renewals by a moment.
    pub fn overdue(&self, moment: u64) -> impl Iterator<Item = &RemoteHold> {
        self.remote.overdue(moment)
    }

    /// Holds of servers' locks that go on, as they are known.
    pub fn held_remotely(&self) -> impl Iterator<Item = &RemoteHold> {
        self.remote.holds()
    }

    /// Holds of servers' locks, in an order that is the same in every run.
    pub fn remote_holds(&self) -> impl Iterator<Item = (&Arc<LockDescription>, ThreadId)> {
        self.remote.held()
    }

    /// Ends what goes on with servers' locks when observation ends.
    pub fn finish_remote(&mut self, now: u64, out: &mut Outcomes) {
        self.remote.finish(now, &mut self.table, out);
    }

    /// Takes the next event in order of time; appends the spans it completes.
    pub fn apply(&mut self, event: LockEvent, out: &mut Vec<Span>) {
        let id = event.thread.id;
        match event.what {
            What::Contended { holder, mode, estimated } => {
                let (lock, thread, since) = (event.lock, event.thread, event.time);
                self.table.begin(Ongoing {
                    lock,
                    thread,
                    since,
                    current_holder: holder.clone(),
                    holder,
                    mode,
                    estimated,
                    confirmed: since,
                    polled: false,
                });
            }
            What::Polling { since, holder, mode } => {
                let (lock, thread, confirmed) = (event.lock, event.thread, event.time);
                let current_holder = holder.clone();
                let (estimated, polled) = (false, true);
                self.table.poll(Ongoing {
                    lock,
                    thread,
                    since,
                    holder,
                    current_holder,
                    mode,
                    estimated,
                    confirmed,
                    polled,
                });
            }
            What::Polled { .. } => {
                self.table.end_poll(id);
                out.extend(self.polled(event).map(Span::Acquire));
            }
            What::LeftBehind { holder, since } => {
                self.table.leave(&event.lock, holder, (event.thread, since));
            }
            What::OwnerDied { holder, since, died } => {
                let heir = (event.thread, since);
                self.table.hand_on(Left::handed_on(event.lock, holder, heir, died));
            }
            What::Cleared => self.table.clear(&event.lock.id),
            What::StillWaiting { holder } => self.table.confirm(id, event.time, holder),
            What::Acquired { from, wake_delay, sleeps } => {
                let end = End { time: event.time, outcome: Outcome::Acquired, error: None };
                let Some(mut span) = self.acquire(id, &end, sleeps) else { return };
                span.wake_delay = wake_delay;
                span.handed_over_by = from;
                if let Some(from) = &span.handed_over_by {
                    span.blocked_by = self.table.last_hold(&event.lock.id, from.id, span.end);
                }
                self.table.acquired(&event.lock.id, id, event.time, span.id);
                self.table.moved_on(&event.lock.id, id, false);
                out.push(Span::Acquire(span));
            }
            What::Abandoned { error, sleeps } => {
                let end = End { time: event.time, outcome: Outcome::Abandoned, error: Some(error) };
                out.extend(self.acquire(id, &end, sleeps).map(Span::Acquire));
            }
            What::Released { holder, since, not_before, precision } => {
                self.table.moved_on(&event.lock.id, holder.id, true);
                let seen = Seen { since, not_before, until: event.time, precision };
                out.push(Span::Hold(self.hold(&event.lock, holder, &seen)));
            }
            What::Gone => self.table.gone(id),
        }
    }

    /// Forgets waits that have not been seen to go on for long: the record of their end was lost.
    pub fn expire(&mut self, now: u64) {
        self.table.forget_the_cleared();
        self.expired += self.table.expire(now.saturating_sub(LOST_AFTER));
    }

    /// Threads ended.
    pub fn ended(&mut self, is_gone: impl Fn(ThreadId) -> bool) {
        self.table.ended(is_gone);
    }

    /// Lets go of what is remembered of the locks of processes that ended a while ago.
    pub fn let_go(&mut self, gone: &HashSet<u32>) {
        self.table.let_go(gone);
    }

    /// Waits whose end was never told.
    pub fn expired(&self) -> u64 {
        self.expired
    }

    /// Ends the attempts that were still waiting when observation ended.
    pub fn finish(&mut self, now: u64, out: &mut Vec<Span>) {
        let asleep = self.table.waiting().filter(|wait| !wait.polled);
        let waiting: Vec<ThreadId> = asleep.map(|w| w.thread.id).collect();
        for id in waiting {
            let end = End { time: now, outcome: Outcome::Waiting, error: None };
            out.extend(self.acquire(id, &end, 1).map(Span::Acquire));
        }
    }

    fn acquire(&mut self, id: ThreadId, end: &End, sleeps: u32) -> Option<AcquireSpan> {
        let Ongoing { lock, thread, since, holder, mode, estimated, .. } = self.table.end(id)?;
        let queue_depth = self.table.leave_queue(&lock.id, id, holder.as_ref(), (since, end.time));
        Some(AcquireSpan {
            id: span_id(&lock.id, id, since, Role::Acquire),
            mode,
            lock,
            thread,
            start: since,
            end: end.time.max(since),
            outcome: end.outcome,
            error: end.error,
            holder,
            handed_over_by: None,
            blocked_by: None,
            wake_delay: None,
            sleeps,
            queue_depth,
            start_estimated: estimated,
            stacks: None,
            remote: None,
        })
    }

    /// An attempt that did not sleep in the lock: it was never in the table.
    fn polled(&self, event: LockEvent) -> Option<AcquireSpan> {
        let LockEvent { time, lock, thread, what } = event;
        let What::Polled { since, holder, from, mode, outcome, error, attempts } = what else {
            return None;
        };
        let hold = from.as_ref().and_then(|from| self.table.last_hold(&lock.id, from.id, time));
        Some(AcquireSpan {
            id: span_id(&lock.id, thread.id, since, Role::Acquire),
            mode,
            queue_depth: 1 + self.table.waiters(&lock.id),
            lock,
            thread,
            start: since,
            end: time.max(since),
            outcome,
            error,
            holder,
            handed_over_by: from,
            blocked_by: hold,
            wake_delay: None,
            sleeps: attempts,
            start_estimated: false,
            stacks: None,
            remote: None,
        })
    }

    fn hold(
        &mut self,
        lock: &Arc<crate::model::LockDescription>,
        holder: Holder,
        seen: &Seen,
    ) -> HoldSpan {
        let Seen { since, not_before, until: end, precision } = *seen;
        let acquired = self.table.release(&lock.id, holder.id);
        // An exact hold belongs to the trace of the attempt it began with.
        let own = span_id(&lock.id, holder.id, since, Role::Hold);
        let id = match acquired {
            Some((_, attempt)) if precision == Precision::Exact => {
                SpanId { trace: attempt.trace, span: own.span }
            }
            _ => own,
        };
        // Others may have waited longer for this holder than the thread it woke.
        let earliest = self.table.waited_for(&lock.id, holder.id, end);
        let start = match earliest {
            Some(earliest) if precision == Precision::LowerBound && earliest >= not_before => {
                earliest.min(since)
            }
            _ => since,
        };
        let waiters = self.table.waiters(&lock.id);
        self.table.held(&lock.id, holder.id, end, id);
        HoldSpan {
            id,
            lock: lock.clone(),
            holder,
            start,
            end: end.max(start),
            ended: HoldEnd::Released,
            precision,
            waiters,
            remote: None,
        }
    }
}

/// What was seen of a hold.
struct Seen {
    since: u64,
    not_before: u64,
    until: u64,
    precision: Precision,
}

struct End {
    time: u64,
    outcome: Outcome,
    error: Option<&'static str>,
}
