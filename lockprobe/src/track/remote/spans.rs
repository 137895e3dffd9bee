//! The acquire spans of servers' locks.

use std::sync::Arc;

use super::attempts::Attempt;
use super::holds::Granted;
use super::{Lock, Outcomes, RemoteLocks};
use crate::model::{AcquireSpan, LockDescription, LockId, Outcome, Remote, ThreadId};
use crate::track::identity::{Role, span_id};
use crate::track::{LockTable, Span};

impl RemoteLocks {
    /// Holds by those who are there, in order of identity.
    pub fn held(&self) -> impl Iterator<Item = (&Arc<LockDescription>, ThreadId)> {
        let mut locks: Vec<(&LockId, &Lock)> = self.locks.iter().collect();
        locks.sort_unstable_by_key(|(id, _)| **id);
        let holds = locks.into_iter().flat_map(|(_, lock)| lock.holds.iter());
        let there = holds.map(|hold| &hold.remote).filter(|hold| !hold.gone);
        there.map(|hold| (&hold.lock, hold.thread.id))
    }
}

impl Lock {
    /// The span of an attempt that ends now.
    pub(super) fn acquire(
        &self,
        attempt: &Attempt,
        end: u64,
        table: &mut LockTable,
    ) -> AcquireSpan {
        let id = self.description.id;
        table.end_remote(attempt.thread.id, id);
        let interval = (attempt.since, end);
        let queue = table.leave_queue(&id, attempt.thread.id, attempt.holder.as_ref(), interval);
        let remote = Remote {
            server: Some(attempt.server),
            owner: attempt.owner(),
            requests: attempt.requests,
            lease: attempt.lease,
            said: attempt.said.clone(),
            ahead: attempt.ahead,
            ..Remote::default()
        };
        AcquireSpan {
            id: span_id(&id, attempt.thread.id, attempt.since, Role::Acquire),
            lock: self.description.clone(),
            mode: attempt.mode,
            thread: attempt.thread,
            start: attempt.since,
            end: end.max(attempt.since),
            outcome: Outcome::Abandoned,
            error: None,
            holder: attempt.holder.clone(),
            handed_over_by: None,
            blocked_by: None,
            wake_delay: None,
            sleeps: attempt.requests,
            queue_depth: queue,
            start_estimated: false,
            stacks: None,
            remote: Some(Arc::new(remote)),
        }
    }

    /// An attempt is over without the lock.
    pub(super) fn end_attempt(
        &self,
        attempt: Attempt,
        end: u64,
        error: &'static str,
        table: &mut LockTable,
        out: &mut Outcomes,
    ) {
        let mut span = self.acquire(&attempt, end, table);
        // One that was in the server's queue waited, however short.
        let gave_up = error == "gave_up" && !attempt.queued;
        let once = attempt.requests <= 1 && attempt.refusals <= 1;
        let refused = once && (error == "refused" || gave_up);
        (span.outcome, span.error) = match refused {
            true => (Outcome::Refused, None),
            false => (Outcome::Abandoned, Some(error)),
        };
        out.spans.push(Span::Acquire(span));
    }

    /// The span of an acquisition that was asked for before observation began.
    pub(super) fn unseen(&self, granted: &Granted) -> AcquireSpan {
        let thread = granted.thread;
        let remote = Remote {
            server: Some(granted.server),
            owner: granted.owner,
            requests: 1,
            lease: granted.lease,
            ..Remote::default()
        };
        AcquireSpan {
            id: span_id(&self.description.id, thread.id, granted.time, Role::Acquire),
            lock: self.description.clone(),
            mode: granted.mode,
            thread,
            start: granted.time,
            end: granted.time,
            outcome: Outcome::Acquired,
            error: None,
            holder: None,
            handed_over_by: None,
            blocked_by: None,
            wake_delay: None,
            sleeps: 1,
            queue_depth: 1,
            start_estimated: true,
            stacks: None,
            remote: Some(Arc::new(remote)),
        }
    }
}
