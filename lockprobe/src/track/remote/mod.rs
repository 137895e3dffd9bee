//! Locks that servers keep: from the steps of clients to spans, and what is to be noticed.
//!
//! In: steps, in order of time. Out: acquire and hold spans, notices, and waits in the table the
//! graph is made of. Never: a backend, a clock.

mod attempts;
mod doubts;
mod herd;
mod holds;
mod spans;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use attempts::{Asking, Attempts};
use doubts::Doubt;
use herd::Herd;
use holds::{Granted, Hold, Holds};

use super::{LockTable, Ongoing, Span};
use crate::model::{
    HoldEnd, Holder, HolderSource, LockDescription, LockId, Mode, Notice, NoticeKind, Outcome,
    RemoteAct, RemoteStep, Said, SpanId, Thread,
};

/// Most locks with attempts or holds at a time.
const AT_MOST: usize = 65_536;
/// A lease is counted from when its grant is read, and may end so much earlier, nanoseconds.
const READ_LATE: u64 = 100_000_000;
/// A lock that was let go this long before it was given to another was not handed over, nanoseconds.
const HAND_OVER: u64 = 10_000_000_000;

/// What comes of a step.
#[derive(Debug, Default)]
pub struct Outcomes {
    /// Spans that are complete.
    pub spans: Vec<Span>,
    /// What is to be noticed.
    pub notices: Vec<Notice>,
}

/// The state of one lock.
struct Lock {
    description: Arc<LockDescription>,
    attempts: Attempts,
    holds: Holds,
    /// Holds in whose place another came.
    doubts: Vec<Doubt>,
    herd: Herd,
    /// Who let it go last, when, and that hold.
    let_go: Option<(Holder, u64, SpanId)>,
}

/// The state of all locks that servers keep, as far as clients on this host are concerned.
#[derive(Default)]
pub struct RemoteLocks {
    locks: HashMap<LockId, Lock>,
    evicted: u64,
}

fn name_of(thread: &Thread, source: HolderSource) -> Holder {
    Holder { id: thread.id, name: thread.name(), source, gone: false }
}

impl RemoteLocks {
    /// Locks that were forgotten since there were too many.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Takes the next step in order of time.
    pub fn apply(&mut self, step: RemoteStep, table: &mut LockTable, out: &mut Outcomes) {
        let id = step.lock.id;
        if self.locks.len() >= AT_MOST && !self.locks.contains_key(&id) {
            let before = self.locks.len();
            self.locks.retain(|_, lock| lock.is_busy());
            self.evicted += (before - self.locks.len()) as u64;
            if self.locks.len() >= AT_MOST {
                self.evicted += 1;
                return;
            }
        }
        let lock = self.locks.entry(id).or_insert_with(|| Lock {
            description: step.lock.clone(),
            attempts: Attempts::default(),
            holds: Holds::default(),
            doubts: Vec::new(),
            herd: Herd::default(),
            let_go: None,
        });
        // What was a candidate may be certain by now.
        if step.lock.confirmed && !lock.description.confirmed {
            lock.description = step.lock.clone();
        }
        lock.apply(step, table, out);
    }

    /// Everything before this time has been applied: what silence and clocks tell.
    pub fn tick(&mut self, now: u64, table: &mut LockTable, out: &mut Outcomes) {
        for lock in self.locks.values_mut() {
            for attempt in lock.attempts.take_if(|attempt| attempt.is_over(now)) {
                let end = attempt.last;
                lock.end_attempt(attempt, end, "gave_up", table, out);
            }
            for attempt in lock.attempts.iter_mut().filter(|a| a.in_flight && a.queued) {
                attempt.last = now;
            }
            lock.look(now, table);
            lock.doubted(now, out);
            lock.clocks(now, out);
            out.notices.extend(lock.herd.tick(now));
        }
    }

    /// A process ended: its attempts are over, and what it holds stays until the server ends it.
    pub fn process_gone(&mut self, pid: u32, now: u64, table: &mut LockTable, out: &mut Outcomes) {
        for lock in self.locks.values_mut() {
            for attempt in lock.attempts.take_if(|attempt| attempt.thread.id.pid == pid) {
                let (end, error) = attempt.at_exit(now);
                lock.end_attempt(attempt, end, error, table, out);
            }
            // What its server took back is nobody's orphan.
            for hold in lock.holds.take_ended(pid, now) {
                let deadline = hold.remote.deadline.unwrap_or(now);
                lock.end_hold(hold, deadline, HoldEnd::Expired, out);
            }
            for hold in lock.holds.of_process(pid) {
                hold.remote.gone = true;
                if hold.outlives_connection() {
                    out.notices.push(hold.notice(NoticeKind::Orphaned, now, None));
                }
            }
        }
    }

