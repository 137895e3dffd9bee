//! One connection: its handshake, and which answer belongs to which request.

use std::collections::VecDeque;

use super::frame::{self, EVENT, PING, Request};
use super::meaning::{Key, Mind};
use super::session::Here;
use crate::framing::{Ears, Flow};
use crate::model::{Connection, Piece, RemoteStep, Thread};

/// Most requests that wait for their answers.
const OWED_AT_MOST: usize = 4096;
/// Most answers kept that came before their requests.
const EARLY_AT_MOST: usize = 16;
/// An answer waits so long for its request, nanoseconds.
const PATIENCE: u64 = 50_000_000;
/// Bytes that tell where a message begins.
const SIGN: usize = 20;

/// Where one direction stands.
#[derive(Debug, Default)]
enum Stage {
    /// At its very beginning.
    #[default]
    Handshake,
    /// Among frames.
    Frames,
    /// It looks for the beginning of a frame.
    Lost(Vec<u8>),
}

#[derive(Debug, Default)]
struct Ear {
    flow: Flow,
    stage: Stage,
}

impl Ear {
    fn lose(&mut self) {
        self.stage = Stage::Lost(Vec::new());
        self.flow.restart();
    }

    fn miss(&mut self, bytes: u64) {
        match &mut self.stage {
            Stage::Lost(kept) if bytes > 0 => kept.clear(),
            Stage::Lost(_) => {}
            _ if !self.flow.miss(bytes) => self.lose(),
            _ => {}
        }
    }

    /// Whether the first message, all of it that matters, is in.
    fn shakes(&self) -> bool {
        matches!(self.stage, Stage::Handshake)
    }

    /// The bytes from which on frames can be told, if there are such. They stay with it until then.
    fn find(&mut self, bytes: &[u8], begins: impl Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
        let Stage::Lost(kept) = &mut self.stage else { return None };
        kept.extend_from_slice(bytes);
        let last = kept.len().saturating_sub(SIGN - 1);
        let at = (0..kept.len()).find(|&at| {
            // A ping is short; everything else shows more of itself.
            let end = kept.len().min(at + SIGN);
            (at < last || end - at >= 12) && begins(&kept[at..end])
        });
        match at {
            Some(at) => {
                let found = kept.split_off(at);
                self.stage = Stage::Frames;
                Some(found)
            }
            None => {
                kept.drain(..last);
                None
            }
        }
    }
}

#[derive(Debug)]
struct Owed {
    number: i32,
    order: u64,
    request: Request,
}

#[derive(Debug)]
struct Early {
    time: u64,
    thread: Thread,
    frame: Vec<u8>,
}

/// One connection.
#[derive(Debug)]
pub struct Talk {
    key: Key,
    connection: Connection,
    sent: Ear,
    received: Ear,
    owed: VecDeque<Owed>,
    early: Vec<Early>,
    /// The session it would go on with.
    wanted: i64,
}

/// What connections have in common.
pub struct Room<'a> {
    /// Sessions.
    pub mind: &'a mut Mind,
    /// What could not be used.
    pub ears: &'a mut Ears,
    /// Number of the next request.
    pub order: &'a mut u64,
}

impl Talk {
    /// A connection.
    pub fn new(connection: &Connection) -> Self {
        let mut talk = Self {
            key: Key::Connection(connection.id),
            connection: connection.clone(),
            sent: Ear::default(),
            received: Ear::default(),
            owed: VecDeque::new(),
            early: Vec::new(),
            wanted: 0,
        };
        if connection.joined {
            talk.sent.lose();
            talk.received.lose();
        }
        talk
    }

    /// What its session is known by.
    pub fn key(&self) -> Key {
        self.key
    }

    fn here(&self, time: u64, thread: Thread, order: u64) -> Here {
        let Connection { id, server, .. } = self.connection;
        Here { time, thread, connection: id, server, order }
    }

    /// Takes a piece.
    pub fn piece(&mut self, piece: &Piece<'_>, room: &mut Room<'_>, out: &mut Vec<RemoteStep>) {
        if piece.settled {
            self.settle(piece.sent, room);
        }
        let ear = if piece.sent { &mut self.sent } else { &mut self.received };
        ear.miss(piece.missing);
        let owed = &self.owed;
        let owes = |number| owed.iter().any(|owed| owed.number == number);
        let found = match piece.sent {
            true => ear.find(piece.bytes, frame::begins_request),
            false => ear.find(piece.bytes, |bytes| frame::begins_answer(bytes, owes)),
        };
        if found.is_some() {
            room.ears.resumed += 1;
        } else if matches!(ear.stage, Stage::Lost(_)) {
            return;
        }
        let bytes = found.as_deref().unwrap_or(piece.bytes);
        if piece.sent {
            self.sent(bytes, piece, room, out);
            self.catch_up(room, out);
        } else {
            self.received(bytes, piece, room, out);
        }
    }

    /// A request begins here, or an answer; before a request nothing is owed.
    fn settle(&mut self, sent: bool, room: &mut Room<'_>) {
        let ears = match sent {
            true => [Some(&mut self.sent), Some(&mut self.received)],
            false => [None, Some(&mut self.received)],
        };
        for ear in ears.into_iter().flatten() {
            if ear.shakes() {
                continue;
            }
            let lost = matches!(ear.stage, Stage::Lost(_)) && !self.connection.joined;
            room.ears.resumed += u64::from(lost);
            ear.flow.restart();
            ear.stage = Stage::Frames;
        }
        if sent {
            room.ears.unpaired += (self.owed.len() + self.early.len()) as u64;
            self.owed.clear();
            self.early.clear();
        }
    }

