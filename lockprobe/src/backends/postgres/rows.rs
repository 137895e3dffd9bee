//! Locks of rows and tables: where asked for, and where they end in an error.

use std::sync::Arc;

use super::frame::{self, Error};
use super::meaning;
use super::session::Acts;
use super::talk::{Doing, Talk};
use crate::framing::sql::{self, RowLocks};
use crate::model::{LockDescription, Mode, RemoteAct, RemoteStep, Thread};

/// A statement that may wait for rows or a table.
pub struct Waits {
    lock: Arc<LockDescription>,
    mode: Mode,
    waits: bool,
    queue: bool,
    /// That it waits was told.
    told: bool,
}

impl Waits {
    /// What this statement locks.
    pub fn new(
        talk: &Talk,
        rows: Option<&RowLocks>,
        sql: u64,
        parameters: &[sql::Value],
    ) -> Option<Self> {
        let asked = |rows: &&RowLocks| if rows.whole { talk.rules.tables } else { talk.rules.rows };
        let rows = rows.filter(asked)?;
        let mode = match rows {
            // Others take other rows of the same queue.
            RowLocks { skip: true, .. } | RowLocks { other: true, .. } => Mode::Unknown,
            RowLocks { shared: true, .. } => Mode::Shared,
            _ => Mode::Exclusive,
        };
        let lock = talk.place().of_rows(rows, sql::number_with(sql, parameters));
        let waits = !rows.nowait && !rows.skip;
        Some(Self { lock, mode, waits, queue: rows.skip, told: false })
    }

    fn asked(&self) -> RemoteAct {
        RemoteAct::Asked { mode: self.mode, lease: None, queued: self.waits }
    }
}

impl Talk {
    /// What has waited for long enough to be told.
    pub fn tell_waits(&mut self, now: u64, out: &mut Vec<RemoteStep>) {
        let threshold = self.rules.threshold;
        let Some(op) = self.ops.front_mut() else { return };
        let (time, thread) = (op.time, op.thread);
        let waits = op.doing.front_mut().and_then(|doing| doing.waits.as_mut());
        let Some(waits) = waits.filter(|waits| waits.waits && !waits.told) else { return };
        if now.saturating_sub(time) < threshold {
            return;
        }
        waits.told = true;
        let (lock, asked) = (waits.lock.clone(), waits.asked());
        out.push(self.step(time, thread, &lock, asked));
    }

    /// The statement is complete: it has what it asked for.
    pub fn rows_done(
        &mut self,
        (asked, asker): (u64, Thread),
        time: u64,
        thread: Thread,
        doing: &Doing,
        out: &mut Vec<RemoteStep>,
    ) {
        let Some(waits) = &doing.waits else { return };
        // Of a queue without a row nothing was taken; nor is there a row where none was found.
        if doing.rows == 0 && waits.lock.kind != crate::model::LockKind::PostgresTable {
            if waits.told {
                let ended = RemoteAct::Ended { error: "gave_up", holder: None };
                out.push(self.step(time, thread, &waits.lock, ended));
            }
            return;
        }
        let long = time.saturating_sub(asked) >= self.rules.threshold;
        if long && !waits.told && !waits.queue {
            out.push(self.step(asked, asker, &waits.lock, waits.asked()));
        }
        let mut acts = Acts::new();
        self.session.take(&waits.lock, waits.mode, true, &mut acts);
        self.tell(asked, time, thread, acts, out);
    }

    /// A statement that waited for rows or a table ended in an error.
    pub fn waits_end(
        &self,
        asked: u64,
        time: u64,
        thread: Thread,
        doing: Option<&Doing>,
        error: &Error<'_>,
        out: &mut Vec<RemoteStep>,
    ) -> bool {
        let Some(waits) = doing.and_then(|doing| doing.waits.as_ref()) else { return false };
        let locks = matches!(error.code, b"40P01" | b"55P03");
        if !waits.told && !locks {
            return false;
        }
        if !waits.told {
            out.push(self.step(asked, thread, &waits.lock, waits.asked()));
        }
        let holder = meaning::blocker(error, self.server);
        let ended = RemoteAct::Ended { error: meaning::ending(error), holder };
        out.push(self.step(time, thread, &waits.lock, ended));
        true
    }

    /// An error that no advisory lock explains: a deadlock, or a lock that was not to be had.
    pub fn tell_error(
        &self,
        asked: u64,
        time: u64,
        thread: Thread,
        body: &[u8],
        out: &mut Vec<RemoteStep>,
    ) {
        let error = frame::error(body);
        if !matches!(error.code, b"40P01" | b"55P03") {
            return;
        }
        let lock = self.place().of_error(&error);
        let asking = RemoteAct::Asked { mode: Mode::Exclusive, lease: None, queued: true };
        out.push(self.step(asked, thread, &lock, asking));
        let ended = RemoteAct::Ended {
            error: meaning::ending(&error),
            holder: meaning::blocker(&error, self.server),
        };
        out.push(self.step(time, thread, &lock, ended));
    }
}
