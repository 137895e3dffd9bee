//! Conversations of HTTP/1.1: requests and their answers (RFC 9112).

use std::cell::Cell;
use std::collections::VecDeque;

use super::flow::{Cut, Flow};
use crate::model::{Piece, Thread};

/// Longest body that is looked at.
const BODY_AT_MOST: usize = 32 << 10;

/// Longest head.
const HEAD_AT_MOST: usize = 16 << 10;

/// Most requests on their way at once.
const OWED_AT_MOST: usize = 64;

/// How long an answer may be heard before its request, where two threads are at work.
const EARLY: u64 = 50_000_000;

/// What was heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// When what completes it was sent or received.
    pub time: u64,
    /// Who did.
    pub thread: Thread,
    /// Request this is, or answers; counts from 0 on each connection.
    pub request: u64,
    /// What.
    pub what: What,
}

/// A request, or an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A request.
    Asked {
        /// `POST` and the like.
        method: Box<str>,
        /// Path and query.
        target: Box<str>,
        /// All of the body; `None`: it is too long to be looked at.
        body: Option<Vec<u8>>,
    },
    /// A part of an answer that comes in chunks.
    Chunk(Vec<u8>),
    /// An answer, complete.
    Answered {
        /// Status.
        status: u16,
        /// All of the body; `None`: it is too long to be looked at.
        body: Option<Vec<u8>>,
        /// It came in chunks, which were heard before.
        chunked: bool,
    },
}

/// What comes next on one side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Next {
    #[default]
    Head,
    Body(u64),
    Size,
    Chunk(u64),
    Trailer,
    Close,
}

/// One direction.
#[derive(Clone, Debug, Default)]
struct Side {
    flow: Flow,
    next: Cell<Next>,
    open: Option<Open>,
}

/// A message whose end has not come.
#[derive(Clone, Debug, Default)]
struct Open {
    method: Box<str>,
    target: Box<str>,
    status: u16,
    wanted: bool,
    chunked: bool,
    /// `None` once it is too long.
    body: Option<Vec<u8>>,
}

#[derive(Clone, Copy, Debug)]
struct Owed {
    request: u64,
    wanted: bool,
    /// The answer has no body, whatever its head says.
    head_only: bool,
}

#[derive(Clone, Debug)]
struct Early {
    time: u64,
    thread: Thread,
    what: Vec<What>,
}

/// A conversation on one connection.
#[derive(Clone, Debug, Default)]
pub struct Talk {
    sent: Side,
    received: Side,
    owed: VecDeque<Owed>,
    early: VecDeque<Early>,
    requests: u64,
    /// It was joined late and no request was seen from its beginning.
    waiting: bool,
    /// Times it was joined anew.
    pub resumed: u64,
    /// Heads that were none.
    pub malformed: u64,
    /// Answers to nothing, and requests without an answer.
    pub unpaired: u64,
}

impl Talk {
    /// A conversation; of one that was joined late nothing is understood until a request begins.
    pub fn new(joined: bool) -> Self {
        Self { waiting: joined, ..Self::default() }
    }

