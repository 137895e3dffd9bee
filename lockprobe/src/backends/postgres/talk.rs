//! One connection: what was asked on it, in the order in which it will be answered.

use core::net::SocketAddr;
use std::collections::VecDeque;
use std::sync::Arc;

use super::frame;
use super::meaning::{Function, Parameters, Place};
use super::rows::Waits;
use super::session::{Acts, Session};
use crate::framing::sql::{self, Head, Statement};
use crate::framing::{Bounded, Ears, Flow, OfStatements, owner};
use crate::model::{
    Connection, LockDescription, Mode, Owner, Piece, RemoteAct, RemoteStep, Thread, TraceContext,
};

/// Most requests without an answer.
pub const OWED_AT_MOST: usize = 8192;
/// Most prepared statements of a connection that are remembered, and most portals.
pub const STATEMENTS_AT_MOST: usize = 512;
/// Most answers kept for requests that are still to come, and for how long, nanoseconds.
const EARLY_AT_MOST: usize = 64;
const EARLY_FOR: u64 = 50_000_000;

/// Statements of one text.
pub type Script = Arc<Vec<Statement<Function>>>;

/// A lock that a statement takes or gives.
pub struct Pending {
    pub lock: Arc<LockDescription>,
    pub function: Function,
    pub spot: sql::Spot,
    /// Its outcome was told.
    pub told: bool,
}

/// A statement that is carried out.
pub struct Doing {
    pub head: Head,
    pub pending: Vec<Pending>,
    /// All advisory locks of the session are let go.
    pub gives_all: bool,
    /// What is called by a name that nobody knows, with these parameters.
    pub unknown: Option<Parameters>,
    /// What to prepare where it is a PREPARE.
    pub prepares: Option<Script>,
    pub rows: u32,
    pub waits: Option<Waits>,
}

/// What was asked for.
pub enum Kind {
    Parse(Vec<u8>),
    Bind,
    /// Of a statement, rather than a portal.
    Describe(bool),
    Close,
    Execute,
    Sync,
    Query,
    Call,
}

/// Something that is to be answered.
pub struct Op {
    pub time: u64,
    pub thread: Thread,
    pub kind: Kind,
    pub doing: VecDeque<Doing>,
}

/// A statement with its parameters, ready to be carried out.
pub struct Portal {
    pub script: Option<Script>,
    pub parameters: Parameters,
    pub sql: u64,
    /// The trace its statement says it is part of.
    pub context: Option<TraceContext>,
}

/// An answer whose request is still to come.
pub struct Early {
    pub time: u64,
    pub thread: Thread,
    pub message: Vec<u8>,
}

/// A connection.
pub struct Talk {
    pub id: u64,
    pub server: SocketAddr,
    pub rules: OfStatements,
    pub joined: bool,
    pub database: Option<String>,
    pub owner: Owner,
    pub session: Session,
    pub ops: VecDeque<Op>,
    /// When a lock was granted last.
    pub granted: u64,
    /// The transaction's state, as the server said last.
    pub status: u8,
    /// An error was told: up to here everything is passed over.
    pub failed: bool,
    /// The answer to a request that was left out is on its way.
    pub left_out: bool,
    /// Those that have to do with locks, and those that do not.
    pub statements: Bounded<Vec<u8>, (Script, u64)>,
    pub ordinary: Bounded<Vec<u8>, ()>,
    pub portals: Bounded<Vec<u8>, Portal>,
    sent: Flow,
    received: Flow,
    /// What is owed is unknown; the last bytes received.
    pub lost: Option<[u8; 6]>,
    pub encryption_asked: bool,
    began: bool,
    pub early: VecDeque<Early>,
    /// The trace that the statement without a name says it is part of.
    pub unnamed: Option<TraceContext>,
}

