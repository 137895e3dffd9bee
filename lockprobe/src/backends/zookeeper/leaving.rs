//! How nodes leave the queues for locks: by their clients, by their session's end, by others.

use super::frame::NO_NODE;
use super::names::Family;
use super::session::{Here, Node, Session, State};
use crate::model::{LockKind, Mode, RemoteAct, RemoteStep};

/// How a node leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// It had the lock.
    LetsGo,
    /// It waited, for as long as it would.
    TimesOut,
    /// It had to wait, and would not.
    GivesUp,
}

/// A node whose deletion was not answered this long after it was asked for counts as deleted.
const PATIENCE: u64 = 50_000_000;

impl Session {
    /// Asks for a node of its own to be gone. False: it is not its own.
    pub fn delete(&mut self, here: &Here, path: &[u8], out: &mut Vec<RemoteStep>) -> bool {
        let is_it = |n: &Node| n.path == path && n.state != State::Asked;
        let Some(at) = self.nodes.iter().position(is_it) else { return false };
        self.leave(at, here, out);
        true
    }

    fn leave(&mut self, at: usize, here: &Here, out: &mut Vec<RemoteStep>) {
        let reads_on = |n: &Node| n.state == State::Inner && n.parent() == self.nodes[at].parent();
        let reads_on = self.nodes.iter().any(reads_on);
        let node = &mut self.nodes[at];
        if node.family == Family::Write && node.state == State::Held && reads_on {
            // Two who have it at once would be none of the readers and writers.
            node.state = State::Left;
            out.push(node.step(here, here.time, RemoteAct::Released));
            let parent = node.parent().to_vec();
            self.read_on(&parent, here, out);
            return;
        }
        match node.state {
            State::Held => node.state = State::Leaving(here.time, Leave::LetsGo),
            State::Asked | State::Queued | State::Inner => {
                node.told &= node.state != State::Inner;
                let how = if node.waits { Leave::TimesOut } else { Leave::GivesUp };
                node.state = State::Leaving(here.time, how);
            }
            State::Leaving(..) | State::Left => {}
        }
    }

    /// One who read while it wrote goes on reading.
    fn read_on(&mut self, parent: &[u8], here: &Here, out: &mut Vec<RemoteStep>) {
        for at in 0..self.nodes.len() {
            let node = &self.nodes[at];
            if node.state == State::Inner && node.parent() == parent {
                self.nodes[at].told = true;
                self.grant(at, here, here.time, out);
            }
        }
    }

    /// The server deleted a node, or would not.
    pub fn deleted(&mut self, here: &Here, path: &[u8], error: i32, out: &mut Vec<RemoteStep>) {
        let Some(at) = self.nodes.iter().position(|n| n.path == path) else { return };
        let node = &mut self.nodes[at];
        match (node.state, error) {
            (State::Leaving(since, how), 0 | NO_NODE) => {
                let refused = how == Leave::LetsGo && error == NO_NODE;
                let act = if refused { RemoteAct::ReleaseRefused } else { left(how) };
                let time = if refused { here.time } else { since };
                if node.told {
                    out.push(node.step(here, time, act));
                }
                self.nodes.remove(at);
            }
            (State::Left, _) => {
                self.nodes.remove(at);
            }
            (State::Leaving(_, how), _) => {
                node.state = if how == Leave::LetsGo { State::Held } else { State::Queued };
            }
            _ => {}
        }
    }

    /// The session ends by the will of its client, and its nodes with it.
    pub fn leave_all(&mut self, here: &Here, out: &mut Vec<RemoteStep>) {
        self.nodes.retain(|node| !node.lasting);
        (0..self.nodes.len()).for_each(|at| self.leave(at, here, out));
    }

    /// Time has passed: deletions nobody has answered count, since others may have the lock by now.
    pub fn tick(&mut self, now: u64, out: &mut Vec<RemoteStep>) {
        for node in &mut self.nodes {
            let State::Leaving(since, how) = node.state else { continue };
            if now.saturating_sub(since) < PATIENCE {
                continue;
            }
            node.state = State::Left;
            if node.told {
                out.push(node.step(&node.here, since, left(how)));
            }
        }
    }

    /// The server ended the session, and its nodes with it.
    pub fn expire(mut self, here: &Here, out: &mut Vec<RemoteStep>) -> Vec<Node> {
        self.nodes.retain(|node| node.told && !node.lasting);
        for node in &self.nodes {
            let (time, act) = match node.state {
                State::Held => (here.time, RemoteAct::Lost { why: "session_expired" }),
                State::Leaving(since, how) => (since, left(how)),
                State::Left => continue,
                _ => (here.time, RemoteAct::Ended { error: "interrupted", holder: None }),
            };
            out.push(node.step(here, time, act));
        }
        self.nodes.retain(|node| node.state == State::Held);
        self.nodes
    }

    /// The server says that a node is gone, and does not say by whom.
    pub fn vanished(
        &mut self,
        here: &Here,
        path: &[u8],
        out: &mut Vec<RemoteStep>,
    ) -> Option<Node> {
        let is_it = |n: &Node| n.path == path && n.state == State::Held;
        let at = self.nodes.iter().position(is_it)?;
        let node = self.nodes.remove(at);
        if node.told {
            out.push(node.step(here, here.time, RemoteAct::Lost { why: "revoked" }));
        }
        node.told.then_some(node)
    }

    /// Everything whose deletion was asked for is gone.
    pub fn left_all(&mut self, out: &mut Vec<RemoteStep>) {
        self.tick(u64::MAX, out);
        self.nodes.clear();
    }

    /// Somebody else deleted a node of this session. The node, if its client believes in it still.
    pub fn taken(&mut self, here: &Here, path: &[u8], out: &mut Vec<RemoteStep>) -> Option<Node> {
        let at = self.nodes.iter().position(|n| n.path == path)?;
        let node = self.nodes.remove(at);
        let alone = matches!(node.lock.kind, LockKind::ZooKeeperLock | LockKind::ZooKeeperElection);
        let act = match node.state {
            State::Held if alone && node.mode() == Mode::Exclusive => RemoteAct::Removed,
            State::Held => RemoteAct::Lost { why: "revoked" },
            State::Leaving(_, how) => left(how),
            _ => RemoteAct::Ended { error: "interrupted", holder: None },
        };
        if node.told && node.state != State::Left {
            // The node's client does not know; who did it does.
            let own = matches!(act, RemoteAct::Ended { .. });
            let who = if own { node.here } else { *here };
            out.push(node.step(&who, here.time, act));
        }
        (node.told && node.state == State::Held).then_some(node)
    }
}

fn left(how: Leave) -> RemoteAct {
    match how {
        Leave::LetsGo => RemoteAct::Released,
        Leave::TimesOut => RemoteAct::Ended { error: "timeout", holder: None },
        // It asked for its place and did not wait for its turn.
        Leave::GivesUp => RemoteAct::Ended { error: "refused", holder: None },
    }
}
