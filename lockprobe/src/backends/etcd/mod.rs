//! Locks of etcd: transactions, the lock service, leases; over gRPC, and over its JSON gateway.
//!
//! In: pieces of conversations with an etcd. Out: steps of locks. Never: other servers; a clock,
//! files, network.
//!
//! A lock is `etcd://<cluster>/<name>`; the cluster is in every answer, so that a request is told
//! with its answer, at its own time. Its owner is the lease. What is recognised:
//!
//! - a transaction that creates a key under a lease if it is not there (etcd3gw, python etcd3, npm
//!   etcd3, jetcd's users): whoever succeeds has it, the failure branch names the holder;
//! - the same with a key `<lock>/<lease>`, a queue by revision of creation (Go's Mutex and Election,
//!   etcdctl lock and elect): the first of the queue has it, the others are told by a range that
//!   finds nobody before them;
//! - the lock service `v3lockpb.Lock` (jetcd), where one call blocks until the lock is had.
//!
//! A hold goes on with its lease: `Renewed` by each keep-alive, `Lost` where an answer says that the
//! lease is gone. `lease: None` means a lease that was granted before we listened: none of these
//! locks is without one.
//!
//! Blind: a Go client stopped past its lease sends no keep-alive any more, so that nothing but the
//! clock says that it lost the lock; keys without a lease; `v3electionpb.Election`; transactions
//! within transactions; messages that are compressed or longer than 32 KiB; the holder while a call
//! of the lock service blocks; TLS of Go, gRPC C-core and others that bring their own; what was
//! acquired before we listened, of which renewals and releases are not told. A connection joined
//! late: calls on streams that were open already, and headers by indices from before, are told by
//! the shape of their messages, which knows transactions of locks, leases and deletions; a watch or
//! an ordinary question stays unknown.

mod claims;
mod frame;
mod gateway;
mod holds;
mod json;
mod meaning;
mod message;
mod protobuf;
mod recipe;
mod steps;
#[cfg(test)]
mod tests;

use frame::Calls;
use gateway::Gateway;
use meaning::Meaning;
use message::Heard;

use crate::framing::{Backend, Bounded, Ears};
use crate::model::{Connection, Piece, RemoteStep, Thread};

/// Most connections at once.
const CONNECTIONS_AT_MOST: usize = 4096;

/// Bytes that are enough to tell what is spoken.
const TELLING: usize = 9;

/// What is spoken on a connection.
#[derive(Debug)]
enum Speech {
    /// Too little was heard: what was, sent and received, and whether from the beginning.
    Untold([Vec<u8>; 2], bool),
    Grpc(Box<Calls>),
    Gateway(Box<Gateway>),
    /// Neither: encrypted, or no etcd.
    Foreign,
}

/// The backend.
#[derive(Debug)]
pub struct Etcd {
    connections: Bounded<u64, Speech>,
    meaning: Meaning,
    /// Of connections that are closed.
    past: Ears,
}

impl Default for Etcd {
    fn default() -> Self {
        let connections = Bounded::new(CONNECTIONS_AT_MOST);
        Self { connections, meaning: Meaning::default(), past: Ears::default() }
    }
}

fn add(to: &mut Ears, ears: Ears) {
    to.malformed += ears.malformed;
    to.resumed += ears.resumed;
    to.unpaired += ears.unpaired;
    to.unclear += ears.unclear;
    to.evicted += ears.evicted;
}

/// What these first bytes of a direction begin; `None`: too few to tell.
fn speech(bytes: &[u8], sent: bool, joined: bool) -> Option<Speech> {
    let verbs: [&[u8]; 4] = [b"POST /", b"GET /", b"OPTIONS /", b"PUT /"];
    let verbs = if sent { &verbs[..] } else { &[b"HTTP/1." as &[u8]] };
    if verbs.iter().any(|verb| bytes.starts_with(verb)) {
        return Some(Speech::Gateway(Box::new(Gateway::new(joined))));
    }
    if bytes.len() < TELLING {
        return None;
    }
    // A server begins with its settings, on stream 0.
    let begins =
        if sent { bytes.starts_with(b"PRI ") } else { bytes[3] == 4 && bytes[5..9] == [0; 4] };
    if joined || begins {
        // The beginning itself was heard: nothing was before.
        return Some(Speech::Grpc(Box::new(Calls::new(!begins))));
    }
    Some(Speech::Foreign)
}

