//! A session and its nodes in the queues for locks.

use core::net::SocketAddr;
use std::sync::Arc;

use super::frame::{EPHEMERAL, NO_NODE};
use super::leaving::Leave;
use super::names::{self, Family};
use crate::model::{LockDescription, Mode, Owner, RemoteAct, RemoteStep, Said, Thread};

/// Most nodes of one session.
const NODES_AT_MOST: usize = 1024;

/// Who says something, when and where.
#[derive(Clone, Copy, Debug)]
pub struct Here {
    /// When.
    pub time: u64,
    /// Who.
    pub thread: Thread,
    /// Over which connection.
    pub connection: u64,
    /// To which server.
    pub server: SocketAddr,
    /// Number of the request, in the order they were sent.
    pub order: u64,
}

/// How far a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Its creation was asked for.
    Asked,
    /// It is there.
    Queued,
    /// It has the lock.
    Held,
    /// It reads where its own session writes.
    Inner,
    /// Its deletion was asked for then.
    Leaving(u64, Leave),
    /// It is gone, and that was said before the server did.
    Left,
}

/// A node in the queue for a lock.
#[derive(Clone, Debug)]
pub struct Node {
    /// Which lock.
    pub lock: Arc<LockDescription>,
    /// Whose it is.
    pub owner: Option<Owner>,
    /// What its name says.
    pub family: Family,
    /// How far it is.
    pub state: State,
    /// What has happened to it was told; else it is not known to be a lock yet.
    pub told: bool,
    /// Its path; without the number while it has none.
    pub path: Vec<u8>,
    /// The number.
    pub number: u64,
    /// The name of the first it waits for, and how many are before it.
    pub before: Option<(Vec<u8>, u32)>,
    /// When it was asked for, and when it got the lock.
    pub since: [u64; 2],
    /// Its client looked for the end of the one before it: it did not merely try.
    pub waits: bool,
    /// It is there for good, not for its session.
    pub lasting: bool,
    /// Who asked for it.
    pub here: Here,
    /// Transaction that made it.
    pub fence: Option<u64>,
}

impl Node {
    /// The node it is a child of.
    pub fn parent(&self) -> &[u8] {
        names::split(&self.path).0
    }

    /// How it would have the lock.
    pub fn mode(&self) -> Mode {
        self.family.mode()
    }

    /// A step of it.
    pub fn step(&self, here: &Here, time: u64, act: RemoteAct) -> RemoteStep {
        RemoteStep {
            time,
            thread: here.thread,
            lock: self.lock.clone(),
            connection: here.connection,
            server: here.server,
            owner: self.owner,
            act,
        }
    }
}

/// A session, or what is known of one whose beginning was not heard.
#[derive(Clone, Debug, Default)]
pub struct Session {
    /// Its number, if known.
    pub id: Option<i64>,
    /// How long it lives without a word, nanoseconds.
    pub lease: Option<u64>,
    /// Its nodes.
    pub nodes: Vec<Node>,
    /// Nodes given up since there were too many.
    pub evicted: u64,
    pub(super) renewed: u64,
}

impl Session {
    /// Whether there may be another node.
    pub fn has_room(&mut self) -> bool {
        let room = self.nodes.len() < NODES_AT_MOST;
        self.evicted += u64::from(!room);
        room
    }

    fn lease_of(&self, node: &Node) -> Option<u64> {
        self.lease.filter(|_| !node.lasting)
    }

    /// Asks for a node.
    pub fn ask(
        &mut self,
        here: Here,
        path: &[u8],
        flags: i32,
        learnt: bool,
        out: &mut Vec<RemoteStep>,
    ) {
        let (parent, stem) = names::split(path);
        let Some(family) = Family::of(stem, flags) else { return };
        let known = family != Family::Numbered || learnt || names::is_for_locks(parent);
        if !self.has_room() {
            return;
        }
        let again = self.nodes.iter().position(|n| n.state == State::Asked && n.path == path);
        let since = again.map(|at| self.nodes.remove(at)).map_or(here.time, |old| old.since[0]);
        // Whether a writer that reads too has to wait shows later.
        let within = self.writes(parent) && family == Family::Read;
        let node = Node {
            lock: names::describe(here.server, parent, family),
            owner: names::owner_of(stem, self.id),
            family,
            state: State::Asked,
            told: known && !within,
            path: path.to_vec(),
            number: 0,
            before: None,
            waits: false,
            since: [since, 0],
            lasting: flags & EPHEMERAL == 0,
            here,
            fence: None,
        };
        if node.told {
            out.push(node.step(&here, here.time, self.asked(&node)));
        }
        self.nodes.push(node);
    }

    pub(super) fn asked(&self, node: &Node) -> RemoteAct {
        RemoteAct::Asked { mode: node.mode(), lease: self.lease_of(node), queued: true }
    }

    fn writes(&self, parent: &[u8]) -> bool {
        let writer = |n: &Node| n.family == Family::Write && n.state == State::Held;
        self.nodes.iter().any(|node| writer(node) && node.parent() == parent)
    }

    /// The server says that the node is there.
    pub fn created(&mut self, asked: &[u8], path: Vec<u8>, transaction: i64) {
        let node = self.nodes.iter_mut().find(|n| n.state == State::Asked && n.path == asked);
        if let Some(node) = node
            && path.starts_with(asked)
            && let Some((_, number)) = names::number(names::split(&path).1)
        {
            node.number = number;
            node.path = path;
            node.state = State::Queued;
            node.fence = u64::try_from(transaction).ok();
        }
    }

