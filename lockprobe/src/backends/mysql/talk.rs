//! One connection: its commands, in the order in which they are answered.

use core::net::SocketAddr;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::frame::{self, Types};
use super::meaning::Function;
use crate::framing::sql::{self, Spot, Statement};
use crate::framing::{Bounded, Ears, Flow, OfStatements, owner};
use crate::model::{
    Connection, LockDescription, LockId, Mode, Owner, Piece, RemoteAct, RemoteStep, Thread,
};

/// Most prepared statements of a connection that are remembered.
const STATEMENTS_AT_MOST: usize = 512;
/// Most locks of one session.
const HELD_AT_MOST: usize = 1024;
/// Most answers kept for commands that are still to come, and for how long, nanoseconds.
const EARLY_AT_MOST: usize = 64;
const EARLY_FOR: u64 = 50_000_000;

pub type Script = Arc<Vec<Statement<Function>>>;

/// A lock that a statement takes or gives.
pub struct Pending {
    pub lock: Arc<LockDescription>,
    pub function: Function,
    pub spot: Spot,
    pub queued: bool,
    pub told: bool,
}

/// A statement that is carried out.
#[derive(Default)]
pub struct Doing {
    pub pending: Vec<Pending>,
    pub gives_all: bool,
    /// A prepared statement that nobody knows was given this.
    pub unknown: Option<Vec<u8>>,
    pub locks: Option<sql::RowLocks>,
    pub sql: u64,
    pub rows: u32,
    /// That it waits for rows was told.
    pub waits: bool,
}

/// How a command is answered.
pub enum Kind {
    /// With one packet, or results of texts.
    Query,
    /// The same, of binary values.
    Execute,
    Prepare(Option<(Script, u64)>),
    /// Descriptions of columns.
    Fields,
    /// Rows of a cursor.
    Fetch,
    /// With one packet of any kind.
    Text,
    /// The session begins anew.
    Reset,
}

/// How far an answer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    First,
    Columns(u64),
    AfterColumns,
    Rows,
    Definitions(u64),
}

/// A command.
pub struct Op {
    pub time: u64,
    pub thread: Thread,
    pub kind: Kind,
    pub state: State,
    /// Number of the next packet.
    pub next: u8,
    pub types: Vec<u8>,
    pub names: Vec<Vec<u8>>,
    pub doing: VecDeque<Doing>,
}

/// A prepared statement.
pub struct Prepared {
    pub script: Option<(Script, u64)>,
    pub parameters: usize,
    pub types: Types,
}

/// An answer whose command is still to come.
pub struct Early {
    pub time: u64,
    pub thread: Thread,
    pub packet: Vec<u8>,
}

/// A connection.
pub struct Talk {
    id: u64,
    pub server: SocketAddr,
    pub rules: OfStatements,
    owner: Owner,
    pub ops: VecDeque<Op>,
    pub statements: Bounded<u32, Prepared>,
    pub latest: u32,
    held: HashMap<LockId, (Arc<LockDescription>, u32)>,
    /// Row locks, until the transaction ends.
    pub rows: Vec<Arc<LockDescription>>,
    granted: u64,
    /// What is owed is unknown; whether anything was received since.
    lost: Option<bool>,
    began: bool,
    pub left_out: bool,
    sent: Flow,
    received: Flow,
    pub early: VecDeque<Early>,
    evicted: u64,
}

impl Talk {
    pub fn new(connection: &Connection, rules: OfStatements) -> Self {
        Self {
            id: connection.id,
            server: connection.server,
            rules,
            owner: owner(format!("{} connection {}", connection.server, connection.id).as_bytes()),
            ops: VecDeque::new(),
            statements: Bounded::new(STATEMENTS_AT_MOST),
            latest: 0,
            held: HashMap::new(),
            rows: Vec::new(),
            granted: 0,
            lost: Some(false),
            began: false,
            left_out: false,
            sent: Flow::default(),
            received: Flow::default(),
            early: VecDeque::new(),
            evicted: 0,
        }
    }

    pub fn evicted(&self) -> u64 {
        self.evicted + self.statements.evicted
    }

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

    /// Takes a piece.
    pub fn piece(&mut self, piece: &Piece<'_>, ears: &mut Ears, out: &mut Vec<RemoteStep>) {
        if piece.settled {
            ears.resumed += u64::from(self.lost.is_some() && self.began);
            ears.unpaired += (self.ops.len() + self.early.len()) as u64;
            self.restart(piece, out);
            self.left_out = !piece.sent;
        }
        let flow = if piece.sent { &mut self.sent } else { &mut self.received };
        if !flow.miss(piece.missing) && self.lost.is_none() {
            self.lose(piece.time, piece.thread, out);
        }
        match self.lost {
            Some(_) if !piece.sent => {
                self.lost = Some(true);
                return;
            }
            Some(false) => return,
            // A command after an answer: it is the first of its packets that has the number 0, and
            // the first of the answer's the number 1.
            Some(true) => {
                ears.resumed += 1;
                self.restart(piece, out);
            }
            None => {}
        }
        let flow = if piece.sent { &mut self.sent } else { &mut self.received };
        let mut flow = std::mem::take(flow);
        let whole = if piece.sent {
            flow.feed(piece.bytes, frame::sent, |packet| self.command(piece, packet, ears, out))
        } else {
            flow.feed(piece.bytes, frame::received, |packet| {
                self.answer(piece.time, piece.thread, packet, ears, out);
            })
        };
        *(if piece.sent { &mut self.sent } else { &mut self.received }) = flow;
        if !whole && self.lost.is_none() {
            ears.malformed += 1;
            self.lose(piece.time, piece.thread, out);
        }
    }

