//! From acquire and hold spans to OTLP: pure, and the same for the same span every time.

use super::process::Process;
use crate::model::{
    AcquireSpan, HoldEnd, HoldSpan, Holder, LockDescription, Outcome, Owner, Precision, Remote,
    Session, SpanId, ThreadId, names,
};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, InstrumentationScope, KeyValue, any_value::Value,
};
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use std::collections::HashMap;
use std::sync::Arc;

/// Names of span events; not attributes, so not in [`names`].
pub mod events {
    /// The wait begins.
    pub const REQUESTED: &str = "lock.requested";
    /// Another has it.
    pub const CONTENDED: &str = "lock.contended";
    /// The wait ended with the lock.
    pub const ACQUIRED: &str = "lock.acquired";
    /// The lease ended.
    pub const EXPIRED: &str = "lock.expired";
    /// The server took it back.
    pub const REVOKED: &str = "lock.revoked";
    /// The holder let go.
    pub const RELEASED: &str = "lock.released";
}

/// W3C flags: sampled; and, for bits 8 and 9, known not to come from another host.
const FLAGS: u32 = 0x101;

/// What is told.
#[derive(Clone, Debug)]
pub enum Subject {
    /// A wait.
    Acquire(Arc<AcquireSpan>),
    /// A hold.
    Hold(Arc<HoldSpan>),
}

/// A span, and whose it is.
#[derive(Clone, Debug)]
pub struct Item {
    /// The span.
    pub subject: Subject,
    /// The process of its thread.
    pub process: Arc<Process>,
}

impl Item {
    /// OTLP spans it becomes: itself, and the root of its trace if no other brings that.
    pub fn spans(&self) -> u64 {
        match &self.subject {
            Subject::Acquire(_) => 2,
            Subject::Hold(span) => 1 + u64::from(own_trace(span)),
        }
    }

    /// Encoded size, rather too much than too little.
    pub fn weight(&self) -> usize {
        let (lock, thread) = match &self.subject {
            Subject::Acquire(span) => {
                let names = [&span.holder, &span.handed_over_by].into_iter().flatten();
                let stacks = span.stacks.iter().flat_map(|stacks| stacks.attributes());
                let stacks: usize = stacks.map(|(name, stack)| name.len() + stack.len() + 16).sum();
                (&span.lock, 48 + names.map(|holder| holder.name.len()).sum::<usize>() + stacks)
            }
            Subject::Hold(span) => (&span.lock, span.holder.name.len()),
        };
        let site = lock.call_site.as_ref().map_or(0, |site| {
            site.function.len() + site.source.as_ref().map_or(0, |(file, _)| file.len())
        });
        1500 + self.process.bytes + 5 * lock.name.len() + site + 2 * thread
    }
}

/// A hold that shares no trace with an acquire.
fn own_trace(span: &HoldSpan) -> bool {
    span.precision != Precision::Exact
}

/// One request for a batch.
pub fn request(items: &[Item], session: &Session) -> ExportTraceServiceRequest {
    let mut groups: Vec<(&Process, Vec<Span>)> = Vec::new();
    let mut index: HashMap<*const Process, usize> = HashMap::new();
    for item in items {
        let group = *index.entry(Arc::as_ptr(&item.process)).or_insert_with(|| {
            groups.push((&item.process, Vec::new()));
            groups.len() - 1
        });
        let spans = &mut groups[group].1;
        match &item.subject {
            Subject::Acquire(span) => {
                spans.push(root(
                    span.id,
                    &span.lock,
                    span.thread.id,
                    span.thread.name(),
                    (span.start, span.end),
                    session,
                ));
                spans.push(acquire(span, session));
            }
            Subject::Hold(span) => {
                if own_trace(span) {
                    let name = span.holder.name.clone();
                    spans.push(root(
                        span.id,
                        &span.lock,
                        span.holder.id,
                        name,
                        (span.start, span.end),
                        session,
                    ));
                }
                spans.push(hold(span, session));
            }
        }
    }
    ExportTraceServiceRequest {
        resource_spans: groups
            .into_iter()
            .map(|(process, spans)| resource_spans(process, spans))
            .collect(),
    }
}

fn resource_spans(process: &Process, spans: Vec<Span>) -> ResourceSpans {
    let scope = InstrumentationScope {
        name: "lockprobe".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        ..InstrumentationScope::default()
    };
    ResourceSpans {
        resource: Some(process.resource.clone()),
        scope_spans: vec![ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() }],
        ..ResourceSpans::default()
    }
}

/// Id of the root span of a trace: the halves of the trace id, mixed, so that it is no span's
/// that takes either of them for its own.
pub fn root_id(trace: u128) -> u64 {
    // The finalizer of splitmix64, https://prng.di.unimi.it/splitmix64.c
    let mut x = (trace as u64) ^ ((trace >> 64) as u64).rotate_left(32);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (x ^ (x >> 31)).max(1)
}