    /// Requests whose answer is still to come.
    pub fn unanswered(&self) -> impl Iterator<Item = u64> + '_ {
        self.owed.iter().filter(|owed| owed.wanted).map(|owed| owed.request)
    }

    /// Takes a piece. `wants` tells by method and target which requests are to be heard.
    pub fn piece(
        &mut self,
        piece: &Piece<'_>,
        wants: impl Fn(&str, &str) -> bool,
        out: &mut Vec<Heard>,
    ) {
        if piece.sent && piece.settled {
            self.settle();
        }
        let side = if piece.sent { &mut self.sent } else { &mut self.received };
        side.flow.miss(piece.missing);
        if self.waiting || side.flow.is_broken() || (!piece.sent && self.sent.flow.is_broken()) {
            return;
        }
        let sound = match piece.sent {
            true => self.ask(piece, wants, out),
            false => self.answer(piece, out),
        };
        self.malformed += u64::from(!sound);
    }

    /// A request begins and nothing is owed.
    fn settle(&mut self) {
        let sides = [&mut self.sent, &mut self.received];
        let broken = sides.into_iter().any(|side| {
            let broken = side.flow.is_broken();
            if broken || !side.flow.is_between() || side.next.get() != Next::Head {
                *side = Side::default();
            }
            broken
        });
        self.resumed += u64::from(broken);
        self.unpaired += self.owed.len() as u64;
        self.owed.clear();
        self.waiting = false;
    }

    /// Everything up to this time was heard.
    pub fn tick(&mut self, now: u64) {
        while self.early.front().is_some_and(|early| now.saturating_sub(early.time) > EARLY) {
            self.early.pop_front();
            self.unpaired += 1;
        }
    }

    fn ask(
        &mut self,
        piece: &Piece<'_>,
        wants: impl Fn(&str, &str) -> bool,
        out: &mut Vec<Heard>,
    ) -> bool {
        let Side { flow, next, open } = &mut self.sent;
        let mut asked = Vec::new();
        let sound = flow.feed(
            piece.bytes,
            |bytes| cut(bytes, next.get()),
            |part| {
                let begin = |head: &[u8]| request_head(head, &wants);
                if let Some(over) = take(part, next, open, begin, &mut |_| ()) {
                    asked.push(over);
                }
            },
        );
        for over in asked {
            let request = self.requests;
            self.requests += 1;
            let head_only = &*over.method == "HEAD";
            let owed = Owed { request, wanted: over.wanted, head_only };
            if over.wanted {
                let what =
                    What::Asked { method: over.method, target: over.target, body: over.body };
                out.push(Heard { time: piece.time, thread: piece.thread, request, what });
            }
            self.tick(piece.time);
            match self.early.pop_front() {
                Some(early) if over.wanted => {
                    let Early { time, thread, what } = early;
                    out.extend(what.into_iter().map(|w| Heard { time, thread, request, what: w }));
                }
                Some(_) => {}
                None if self.owed.len() < OWED_AT_MOST => self.owed.push_back(owed),
                None => return false,
            }
        }
        sound
    }

    fn answer(&mut self, piece: &Piece<'_>, out: &mut Vec<Heard>) -> bool {
        let Side { flow, next, open } = &mut self.received;
        let (owed, early, unpaired) = (&mut self.owed, &mut self.early, &mut self.unpaired);
        let Piece { time, thread, .. } = *piece;
        flow.feed(
            piece.bytes,
            |bytes| cut(bytes, next.get()),
            |part| {
                let first = owed.front().copied();
                let mut chunks = Vec::new();
                let begin = |head: &[u8]| answer_head(head, first);
                let over = take(part, next, open, begin, &mut |chunk| chunks.push(chunk.to_vec()));
                let heard =
                    |what| Heard { time, thread, request: first.map_or(0, |o| o.request), what };
                if let Some(first) = first
                    && first.wanted
                {
                    out.extend(chunks.drain(..).map(|chunk| heard(What::Chunk(chunk))));
                }
                let Some(over) = over else { return };
                // 1xx: the answer itself is still to come.
                if over.status < 200 {
                    return;
                }
                let Open { status, body, chunked, .. } = over;
                let what = What::Answered { status, body, chunked };
                match owed.pop_front() {
                    Some(owed) if owed.wanted => out.push(heard(what)),
                    Some(_) => {}
                    None if early.len() < 4 => {
                        let what = chunks.into_iter().map(What::Chunk).chain([what]).collect();
                        early.push_back(Early { time, thread, what });
                    }
                    None => *unpaired += 1,
                }
            },
        )
    }
}

/// Position after a blank line, or after a line.
fn after(bytes: &[u8], mark: &[u8], most: usize) -> Cut {
    let within = &bytes[..bytes.len().min(most)];
    match within.windows(mark.len()).position(|window| window == mark) {
        Some(at) => Cut::Whole(at + mark.len()),
        None if bytes.len() < most => Cut::More,
        None => Cut::Broken,
    }
}

fn cut(bytes: &[u8], next: Next) -> Cut {
    match next {
        Next::Head if !bytes[0].is_ascii_uppercase() => Cut::Broken,
        Next::Head => after(bytes, b"\r\n\r\n", HEAD_AT_MOST),
        Next::Size | Next::Trailer => after(bytes, b"\r\n", 1024),
        Next::Body(length) | Next::Chunk(length) if length > BODY_AT_MOST as u64 => {
            Cut::Head { head: 0, rest: length }
        }
        Next::Body(length) | Next::Chunk(length) => Cut::Whole(length as usize),
        Next::Close => Cut::Head { head: 0, rest: u64::MAX },
    }
}