    /// The server refused to make the node.
    pub fn not_created(
        &mut self,
        here: &Here,
        asked: &[u8],
        error: i32,
        out: &mut Vec<RemoteStep>,
    ) {
        let is_it = |n: &Node| n.state == State::Asked && n.path == asked;
        let Some(at) = self.nodes.iter().position(is_it) else { return };
        let node = self.nodes.remove(at);
        // Where there is no parent the client makes one, and comes back.
        let error = if error == NO_NODE { "gave_up" } else { "refused" };
        if node.told {
            out.push(node.step(here, here.time, RemoteAct::Ended { error, holder: None }));
        }
    }

    /// The server says which children there are.
    pub fn children(
        &mut self,
        here: &Here,
        parent: &[u8],
        names: &[&[u8]],
        out: &mut Vec<RemoteStep>,
    ) {
        let mut at = 0;
        while at < self.nodes.len() {
            if self.nodes[at].parent() == parent && !self.look_up(at, here, names, out) {
                self.nodes.remove(at);
                continue;
            }
            at += 1;
        }
    }

    /// What a list of children says of a node. False: it is not there any more.
    fn look_up(
        &mut self,
        at: usize,
        here: &Here,
        names: &[&[u8]],
        out: &mut Vec<RemoteStep>,
    ) -> bool {
        let node = &mut self.nodes[at];
        let name = names::split(&node.path).1;
        if node.state == State::Asked {
            // The answer was lost with its connection; the name finds it.
            let own = names.iter().find_map(|other| {
                let (stem, number) = names::number(other)?;
                (stem == name && node.owner.is_some() && stem.len() > 32).then_some((other, number))
            });
            // Asked for on this connection, it will be answered on it.
            let Some((own, number)) = own.filter(|_| node.here.connection != here.connection)
            else {
                return true;
            };
            node.path = [node.parent(), b"/", own].concat();
            node.number = number;
            node.state = State::Queued;
        } else if !names.contains(&name) {
            if node.here.order >= here.order || matches!(node.state, State::Leaving(..)) {
                return true;
            }
            let act = match node.state {
                State::Held => RemoteAct::Lost { why: "revoked" },
                _ => RemoteAct::Ended { error: "interrupted", holder: None },
            };
            if node.told && node.state != State::Left {
                out.push(node.step(here, here.time, act));
            }
            return false;
        }
        if self.nodes[at].state == State::Queued {
            self.decide(at, here, names, out);
        }
        true
    }

    fn decide(&mut self, at: usize, here: &Here, names: &[&[u8]], out: &mut Vec<RemoteStep>) {
        let node = &self.nodes[at];
        if matches!(node.family, Family::Lease | Family::Place) {
            self.nodes[at].since[1] = here.time;
            return;
        }
        let standing = names::standing(node.family, node.number, names);
        let within = node.family == Family::Read && self.writes(node.parent());
        let Some(first) = standing.first.filter(|_| !within) else {
            return self.grant(at, here, here.time, out);
        };
        let before = Some((first, standing.ahead));
        // What others of the session are told is no news.
        if self.nodes[at].before != before {
            self.nodes[at].before = before;
            self.refuse(at, here, out);
        }
    }

    /// It has to wait. Who has the lock is told by the name of the first, unless the client asks
    /// for that very node and gets more.
    pub(super) fn refuse(&self, at: usize, here: &Here, out: &mut Vec<RemoteStep>) {
        let node = &self.nodes[at];
        let Some((first, ahead)) = node.before.as_ref().filter(|_| node.told) else { return };
        let owner = names::number(first).and_then(|(stem, _)| names::owner_of(stem, None));
        let said = owner.map(|owner| Said { owner: Some(owner), words: None });
        let holder = said.filter(|_| *ahead > 1);
        out.push(node.step(here, here.time, RemoteAct::Refused { holder, ahead: Some(*ahead) }));
    }

    /// It has the lock since then.
    pub fn grant(&mut self, at: usize, here: &Here, time: u64, out: &mut Vec<RemoteStep>) {
        let within = {
            let node = &self.nodes[at];
            node.family == Family::Read && self.writes(node.parent())
        };
        let lease = self.lease_of(&self.nodes[at]);
        let node = &mut self.nodes[at];
        node.since[1] = time;
        node.state = if within { State::Inner } else { State::Held };
        if node.told && !within {
            let fence = node.fence.filter(|_| node.mode() == Mode::Exclusive);
            let act = RemoteAct::Acquired { mode: node.mode(), lease, fence };
            out.push(node.step(here, time, act));
        }
    }

    /// The server was heard: the session lives so much longer.
    pub fn renew(&mut self, here: &Here, ping: bool, out: &mut Vec<RemoteStep>) {
        let Some(lease) = self.lease else { return };
        if !ping && here.time.saturating_sub(self.renewed) < lease / 16 {
            return;
        }
        self.renewed = here.time;
        let held = |n: &&Node| n.state == State::Held && n.told && !n.lasting;
        let renewed = |n: &Node| n.step(here, here.time, RemoteAct::Renewed { lease: Some(lease) });
        out.extend(self.nodes.iter().filter(held).map(renewed));
    }
}
