//! MySQL and MariaDB: `GET_LOCK` and its family, and what errors say of locks.
//!
//! In: pieces of conversations. Out: steps of locks. Never: the network, a clock.
//!
//! A lock is `mysql://server/ul/name`, the name as it is written: MariaDB tells letters' cases apart
//! and MySQL does not. Where the server computes the name, the lock is called after the expression,
//! as a candidate. Row locks are told of where they end in an error, and those that statements ask
//! for by their words where [`Rules`] ask for it.
//!
//! Blind spots. Functions called inside stored routines, behind conditions (`IF(GET_LOCK(..))`:
//! counted) or with parameters of the text protocol's own (counted) are not followed; nor are
//! compressed connections, bulk commands and files sent by the client. A statement prepared before
//! observation began is known by the names of its columns, which repeat the call unless it has an
//! alias. Servers before MySQL 5.7.5 and MariaDB 10.0.2 let go of one lock when they give another,
//! unheard. A deadlock does not name the others. Tables locked by LOCK TABLES are not followed, and
//! which row of which table an error is about is not said; the error of a statement without a word of
//! locks is missed where it comes behind rows or more than 15 columns. Encrypted connections are read
//! above the encryption or not at all.

mod answers;
mod commands;
mod frame;
mod meaning;
mod rows;
mod talk;
#[cfg(test)]
mod tests;

use talk::Talk;

use crate::framing::{Backend, Bounded, Ears, OfStatements, Rules};
use crate::model::{Connection, Piece, RemoteStep, Thread};

/// Most connections followed at a time.
const CONNECTIONS_AT_MOST: usize = 16_384;

/// Understands MySQL and MariaDB.
pub struct Mysql {
    rules: OfStatements,
    talks: Bounded<u64, Talk>,
    ears: Ears,
}

impl Default for Mysql {
    fn default() -> Self {
        Self::with(&Rules::default())
    }
}

impl Mysql {
    /// By these rules.
    pub fn with(rules: &Rules) -> Self {
        let rules = rules.of_statements();
        Self { rules, talks: Bounded::new(CONNECTIONS_AT_MOST), ears: Ears::default() }
    }
}

impl Backend for Mysql {
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
            self.ears.evicted += talk.evicted();
            talk.leave(time, thread, out);
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