fn root(
    id: SpanId,
    lock: &LockDescription,
    thread: ThreadId,
    name: String,
    times: (u64, u64),
    session: &Session,
) -> Span {
    let id = SpanId { trace: id.trace, span: root_id(id.trace) };
    let mut span = bare(id, None, "lock", lock, times, session);
    span.attributes = Vec::with_capacity(7);
    describe(&mut span.attributes, lock);
    whose(&mut span.attributes, thread, name);
    span
}

fn acquire(span: &AcquireSpan, session: &Session) -> Span {
    let parent = Some(root_id(span.id.trace));
    let mut out = bare(span.id, parent, "acquire", &span.lock, (span.start, span.end), session);
    out.attributes = acquire_attributes(span);
    let (start, end) = (out.start_time_unix_nano, out.end_time_unix_nano);
    out.events = vec![event(events::REQUESTED, start)];
    // A server may have granted the lock at once; all other spans are of waits.
    if span.remote.as_ref().is_none_or(|remote| remote.requests > 1 || span.holder.is_some()) {
        out.events.push(event(events::CONTENDED, start));
    }
    if span.outcome == Outcome::Acquired {
        out.events.push(event(events::ACQUIRED, end));
    }
    if let Some(hold) = span.blocked_by {
        out.links.push(link(hold, "blocked_by"));
        if span.handed_over_by.is_some() {
            out.links.push(link(hold, "handed_over_by"));
        }
    }
    if span.outcome == Outcome::Abandoned {
        let why = span.error.map(|error| format!(" ({error})")).unwrap_or_default();
        out.status = Some(Status {
            message: format!("stopped waiting for {} without getting it{why}", span.lock.name),
            code: StatusCode::Error.into(),
        });
    }
    out
}

fn acquire_attributes(span: &AcquireSpan) -> Vec<KeyValue> {
    let mut list = Vec::with_capacity(22);
    describe(&mut list, &span.lock);
    list.push(text(names::LOCK_MODE, span.mode.name()));
    list.push(text(names::LOCK_OUTCOME, span.outcome.name()));
    list.push(int(names::LOCK_QUEUE_DEPTH, span.queue_depth.into()));
    list.push(int(names::LOCK_ATTEMPT_COUNT, span.sleeps.into()));
    if let Some(delay) = span.wake_delay {
        list.push(seconds(names::LOCK_WAKE_DELAY, delay));
    }
    if let Some(holder) = &span.holder {
        describe_holder(&mut list, holder);
    }
    if let Some(by) = &span.handed_over_by {
        list.push(int(names::LOCK_HANDED_OVER_BY_TID, by.id.tid.into()));
    }
    if let Some(error) = span.error {
        list.push(text(names::ERROR_TYPE, error));
    }
    if span.start_estimated {
        list.push(attribute(names::LOCK_WAIT_START_ESTIMATED, Value::BoolValue(true)));
    }
    let stacks = span.stacks.iter().flat_map(|stacks| stacks.attributes());
    list.extend(stacks.map(|(name, stack)| text(name, stack)));
    whose(&mut list, span.thread.id, span.thread.name());
    if let Some(remote) = &span.remote {
        describe_remote(&mut list, remote);
    }
    if let Some(site) = &span.lock.call_site {
        if !site.function.is_empty() {
            list.push(text(names::CODE_FUNCTION_NAME, &*site.function));
        }
        if let Some((file, line)) = &site.source {
            list.push(text(names::CODE_FILE_PATH, &**file));
            list.push(int(names::CODE_LINE_NUMBER, (*line).into()));
        }
    }
    list
}

fn hold(span: &HoldSpan, session: &Session) -> Span {
    let parent = Some(root_id(span.id.trace));
    let mut out = bare(span.id, parent, "hold", &span.lock, (span.start, span.end), session);
    let mut list = Vec::with_capacity(10);
    describe(&mut list, &span.lock);
    list.push(text(names::LOCK_HOLD_PRECISION, precision(span.precision)));
    list.push(text(names::LOCK_HOLD_END, span.ended.name()));
    list.push(text(names::LOCK_HOLDER_SOURCE, span.holder.source.name()));
    whose(&mut list, span.holder.id, span.holder.name.clone());
    if let Some(remote) = &span.remote {
        describe_remote(&mut list, remote);
    }
    out.attributes = list;
    let end = match span.ended {
        HoldEnd::Released | HoldEnd::ConnectionClosed => Some(events::RELEASED),
        HoldEnd::Expired | HoldEnd::Orphaned => Some(events::EXPIRED),
        HoldEnd::Revoked => Some(events::REVOKED),
        HoldEnd::Unknown => None,
    };
    out.events = end.map(|name| event(name, out.end_time_unix_nano)).into_iter().collect();
    out
}

