//! What a client asks for.

use std::collections::VecDeque;
use std::sync::Arc;

use super::frame;
use super::meaning::{self, Function};
use super::talk::{Doing, Kind, Op, Pending, Script, State, Talk};
use crate::framing::sql::{self, Flavour, Spot, Statement, Value};
use crate::framing::{Ears, owner};
use crate::model::{Mode, Piece, RemoteAct, RemoteStep, Thread};

/// Most commands without an answer.
const OWED_AT_MOST: usize = 1024;
/// Most bytes of parameters kept for a statement that nobody knows.
const UNKNOWN_AT_MOST: usize = 1024;

impl Talk {
    /// Takes a command.
    pub fn command(
        &mut self,
        piece: &Piece<'_>,
        packet: &[u8],
        ears: &mut Ears,
        out: &mut Vec<RemoteStep>,
    ) {
        let (Some(0), Some(&command)) = (packet.get(3), packet.get(4)) else { return };
        if self.is_lost() {
            return;
        }
        let body = &packet[5..];
        let mut doing = VecDeque::new();
        let kind = match command {
            // QUIT: with the session its locks end, before the connection does.
            0x01 => return self.leave(piece.time, piece.thread, out),
            // Long values and the end of a statement are not answered.
            0x18 => return,
            0x19 => {
                let id = body.first_chunk::<4>().map(|id| u32::from_le_bytes(*id));
                return drop(id.and_then(|id| self.statements.remove(&id)));
            }
            0x03 => {
                self.query(body, piece, &mut doing, ears, out);
                Kind::Query
            }
            0x16 => Kind::Prepare(Self::script(body)),
            0x17 => {
                doing.extend(self.execute(body, piece, ears, out));
                Kind::Execute
            }
            0x04 => Kind::Fields,
            0x1c => Kind::Fetch,
            0x11 | 0x1f => Kind::Reset,
            0x09 | 0x1b => Kind::Text,
            0x12 | 0x15 | 0x1e => return self.lose(piece.time, piece.thread, out),
            _ => Kind::Query,
        };
        if self.ops.len() >= OWED_AT_MOST {
            ears.evicted += 1;
            return self.lose(piece.time, piece.thread, out);
        }
        let (time, thread) = (piece.time, piece.thread);
        let (types, names) = (Vec::new(), Vec::new());
        let (state, next) = (State::First, 1);
        self.ops.push_back(Op { time, thread, kind, state, next, types, names, doing });
        for early in std::mem::take(&mut self.early) {
            self.answer(early.time.max(time), early.thread, &early.packet, ears, out);
        }
    }

    fn script(text: &[u8]) -> Option<(Script, u64)> {
        let script = || sql::statements(text, Flavour::Mysql, &meaning::function);
        sql::is_telling(text).then(|| (Arc::new(script()), owner(sql::bare(text)).0))
    }

    fn query(
        &mut self,
        body: &[u8],
        piece: &Piece<'_>,
        doing: &mut VecDeque<Doing>,
        ears: &mut Ears,
        out: &mut Vec<RemoteStep>,
    ) {
        // Attributes of a query, of which there are usually none.
        let text = match body {
            [0, 1, text @ ..] => text,
            [1..=8, 1, ..] => {
                ears.unclear += u64::from(sql::is_telling(body));
                return;
            }
            text => text,
        };
        let Some((script, number)) = Self::script(text) else { return };
        let from = out.len();
        for statement in script.iter() {
            doing.push_back(self.begin(
                statement,
                &[],
                number,
                (piece.time, piece.thread),
                ears,
                out,
            ));
        }
        sql::trace(sql::context(text), from, out);
    }

    fn execute(
        &mut self,
        body: &[u8],
        piece: &Piece<'_>,
        ears: &mut Ears,
        out: &mut Vec<RemoteStep>,
    ) -> Option<Doing> {
        let (id, body) = body.split_first_chunk::<4>()?;
        // MariaDB: the one that was prepared last.
        let id = match u32::from_le_bytes(*id) {
            u32::MAX => self.latest,
            id => id,
        };
        let Some(prepared) = self.statements.get_mut(&id) else {
            let kept = body[..body.len().min(UNKNOWN_AT_MOST)].to_vec();
            return Some(Doing { unknown: Some(kept), ..Doing::default() });
        };
        let (script, number) = prepared.script.clone()?;
        let values = frame::parameters(body, prepared.parameters, &mut prepared.types);
        let statement = script.first()?;
        let values = values.unwrap_or_default();
        Some(self.begin(statement, &values, number, (piece.time, piece.thread), ears, out))
    }

    /// A statement that is to be carried out, and what it asks for.
    pub fn begin(
        &self,
        statement: &Statement<Function>,
        parameters: &[Value],
        sql: u64,
        (time, thread): (u64, Thread),
        ears: &mut Ears,
        out: &mut Vec<RemoteStep>,
    ) -> Doing {
        let locks = statement.locks.clone();
        let sql = if locks.is_some() { sql::number_with(sql, parameters) } else { sql };
        let mut doing = Doing { locks, sql, ..Doing::default() };
        for call in &statement.calls {
            if call.function == Function::GiveAll {
                doing.gives_all = call.spot != Spot::Inside;
                continue;
            }
            let lock = meaning::lock_of(self.server, call, parameters);
            let blind = call.spot == Spot::Inside
                || (call.spot == Spot::Alone && call.function == Function::Take);
            let (Some(lock), false) = (lock, blind) else {
                ears.unclear += 1;
                continue;
            };
            let queued = !meaning::is_only_now(call, parameters);
            if call.function == Function::Take {
                let asked = RemoteAct::Asked { mode: Mode::Exclusive, lease: None, queued };
                out.push(self.step(time, thread, &lock, asked));
            }
            let (function, spot) = (call.function, call.spot);
            doing.pending.push(Pending { lock, function, spot, queued, told: false });
        }
        doing
    }
}