    fn restart(&mut self, piece: &Piece<'_>, out: &mut Vec<RemoteStep>) {
        self.lose(piece.time, piece.thread, out);
        self.sent.restart();
        self.received.restart();
        (self.lost, self.began, self.left_out) = (None, true, false);
    }

    /// Which answer belongs to which command cannot be told any more.
    pub fn lose(&mut self, time: u64, thread: Thread, out: &mut Vec<RemoteStep>) {
        for op in std::mem::take(&mut self.ops) {
            for doing in op.doing {
                self.end(time, thread, &doing, "interrupted", out);
                self.waits_end(time, thread, &doing, out);
            }
        }
        self.early.clear();
        self.lost = Some(false);
    }

    /// A statement came to nothing. Whether that ended an attempt.
    pub fn end(
        &self,
        time: u64,
        thread: Thread,
        doing: &Doing,
        error: &'static str,
        out: &mut Vec<RemoteStep>,
    ) -> bool {
        let mut told = false;
        let open = |p: &&Pending| !p.told && p.function == Function::Take;
        for pending in doing.pending.iter().filter(open) {
            let ended = RemoteAct::Ended { error, holder: None };
            out.push(self.step(time, thread, &pending.lock, ended));
            told = true;
        }
        told
    }

    /// It has the lock, perhaps once more.
    pub fn take(
        &mut self,
        lock: &Arc<LockDescription>,
        time: u64,
        thread: Thread,
        out: &mut Vec<RemoteStep>,
    ) {
        if self.held.len() >= HELD_AT_MOST && !self.held.contains_key(&lock.id) {
            self.evicted += 1;
            let ended = RemoteAct::Ended { error: "gave_up", holder: None };
            return out.push(self.step(time, thread, lock, ended));
        }
        let (_, count) = self.held.entry(lock.id).or_insert_with(|| (lock.clone(), 0));
        *count = count.saturating_add(1);
        self.granted = time;
        let acquired = RemoteAct::Acquired { mode: Mode::Exclusive, lease: None, fence: None };
        out.push(self.step(time, thread, lock, acquired));
    }

    /// It gave one hold back, or had none. Others may have the lock before it reads that, so that a
    /// release is told of as of the command.
    pub fn give(
        &mut self,
        lock: &Arc<LockDescription>,
        given: bool,
        (asked, time): (u64, u64),
        thread: Thread,
        out: &mut Vec<RemoteStep>,
    ) {
        let known = self.held.get_mut(&lock.id);
        let early = asked.max(self.granted).min(time);
        let (time, act) = match (given, known) {
            (true, Some((_, count))) if *count > 1 => {
                *count -= 1;
                (early, RemoteAct::ReleasedOnce)
            }
            (true, Some((_, count))) => {
                *count = 0;
                (early, RemoteAct::Released)
            }
            (true, None) => (early, RemoteAct::Released),
            (false, Some((_, count))) => {
                *count = 0;
                (time, RemoteAct::ReleaseRefused)
            }
            (false, None) => return,
        };
        out.push(self.step(time, thread, lock, act));
    }

    /// Whether it has the lock.
    pub fn has(&self, lock: &LockDescription) -> bool {
        self.held.get(&lock.id).is_some_and(|(_, count)| *count > 0)
    }

    /// It lets go of all.
    pub fn give_all(
        &mut self,
        time: u64,
        thread: Thread,
        act: &RemoteAct,
        out: &mut Vec<RemoteStep>,
    ) {
        let mut held: Vec<_> = self.held.drain().map(|(_, held)| held).collect();
        held.retain(|(_, count)| *count > 0);
        held.sort_unstable_by(|(a, _), (b, _)| a.address.cmp(&b.address));
        out.extend(held.into_iter().map(|(lock, _)| self.step(time, thread, &lock, act.clone())));
    }

    /// The session is over.
    pub fn leave(&mut self, time: u64, thread: Thread, out: &mut Vec<RemoteStep>) {
        self.lose(time, thread, out);
        self.give_all(time, thread, &RemoteAct::Disconnected, out);
        for lock in std::mem::take(&mut self.rows) {
            out.push(self.step(time, thread, &lock, RemoteAct::Disconnected));
        }
    }

    /// An answer to nothing that is known: one that was left out, or one that came too early.
    pub fn keep(
        &mut self,
        time: u64,
        thread: Thread,
        packet: &[u8],
        ears: &mut Ears,
        out: &mut Vec<RemoteStep>,
    ) {
        if self.left_out {
            self.unasked(time, thread, packet, ears, out);
        } else if self.early.len() < EARLY_AT_MOST {
            self.early.push_back(Early { time, thread, packet: packet.to_vec() });
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
                self.unasked(early.time, early.thread, &early.packet, ears, out);
            }
        }
        self.tell_waits(now, out);
    }

    /// Whether nothing can be made of what comes.
    pub fn is_lost(&self) -> bool {
        self.lost.is_some()
    }
}
