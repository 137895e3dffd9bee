//! PostgreSQL: advisory locks, in simple and extended queries, and what its errors say of locks.
//!
//! In: pieces of conversations. Out: steps of locks. Never: the network, a clock.
//!
//! A lock is `pg://server/database/adv/classid:objid:1` or `2`, as `pg_locks` shows it. Where the
//! server computes the number, it is called after the expression, as a candidate. Locks of rows and
//! tables are told of where they end in an error, and all of them where [`Rules`] ask for it.
//!
//! Blind spots. Functions called inside other functions, in DO blocks (counted, if they speak of
//! locks) and behind conditions (`CASE`, `WHERE`, subqueries: counted) are not followed; nor is what
//! COPY, replication or a cursor brings. A statement that was prepared before observation began is
//! known by the names of its columns and its parameters only, as a candidate; one without either is
//! counted. How often a session has a lock is counted from where observation begins. A pooler that
//! gives one server connection to several clients ends holds without a word; an unlock that the
//! server does not know of then shows it. Encrypted connections are read above the encryption or
//! not at all. Triggers and rules do what they like. The search path is taken for the usual one.

mod answers;
mod frame;
mod meaning;
mod requests;
mod rows;
mod session;
mod talk;
#[cfg(test)]
mod tests;

use talk::Talk;

use crate::framing::{Backend, Bounded, Ears, OfStatements, Rules};
use crate::model::{Connection, Piece, RemoteStep, Thread};

/// Most connections followed at a time.
const CONNECTIONS_AT_MOST: usize = 16_384;

/// Understands PostgreSQL.
pub struct Postgres {
    rules: OfStatements,
    talks: Bounded<u64, Talk>,
    ears: Ears,
}

impl Default for Postgres {
    fn default() -> Self {
        Self::with(&Rules::default())
    }
}

impl Postgres {
    /// By these rules.
    pub fn with(rules: &Rules) -> Self {
        let rules = rules.of_statements();
        Self { rules, talks: Bounded::new(CONNECTIONS_AT_MOST), ears: Ears::default() }
    }
}

impl Backend for Postgres {
    fn opened(&mut self, connection: &Connection) {
        self.talks.insert(connection.id, Talk::new(connection, self.rules));
    }

    fn piece(&mut self, connection: &Connection, piece: &Piece<'_>, out: &mut Vec<RemoteStep>) {
        if let Some(talk) = self.talks.get_mut(&connection.id) {
            talk.piece(piece, &mut self.ears, out);
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
            talk.close(time, thread, &mut self.ears, out);
        }
    }

    fn tick(&mut self, now: u64, out: &mut Vec<RemoteStep>) {
        let ears = &mut self.ears;
        self.talks.each(|talk| talk.tick(now, ears, out));
    }

    fn ears(&self) -> Ears {
        Ears { evicted: self.ears.evicted + self.talks.evicted, ..self.ears }
    }
}
