//! What a server answers, and to which of the requests.

use super::frame;
use super::meaning::{self, Function, truth};
use super::session::Acts;
use super::talk::{Doing, Kind, Pending, Talk, is_transaction};
use crate::framing::Ears;
use crate::framing::sql::{Head, Spot};
use crate::model::{Piece, RemoteAct, RemoteStep, Said, Thread};

impl Talk {
    /// Takes an answer.
    pub fn answer(
        &mut self,
        time: u64,
        thread: Thread,
        message: &[u8],
        ears: &mut Ears,
        out: &mut Vec<RemoteStep>,
    ) {
        if self.lost.is_some() {
            return;
        }
        let (kind, body) = (message[0], message.get(5..).unwrap_or_default());
        match kind {
            // Of the server's own accord, or of a session's beginning.
            b'N' | b'A' | b'S' | b'R' | b'v' | b'd' | b'c' => return,
            b'K' => {
                if let Some((four, _)) = body.split_first_chunk::<4>() {
                    self.owner = meaning::owner_of(self.server, u32::from_be_bytes(*four));
                }
                return;
            }
            _ => {}
        }
        if self.ops.is_empty() {
            match kind {
                b'Z' if !self.has_early() => {
                    self.unasked(time, thread, message, ears, out);
                    self.left_out = false;
                }
                _ if self.left_out => self.unasked(time, thread, message, ears, out),
                _ => self.keep(time, thread, message, ears),
            }
            return;
        }
        self.left_out = false;
        let paired = match kind {
            b'Z' => self.synced(time, thread, body.first().copied().unwrap_or(b'I'), out),
            b'E' => self.fails(time, thread, body, ears, out),
            b'1' => self.pop(|kind| matches!(kind, Kind::Parse(_))),
            b'2' => self.pop(|kind| matches!(kind, Kind::Bind)),
            b'3' => self.pop(|kind| matches!(kind, Kind::Close)),
            b't' => matches!(self.front(), Some(Kind::Describe(true))),
            b'T' | b'n' if matches!(self.front(), Some(Kind::Describe(_))) => {
                self.ops.pop_front();
                kind == b'n' || self.described(body, ears, out)
            }
            b'T' => self.described(body, ears, out),
            b'D' => self.row(time, thread, body, ears, out),
            b'C' | b'I' | b's' => self.done(time, thread, ears, out),
            // Copying, and the answer to a function call.
            b'G' | b'H' | b'W' | b'V' => true,
            _ => false,
        };
        if !paired {
            ears.unpaired += 1;
            let piece = Piece { time, thread, sent: false, bytes: &[], missing: 0, settled: false };
            self.lose(&piece, out);
        }
    }

    fn front(&self) -> Option<&Kind> {
        self.ops.front().map(|op| &op.kind)
    }

    fn pop(&mut self, is: impl Fn(&Kind) -> bool) -> bool {
        let found = self.front().is_some_and(is);
        if found {
            self.ops.pop_front();
        }
        found
    }

    /// An answer to a request that was not seen.
    pub fn unasked(
        &mut self,
        time: u64,
        thread: Thread,
        message: &[u8],
        ears: &mut Ears,
        out: &mut Vec<RemoteStep>,
    ) {
        let body = message.get(5..).unwrap_or_default();
        match message[0] {
            b'E' => self.tell_error(time, time, thread, body, out),
            b'T' => {
                let names = frame::columns(body).unwrap_or_default();
                let locks = names.iter().any(|name| meaning::function(name).is_some());
                ears.unclear += u64::from(locks);
            }
            b'Z' => self.ready(time, time, thread, body.first().copied().unwrap_or(b'I'), out),
            _ if self.left_out => {}
            _ => ears.unpaired += 1,
        }
    }

