//! From acquire and hold spans to OTLP: pure, and the same for the same span every time.

use super::attributes;
use super::delivery::{self, Batch};
use super::lineage::Lineage;
use super::process::Process;
use super::wire::Wire;
use crate::model::{
    AcquireSpan, HoldEnd, HoldSpan, LockDescription, Outcome, Precision, Session, SpanId, Thread,
    names,
};
use std::collections::HashMap;
use std::ops::Range;
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
/// The same of a span whose parent comes from elsewhere.
const FLAGS_REMOTE: u32 = 0x301;

/// Tags of `Span`.
mod tag {
    pub const TRACE: u32 = 1;
    pub const SPAN: u32 = 2;
    pub const PARENT: u32 = 4;
    pub const NAME: u32 = 5;
    pub const KIND: u32 = 6;
    pub const START: u32 = 7;
    pub const END: u32 = 8;
    pub const ATTRIBUTES: u32 = 9;
    pub const EVENT: u32 = 11;
    pub const LINK: u32 = 13;
    pub const STATUS: u32 = 15;
    pub const FLAGS: u32 = 16;
}

/// What is told.
#[derive(Clone, Debug)]
pub enum Subject {
    /// A wait.
    Acquire(Arc<AcquireSpan>),
    /// A hold.
    Hold(Arc<HoldSpan>),
}

/// A span, whose it is, and where it belongs.
#[derive(Clone, Debug)]
pub struct Item {
    /// The span.
    pub subject: Subject,
    /// The process of its thread.
    pub process: Arc<Process>,
    /// Its trace.
    pub lineage: Lineage,
}

impl delivery::Item for Item {
    /// OTLP spans it becomes: itself, and the root of its trace if no other brings that.
    fn count(&self) -> u64 {
        if self.lineage.parent.is_some() {
            return 1;
        }
        match &self.subject {
            Subject::Acquire(_) => 2,
            Subject::Hold(span) => 1 + u64::from(own_trace(span)),
        }
    }

    fn weight(&self) -> usize {
        let (lock, thread) = match &self.subject {
            Subject::Acquire(span) => {
                let names = [&span.holder, &span.handed_over_by].into_iter().flatten();
                let stacks = span.stacks.iter().flat_map(|stacks| stacks.attributes());
                let stacks: usize = stacks.map(|(name, stack)| name.len() + stack.len() + 16).sum();
                (&span.lock, 48 + names.map(|holder| holder.name.len()).sum::<usize>() + stacks)
            }
            Subject::Hold(span) => (&span.lock, span.holder.name.len()),
        };
        1500 + self.process.resource.len() + lock_weight(lock) + 2 * thread
    }

    fn encode(items: &[Self], session: &Session) -> Vec<Batch> {
        let bytes = request(items, session);
        vec![Batch { bytes: bytes.into(), count: items.iter().map(delivery::Item::count).sum() }]
    }
}

/// Most bytes that what is said of a lock comes to, several times over.
pub fn lock_weight(lock: &LockDescription) -> usize {
    let site = lock.call_site.as_ref().map_or(0, |site| {
        site.function.len() + site.source.as_ref().map_or(0, |(file, _)| file.len())
    });
    5 * lock.name.len() + 2 * lock.address.as_deref().map_or(0, str::len) + site
}

/// A hold that shares no trace with an acquire.
fn own_trace(span: &HoldSpan) -> bool {
    span.precision != Precision::Exact
}

/// An `ExportTraceServiceRequest` for a batch.
pub fn request(items: &[Item], session: &Session) -> Vec<u8> {
    let mut writer = Writer { session, locks: HashMap::new(), described: Wire::default() };
    let mut wire = Wire::default();
    for (process, items) in delivery::by_process(items, |item| &item.process) {
        delivery::under(&mut wire, &process.resource, |spans| {
            items.into_iter().for_each(|item| writer.item(spans, item));
        });
    }
    wire.into_bytes()
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

/// Writes spans of one request.
struct Writer<'a> {
    session: &'a Session,
    /// What is said of each lock: of itself, and of its call site.
    locks: HashMap<*const LockDescription, (Range<usize>, Range<usize>)>,
    described: Wire,
}

/// What all spans have.
struct Frame<'a> {
    id: SpanId,
    lineage: Lineage,
    verb: &'a str,
    lock: &'a Arc<LockDescription>,
    times: (u64, u64),
}