    /// Ends what goes on when observation ends.
    pub fn finish(&mut self, now: u64, table: &mut LockTable, out: &mut Outcomes) {
        for lock in self.locks.values_mut() {
            for attempt in lock.attempts.take_if(|_| true) {
                let mut span = lock.acquire(&attempt, now, table);
                span.outcome = Outcome::Waiting;
                out.spans.push(Span::Acquire(span));
            }
            lock.never_settled(out);
            for hold in lock.holds.take_all() {
                let (end, how) = match hold.remote.deadline {
                    Some(deadline) if deadline <= now => (deadline, HoldEnd::Expired),
                    _ => (now, HoldEnd::Unknown),
                };
                lock.end_hold(hold, end, how, out);
            }
        }
        // A map has no order; what it ends with has.
        out.spans.sort_by_key(|span| match span {
            Span::Acquire(span) => (span.start, span.id.span),
            Span::Hold(span) => (span.start, span.id.span),
        });
    }

    /// Holds whose holders have missed two renewals by a moment, while their leases go on.
    pub fn overdue(&self, moment: u64) -> impl Iterator<Item = &crate::model::RemoteHold> {
        let holds = self.locks.values().flat_map(|lock| lock.holds.iter());
        holds.filter(move |hold| hold.is_overdue(moment)).map(|hold| &hold.remote)
    }

    /// What is held now.
    pub fn holds(&self) -> impl Iterator<Item = &crate::model::RemoteHold> {
        self.locks.values().flat_map(|lock| lock.holds.iter().map(|hold| &hold.remote))
    }
}

impl Lock {
    fn is_busy(&self) -> bool {
        !self.attempts.is_empty() || !self.holds.is_empty() || !self.doubts.is_empty()
    }

    fn apply(&mut self, step: RemoteStep, table: &mut LockTable, out: &mut Outcomes) {
        let RemoteStep { time, thread, owner, server, connection, .. } = step;
        // Whoever prolongs a lease was in time if the server says so.
        if !matches!(step.act, RemoteAct::Renewed { .. }) {
            self.clocks(time, out);
        }
        if self.settle(&step, out) {
            return;
        }
        match step.act {
            RemoteAct::Asked { mode, lease, queued } => {
                self.asked(&Asking { time, thread, owner, server, mode, lease, queued }, table);
            }
            RemoteAct::Traced(context) => self.attempts.trace(&thread, owner, context),
            RemoteAct::Refused { holder, ahead } => {
                self.refused(time, &thread, owner, holder, ahead, table);
            }
            RemoteAct::Acquired { mode, lease, fence } => {
                let granted =
                    Granted { time, thread, owner, server, connection, mode, lease, fence };
                self.acquired(granted, table, out);
            }
            RemoteAct::Ended { error, holder } => {
                let Some(attempt) = self.attempts.find(&thread, owner) else { return };
                attempt.note(holder, &self.holds);
                if error == "gave_up" && attempt.requests > 0 {
                    // It may come back with another nonce: silence will tell.
                    (attempt.spent, attempt.in_flight, attempt.last) = (true, false, time);
                    return;
                }
                if let Some(attempt) = self.attempts.take(&thread, owner) {
                    self.end_attempt(attempt, time, error, table, out);
                }
            }
            RemoteAct::Renewed { lease } => self.holds.renewed(&self.description, &step, lease),
            RemoteAct::Released => self.over(&step, HoldEnd::Released, None, out),
            RemoteAct::ReleasedOnce => {}
            RemoteAct::ReleaseRefused => {
                self.over(&step, HoldEnd::Expired, Some(NoticeKind::LateRelease), out);
            }
            RemoteAct::Removed => self.removed(&step, out),
            RemoteAct::Lost { why } => {
                let end = if why == "revoked" { HoldEnd::Revoked } else { HoldEnd::Expired };
                self.over(&step, end, Some(NoticeKind::Lost), out);
            }
            RemoteAct::Disconnected => self.over(&step, HoldEnd::ConnectionClosed, None, out),
        }
        self.look(time, table);
    }

    fn asked(&mut self, asking: &Asking, table: &mut LockTable) {
        let Some((attempt, fresh)) = self.attempts.ask(asking) else { return };
        self.herd.asks(asking.time, (attempt.thread.id, attempt.since));
        if fresh {
            attempt.holder = self.holds.holder_for(attempt);
            if asking.queued {
                self.look(asking.time, table);
            }
        }
    }

    fn refused(
        &mut self,
        time: u64,
        thread: &Thread,
        owner: Option<crate::model::Owner>,
        holder: Option<Said>,
        ahead: Option<u32>,
        table: &mut LockTable,
    ) {
        let Some(attempt) = self.attempts.find(thread, owner) else { return };
        // One that is in the server's queue asks no more.
        attempt.in_flight = attempt.queued;
        attempt.last = time;
        attempt.refusals += 1;
        attempt.ahead = attempt.ahead.or(ahead);
        if attempt.holder.is_none() && holder.is_none() {
            attempt.holder = self.holds.holder_for(attempt);
        }
        attempt.note(holder, &self.holds);
        self.look(time, table);
    }