    /// The columns of what is carried out now, or will be.
    fn described(&mut self, body: &[u8], ears: &mut Ears, out: &mut Vec<RemoteStep>) -> bool {
        let Some(at) =
            self.ops.iter().position(|op| matches!(op.kind, Kind::Execute | Kind::Query))
        else {
            return true;
        };
        let (time, thread) = (self.ops[at].time, self.ops[at].thread);
        let Some(doing) = self.ops[at].doing.front_mut() else { return true };
        let Some(parameters) = doing.unknown.take() else { return true };
        let names = frame::columns(body).unwrap_or_default();
        let mut locking = names.iter().enumerate();
        let found = locking.find_map(|(at, name)| Some((at, meaning::function(name)?)));
        let Some((column, function)) = found else { return true };
        if function == Function::GiveAll {
            doing.gives_all = true;
            return true;
        }
        // Both parameters, or the one: they are the key as far as that can be told.
        let place = self.place();
        let numbers: Option<Vec<i64>> = parameters.iter().map(|value| value.integer()).collect();
        let lock = match (numbers.as_deref(), names.len()) {
            (Some(&[key]), 1) => Some(place.of_key(key, false)),
            (Some(&[first, second]), 1) => match (i32::try_from(first), i32::try_from(second)) {
                (Ok(first), Ok(second)) => Some(place.of_pair(first, second, false)),
                _ => None,
            },
            _ => None,
        };
        let Some(lock) = lock else {
            ears.unclear += 1;
            return true;
        };
        if let Function::Take { only_now, mode, .. } = function {
            let asked = RemoteAct::Asked { mode, lease: None, queued: !only_now };
            out.push(self.step(time, thread, &lock, asked));
        }
        let spot = Spot::Column(column);
        if let Some(doing) = self.ops[at].doing.front_mut() {
            doing.pending.push(Pending { lock, function, spot, told: false });
        }
        true
    }

    /// A row: the result of every call that has one.
    fn row(
        &mut self,
        time: u64,
        thread: Thread,
        body: &[u8],
        ears: &mut Ears,
        out: &mut Vec<RemoteStep>,
    ) -> bool {
        let Some(op) = self.ops.front_mut() else { return false };
        if !matches!(op.kind, Kind::Query | Kind::Execute) {
            return false;
        }
        let Some(mut doing) = op.doing.pop_front() else { return true };
        doing.rows = doing.rows.saturating_add(1);
        let mut acts = Acts::new();
        for pending in &mut doing.pending {
            let Spot::Column(column) = pending.spot else { continue };
            let blocks = matches!(pending.function, Function::Take { only_now: false, .. });
            let said = match blocks {
                true => Some(true),
                false => frame::column(body, column).and_then(truth),
            };
            let Some(said) = said else { continue };
            if !pending.told || said {
                self.outcome(pending, said, &mut acts);
            }
            pending.told = true;
        }
        if doing.unknown.is_some() && self.joined && doing.rows == 1 {
            // Neither its text nor its columns are known.
            ears.unclear += 1;
        }
        let asked = self.ops.front().map_or(time, |op| op.time);
        self.tell(asked, time, thread, acts, out);
        if let Some(op) = self.ops.front_mut() {
            op.doing.push_front(doing);
        }
        true
    }

    /// The server said yes or no.
    fn outcome(&mut self, pending: &Pending, said: bool, acts: &mut Acts) {
        let lock = &pending.lock;
        match (pending.function, said) {
            (Function::Take { transaction, mode, .. }, true) => {
                self.session.take(lock, mode, transaction, acts);
            }
            (Function::Take { .. }, false) => {
                acts.push((lock.clone(), RemoteAct::Refused { holder: None, ahead: None }));
            }
            (Function::Give(mode), true) => self.session.give(lock, mode, acts),
            (Function::Give(mode), false) => self.session.refused(lock, mode, acts),
            (Function::GiveAll, _) => {}
        }
    }

    /// A statement is complete.
    fn done(
        &mut self,
        time: u64,
        thread: Thread,
        ears: &mut Ears,
        out: &mut Vec<RemoteStep>,
    ) -> bool {
        let Some(op) = self.ops.front_mut() else { return false };
        let asked = (op.time, op.thread);
        let doing = op.doing.pop_front();
        match op.kind {
            Kind::Query => {}
            Kind::Execute => drop(self.ops.pop_front()),
            _ => return false,
        }
        let Some(mut doing) = doing else { return true };
        let mut acts = Acts::new();
        for pending in std::mem::take(&mut doing.pending) {
            if pending.told {
                continue;
            }
            let blocks = matches!(pending.function, Function::Take { only_now: false, .. });
            if blocks && pending.spot == Spot::Alone && doing.rows > 0 {
                self.outcome(&pending, true, &mut acts);
                continue;
            }
            // It gave no row, or one that cannot be read.
            ears.unclear += 1;
            if is_transaction(pending.function).is_some() {
                let ended = RemoteAct::Ended { error: "gave_up", holder: None };
                acts.push((pending.lock, ended));
            }
        }
        if doing.gives_all {
            self.session.give_all(&mut acts);
        }
        self.carried_out(&mut doing, &mut acts);
        self.tell(asked.0, time, thread, acts, out);
        self.rows_done(asked, time, thread, &doing, out);
        true
    }