impl Writer<'_> {
    fn item(&mut self, spans: &mut Wire, item: &Item) {
        const SPANS: u32 = 2;
        let alone = item.lineage.parent.is_none();
        match &item.subject {
            Subject::Acquire(span) => {
                if alone {
                    let times = (span.start, span.end);
                    spans.message(SPANS, |out| {
                        self.root(out, span.id, &span.lock, times, Whose::Thread(&span.thread));
                    });
                }
                spans.message(SPANS, |out| self.acquire(out, span, item.lineage));
            }
            Subject::Hold(span) => {
                if alone && own_trace(span) {
                    let times = (span.start, span.end);
                    spans.message(SPANS, |out| {
                        self.root(out, span.id, &span.lock, times, Whose::Holder(span));
                    });
                }
                spans.message(SPANS, |out| self.hold(out, span, item.lineage));
            }
        }
    }

    fn root(
        &mut self,
        out: &mut Wire,
        id: SpanId,
        lock: &Arc<LockDescription>,
        times: (u64, u64),
        whose: Whose<'_>,
    ) {
        let id = SpanId { trace: id.trace, span: root_id(id.trace) };
        let lineage = Lineage::default();
        self.begin(out, &Frame { id, lineage, verb: "lock ", lock, times }, None);
        whose.write(out);
    }

    fn acquire(&mut self, out: &mut Wire, span: &AcquireSpan, lineage: Lineage) {
        let times = (span.start, span.end);
        let frame = Frame { id: span.id, lineage, verb: "acquire ", lock: &span.lock, times };
        let (start, end) = self.begin(out, &frame, Some(root_id(span.id.trace)));
        acquire_attributes(out, span);
        let site = self.lock(&span.lock).1;
        out.fields(self.described.between(site));
        event(out, events::REQUESTED, start);
        // A server may have granted the lock at once; all other spans are of waits.
        if span.remote.as_ref().is_none_or(|remote| remote.requests > 1 || span.holder.is_some()) {
            event(out, events::CONTENDED, start);
        }
        if span.outcome == Outcome::Acquired {
            event(out, events::ACQUIRED, end);
        }
        if let Some(hold) = span.blocked_by {
            let hold = SpanId { trace: lineage.blocker.unwrap_or(hold.trace), ..hold };
            let mut list = out.attributes(tag::ATTRIBUTES);
            list.hex(names::LOCK_BLOCKED_BY_TRACE_ID, hold.trace.to_be_bytes());
            list.hex(names::LOCK_BLOCKED_BY_SPAN_ID, hold.span.to_be_bytes());
            link(out, hold, "blocked_by");
            if span.handed_over_by.is_some() {
                link(out, hold, "handed_over_by");
            }
        }
        if span.outcome == Outcome::Abandoned {
            const MESSAGE: u32 = 2;
            const CODE: u32 = 3;
            const ERROR: u64 = 2;
            out.message(tag::STATUS, |status| {
                let (open, why, close) = match span.error {
                    Some(why) => (" (", why, ")"),
                    None => ("", "", ""),
                };
                let without = " without getting it";
                let parts = ["stopped waiting for ", &span.lock.name, without, open, why, close];
                status.parts(MESSAGE, &parts);
                status.uint(CODE, ERROR);
            });
        }
    }

    fn hold(&mut self, out: &mut Wire, span: &HoldSpan, lineage: Lineage) {
        let times = (span.start, span.end);
        let frame = Frame { id: span.id, lineage, verb: "hold ", lock: &span.lock, times };
        let (_, end) = self.begin(out, &frame, Some(root_id(span.id.trace)));
        let mut list = out.attributes(tag::ATTRIBUTES);
        list.text(names::LOCK_HOLD_PRECISION, attributes::precision(span.precision));
        list.text(names::LOCK_HOLD_END, span.ended.name());
        list.text(names::LOCK_HOLDER_SOURCE, span.holder.source.name());
        attributes::whose(&mut list, span.holder.id, &span.holder.name);
        if let Some(remote) = &span.remote {
            attributes::remote(&mut list, remote);
        }
        match span.ended {
            HoldEnd::Released | HoldEnd::ConnectionClosed => event(out, events::RELEASED, end),
            HoldEnd::Expired | HoldEnd::Orphaned => event(out, events::EXPIRED, end),
            HoldEnd::Revoked => event(out, events::REVOKED, end),
            HoldEnd::Unknown => {}
        }
    }

    /// Identity, name, times and lock; returns the times as they were written.
    fn begin(&mut self, out: &mut Wire, frame: &Frame<'_>, root: Option<u64>) -> (u64, u64) {
        const INTERNAL: u64 = 1;
        let Frame { id, lineage, verb, lock, times: (start, end) } = frame;
        let parent = lineage.parent.map(|parent| parent.context.span);
        out.bytes(tag::TRACE, &lineage.trace(*id).to_be_bytes());
        out.bytes(tag::SPAN, &id.span.to_be_bytes());
        if let Some(parent) = parent.or(root) {
            out.bytes(tag::PARENT, &parent.to_be_bytes());
        }
        out.parts(tag::NAME, &[verb, &lock.name]);
        out.uint(tag::KIND, INTERNAL);
        let start = self.session.unix_nanos(*start);
        let end = self.session.unix_nanos(*end).max(start);
        out.fixed64(tag::START, start);
        out.fixed64(tag::END, end);
        out.fixed32(tag::FLAGS, if parent.is_some() { FLAGS_REMOTE } else { FLAGS });
        let range = self.lock(lock).0;
        out.fields(self.described.between(range));
        if let Some(parent) = lineage.parent {
            out.attributes(tag::ATTRIBUTES).text(names::LOCK_TRACE_CONTEXT_SOURCE, parent.source);
        }
        (start, end)
    }

    /// What is said of a lock, written once a request.
    fn lock(&mut self, lock: &Arc<LockDescription>) -> (Range<usize>, Range<usize>) {
        let described = &mut self.described;
        let entry = self.locks.entry(Arc::as_ptr(lock)).or_insert_with(|| {
            let start = described.len();
            attributes::lock(&mut described.attributes(tag::ATTRIBUTES), lock);
            let middle = described.len();
            if let Some(site) = &lock.call_site {
                attributes::call_site(&mut described.attributes(tag::ATTRIBUTES), site);
            }
            (start..middle, middle..described.len())
        });
        entry.clone()
    }
}