/// Takes a part of a message, and says when the message is complete.
fn take(
    part: &[u8],
    next: &Cell<Next>,
    open: &mut Option<Open>,
    begin: impl FnOnce(&[u8]) -> Option<(Open, Next)>,
    chunk: &mut dyn FnMut(&[u8]),
) -> Option<Open> {
    if next.get() == Next::Head {
        let (message, then) = begin(part).unwrap_or((Open::default(), Next::Close));
        *open = Some(message);
        next.set(then);
        return if then == Next::Head { open.take() } else { None };
    }
    let message = open.as_mut()?;
    let (then, over) = match next.get() {
        Next::Body(_) => {
            message.body = (message.wanted && !part.is_empty()).then(|| part.to_vec());
            (Next::Head, true)
        }
        Next::Size => {
            let text = std::str::from_utf8(part).unwrap_or_default();
            let digits = text.trim_end().split(';').next().unwrap_or_default().trim();
            match u64::from_str_radix(digits, 16) {
                Ok(0) => (Next::Trailer, false),
                Ok(length) if length < u64::MAX - 2 => (Next::Chunk(length + 2), false),
                _ => (Next::Close, false),
            }
        }
        Next::Chunk(_) => {
            let bytes = part.strip_suffix(b"\r\n");
            if message.wanted {
                bytes.into_iter().for_each(&mut *chunk);
            }
            let fits = |body: &Vec<u8>| body.len() + part.len() <= BODY_AT_MOST;
            message.body = match (message.body.take().filter(fits), bytes) {
                (Some(body), Some(bytes)) => Some([&body, bytes].concat()),
                _ => None,
            };
            (Next::Size, false)
        }
        Next::Trailer if part == b"\r\n" => (Next::Head, true),
        other => (other, false),
    };
    next.set(then);
    if over { open.take() } else { None }
}

/// What follows a head, as its fields say; `None`: they make no sense.
fn body_of(headers: &[httparse::Header<'_>]) -> Option<Option<Next>> {
    let mut next = None;
    for header in headers {
        if header.name.eq_ignore_ascii_case("transfer-encoding") {
            return Some(Some(Next::Size));
        }
        if header.name.eq_ignore_ascii_case("content-length") {
            next = Some(std::str::from_utf8(header.value).ok()?.trim().parse().ok()?);
        }
    }
    Some(next.map(|length| if length == 0 { Next::Head } else { Next::Body(length) }))
}

fn request_head(head: &[u8], wants: impl Fn(&str, &str) -> bool) -> Option<(Open, Next)> {
    let mut headers = [httparse::EMPTY_HEADER; 96];
    let mut request = httparse::Request::new(&mut headers);
    request.parse(head).ok()?;
    let (method, target) = (request.method?, request.path?);
    let next = body_of(request.headers)?.unwrap_or(Next::Head);
    let wanted = wants(method, target);
    let kept = |text: &str, keep: bool| if keep { text.into() } else { Box::default() };
    let (method, target) = (kept(method, wanted || method == "HEAD"), kept(target, wanted));
    let body = Some(Vec::new());
    Some((Open { method, target, wanted, chunked: next == Next::Size, body, status: 0 }, next))
}

fn answer_head(head: &[u8], owed: Option<Owed>) -> Option<(Open, Next)> {
    let mut headers = [httparse::EMPTY_HEADER; 96];
    let mut answer = httparse::Response::new(&mut headers);
    answer.parse(head).ok()?;
    let status = answer.code?;
    let bodiless = matches!(status, 100..=199 | 204 | 304) || owed.is_some_and(|o| o.head_only);
    let next = match bodiless {
        true => Next::Head,
        false => body_of(answer.headers)?.unwrap_or(Next::Close),
    };
    let chunked = next == Next::Size;
    let wanted = owed.is_none_or(|owed| owed.wanted);
    let body = Some(Vec::new());
    Some((Open { status, wanted, chunked, body, ..Open::default() }, next))
}

#[cfg(test)]
mod tests;