    /// What a statement did with the transaction and with prepared statements.
    fn carried_out(&mut self, doing: &mut Doing, acts: &mut Acts) {
        match std::mem::replace(&mut doing.head, Head::Other) {
            Head::Commit | Head::Rollback => self.session.end(acts),
            Head::Savepoint(name) => self.session.save(&name),
            Head::RollbackTo(name) => self.session.back_to(&name, acts),
            Head::Release(name) => self.session.forget(&name),
            Head::DiscardAll => {
                self.session.give_all(acts);
                self.unprepare(None);
            }
            Head::Deallocate(name) => self.unprepare(name.as_deref()),
            Head::Prepare(name) => {
                if let Some(script) = doing.prepares.take() {
                    self.prepared(name, script);
                }
            }
            Head::Begin | Head::Execute(..) | Head::Other => {}
        }
    }

    /// The server is ready: the transaction goes on, failed, or is over.
    pub fn ready(
        &mut self,
        asked: u64,
        time: u64,
        thread: Thread,
        status: u8,
        out: &mut Vec<RemoteStep>,
    ) {
        // A failure comes when it is told of, not when it was asked for.
        let asked = if status == b'E' { time } else { asked };
        let mut acts = Acts::new();
        match status {
            b'I' => self.session.end(&mut acts),
            // Once: what a savepoint brings back is told by the statement.
            b'E' if self.status != b'E' => self.session.fail(&mut acts),
            _ => {}
        }
        self.status = status;
        self.tell(asked, time, thread, acts, out);
    }

    fn synced(&mut self, time: u64, thread: Thread, status: u8, out: &mut Vec<RemoteStep>) -> bool {
        self.failed = false;
        let ends = |kind: &Kind| matches!(kind, Kind::Sync | Kind::Query | Kind::Call);
        let asked = self.ops.front().map_or(time, |op| op.time);
        let front = self.pop(ends);
        self.ready(asked, time, thread, status, out);
        front
    }

    fn fails(
        &mut self,
        time: u64,
        thread: Thread,
        body: &[u8],
        ears: &mut Ears,
        out: &mut Vec<RemoteStep>,
    ) -> bool {
        let Some(op) = self.ops.front_mut() else { return false };
        let doing = std::mem::take(&mut op.doing);
        let asked = op.time;
        let simple = matches!(op.kind, Kind::Query | Kind::Call);
        let name = match &mut op.kind {
            Kind::Parse(name) => Some(std::mem::take(name)),
            _ => None,
        };
        if let Some(name) = name {
            self.unprepare(Some(&name));
        }
        let error = frame::error(body);
        let (ending, blocker) = (meaning::ending(&error), meaning::blocker(&error, self.server));
        let mut told = false;
        for (at, doing) in doing.iter().enumerate() {
            let own = (at == 0).then_some(&blocker);
            let ending = if at == 0 { ending } else { "interrupted" };
            told |= self.end(time, thread, doing, ending, own.unwrap_or(&None), out);
        }
        if doing.front().is_some_and(|doing| doing.pending.len() > 1) {
            // Which of them it waited for, and had by then, is not said.
            ears.unclear += 1;
        }
        if !told && !self.waits_end(asked, time, thread, doing.front(), &error, out) {
            self.tell_error(asked, time, thread, body, out);
        }
        if !simple {
            self.failed = true;
            self.skip_failed(time, thread, out);
        }
        true
    }

    /// After an error, the server passes over everything up to the next Sync.
    pub fn skip_failed(&mut self, time: u64, thread: Thread, out: &mut Vec<RemoteStep>) {
        while self.failed
            && let Some(op) = self.ops.pop_front()
        {
            if matches!(op.kind, Kind::Sync) {
                self.ops.push_front(op);
                return;
            }
            for doing in &op.doing {
                self.end(time, thread, doing, "interrupted", &None, out);
            }
        }
    }

    /// A statement came to nothing. Whether that ended an attempt.
    pub fn end(
        &self,
        time: u64,
        thread: Thread,
        doing: &Doing,
        error: &'static str,
        holder: &Option<Said>,
        out: &mut Vec<RemoteStep>,
    ) -> bool {
        let mut told = false;
        for pending in doing.pending.iter().filter(|pending| !pending.told) {
            if is_transaction(pending.function).is_some() {
                let ended = RemoteAct::Ended { error, holder: holder.clone() };
                out.push(self.step(time, thread, &pending.lock, ended));
                told = true;
            }
        }
        told
    }
}