/// The thread of a root span.
enum Whose<'a> {
    Thread(&'a Thread),
    Holder(&'a HoldSpan),
}

impl Whose<'_> {
    fn write(&self, out: &mut Wire) {
        let mut list = out.attributes(tag::ATTRIBUTES);
        match self {
            Self::Thread(thread) => attributes::thread(&mut list, thread),
            Self::Holder(span) => {
                attributes::whose(&mut list, span.holder.id, &span.holder.name);
            }
        }
    }
}

fn acquire_attributes(out: &mut Wire, span: &AcquireSpan) {
    let mut list = out.attributes(tag::ATTRIBUTES);
    list.text(names::LOCK_MODE, span.mode.name());
    list.text(names::LOCK_OUTCOME, span.outcome.name());
    list.int(names::LOCK_QUEUE_DEPTH, span.queue_depth.into());
    list.int(names::LOCK_ATTEMPT_COUNT, span.sleeps.into());
    if let Some(delay) = span.wake_delay {
        list.seconds(names::LOCK_WAKE_DELAY, delay);
    }
    if let Some(holder) = &span.holder {
        attributes::holder(&mut list, holder);
    }
    if let Some(by) = &span.handed_over_by {
        list.int(names::LOCK_HANDED_OVER_BY_TID, by.id.tid.into());
    }
    if let Some(error) = span.error {
        list.text(names::ERROR_TYPE, error);
    }
    if span.start_estimated {
        list.flag(names::LOCK_WAIT_START_ESTIMATED, true);
    }
    if let Some(stacks) = &span.stacks {
        attributes::stacks(&mut list, stacks);
    }
    attributes::thread(&mut list, &span.thread);
    if let Some(remote) = &span.remote {
        attributes::remote(&mut list, remote);
    }
}

fn link(out: &mut Wire, to: SpanId, kind: &str) {
    const ATTRIBUTES: u32 = 4;
    const LINK_FLAGS: u32 = 6;
    out.message(tag::LINK, |link| {
        link.bytes(tag::TRACE, &to.trace.to_be_bytes());
        link.bytes(tag::SPAN, &to.span.to_be_bytes());
        link.attributes(ATTRIBUTES).text(names::LOCK_LINK_TYPE, kind);
        link.fixed32(LINK_FLAGS, FLAGS);
    });
}

fn event(out: &mut Wire, name: &str, at: u64) {
    const TIME: u32 = 1;
    const NAME: u32 = 2;
    out.message(tag::EVENT, |event| {
        event.fixed64(TIME, at);
        event.bytes(NAME, name.as_bytes());
    });
}
