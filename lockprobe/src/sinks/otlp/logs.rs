//! From contended attempts and findings to OTLP log records, each an event with its evidence.

use super::attributes;
use super::delivery::{self, Batch};
use super::process::Process;
use super::traces::lock_weight;
use super::wire::{Attributes, Wire};
use crate::model::{
    AcquireSpan, Activity, Edge, Finding, FindingKind, Inversion, LockDescription, LockId,
    LockOrder, Notice, Outcome, Remote, Session, names,
};
use std::sync::Arc;

/// What is told.
#[derive(Clone, Debug)]
pub enum Subject {
    /// An attempt that had to wait, or was in vain.
    Contention(Arc<AcquireSpan>),
    /// What was found, or is over.
    Finding(Arc<Finding>),
    /// A deadlock that is possible.
    Inversion(Arc<Inversion>),
}

/// An event, and whose it is.
pub struct Item {
    /// What.
    pub subject: Subject,
    /// The process it is told of.
    pub process: Arc<Process>,
    /// The same for people.
    pub body: String,
    /// Trace and span, where there is one.
    pub trace: Option<(u128, u64)>,
}

/// Whether others had the lock, for as long as matters.
pub fn contended(span: &AcquireSpan, min_wait: u64) -> bool {
    let Some(remote) = &span.remote else { return true };
    let others = remote.requests > 1
        || span.holder.is_some()
        || remote.said.is_some()
        || span.outcome != Outcome::Acquired;
    others && span.end.saturating_sub(span.start) >= min_wait
}

/// Whom a finding is told of: of a server's lock its holder, else who waits first.
pub fn subject_of(finding: &Finding) -> Option<(u32, LockId)> {
    if let Some(notice) = &finding.remote {
        return Some((notice.hold.thread.id.pid, notice.hold.lock.id));
    }
    finding.waits.first().map(|edge| (edge.waiter.id.pid, edge.lock.id))
}

/// Trace and span of the first wait that a finding is about. What a server keeps may be in a trace
/// that its request tells, and only the span knows.
pub fn span_of(finding: &Finding, process: &Process) -> Option<(u128, u64)> {
    let first = finding.waits.first().filter(|edge| edge.lock.address.is_none())?;
    let own = first.span?;
    Some((process.parent.map_or(own.trace, |parent| parent.trace), own.span))
}

/// Severities, as `SeverityNumber` has them.
#[derive(Clone, Copy)]
enum Severity {
    Info = 9,
    Warn = 13,
    Error = 17,
}

impl Severity {
    fn text(self) -> &'static str {
        match self {
            Self::Info => "INFO",
            Self::Warn => "WARN",
            Self::Error => "ERROR",
        }
    }

    fn of_finding(finding: &Finding) -> Self {
        use FindingKind::{
            Deadlock, ImmortalLock, LateRelease, LeaseLost, Orphan, Overlap, OwnerDied,
            SelfDeadlock, StaleHolder, ThunderingHerd,
        };
        match finding.kind {
            _ if finding.ended.is_some() => Self::Info,
            // Work that stands still for ever, or that was done without the lock.
            Deadlock | SelfDeadlock | Orphan | OwnerDied => Self::Error,
            Overlap | StaleHolder | LateRelease | LeaseLost => Self::Error,
            ImmortalLock | ThunderingHerd => Self::Info,
            _ => Self::Warn,
        }
    }
}

impl delivery::Item for Item {
    fn count(&self) -> u64 {
        1
    }

    fn weight(&self) -> usize {
        let edges = |edges: &[Edge]| -> usize {
            let edge = |edge: &Edge| {
                let stacks = edge.stacks.iter().flat_map(|stacks| stacks.attributes());
                let stacks: usize = stacks.map(|(name, stack)| name.len() + stack.len() + 16).sum();
                800 + lock_weight(&edge.lock) + stacks
            };
            edges.iter().map(edge).sum()
        };
        let own = match &self.subject {
            Subject::Contention(span) => {
                let stacks = span.stacks.iter().flat_map(|stacks| stacks.attributes());
                let stacks: usize = stacks.map(|(name, stack)| name.len() + stack.len() + 16).sum();
                lock_weight(&span.lock) + stacks
            }
            Subject::Finding(finding) => {
                let hold = finding.remote.as_ref().map(|notice| lock_weight(&notice.hold.lock));
                edges(&finding.waits) + hold.unwrap_or(0)
            }
            Subject::Inversion(found) => {
                let lock = |o: &Arc<LockOrder>| lock_weight(&o.from) + lock_weight(&o.to) + 1500;
                found.orders.iter().map(lock).sum()
            }
        };
        1500 + self.process.resource.len() + self.body.len() + own
    }