impl Speech {
    fn ears(&self) -> Ears {
        match self {
            Self::Grpc(calls) => calls.ears(),
            Self::Gateway(gateway) => gateway.ears(),
            Self::Untold(..) => Ears::default(),
            Self::Foreign => Ears { malformed: 1, ..Ears::default() },
        }
    }

    fn piece(&mut self, piece: &Piece<'_>, out: &mut Vec<Heard>) {
        // Frames were never found: it may be the other protocol, which begins anew here.
        if let Self::Grpc(calls) = self
            && piece.sent
            && piece.settled
            && !calls.in_step()
        {
            *self = Self::Untold(Default::default(), true);
        }
        self.take(piece, out);
    }

    fn take(&mut self, piece: &Piece<'_>, out: &mut Vec<Heard>) {
        match self {
            Self::Grpc(calls) => calls.piece(piece, out),
            Self::Gateway(gateway) => gateway.piece(piece, out),
            Self::Untold(held, joined) => {
                let [sent, received] = held;
                let (own, other) = if piece.sent { (sent, received) } else { (received, sent) };
                let begins = own.is_empty();
                own.extend_from_slice(piece.bytes);
                let joined = *joined || piece.missing > 0;
                let Some(told) = speech(own, piece.sent, joined) else { return };
                let (own, other) = (std::mem::take(own), std::mem::take(other));
                *self = told;
                let other = Piece { sent: !piece.sent, bytes: &other, missing: 0, ..*piece };
                let settled = piece.settled || (begins && !joined);
                let own = Piece { bytes: &own, settled: settled && piece.sent, ..*piece };
                for piece in [own, other] {
                    if !piece.bytes.is_empty() {
                        self.take(&piece, out);
                    }
                }
            }
            Self::Foreign => {}
        }
    }
}

impl Backend for Etcd {
    fn opened(&mut self, connection: &Connection) {
        let untold = Speech::Untold(Default::default(), connection.joined);
        self.connections.insert(connection.id, untold);
    }

    fn piece(&mut self, connection: &Connection, piece: &Piece<'_>, out: &mut Vec<RemoteStep>) {
        if self.connections.get(&connection.id).is_none() {
            // It was given up since there were too many: what went by is not known.
            let untold = Speech::Untold(Default::default(), true);
            self.connections.insert(connection.id, untold);
        }
        let Some(speech) = self.connections.get_mut(&connection.id) else { return };
        let mut heard = Vec::new();
        speech.piece(piece, &mut heard);
        heard.iter().for_each(|heard| self.meaning.hear(connection, heard, out));
    }

    fn closed(
        &mut self,
        connection: &Connection,
        time: u64,
        thread: Thread,
        out: &mut Vec<RemoteStep>,
    ) {
        let Some(mut speech) = self.connections.remove(&connection.id) else { return };
        let mut heard = Vec::new();
        match &mut speech {
            Speech::Grpc(calls) => calls.closed(time, thread, &mut heard),
            Speech::Gateway(gateway) => gateway.closed(time, thread, &mut heard),
            Speech::Untold(..) | Speech::Foreign => {}
        }
        heard.iter().for_each(|heard| self.meaning.hear(connection, heard, out));
        add(&mut self.past, speech.ears());
    }

    fn tick(&mut self, now: u64, out: &mut Vec<RemoteStep>) {
        self.connections.each(|speech| match speech {
            Speech::Grpc(calls) => calls.tick(now),
            Speech::Gateway(gateway) => gateway.tick(now),
            Speech::Untold(..) | Speech::Foreign => {}
        });
        self.meaning.tick(now, out);
    }

    fn ears(&self) -> Ears {
        let mut ears = self.past;
        self.connections.values().for_each(|speech| add(&mut ears, speech.ears()));
        ears.unclear += self.meaning.unclear;
        ears.evicted += self.meaning.evicted() + self.connections.evicted;
        ears
    }
}
