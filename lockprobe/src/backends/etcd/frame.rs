//! Calls of gRPC over HTTP/2 (github.com/grpc/grpc, doc/PROTOCOL-HTTP2.md).

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;

use super::message::{Failure, Heard, Request, What};
use super::protobuf;
use crate::framing::hpack::Name;
use crate::framing::http2::{Frames, Said};
use crate::framing::{Bounded, Cut, Ears, Flow};
use crate::model::{Piece, Thread};

/// Longest message that is looked at.
const MESSAGE_AT_MOST: u32 = 32 << 10;

/// Most calls of a connection at once.
const STREAMS_AT_MOST: usize = 1024;

/// How long an answer may be heard before its request.
const EARLY: u64 = 50_000_000;

/// Most answers that are kept for a request to come.
const EARLY_AT_MOST: usize = 4;

/// What a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// A transaction.
    Txn,
    /// Reads keys.
    Range,
    /// Deletes keys.
    Delete,
    /// Grants a lease.
    Grant,
    /// Ends a lease.
    Revoke,
    /// Prolongs leases, a stream.
    KeepAlive,
    /// Asks how long a lease is.
    TimeToLive,
    /// Watches keys, a stream.
    Watch,
    /// The lock service's lock.
    Lock,
    /// The lock service's unlock.
    Unlock,
    /// Nothing to do with locks.
    Other,
    /// It was not heard.
    Unknown,
}

fn method(path: &[u8]) -> Method {
    match path {
        b"/etcdserverpb.KV/Txn" => Method::Txn,
        b"/etcdserverpb.KV/Range" => Method::Range,
        b"/etcdserverpb.KV/DeleteRange" => Method::Delete,
        b"/etcdserverpb.Lease/LeaseGrant" => Method::Grant,
        b"/etcdserverpb.Lease/LeaseRevoke" => Method::Revoke,
        b"/etcdserverpb.Lease/LeaseKeepAlive" => Method::KeepAlive,
        b"/etcdserverpb.Lease/LeaseTimeToLive" => Method::TimeToLive,
        b"/etcdserverpb.Watch/Watch" => Method::Watch,
        b"/v3lockpb.Lock/Lock" => Method::Lock,
        b"/v3lockpb.Lock/Unlock" => Method::Unlock,
        _ => Method::Other,
    }
}

/// Messages of one direction of a call.
#[derive(Clone, Debug, Default)]
struct Messages {
    flow: Flow,
    /// Something went by unheard: only what is whole in one frame is believed.
    exact: bool,
}

impl Messages {
    fn restart(&mut self) {
        self.flow.restart();
        self.exact = true;
    }

    /// Every message, without its prefix; how many could not be looked at.
    fn feed(&mut self, body: &[u8], mut each: impl FnMut(&[u8])) -> u64 {
        let mut unclear = 0;
        if self.exact {
            if !is_whole(body) {
                return 0;
            }
            self.flow.restart();
        }
        let sound = self.flow.feed(body, cut, |message| match message {
            [0, _, _, _, _, message @ ..] => each(message),
            _ => unclear += 1,
        });
        if !sound {
            self.restart();
            unclear += 1;
        }
        unclear
    }
}

fn cut(bytes: &[u8]) -> Cut {
    let &[compressed, a, b, c, d, ..] = bytes else { return Cut::More };
    match u32::from_be_bytes([a, b, c, d]) {
        _ if compressed > 1 => Cut::Broken,
        length if length > MESSAGE_AT_MOST => Cut::Head { head: 0, rest: 5 + u64::from(length) },
        length => Cut::Whole(5 + length as usize),
    }
}

/// Whether this is one or more messages and nothing else.
fn is_whole(mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        let Cut::Whole(length) = cut(bytes) else { return false };
        let Some(rest) = bytes.get(length..) else { return false };
        bytes = rest;
    }
    true
}

/// A call.
#[derive(Clone, Debug, Default)]
struct Stream {
    method: Option<Method>,
    asked: Option<(u64, Thread, Arc<Request>)>,
    answered: bool,
    ended: bool,
    status: Option<u32>,
    sent: Messages,
    received: Messages,
    early: Vec<(u64, Thread, Vec<u8>)>,
}

