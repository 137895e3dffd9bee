//! Holds in whose place another was granted, before it is known how they ended.
//!
//! A server that is told to let go gives the lock to the next one at once, who may hear of it before
//! the answer to the release has arrived. So that two had the lock is not said before there was time
//! for that answer.

use super::holds::Hold;
use super::{Lock, Outcomes, Span};
use crate::model::{AcquireSpan, HoldEnd, NoticeKind, Owner, RemoteAct, RemoteStep, Thread};

/// How long an answer may take, nanoseconds: steps are told 120 ms after they happened, and a server
/// that takes longer than half a second to let go is not usual.
const ANSWERED_WITHIN: u64 = 620_000_000;
/// Most holds of one lock that are in doubt.
const AT_MOST: usize = 64;

/// One such hold.
#[derive(Debug)]
pub struct Doubt {
    hold: Hold,
    /// When the other was granted the lock.
    since: u64,
    /// The other.
    other: (Thread, Option<Owner>),
    /// The other's attempt, told when it is known who it has the lock from.
    span: Option<AcquireSpan>,
}

impl Doubt {
    fn is_about(&self, step: &RemoteStep) -> bool {
        let (hold, pid) = (&self.hold.remote, step.thread.id.pid);
        let others = self.other.0.id.pid != pid || self.other.1 == step.owner;
        match (&step.act, step.owner) {
            // Whoever removes says nothing of owners.
            (RemoteAct::Removed, _) => hold.thread.id.pid == pid && others,
            (_, Some(owner)) => hold.owner == Some(owner),
            (_, None) => {
                hold.thread.id.pid == pid && (hold.connection == step.connection || others)
            }
        }
    }
}

impl Lock {
    /// Puts holds in doubt since another was granted the lock; tells of its attempt now or later.
    pub(super) fn doubt(
        &mut self,
        holds: Vec<Hold>,
        span: AcquireSpan,
        owner: Option<Owner>,
        out: &mut Outcomes,
    ) {
        let (since, other) = (span.end, (span.thread, owner));
        let mut span = Some(span);
        for hold in holds {
            if self.doubts.len() >= AT_MOST {
                let first = self.doubts.remove(0);
                self.overlaps(first, out);
            }
            self.doubts.push(Doubt { hold, since, other, span: span.take() });
        }
        out.spans.extend(span.map(Span::Acquire));
    }

    /// Whether a step is about a hold in doubt, which is settled then.
    pub(super) fn settle(&mut self, step: &RemoteStep, out: &mut Outcomes) -> bool {
        let (end, notice) = match &step.act {
            RemoteAct::Released | RemoteAct::Removed => (HoldEnd::Released, None),
            RemoteAct::ReleaseRefused => (HoldEnd::Expired, Some(NoticeKind::LateRelease)),
            RemoteAct::Lost { why: "revoked" } => (HoldEnd::Revoked, Some(NoticeKind::Lost)),
            RemoteAct::Lost { .. } => (HoldEnd::Expired, Some(NoticeKind::Lost)),
            RemoteAct::Disconnected => (HoldEnd::ConnectionClosed, None),
            // The answer to a renewal may come as late as that to a release.
            RemoteAct::Renewed { .. } | RemoteAct::ReleasedOnce => {
                return self.doubts.iter().any(|doubt| doubt.is_about(step));
            }
            _ => return false,
        };
        let Some(at) = self.doubts.iter().position(|doubt| doubt.is_about(step)) else {
            return false;
        };
        let Doubt { hold, since, span, other } = self.doubts.remove(at);
        if let Some(kind) = notice
            && !(kind == NoticeKind::Lost && hold.overrun)
        {
            out.notices.push(hold.notice(kind, step.time, None));
        }
        // That the server let it go says that it had been his until then, and nothing else does.
        if !matches!(end, HoldEnd::Released | HoldEnd::ConnectionClosed) {
            out.notices.push(hold.notice(NoticeKind::Overlap, since, Some(other)));
        }
        let ended = hold.span(since.min(step.time), end);
        if let Some(mut span) = span {
            if span.holder.is_some() && ended.end >= span.start {
                span.handed_over_by = Some(ended.holder.clone());
                span.blocked_by = Some(ended.id);
            }
            self.end_hold_at(hold, ended.end, step.time, end, out);
            out.spans.push(Span::Acquire(span));
        } else {
            self.end_hold_at(hold, ended.end, step.time, end, out);
        }
        true
    }

    /// What was in doubt for long enough: the other had the lock as well.
    pub(super) fn doubted(&mut self, now: u64, out: &mut Outcomes) {
        let is_over = |doubt: &mut Doubt| now.saturating_sub(doubt.since) >= ANSWERED_WITHIN;
        let over: Vec<Doubt> = self.doubts.extract_if(.., is_over).collect();
        over.into_iter().for_each(|doubt| self.overlaps(doubt, out));
    }

    /// Observation ends before that is known.
    pub(super) fn never_settled(&mut self, out: &mut Outcomes) {
        for Doubt { hold, since, span, .. } in std::mem::take(&mut self.doubts) {
            self.end_hold(hold, since, HoldEnd::Unknown, out);
            out.spans.extend(span.map(Span::Acquire));
        }
    }

    fn overlaps(&mut self, doubt: Doubt, out: &mut Outcomes) {
        let Doubt { hold, since, other, span } = doubt;
        out.notices.push(hold.notice(NoticeKind::Overlap, since, Some(other)));
        self.end_hold(hold, since, HoldEnd::Revoked, out);
        out.spans.extend(span.map(Span::Acquire));
    }
}
