//! Locks of ZooKeeper: queues of numbered nodes that go with the session of their client.
//!
//! What the recipes of kazoo and Curator do is told by the names of their nodes; a queue of
//! anybody else's is told where its path says so (`lock`, `leader`, ...) or once a client is seen
//! to wait there for the node before its own. A lock is the node whose children queue for it:
//! `zk://server/path`. Its owner is the name of the node without the number if the recipe made it
//! unique (as kazoo and Curator do), else the session and that name: a session may hold many locks,
//! and two threads of it wait for one another. Leases are those of the session, renewed by whatever
//! the server says. A lock is let go when its deletion is asked for, which is when its owner stops
//! to believe in it; the server's word is waited for 50 ms, since others may have the lock before
//! the owner has read it.
//!
//! Blind: locks that are one ephemeral node without a number; queues of other names until somebody
//! waits in them; lists of children longer than 60 KiB; `WriteLock` and `Lock` of kazoo look alike;
//! how many a semaphore lets in, and so one of Curator's used without its own door; sessions over
//! TLS; which session it is on a connection joined late, and with it the lease, until it is
//! connected anew.

mod frame;
mod leaving;
mod meaning;
mod names;
mod places;
mod session;
mod talk;
#[cfg(test)]
mod tests;
mod waiting;

use std::collections::HashMap;

use meaning::Mind;
use talk::{Room, Talk};

use crate::framing::{Backend, Ears};
use crate::model::{Connection, Piece, RemoteStep, Thread};

/// Most connections followed at a time.
const TALKS_AT_MOST: usize = 16_384;

/// The backend.
#[derive(Default)]
pub struct ZooKeeper {
    talks: HashMap<u64, Talk>,
    mind: Mind,
    ears: Ears,
    order: u64,
}

impl Backend for ZooKeeper {
    fn opened(&mut self, connection: &Connection) {
        if self.talks.len() >= TALKS_AT_MOST {
            self.ears.evicted += 1;
            return;
        }
        self.talks.insert(connection.id, Talk::new(connection));
    }

    fn piece(&mut self, connection: &Connection, piece: &Piece<'_>, out: &mut Vec<RemoteStep>) {
        let Some(talk) = self.talks.get_mut(&connection.id) else { return };
        let Self { mind, ears, order, .. } = self;
        talk.piece(piece, &mut Room { mind, ears, order }, out);
    }

    fn closed(&mut self, connection: &Connection, _: u64, _: Thread, _: &mut Vec<RemoteStep>) {
        // The session goes on without it, and with it what it holds.
        if let Some(talk) = self.talks.remove(&connection.id) {
            self.ears.unpaired += talk.unpaired();
            self.mind.forget(talk.key());
        }
    }

    fn tick(&mut self, now: u64, out: &mut Vec<RemoteStep>) {
        self.talks.values_mut().for_each(|talk| talk.tick(now, &mut self.ears));
        self.mind.tick(now, out);
    }

    fn ears(&self) -> Ears {
        Ears {
            evicted: self.ears.evicted + self.mind.evicted,
            unclear: self.ears.unclear + self.mind.unclear,
            ..self.ears
        }
    }
}
