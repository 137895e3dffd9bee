//! Locks of memcached: keys that are added, touched and deleted.
//!
//! `add` asks, `STORED` grants; `touch` and `cas` of the holder's process renew; its `delete` lets
//! go. Any value is allowed, so whose a key is can be told by the value only where that is long
//! enough to be a nonce, else by the process. `add` is also how caches are filled: a key is a lock if
//! its name says so (`lock`, `mutex`, ...), or if keys of its kind were deleted in time by the one
//! who added them, with a short value and a lease of an hour at most; until then nothing is told, and
//! then all of it. The text protocol, its meta commands and the binary protocol are understood.
//!
//! Blind: the outcome of an `add` that wants no answer (`noreply`, quiet meta and binary commands);
//! dates instead of durations; a lock that is taken over by `cas` without a look at this; keys that
//! nobody deletes and no name gives away; who has a lock on another host. UDP is not followed.

mod frame;
mod keys;
mod talk;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use keys::Keys;
use talk::Talk;

use crate::framing::{Backend, Ears, Rules};
use crate::model::{Connection, Piece, RemoteStep, Thread};

/// Most connections followed at a time.
const TALKS_AT_MOST: usize = 16_384;

/// The backend.
#[derive(Default)]
pub struct Memcached {
    talks: HashMap<u64, Talk>,
    keys: Keys,
    ears: Ears,
}

impl Memcached {
    /// By these rules.
    pub fn with(rules: &Rules) -> Self {
        Self { keys: Keys::new(rules.clone()), ..Self::default() }
    }
}

impl Backend for Memcached {
    fn opened(&mut self, connection: &Connection) {
        if self.talks.len() >= TALKS_AT_MOST {
            self.ears.evicted += 1;
            return;
        }
        self.talks.insert(connection.id, Talk::new(connection.joined));
    }

    fn piece(&mut self, connection: &Connection, piece: &Piece<'_>, out: &mut Vec<RemoteStep>) {
        let Some(talk) = self.talks.get_mut(&connection.id) else { return };
        talk.piece(connection, piece, &mut self.keys, &mut self.ears, out);
    }

    fn closed(&mut self, connection: &Connection, _: u64, _: Thread, _: &mut Vec<RemoteStep>) {
        // Keys stay.
        if let Some(talk) = self.talks.remove(&connection.id) {
            self.ears.unpaired += talk.unpaired();
        }
    }

    fn tick(&mut self, now: u64, _: &mut Vec<RemoteStep>) {
        self.talks.values_mut().for_each(|talk| talk.tick(now, &mut self.ears));
    }

    fn ears(&self) -> Ears {
        Ears {
            evicted: self.ears.evicted + self.keys.evicted,
            unclear: self.ears.unclear + self.keys.unclear,
            ..self.ears
        }
    }
}