/// Identity, name and times.
fn bare(
    id: SpanId,
    parent: Option<u64>,
    verb: &str,
    lock: &LockDescription,
    (start, end): (u64, u64),
    session: &Session,
) -> Span {
    Span {
        trace_id: id.trace.to_be_bytes().to_vec(),
        span_id: id.span.to_be_bytes().to_vec(),
        parent_span_id: parent.map(|id| id.to_be_bytes().to_vec()).unwrap_or_default(),
        flags: FLAGS,
        name: [verb, " ", &lock.name].concat(),
        kind: SpanKind::Internal.into(),
        start_time_unix_nano: session.unix_nanos(start),
        end_time_unix_nano: session.unix_nanos(end.max(start)),
        ..Span::default()
    }
}

fn describe(list: &mut Vec<KeyValue>, lock: &LockDescription) {
    list.push(text(names::LOCK_SYSTEM_NAME, lock.kind.system()));
    list.push(text(names::LOCK_TYPE, lock.kind.name()));
    list.push(text(names::LOCK_NAME, &*lock.name));
    list.push(text(names::LOCK_ID, lock.identity()));
    list.extend(lock.id.scope().map(|scope| text(names::LOCK_SCOPE, scope)));
    list.push(text(names::LOCK_CONFIDENCE, if lock.confirmed { "confirmed" } else { "candidate" }));
}

/// What locks of servers have beside.
fn describe_remote(list: &mut Vec<KeyValue>, remote: &Remote) {
    if let Some(server) = remote.server {
        list.push(text(names::SERVER_ADDRESS, server.ip().to_string()));
        list.push(int(names::SERVER_PORT, server.port().into()));
    }
    let hash = |owner: Owner| text(names::LOCK_OWNER_HASH, format!("{:016x}", owner.0));
    list.extend(remote.owner.map(hash));
    let lease = |lease: u64| seconds(names::LOCK_LEASE_DURATION, lease);
    list.extend(remote.lease.map(lease));
    if remote.renewals > 0 {
        list.push(int(names::LOCK_RENEWAL_COUNT, remote.renewals.into()));
    }
    let number = |n: u64| int(names::LOCK_FENCING_TOKEN, i64::try_from(n).unwrap_or(i64::MAX));
    list.extend(remote.fence.map(number));
    list.extend(remote.ahead.map(|ahead| int(names::LOCK_QUEUE_AHEAD, ahead.into())));
    list.extend(remote.said.as_deref().map(|said| text(names::LOCK_HOLDER_SAID, said)));
}

/// What is unknown is left out.
fn describe_holder(list: &mut Vec<KeyValue>, holder: &Holder) {
    if holder.id.pid != 0 {
        list.push(int(names::LOCK_HOLDER_PID, holder.id.pid.into()));
    }
    if holder.id.tid != 0 {
        list.push(int(names::LOCK_HOLDER_TID, holder.id.tid.into()));
    }
    if !holder.name.is_empty() {
        list.push(text(names::LOCK_HOLDER_NAME, &*holder.name));
    }
    list.push(text(names::LOCK_HOLDER_SOURCE, holder.source.name()));
}

fn whose(list: &mut Vec<KeyValue>, thread: ThreadId, name: String) {
    if thread.tid != 0 {
        list.push(int(names::THREAD_ID, thread.tid.into()));
    }
    if !name.is_empty() {
        list.push(text(names::THREAD_NAME, name));
    }
}

fn link(to: SpanId, kind: &str) -> Link {
    Link {
        trace_id: to.trace.to_be_bytes().to_vec(),
        span_id: to.span.to_be_bytes().to_vec(),
        attributes: vec![text(names::LOCK_LINK_TYPE, kind)],
        flags: FLAGS,
        ..Link::default()
    }
}

fn event(name: &str, at: u64) -> Event {
    Event { time_unix_nano: at, name: name.into(), ..Event::default() }
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.into(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

/// A text attribute.
pub fn text(key: &str, value: impl Into<String>) -> KeyValue {
    attribute(key, Value::StringValue(value.into()))
}

/// A whole number.
pub fn int(key: &str, value: i64) -> KeyValue {
    attribute(key, Value::IntValue(value))
}

fn seconds(key: &str, nanoseconds: u64) -> KeyValue {
    attribute(key, Value::DoubleValue(nanoseconds as f64 / 1e9))
}

fn precision(precision: Precision) -> &'static str {
    match precision {
        Precision::Exact => "exact",
        Precision::LowerBound => "lower_bound",
        Precision::Unknown => "unknown",
    }
}