    fn sent(
        &mut self,
        bytes: &[u8],
        piece: &Piece<'_>,
        room: &mut Room<'_>,
        out: &mut Vec<RemoteStep>,
    ) {
        let mut ear = std::mem::take(&mut self.sent);
        let mut shakes = ear.shakes();
        let first = std::cell::Cell::new(shakes);
        let whole = ear.flow.feed(
            bytes,
            |bytes| match first.get() {
                // Four bytes prefixed, then version 4, transaction 8, time 4, session 8.
                true => frame::cut_handshake(bytes, 28, 44),
                false => frame::cut_request(bytes),
            },
            |message| {
                if first.replace(false) {
                    shakes = false;
                    let wanted = message.get(20..28).and_then(|b| b.try_into().ok());
                    self.wanted = wanted.map_or(0, i64::from_be_bytes);
                } else {
                    self.request(message, piece, room, out);
                }
            },
        );
        if !shakes && ear.shakes() {
            ear.stage = Stage::Frames;
        }
        if !whole {
            room.ears.malformed += 1;
            ear.lose();
        }
        self.sent = ear;
    }

    fn request(
        &mut self,
        message: &[u8],
        piece: &Piece<'_>,
        room: &mut Room<'_>,
        out: &mut Vec<RemoteStep>,
    ) {
        let Some((number, request)) = frame::request(message) else {
            room.ears.malformed += 1;
            return;
        };
        // Pings, and what else has a number of its kind.
        if number < 0 {
            return;
        }
        *room.order += 1;
        let here = self.here(piece.time, piece.thread, *room.order);
        room.mind.request(self.key, &here, &request, out);
        if self.owed.len() >= OWED_AT_MOST {
            self.owed.pop_front();
            room.ears.evicted += 1;
        }
        self.owed.push_back(Owed { number, order: *room.order, request });
    }

    fn received(
        &mut self,
        bytes: &[u8],
        piece: &Piece<'_>,
        room: &mut Room<'_>,
        out: &mut Vec<RemoteStep>,
    ) {
        let mut ear = std::mem::take(&mut self.received);
        let mut shakes = ear.shakes();
        let first = std::cell::Cell::new(shakes);
        let whole = ear.flow.feed(
            bytes,
            |bytes| match first.get() {
                // Four bytes prefixed, then version 4, time 4, session 8.
                true => frame::cut_handshake(bytes, 20, 36),
                false => frame::cut_answer(bytes),
            },
            |message| {
                if first.replace(false) {
                    shakes = false;
                    self.shaken(message, piece, room, out);
                } else {
                    self.answer(message, piece.time, piece.thread, true, room, out);
                }
            },
        );
        if !shakes && ear.shakes() {
            ear.stage = Stage::Frames;
        }
        if !whole || matches!(ear.stage, Stage::Handshake) && ear.flow.is_broken() {
            room.ears.malformed += 1;
            ear.lose();
        }
        self.received = ear;
    }

    /// The server's first words: which session this is, and how long it lives.
    fn shaken(
        &mut self,
        message: &[u8],
        piece: &Piece<'_>,
        room: &mut Room<'_>,
        out: &mut Vec<RemoteStep>,
    ) {
        let mut reader = frame::Reader(&message[4..]);
        let (Some(_), Some(life), Some(session)) = (reader.int(), reader.int(), reader.long())
        else {
            return;
        };
        let here = self.here(piece.time, piece.thread, *room.order);
        match u64::try_from(life) {
            Ok(life) if life > 0 && session != 0 => {
                self.key = Key::Session(session);
                room.mind.begins(&here, session, life * 1_000_000, out);
            }
            _ if self.wanted != 0 => room.mind.expired(&here, self.wanted, out),
            _ => {}
        }
    }

    fn answer(
        &mut self,
        message: &[u8],
        time: u64,
        thread: Thread,
        may_wait: bool,
        room: &mut Room<'_>,
        out: &mut Vec<RemoteStep>,
    ) {
        let Some((head, body)) = frame::answer(message) else { return };
        let here = self.here(time, thread, *room.order);
        match head.number {
            EVENT => return room.mind.event(self.key, &here, body, out),
            PING => return room.mind.heard(self.key, &here, true, out),
            number if number < 0 => return,
            _ => {}
        }
        let Some(at) = self.owed.iter().position(|owed| owed.number == head.number) else {
            if may_wait && self.early.len() < EARLY_AT_MOST {
                self.early.push(Early { time, thread, frame: message.to_vec() });
            } else {
                room.ears.unpaired += 1;
            }
            return;
        };
        // A server answers in order: what came before will not be answered any more.
        room.ears.unpaired += at as u64;
        self.owed.drain(..at);
        let Some(owed) = self.owed.pop_front() else { return };
        let here = Here { order: owed.order, ..here };
        room.mind.answer(self.key, &here, &owed.request, (head, body), out);
    }

    /// Answers that came before their requests find them now.
    fn catch_up(&mut self, room: &mut Room<'_>, out: &mut Vec<RemoteStep>) {
        if self.early.is_empty() {
            return;
        }
        for early in std::mem::take(&mut self.early) {
            self.answer(&early.frame, early.time, early.thread, true, room, out);
        }
    }

    /// Everything up to this time was heard.
    pub fn tick(&mut self, now: u64, ears: &mut Ears) {
        let before = self.early.len();
        self.early.retain(|early| now.saturating_sub(early.time) < PATIENCE);
        ears.unpaired += (before - self.early.len()) as u64;
    }

    /// Requests nobody will answer any more, and answers nobody had asked for.
    pub fn unpaired(&self) -> u64 {
        (self.owed.len() + self.early.len()) as u64
    }
}