    fn encode(items: &[Self], session: &Session) -> Vec<Batch> {
        let mut wire = Wire::default();
        for (process, items) in delivery::by_process(items, |item| &item.process) {
            delivery::under(&mut wire, &process.resource, |out| {
                items.into_iter().for_each(|item| out.message(2, |out| record(out, item, session)));
            });
        }
        vec![Batch { bytes: wire.into_bytes().into(), count: items.len() as u64 }]
    }
}

/// Tags of `LogRecord`.
mod tag {
    pub const TIME: u32 = 1;
    pub const SEVERITY: u32 = 2;
    pub const SEVERITY_TEXT: u32 = 3;
    pub const BODY: u32 = 5;
    pub const ATTRIBUTES: u32 = 6;
    pub const FLAGS: u32 = 8;
    pub const TRACE: u32 = 9;
    pub const SPAN: u32 = 10;
    pub const OBSERVED: u32 = 11;
    pub const EVENT: u32 = 12;
}

fn record(out: &mut Wire, item: &Item, session: &Session) {
    const SAMPLED: u32 = 1;
    let (time, severity) = match &item.subject {
        Subject::Contention(span) if span.outcome == Outcome::Abandoned => {
            (span.end, Severity::Warn)
        }
        Subject::Contention(span) => (span.end, Severity::Info),
        Subject::Finding(finding) => {
            (finding.ended.unwrap_or(finding.found), Severity::of_finding(finding))
        }
        Subject::Inversion(found) => (found.found, Severity::Warn),
    };
    let time = session.unix_nanos(time);
    out.fixed64(tag::TIME, time);
    out.fixed64(tag::OBSERVED, time);
    out.uint(tag::SEVERITY, severity as u64);
    out.bytes(tag::SEVERITY_TEXT, severity.text().as_bytes());
    out.message(tag::BODY, |body| body.bytes(1, item.body.as_bytes()));
    if let Some((trace, span)) = item.trace {
        out.bytes(tag::TRACE, &trace.to_be_bytes());
        out.bytes(tag::SPAN, &span.to_be_bytes());
        out.fixed32(tag::FLAGS, SAMPLED);
    }
    match &item.subject {
        Subject::Contention(span) => {
            out.bytes(tag::EVENT, b"lock.contention");
            contention(&mut out.attributes(tag::ATTRIBUTES), span);
        }
        Subject::Finding(found) => {
            let what = if found.ended.is_some() { ".ended" } else { ".detected" };
            out.parts(tag::EVENT, &["lock.", found.kind.name(), what]);
            finding(&mut out.attributes(tag::ATTRIBUTES), found);
        }
        Subject::Inversion(found) => {
            out.bytes(tag::EVENT, b"lock.lock_order_inversion.detected");
            inversion(&mut out.attributes(tag::ATTRIBUTES), found);
        }
    }
}

/// Everything about one attempt.
fn contention(list: &mut Attributes<'_>, span: &AcquireSpan) {
    lock(list, &span.lock);
    list.text(names::LOCK_MODE, span.mode.name());
    list.text(names::LOCK_OUTCOME, span.outcome.name());
    list.seconds(names::LOCK_WAIT_DURATION, span.end.saturating_sub(span.start));
    if span.start_estimated {
        list.flag(names::LOCK_WAIT_START_ESTIMATED, true);
    }
    list.int(names::LOCK_QUEUE_DEPTH, span.queue_depth.into());
    list.int(names::LOCK_ATTEMPT_COUNT, span.sleeps.into());
    if let Some(holder) = &span.holder {
        attributes::holder(list, holder);
    }
    if let Some(by) = &span.handed_over_by {
        list.int(names::LOCK_HANDED_OVER_BY_TID, by.id.tid.into());
    }
    if let Some(error) = span.error {
        list.text(names::ERROR_TYPE, error);
    }
    attributes::thread(list, &span.thread);
    if let Some(stacks) = &span.stacks {
        attributes::stacks(list, stacks);
    }
    if let Some(remote) = &span.remote {
        attributes::remote(list, remote);
    }
}

