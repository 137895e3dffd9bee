//! Locks of Consul: keys that a session has, over HTTP.
//!
//! In: pieces of conversations with an agent of Consul. Out: steps of locks. Never: other servers; a
//! clock, files, network.
//!
//! A lock is `consul://<data centre>/<key>`, the server where the request names none; its owner is
//! the session. `PUT ?acquire=` and `?release=` are answered true or false; a blocking query of the
//! key is the wait, and names the holder; sessions are renewed, destroyed, or not found any more.
//!
//! Blind: HTTPS of Go programs; HTTP/2; locks within `/v1/txn`; semaphores, which keep their holders
//! in a value; the wait of Go's lock, which reads until the key is free and only then asks for it; a
//! refusal by the lock-delay looks like one by a holder; a session without a time to
//! live lasts as long as its node's checks, which is told as for ever. A session may end up to twice
//! its time to live after it was renewed, while its lease is told by the time it asked for.

mod frame;
mod meaning;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use frame::Request;
use meaning::{At, Meaning};

use crate::framing::http1::{Talk, What};
use crate::framing::{Backend, Bounded, Ears};
use crate::model::{Connection, Piece, RemoteStep, Thread};

/// Most connections at once.
const CONNECTIONS_AT_MOST: usize = 4096;

/// Most requests of a connection at once.
const CALLS_AT_MOST: usize = 64;

/// What is said on a connection.
#[derive(Debug)]
struct Speech {
    talk: Talk,
    calls: Bounded<u64, (u64, Thread, Arc<Request>)>,
}

impl Speech {
    fn new(joined: bool) -> Self {
        Self { talk: Talk::new(joined), calls: Bounded::new(CALLS_AT_MOST) }
    }

    fn ears(&self) -> Ears {
        let Talk { malformed, resumed, unpaired, .. } = self.talk;
        Ears { malformed, resumed, unpaired, unclear: 0, evicted: self.calls.evicted }
    }
}

/// The backend.
#[derive(Debug)]
pub struct Consul {
    connections: Bounded<u64, Speech>,
    meaning: Meaning,
    /// Of connections that are closed.
    past: Ears,
}

impl Default for Consul {
    fn default() -> Self {
        let connections = Bounded::new(CONNECTIONS_AT_MOST);
        Self { connections, meaning: Meaning::default(), past: Ears::default() }
    }
}

fn add(to: &mut Ears, ears: Ears) {
    to.malformed += ears.malformed;
    to.resumed += ears.resumed;
    to.unpaired += ears.unpaired;
    to.evicted += ears.evicted;
}

impl Backend for Consul {
    fn opened(&mut self, connection: &Connection) {
        self.connections.insert(connection.id, Speech::new(connection.joined));
    }

    fn piece(&mut self, connection: &Connection, piece: &Piece<'_>, out: &mut Vec<RemoteStep>) {
        if self.connections.get(&connection.id).is_none() {
            // It was given up since there were too many: what went by is not known.
            self.connections.insert(connection.id, Speech::new(true));
        }
        let Some(Speech { talk, calls }) = self.connections.get_mut(&connection.id) else { return };
        let mut heard = Vec::new();
        talk.piece(piece, frame::matters, &mut heard);
        for heard in heard {
            let at = At::new(connection, heard.time, heard.thread);
            match heard.what {
                What::Asked { method, target, body } => {
                    let body = body.unwrap_or_default();
                    let Some(request) = frame::request(&method, &target, &body) else { continue };
                    self.meaning.asked(at, &request, out);
                    calls.insert(heard.request, (heard.time, heard.thread, Arc::new(request)));
                }
                What::Answered { status, body, .. } => {
                    let Some((time, asker, request)) = calls.remove(&heard.request) else {
                        continue;
                    };
                    let answer = (status, &body.unwrap_or_default()[..]);
                    self.meaning.answered(at, (time, asker), &request, answer, out);
                }
                What::Chunk(_) => {}
            }
        }
    }

    fn closed(
        &mut self,
        connection: &Connection,
        time: u64,
        thread: Thread,
        out: &mut Vec<RemoteStep>,
    ) {
        // Locks outlive connections; what waits on one does not.
        let Some(mut speech) = self.connections.remove(&connection.id) else { return };
        let at = At::new(connection, time, thread);
        for (_, (_, _, request)) in speech.calls.take(|_, _| true) {
            self.meaning.unanswered(at, &request, out);
        }
        add(&mut self.past, speech.ears());
        self.past.unpaired += speech.talk.unanswered().count() as u64;
    }

    fn tick(&mut self, now: u64, _out: &mut Vec<RemoteStep>) {
        self.connections.each(|speech| speech.talk.tick(now));
    }

    fn ears(&self) -> Ears {
        let mut ears = self.past;
        self.connections.values().for_each(|speech| add(&mut ears, speech.ears()));
        ears.unclear += self.meaning.unclear;
        ears.evicted += self.meaning.evicted() + self.connections.evicted;
        ears
    }
}
