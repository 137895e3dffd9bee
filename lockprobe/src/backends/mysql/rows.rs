//! Locks of rows: where asked for, and where they end in an error.

use std::sync::Arc;

use super::meaning;
use super::talk::{Doing, Op, State, Talk};
use crate::model::{LockDescription, LockKind, Mode, RemoteAct, RemoteStep, Thread};

/// Most row locks of a transaction.
const ROWS_AT_MOST: usize = 256;

impl Talk {
    /// Rows that a statement locks by its words, how, and whether it waits for them.
    fn rows_of(&self, doing: &Doing) -> Option<(Arc<LockDescription>, Mode, bool)> {
        let locks = doing.locks.as_ref().filter(|locks| self.rules.rows && !locks.whole)?;
        let mode = match (locks.skip, locks.shared) {
            // Others take other rows of the same queue.
            (true, _) => Mode::Unknown,
            (false, true) => Mode::Shared,
            (false, false) => Mode::Exclusive,
        };
        let lock = meaning::rows(self.server, Some(locks), Some(doing.sql));
        Some((lock, mode, !locks.skip && !locks.nowait))
    }

    /// That it waited was told, and how it ended will not be.
    pub fn waits_end(&self, time: u64, thread: Thread, doing: &Doing, out: &mut Vec<RemoteStep>) {
        if let Some((lock, ..)) = self.rows_of(doing).filter(|_| doing.waits) {
            let ended = RemoteAct::Ended { error: "interrupted", holder: None };
            out.push(self.step(time, thread, &lock, ended));
        }
    }

    /// What has waited for long enough to be told.
    pub fn tell_waits(&mut self, now: u64, out: &mut Vec<RemoteStep>) {
        let Some(op) = self.ops.front() else { return };
        let (time, thread) = (op.time, op.thread);
        if now.saturating_sub(time) < self.rules.threshold || op.state != State::First {
            return;
        }
        let Some(doing) = op.doing.front().filter(|doing| !doing.waits) else { return };
        let Some((lock, mode, true)) = self.rows_of(doing) else { return };
        let asked = RemoteAct::Asked { mode, lease: None, queued: true };
        out.push(self.step(time, thread, &lock, asked));
        if let Some(doing) = self.ops.front_mut().and_then(|op| op.doing.front_mut()) {
            doing.waits = true;
        }
    }

    /// The statement is complete: it has what it asked for.
    pub fn rows_done(
        &mut self,
        time: u64,
        thread: Thread,
        op: &Op,
        doing: &Doing,
        out: &mut Vec<RemoteStep>,
    ) {
        let Some((lock, mode, waits)) = self.rows_of(doing) else { return };
        if doing.rows == 0 || self.rows.len() >= ROWS_AT_MOST {
            if doing.waits {
                let ended = RemoteAct::Ended { error: "gave_up", holder: None };
                out.push(self.step(time, thread, &lock, ended));
            }
            return;
        }
        let long = time.saturating_sub(op.time) >= self.rules.threshold;
        if long && waits && !doing.waits {
            let asked = RemoteAct::Asked { mode, lease: None, queued: true };
            out.push(self.step(op.time, op.thread, &lock, asked));
        }
        let acquired = RemoteAct::Acquired { mode, lease: None, fence: None };
        out.push(self.step(time, thread, &lock, acquired));
        if self.rows.iter().all(|own| own.id != lock.id) {
            self.rows.push(lock);
        }
    }

    /// The transaction is over.
    pub fn end_rows(&mut self, time: u64, thread: Thread, out: &mut Vec<RemoteStep>) {
        for lock in std::mem::take(&mut self.rows) {
            debug_assert_eq!(lock.kind, LockKind::MysqlRow);
            out.push(self.step(time, thread, &lock, RemoteAct::Released));
        }
    }

    /// An error that no user's lock explains: rows.
    pub fn tell_error(
        &self,
        asked: u64,
        time: u64,
        thread: Thread,
        error: u16,
        doing: Option<&Doing>,
        out: &mut Vec<RemoteStep>,
    ) {
        if !meaning::is_of_locks(error) && !doing.is_some_and(|doing| doing.waits) {
            return;
        }
        let locks = doing.and_then(|doing| doing.locks.as_ref());
        let sql = doing.filter(|doing| doing.locks.is_some()).map(|doing| doing.sql);
        let lock = meaning::rows(self.server, locks, sql);
        if !doing.is_some_and(|doing| doing.waits) {
            let asking = RemoteAct::Asked { mode: Mode::Exclusive, lease: None, queued: true };
            out.push(self.step(asked, thread, &lock, asking));
        }
        let ended = RemoteAct::Ended { error: meaning::ending(error), holder: None };
        out.push(self.step(time, thread, &lock, ended));
    }
}