/// What was found, with the evidence.
fn finding(list: &mut Attributes<'_>, finding: &Finding) {
    list.text(names::LOCK_FINDING_TYPE, finding.kind.name());
    list.hex(names::LOCK_FINDING_ID, finding.id.to_be_bytes());
    let until = finding.ended.unwrap_or(finding.found);
    list.seconds(names::LOCK_FINDING_DURATION, until.saturating_sub(finding.formed));
    let state = match finding.ended {
        Some(_) => "end",
        None if finding.kind.is_moment() => "moment",
        None => "begin",
    };
    list.text(names::LOCK_FINDING_STATE, state);
    list.int(names::LOCK_WAITERS, finding.waiters.into());
    if let Some(notice) = &finding.remote {
        return noticed(list, notice);
    }
    if let Some(edge) = finding.waits.first() {
        lock(list, &edge.lock);
    }
    if let Some(activity) = &finding.holder {
        doing(list, activity);
    }
    list.list(names::LOCK_WAITS, &finding.waits, |list, edge| wait(list, edge, until));
}

/// One wait, up to a moment.
fn wait(list: &mut Attributes<'_>, edge: &Edge, until: u64) {
    list.int(names::PROCESS_PID, edge.waiter.id.pid.into());
    attributes::thread(list, &edge.waiter);
    list.seconds(names::LOCK_WAIT_DURATION, until.saturating_sub(edge.since));
    if edge.estimated {
        list.flag(names::LOCK_WAIT_START_ESTIMATED, true);
    }
    lock(list, &edge.lock);
    attributes::holding(list, edge.holder, &edge.holder_name);
    if let Some(stacks) = &edge.stacks {
        attributes::stacks(list, stacks);
    }
}

fn lock(list: &mut Attributes<'_>, lock: &LockDescription) {
    attributes::lock(list, lock);
    if let Some(site) = &lock.call_site {
        attributes::call_site(list, site);
    }
}

/// The holder, and what it was doing.
fn doing(list: &mut Attributes<'_>, activity: &Activity) {
    attributes::holding(list, activity.id, &activity.name);
    list.text(names::THREAD_STATE, activity.doing.name());
    if !activity.call.is_empty() {
        list.text(names::THREAD_CALL, &activity.call);
    }
}

/// The hold that something was noticed of.
fn noticed(list: &mut Attributes<'_>, notice: &Notice) {
    let hold = &notice.hold;
    lock(list, &hold.lock);
    attributes::holding(list, hold.thread.id, &hold.thread.name());
    list.seconds(names::LOCK_HOLD_DURATION, notice.time.saturating_sub(hold.since));
    let remote = Remote {
        server: Some(hold.server),
        owner: hold.owner,
        lease: hold.lease,
        renewals: hold.renewals,
        fence: hold.fence,
        ..Remote::default()
    };
    attributes::remote(list, &remote);
    if let Some((thread, owner)) = &notice.other {
        list.map(names::LOCK_OTHER, |list| {
            list.int(names::PROCESS_PID, thread.id.pid.into());
            attributes::thread(list, thread);
            if let Some(owner) = owner {
                list.hex(names::LOCK_OWNER_HASH, owner.0.to_be_bytes());
            }
        });
    }
}

/// The circle.
fn inversion(list: &mut Attributes<'_>, found: &Inversion) {
    list.text(names::LOCK_FINDING_TYPE, "lock_order_inversion");
    list.text(names::LOCK_FINDING_STATE, "moment");
    list.list(names::LOCK_ORDERS, &found.orders, |list, order| {
        list.int(names::PROCESS_PID, order.pid.into());
        attributes::whose(list, order.thread, "");
        list.int(names::LOCK_ORDER_COUNT, i64::try_from(order.count).unwrap_or(i64::MAX));
        for (key, lock, site) in [
            (names::LOCK_ORDER_HELD, &order.from, &order.from_site),
            (names::LOCK_ORDER_ASKED_FOR, &order.to, &order.to_site),
        ] {
            list.map(key, |list| {
                attributes::lock(list, lock);
                if let Some(site) = site {
                    attributes::call_site(list, site);
                }
            });
        }
    });
}