    /// Tells the table who waits, since when, and for whom.
    fn look(&mut self, now: u64, table: &mut LockTable) {
        let (description, holds) = (&self.description, &self.holds);
        for attempt in self.attempts.iter_mut().filter(|a| a.refusals > 0 || a.queued) {
            let current = holds.holder_for(attempt);
            // Where the server only answers when it gives the lock, the holder may come to light later.
            if attempt.queued && attempt.holder.is_none() {
                attempt.holder = current.clone();
            }
            table.begin_remote(Ongoing {
                lock: description.clone(),
                thread: attempt.thread,
                since: attempt.since,
                holder: attempt.holder.clone(),
                // What a server said of a holder on another host stays so until it says otherwise.
                current_holder: current.or_else(|| {
                    attempt.holder.clone().filter(|holder| holder.source == HolderSource::Server)
                }),
                mode: attempt.mode,
                estimated: false,
                confirmed: attempt.last.min(now),
                polled: false,
            });
        }
    }

    fn acquired(&mut self, granted: Granted, table: &mut LockTable, out: &mut Outcomes) {
        let attempt = self.attempts.take(&granted.thread, granted.owner);
        if self.holds.again(&granted) {
            // One owner may have a lock several times over.
            if let Some(attempt) = attempt {
                table.end_remote(attempt.thread.id, self.description.id);
            }
            return;
        }
        let mut span = match &attempt {
            Some(attempt) => self.acquire(attempt, granted.time, table),
            None => self.unseen(&granted),
        };
        span.outcome = Outcome::Acquired;
        if let Some((from, time, hold)) = &self.let_go
            && *time >= span.start
            && granted.time.saturating_sub(*time) < HAND_OVER
            && span.holder.is_some()
        {
            (span.handed_over_by, span.blocked_by) = (Some(from.clone()), Some(*hold));
        }
        let mode = if granted.mode == Mode::Unknown { span.mode } else { granted.mode };
        let granted = Granted { mode, ..granted };
        let mut doubtful = Vec::new();
        for other in self.holds.in_the_way(&granted) {
            let ended = other.has_ended(granted.time + READ_LATE);
            if ended && !other.overrun && !other.remote.gone {
                out.notices.push(other.notice(NoticeKind::Overrun, granted.time, None));
            }
            let end = match other.remote.gone {
                true => HoldEnd::Orphaned,
                false if ended => HoldEnd::Expired,
                false => {
                    doubtful.push(other);
                    continue;
                }
            };
            let until = other.remote.deadline.unwrap_or(granted.time).min(granted.time);
            self.end_hold_at(other, until, granted.time, end, out);
        }
        let hold = self.holds.add(&self.description, granted, span.id, attempt.as_ref());
        if granted.lease.is_none() && hold.should_expire() {
            out.notices.push(hold.notice(NoticeKind::Immortal, granted.time, None));
        }
        self.doubt(doubtful, span, granted.owner, out);
    }

    /// The hold a step is about is over.
    fn over(
        &mut self,
        step: &RemoteStep,
        end: HoldEnd,
        notice: Option<NoticeKind>,
        out: &mut Outcomes,
    ) {
        let Some(hold) = self.holds.take(step) else { return };
        if let Some(kind) = notice {
            // That the lease ended has been said where it has.
            let said = kind == NoticeKind::Lost && hold.overrun;
            if !said {
                out.notices.push(hold.notice(kind, step.time, None));
            }
        }
        let until = match (end, hold.remote.deadline) {
            (HoldEnd::Expired, Some(deadline)) => deadline.min(step.time),
            _ => step.time,
        };
        self.end_hold_at(hold, until, step.time, end, out);
    }

    /// The key was deleted, whoever it belonged to.
    fn removed(&mut self, step: &RemoteStep, out: &mut Outcomes) {
        for hold in self.holds.take_all() {
            let own = hold.remote.thread.id.pid == step.thread.id.pid;
            if !own {
                let other = Some((step.thread, step.owner));
                out.notices.push(hold.notice(NoticeKind::Removed, step.time, other));
            }
            let end = if own { HoldEnd::Released } else { HoldEnd::Revoked };
            self.end_hold(hold, step.time, end, out);
        }
    }

    fn end_hold(&mut self, hold: Hold, end: u64, how: HoldEnd, out: &mut Outcomes) {
        self.end_hold_at(hold, end, end, how, out);
    }

    /// A hold that ended, which came to light later.
    fn end_hold_at(&mut self, hold: Hold, end: u64, now: u64, how: HoldEnd, out: &mut Outcomes) {
        out.notices.push(hold.notice(NoticeKind::Over, now, None));
        let span = hold.span(end, how);
        self.herd.let_go(span.end, &hold.remote);
        if self.let_go.as_ref().is_none_or(|(_, time, _)| *time <= span.end) {
            self.let_go = Some((span.holder.clone(), span.end, span.id));
        }
        out.spans.push(Span::Hold(span));
    }

    /// Leases that ended by the clock.
    fn clocks(&mut self, now: u64, out: &mut Outcomes) {
        for hold in self.holds.newly_overrun(now) {
            let deadline = hold.remote.deadline.unwrap_or(now);
            if hold.remote.gone {
                continue;
            }
            out.notices.push(hold.notice(NoticeKind::Overrun, deadline, None));
        }
        for hold in self.holds.take_gone(now) {
            let deadline = hold.remote.deadline.unwrap_or(now);
            self.end_hold(hold, deadline, HoldEnd::Orphaned, out);
        }
    }
}