/// The calls of a connection.
#[derive(Debug)]
pub struct Calls {
    sent: Frames,
    received: Frames,
    streams: RefCell<Bounded<u32, Stream>>,
    /// The latest call, and those that were given up not long ago.
    highest: u32,
    reset: VecDeque<u32>,
    /// Not all was heard: there may be calls whose beginning was missed.
    partial: bool,
    unclear: u64,
    unpaired: u64,
}

/// Who is speaking.
#[derive(Clone, Copy)]
struct At {
    time: u64,
    thread: Thread,
    sent: bool,
}

impl Calls {
    /// Calls of a connection, heard from its beginning or joined late.
    pub fn new(joined: bool) -> Self {
        let frames = || if joined { Frames::joined() } else { Frames::default() };
        Self {
            sent: frames(),
            received: frames(),
            streams: RefCell::new(Bounded::new(STREAMS_AT_MOST)),
            highest: 0,
            reset: VecDeque::new(),
            partial: joined,
            unclear: 0,
            unpaired: 0,
        }
    }

    /// Whether frames were found.
    pub fn in_step(&self) -> bool {
        self.sent.in_step() || self.received.in_step()
    }

    /// What could not be used.
    pub fn ears(&self) -> Ears {
        Ears {
            malformed: self.sent.malformed + self.received.malformed,
            resumed: self.sent.resumed + self.received.resumed,
            unpaired: self.unpaired,
            unclear: self.unclear,
            evicted: self.streams.borrow().evicted,
        }
    }

    /// Takes a piece.
    pub fn piece(&mut self, piece: &Piece<'_>, out: &mut Vec<Heard>) {
        let Piece { time, thread, sent, bytes, missing, .. } = *piece;
        let at = At { time, thread, sent };
        let Self { streams, highest, reset, partial, unclear, .. } = self;
        let frames = if sent { &mut self.sent } else { &mut self.received };
        let missed = frames.miss(missing);
        let matters = |id: u32| {
            streams.borrow().get(&id).is_none_or(|stream| stream.method != Some(Method::Other))
        };
        let mut on = |id: u32, said: Said<'_>| {
            let mut streams = streams.borrow_mut();
            if streams.get(&id).is_none() {
                let known = *partial || (if sent { id >= *highest } else { id > *highest });
                let over = matches!(said, Said::End | Said::Reset | Said::Passed);
                if !known || over || reset.contains(&id) {
                    return;
                }
                streams.insert(id, Stream::new(*partial));
            }
            if sent {
                *highest = id.max(*highest);
            }
            let Some(stream) = streams.get_mut(&id) else { return };
            let over = stream.hear(at, id, said, unclear, out);
            if over {
                streams.remove(&id);
                if said == Said::Reset {
                    reset.truncate(31);
                    reset.push_front(id);
                }
            }
        };
        let sound = frames.feed(bytes, &matters, &mut on);
        if missed || !sound {
            self.partial = true;
            self.restart(sent);
        }
    }

    /// What was begun in this direction is not to be completed.
    fn restart(&mut self, sent: bool) {
        self.streams.borrow_mut().each(|stream| {
            if sent { &mut stream.sent } else { &mut stream.received }.restart();
        });
    }

    /// Everything up to this time was heard: answers nobody asked for are given up.
    pub fn tick(&mut self, now: u64) {
        let old = |_: &u32, stream: &Stream| {
            stream.early.last().is_some_and(|(time, _, _)| now.saturating_sub(*time) > EARLY)
        };
        for (_, stream) in self.streams.borrow_mut().take(old) {
            self.unpaired += stream.early.len() as u64;
        }
    }

    /// The connection is closed: what is not answered will not be.
    pub fn closed(&mut self, time: u64, thread: Thread, out: &mut Vec<Heard>) {
        let streams = self.streams.borrow_mut().take(|_, _| true);
        for (id, mut stream) in streams {
            stream.fail(time, thread, id, Failure::Cancelled, out);
        }
    }
}