impl Talk {
    pub fn new(connection: &Connection, rules: OfStatements) -> Self {
        Self {
            id: connection.id,
            server: connection.server,
            rules,
            joined: connection.joined,
            database: None,
            owner: owner(format!("{} connection {}", connection.server, connection.id).as_bytes()),
            session: Session::default(),
            ops: VecDeque::new(),
            granted: 0,
            status: b'I',
            failed: false,
            left_out: false,
            statements: Bounded::new(STATEMENTS_AT_MOST),
            ordinary: Bounded::new(STATEMENTS_AT_MOST),
            portals: Bounded::new(STATEMENTS_AT_MOST),
            sent: Flow::default(),
            received: Flow::default(),
            lost: Some([0; 6]),
            encryption_asked: false,
            began: false,
            early: VecDeque::new(),
            unnamed: None,
        }
    }

    pub fn place(&self) -> Place<'_> {
        Place { server: self.server, database: self.database.as_deref() }
    }

    /// A step of this session.
    pub fn step(
        &self,
        time: u64,
        thread: Thread,
        lock: &Arc<LockDescription>,
        act: RemoteAct,
    ) -> RemoteStep {
        let (connection, server, owner) = (self.id, self.server, Some(self.owner));
        RemoteStep { time, thread, lock: lock.clone(), connection, server, owner, act }
    }

    /// The steps of what changed in the session.
    ///
    /// What was let go was so for others between the request, sent at `asked`, and its answer: they
    /// may have it before this client reads that. So it is told of as of the request.
    pub fn tell(
        &mut self,
        asked: u64,
        time: u64,
        thread: Thread,
        acts: Acts,
        out: &mut Vec<RemoteStep>,
    ) {
        for (lock, act) in acts {
            let let_go = matches!(act, RemoteAct::Released | RemoteAct::ReleasedOnce);
            let own = if let_go { asked.max(self.granted).min(time) } else { time };
            if matches!(act, RemoteAct::Acquired { .. }) {
                self.granted = time;
            }
            out.push(self.step(own, thread, &lock, act));
        }
    }

    /// Takes a piece.
    pub fn piece(&mut self, piece: &Piece<'_>, ears: &mut Ears, out: &mut Vec<RemoteStep>) {
        if piece.settled {
            self.restart(piece.sent, ears, piece, out);
        }
        let flow = if piece.sent { &mut self.sent } else { &mut self.received };
        if !flow.miss(piece.missing) && self.lost.is_none() {
            self.lose(piece, out);
        }
        if self.lost.is_some() && !self.find(piece, ears, out) {
            return;
        }
        let mut bytes = piece.bytes;
        if self.encryption_asked
            && !piece.sent
            && let Some((answer, rest)) = bytes.split_first()
        {
            self.encryption_asked = false;
            if *answer != b'N' {
                return self.lose(piece, out);
            }
            bytes = rest;
        }
        let flow = if piece.sent { &mut self.sent } else { &mut self.received };
        let mut flow = std::mem::take(flow);
        let whole = if piece.sent {
            flow.feed(bytes, frame::sent, |message| self.request(piece, message, ears, out))
        } else {
            flow.feed(bytes, frame::received, |message| {
                self.answer(piece.time, piece.thread, message, ears, out);
            })
        };
        *(if piece.sent { &mut self.sent } else { &mut self.received }) = flow;
        if !whole && self.lost.is_none() {
            ears.malformed += 1;
            self.lose(piece, out);
        }
    }

    /// Nothing is owed: what is still open was never answered.
    fn restart(
        &mut self,
        sent: bool,
        ears: &mut Ears,
        piece: &Piece<'_>,
        out: &mut Vec<RemoteStep>,
    ) {
        ears.resumed += u64::from(self.lost.is_some() && self.began);
        self.began = true;
        self.give_up(piece, ears, out);
        self.received.restart();
        self.sent.restart();
        self.lost = None;
        self.left_out = !sent;
        self.encryption_asked = false;
    }

    fn give_up(&mut self, piece: &Piece<'_>, ears: &mut Ears, out: &mut Vec<RemoteStep>) {
        ears.unpaired += self.early.len() as u64;
        self.early.clear();
        ears.unpaired += self.ops.len() as u64;
        self.drop_ops(piece.time, piece.thread, out);
        self.failed = false;
    }

    fn drop_ops(&mut self, time: u64, thread: Thread, out: &mut Vec<RemoteStep>) {
        for op in std::mem::take(&mut self.ops) {
            for doing in op.doing {
                self.end(time, thread, &doing, "interrupted", &None, out);
                let unsaid = frame::Error::default();
                self.waits_end(op.time, time, thread, Some(&doing), &unsaid, out);
            }
        }
    }

    /// Which answer belongs to which request cannot be told any more.
    pub fn lose(&mut self, piece: &Piece<'_>, out: &mut Vec<RemoteStep>) {
        self.drop_ops(piece.time, piece.thread, out);
        self.early.clear();
        self.lost = Some([0; 6]);
        self.failed = false;
    }

    /// Whether the place was found again: the server said that it is ready, and the client goes on.
    fn find(&mut self, piece: &Piece<'_>, ears: &mut Ears, out: &mut Vec<RemoteStep>) -> bool {
        let Some(tail) = &mut self.lost else { return true };
        if !piece.sent {
            for &byte in &piece.bytes[piece.bytes.len().saturating_sub(6)..] {
                tail.rotate_left(1);
                tail[5] = byte;
            }
            return false;
        }
        let [b'Z', 0, 0, 0, 5, status @ (b'I' | b'T' | b'E')] = *tail else {
            // An answer to what is sent now is still to come.
            *tail = [0; 6];
            return false;
        };
        self.lost = None;
        self.began = true;
        self.sent.restart();
        self.received.restart();
        ears.resumed += 1;
        self.ready(piece.time, piece.time, piece.thread, status, out);
        true
    }

    /// Whether answers are kept whose requests are still to come.
    pub fn has_early(&self) -> bool {
        !self.early.is_empty()
    }

    /// Keeps an answer whose request is still to come.
    pub fn keep(&mut self, time: u64, thread: Thread, message: &[u8], ears: &mut Ears) {
        if self.early.len() < EARLY_AT_MOST {
            self.early.push_back(Early { time, thread, message: message.to_vec() });
        } else {
            ears.unpaired += 1;
        }
    }

    /// Time goes by.
    pub fn tick(&mut self, now: u64, ears: &mut Ears, out: &mut Vec<RemoteStep>) {
        while let Some(early) = self.early.front()
            && now.saturating_sub(early.time) >= EARLY_FOR
        {
            if let Some(early) = self.early.pop_front() {
                self.unasked(early.time, early.thread, &early.message, ears, out);
            }
        }
        self.tell_waits(now, out);
    }

    /// The connection is closed.
    pub fn close(&mut self, time: u64, thread: Thread, ears: &mut Ears, out: &mut Vec<RemoteStep>) {
        ears.evicted += self.session.evicted + self.statements.evicted;
        self.leave(time, thread, out);
    }

    pub fn leave(&mut self, time: u64, thread: Thread, out: &mut Vec<RemoteStep>) {
        self.drop_ops(time, thread, out);
        let mut acts = Acts::new();
        self.session.close(&mut acts);
        self.tell(time, time, thread, acts, out);
    }
}

impl Doing {
    pub fn nothing() -> Self {
        Self {
            head: Head::Other,
            pending: Vec::new(),
            gives_all: false,
            unknown: None,
            prepares: None,
            rows: 0,
            waits: None,
        }
    }
}

/// How a lock that waits for its transaction's end is held.
pub fn is_transaction(function: Function) -> Option<(bool, Mode)> {
    match function {
        Function::Take { transaction, mode, .. } => Some((transaction, mode)),
        _ => None,
    }
}
