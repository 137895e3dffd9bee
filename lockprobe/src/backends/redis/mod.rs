//! Locks of Redis and Valkey, from what their clients say.
//!
//! In: conversations in RESP2 and RESP3. Out: steps of locks. Never: tokens, passwords.
//!
//! A lock is a key that is set only if it is not there (`SET NX`, `SETNX`, scripts), and deleted or
//! prolonged after a comparison. Scripts are told by a table of their hashes, else by their text,
//! else by arguments that were seen before. What a command alone does not tell from other uses is
//! weighed for its family of keys and kept until there is evidence.
//!
//! Blind spots. The database of a connection that was joined late is unknown (`db=?`). Scripts that
//! were loaded before, and are in no table, are seen only by their arguments. Locks whose value says
//! nothing of the owner have none. BullMQ takes its locks within a script that does much else: only
//! prolonging and giving back are seen. Which of several waiters of portalocker comes first is
//! agreed upon in messages that are not read, and its shared mode is not told from the exclusive
//! one. Values longer than 32 KiB and transactions of more than 4096 requests are not looked into.
//! A steal by `GETSET`, and `HSETNX`, are not taken for locks. Under `CLIENT REPLY OFF` no outcome
//! is known. A cluster is called after one of its nodes, which hosts may disagree on.

mod channels;
mod families;
mod frame;
mod locks;
mod looks;
mod lua;
mod meaning;
mod memory;
mod mind;
mod places;
mod redlock;
mod scripts;
mod servers;
mod talk;
#[cfg(test)]
mod tests;

use frame::Gathered;
use memory::Map;
use mind::Mind;
use talk::Talk;

use crate::framing::{Backend, Ears, Rules};
use crate::model::{Connection, Piece, RemoteStep, Thread};

/// Most connections at a time.
const TALKS_AT_MOST: usize = 65_536;

/// The backend.
#[derive(Debug, Default)]
pub struct Redis {
    talks: Map<u64, Talk>,
    mind: Mind,
    ears: Ears,
}

impl Redis {
    /// One that goes by these settings.
    pub fn new(rules: Rules) -> Self {
        Self { mind: Mind::new(rules), ..Self::default() }
    }

    fn sent(&mut self, piece: &Piece<'_>, id: u64, out: &mut Vec<RemoteStep>) {
        let Self { talks, mind, ears } = self;
        let Some(talk) = talks.get_mut(&id) else { return };
        if piece.settled {
            talk.settle(piece.time, ears);
        } else if !talk.asks.miss(piece.missing) && talk.sound {
            talk.lose(ears);
        }
        if !talk.sound {
            return;
        }
        let mut flow = std::mem::take(&mut talk.asks);
        let mut request = std::mem::take(&mut talk.request);
        let mut broken = false;
        let fed = flow.feed(piece.bytes, frame::cut_request, |token| {
            if broken || !talk.sound {
                return;
            }
            match request.take(token, meaning::matters) {
                Gathered::More => {}
                Gathered::Whole => mind.request(talk, &request, piece, ears, out),
                Gathered::Broken => broken = true,
            }
        });
        talk.asks = flow;
        talk.request = request;
        if (broken || !fed) && talk.sound {
            ears.malformed += 1;
            talk.lose(ears);
        }
    }

    fn received(&mut self, piece: &Piece<'_>, id: u64, out: &mut Vec<RemoteStep>) {
        let Self { talks, mind, ears } = self;
        let Some(talk) = talks.get_mut(&id) else { return };
        if !talk.sound || talk.stream {
            return;
        }
        if !talk.tells.miss(piece.missing) {
            talk.lose(ears);
            return;
        }
        talk.received(piece.time);
        let mut flow = std::mem::take(&mut talk.tells);
        let mut answer = std::mem::take(&mut talk.answer);
        let mut broken = false;
        let fed = flow.feed(piece.bytes, frame::cut_answer, |token| {
            if broken || !talk.sound {
                return;
            }
            match answer.take(token) {
                Gathered::More => {}
                Gathered::Whole => mind.answer(talk, &answer, piece, ears, out),
                Gathered::Broken => broken = true,
            }
        });
        talk.tells = flow;
        talk.answer = answer;
        if (broken || !fed) && talk.sound {
            ears.malformed += 1;
            talk.lose(ears);
        }
    }
}

impl Backend for Redis {
    fn opened(&mut self, connection: &Connection) {
        if self.talks.len() >= TALKS_AT_MOST {
            self.ears.evicted += 1;
            return;
        }
        if self.talks.insert(connection.id, Talk::new(connection)).is_none() {
            self.mind.opened(connection);
        }
    }

    fn piece(&mut self, connection: &Connection, piece: &Piece<'_>, out: &mut Vec<RemoteStep>) {
        if !self.talks.contains_key(&connection.id) {
            self.opened(&Connection { joined: true, ..connection.clone() });
        }
        if piece.sent {
            self.sent(piece, connection.id, out);
        } else {
            self.received(piece, connection.id, out);
        }
    }

    fn closed(
        &mut self,
        connection: &Connection,
        time: u64,
        thread: Thread,
        out: &mut Vec<RemoteStep>,
    ) {
        if let Some(mut talk) = self.talks.remove(&connection.id) {
            talk.lose(&mut self.ears);
            self.mind.closed(connection, (time, thread), out);
        }
    }

    fn tick(&mut self, now: u64, out: &mut Vec<RemoteStep>) {
        self.mind.tick(now, &mut self.talks, &mut self.ears, out);
    }

    fn ears(&self) -> Ears {
        let (unclear, evicted) = self.mind.given_up();
        let ears = self.ears;
        Ears { unclear: ears.unclear + unclear, evicted: ears.evicted + evicted, ..ears }
    }
}