impl Stream {
    fn new(partial: bool) -> Self {
        let messages = || Messages { exact: partial, ..Messages::default() };
        Self { sent: messages(), received: messages(), ..Self::default() }
    }

    /// Takes what was said. True: the call is over.
    fn hear(
        &mut self,
        at: At,
        id: u32,
        said: Said<'_>,
        unclear: &mut u64,
        out: &mut Vec<Heard>,
    ) -> bool {
        match (said, at.sent) {
            (Said::Field(Name::Path, path), true) => self.method = Some(method(path)),
            (Said::Field(Name::GrpcStatus, status), false) => {
                self.status = std::str::from_utf8(status).ok().and_then(|s| s.parse().ok());
            }
            (Said::Headers { .. }, true) => {
                self.method.get_or_insert(Method::Unknown);
                // It begins here, whatever went by before.
                self.sent.exact = false;
                self.received.exact = false;
            }
            (Said::Body(body), true) => {
                *unclear += self.ask(at, id, body, out);
                return self.ended;
            }
            (Said::Body(body), false) => *unclear += self.answer(at, id, body, out),
            (Said::Passed, true) => self.sent.restart(),
            (Said::Passed, false) => self.received.restart(),
            (Said::End, false) => {
                let failure = match self.status {
                    Some(4) => Failure::TimedOut,
                    Some(5) => Failure::NotFound,
                    Some(1) => Failure::Cancelled,
                    _ => Failure::Other,
                };
                self.fail(at.time, at.thread, id, failure, out);
                // An answer that is heard before its request waits for it.
                self.ended = true;
                return self.method.is_some() || self.early.is_empty();
            }
            (Said::Reset, _) => {
                let failure = if at.sent { Failure::Cancelled } else { Failure::Other };
                self.fail(at.time, at.thread, id, failure, out);
                return true;
            }
            _ => {}
        }
        false
    }

    fn ask(&mut self, at: At, id: u32, body: &[u8], out: &mut Vec<Heard>) -> u64 {
        let method = *self.method.get_or_insert(Method::Unknown);
        let Self { sent, asked, answered, early, .. } = self;
        let unclear = sent.feed(body, |message| {
            let Some(request) = protobuf::request(method, message) else { return };
            let request = Arc::new(request);
            *asked = Some((at.time, at.thread, request.clone()));
            *answered = false;
            let asked = (at.time, at.thread);
            let (time, thread, call) = (at.time, at.thread, u64::from(id));
            out.push(Heard { time, thread, call, asked, request, what: What::Asked });
        });
        for (time, thread, bytes) in std::mem::take(early) {
            if at.time.saturating_sub(time) <= EARLY {
                self.message(time, thread, id, &bytes, out);
            }
        }
        unclear
    }

    fn answer(&mut self, at: At, id: u32, body: &[u8], out: &mut Vec<Heard>) -> u64 {
        let mut messages = Vec::new();
        let unclear = self.received.feed(body, |message| messages.push(message.to_vec()));
        for message in messages {
            if self.asked.is_some() {
                self.message(at.time, at.thread, id, &message, out);
            } else if self.early.len() < EARLY_AT_MOST {
                self.early.push((at.time, at.thread, message));
            }
        }
        unclear
    }

    fn message(&mut self, time: u64, thread: Thread, id: u32, bytes: &[u8], out: &mut Vec<Heard>) {
        let Some((asked, asker, request)) = &self.asked else { return };
        let Some(answer) = protobuf::answer(request, bytes) else { return };
        self.answered = true;
        let (asked, request) = ((*asked, *asker), request.clone());
        let what = What::Answered(answer);
        out.push(Heard { time, thread, call: u64::from(id), asked, request, what });
    }

    fn fail(&mut self, time: u64, thread: Thread, id: u32, failure: Failure, out: &mut Vec<Heard>) {
        if self.answered {
            return;
        }
        let Some((asked, asker, request)) = self.asked.take() else { return };
        let what = What::Failed(failure);
        out.push(Heard { time, thread, call: u64::from(id), asked: (asked, asker), request, what });
    }
}
