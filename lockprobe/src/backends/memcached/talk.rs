//! One connection: answers come in the order of requests.

use std::collections::VecDeque;

use super::frame::{self, Answer, Asked, Request, Result};
use super::keys::{Here, Keys};
use crate::framing::{Ears, Flow};
use crate::model::{Connection, Piece, RemoteStep, Thread};

/// Most requests that wait for their answers.
const OWED_AT_MOST: usize = 4096;
/// Most answers kept that came before their requests.
const EARLY_AT_MOST: usize = 16;
/// An answer waits so long for its request, nanoseconds.
const PATIENCE: u64 = 50_000_000;

#[derive(Debug)]
struct Owed {
    asked: Asked,
    time: u64,
    thread: Thread,
}

/// One connection.
#[derive(Debug)]
pub struct Talk {
    sent: Flow,
    received: Flow,
    owed: VecDeque<Owed>,
    early: VecDeque<(u64, Answer)>,
    /// Nothing can be told until no answer is owed.
    lost: bool,
    /// Quiet requests were among the last ones: refusals of theirs may come.
    hushed: bool,
}

impl Talk {
    /// A connection, perhaps in the middle of something.
    pub fn new(joined: bool) -> Self {
        Self {
            sent: Flow::default(),
            received: Flow::default(),
            owed: VecDeque::new(),
            early: VecDeque::new(),
            lost: joined,
            hushed: false,
        }
    }

    /// Takes a piece.
    pub fn piece(
        &mut self,
        connection: &Connection,
        piece: &Piece<'_>,
        keys: &mut Keys,
        ears: &mut Ears,
        out: &mut Vec<RemoteStep>,
    ) {
        if piece.settled && piece.sent {
            ears.unpaired += self.unpaired();
            ears.resumed += u64::from(self.lost && !connection.joined);
            *self = Self { hushed: self.hushed, ..Self::new(false) };
        } else if piece.settled {
            self.received.restart();
        }
        if self.lost {
            return;
        }
        let whole = match piece.sent {
            true => self.sent.miss(piece.missing) && self.sent(connection, piece, keys, ears, out),
            false => {
                self.received.miss(piece.missing)
                    && self.received(connection, piece, keys, ears, out)
            }
        };
        if !whole {
            self.lose();
        }
    }

    fn lose(&mut self) {
        *self = Self::new(true);
    }

    fn sent(
        &mut self,
        connection: &Connection,
        piece: &Piece<'_>,
        keys: &mut Keys,
        ears: &mut Ears,
        out: &mut Vec<RemoteStep>,
    ) -> bool {
        let mut flow = std::mem::take(&mut self.sent);
        let mut sense = true;
        let whole = flow.feed(piece.bytes, frame::cut, |message| {
            let Some(asked) = frame::request(message) else {
                sense = false;
                return;
            };
            self.ask(connection, piece, asked, keys, ears, out);
        });
        self.sent = flow;
        ears.malformed += u64::from(!whole || !sense);
        if !whole || !sense {
            return false;
        }
        while !self.owed.is_empty()
            && let Some((time, answer)) = self.early.pop_front()
        {
            if !self.answer(connection, answer, time, keys, ears, out) {
                return false;
            }
        }
        true
    }

    fn ask(
        &mut self,
        connection: &Connection,
        piece: &Piece<'_>,
        asked: Asked,
        keys: &mut Keys,
        ears: &mut Ears,
        out: &mut Vec<RemoteStep>,
    ) {
        let (time, thread) = (piece.time, piece.thread);
        if asked.quiet {
            self.hushed = true;
            let here = Here { asked: time, answered: time, thread };
            keys.apply(connection, &asked.request, None, here, out);
            return;
        }
        if self.owed.len() >= OWED_AT_MOST {
            // Which answer belongs to which request cannot be told any more.
            ears.evicted += 1;
            self.owed.clear();
        }
        self.owed.push_back(Owed { asked, time, thread });
    }

    fn received(
        &mut self,
        connection: &Connection,
        piece: &Piece<'_>,
        keys: &mut Keys,
        ears: &mut Ears,
        out: &mut Vec<RemoteStep>,
    ) -> bool {
        let mut flow = std::mem::take(&mut self.received);
        let mut sense = true;
        let whole = flow.feed(piece.bytes, frame::cut, |message| {
            sense = sense
                && match frame::answer(message) {
                    Some(answer) => self.answer(connection, answer, piece.time, keys, ears, out),
                    None => false,
                };
        });
        self.received = flow;
        ears.malformed += u64::from(!whole || !sense);
        whole && sense
    }

    /// An answer. False: it makes no sense, so what is owed is not what was thought.
    fn answer(
        &mut self,
        connection: &Connection,
        answer: Answer,
        time: u64,
        keys: &mut Keys,
        ears: &mut Ears,
        out: &mut Vec<RemoteStep>,
    ) -> bool {
        let refusal = matches!(answer.result, Result::Exists | Result::Missing);
        let Some(front) = self.owed.front() else {
            if self.hushed && (refusal || answer.error) {
                return true;
            }
            if self.early.len() >= EARLY_AT_MOST {
                self.early.pop_front();
                ears.unpaired += 1;
            }
            self.early.push_back((time, answer));
            return true;
        };
        if !fits(&front.asked, &answer) {
            return self.hushed && (refusal || answer.error || answer.binary.is_some());
        }
        if answer.part {
            return true;
        }
        let Some(owed) = self.owed.pop_front() else { return true };
        let here = Here { asked: owed.time, answered: time, thread: owed.thread };
        keys.apply(connection, &owed.asked.request, Some(answer.result), here, out);
        true
    }

    /// Requests nobody will answer any more, and answers nobody had asked for.
    pub fn unpaired(&self) -> u64 {
        (self.owed.len() + self.early.len()) as u64
    }

    /// Everything up to this time was heard.
    pub fn tick(&mut self, now: u64, ears: &mut Ears) {
        while let Some(&(time, _)) = self.early.front()
            && now.saturating_sub(time) >= PATIENCE
        {
            self.early.pop_front();
            ears.unpaired += 1;
        }
    }
}

/// Whether this can be the answer to that.
fn fits(asked: &Asked, answer: &Answer) -> bool {
    if asked.binary.is_some() || answer.binary.is_some() {
        return asked.binary == answer.binary;
    }
    if answer.error {
        return true;
    }
    match asked.request {
        Request::Add(..) => matches!(answer.result, Result::Done | Result::Exists),
        // What is touched by a `mg` is answered with its value.
        Request::Touch(..) => answer.result != Result::Exists && !answer.part && !answer.end,
        Request::Swap(..) => answer.result != Result::Else,
        Request::Delete(..) => answer.result != Result::Else,
        Request::List => answer.part || answer.end,
        Request::Other => !answer.part && !answer.end,
    }
}
