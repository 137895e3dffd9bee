//! What a server answers, and to which of the commands.

use super::frame;
use super::meaning::{self, Function};
use super::talk::{Kind, Op, Prepared, State, Talk};
use crate::framing::Ears;
use crate::framing::sql::{self, Flavour, Spot};
use crate::model::{RemoteAct, RemoteStep, Thread};

const IN_TRANSACTION: u16 = 1;
const MORE_RESULTS: u16 = 8;
const CURSOR: u16 = 0x40;
/// Most columns whose types and names are kept.
const COLUMNS_AT_MOST: usize = 64;

fn is_eof(payload: &[u8]) -> bool {
    payload.first() == Some(&0xfe) && payload.len() < 512
}

impl Talk {
    /// Takes a packet of an answer.
    pub fn answer(
        &mut self,
        time: u64,
        thread: Thread,
        packet: &[u8],
        ears: &mut Ears,
        out: &mut Vec<RemoteStep>,
    ) {
        if self.is_lost() {
            return;
        }
        let (number, payload) = (packet[3], packet.get(4..).unwrap_or_default());
        let Some(mut op) = self.ops.pop_front() else {
            // The end of the descriptions a Prepare is answered with, where servers still send it.
            if number > 1 && is_eof(payload) {
                return;
            }
            return self.keep(time, thread, packet, ears, out);
        };
        if number != op.next && op.next == 1 && is_eof(payload) {
            // The same, when the next command is on its way.
            return self.ops.push_front(op);
        }
        // Packets of an answer are numbered from 1 on.
        if payload.is_empty() || number != op.next {
            ears.unpaired += 1;
            self.ops.push_front(op);
            return self.lose(time, thread, out);
        }
        op.next = op.next.wrapping_add(1);
        let over = match op.state {
            _ if payload[0] == 0xff => {
                self.fails(time, thread, &op, payload, ears, out);
                true
            }
            State::First => self.first(time, thread, &mut op, payload, ears, out),
            State::Definitions(left) => {
                // Between those of parameters and of columns there may be an end.
                op.state = State::Definitions(left - u64::from(!is_eof(payload)));
                op.state == State::Definitions(0)
            }
            State::Columns(left) => {
                Self::note(&mut op, payload);
                op.state = if left > 1 { State::Columns(left - 1) } else { State::AfterColumns };
                if left <= 1 {
                    self.described(&mut op, ears, out);
                }
                false
            }
            State::AfterColumns if payload.len() == 5 && is_eof(payload) => {
                op.state = State::Rows;
                frame::status(payload) & CURSOR != 0 && self.at_cursor(&op, ears)
            }
            State::AfterColumns | State::Rows if is_eof(payload) => {
                self.done(time, thread, &mut op, frame::status(payload), ears, out)
            }
            State::AfterColumns | State::Rows => {
                op.state = State::Rows;
                self.row(time, thread, &mut op, payload, out);
                false
            }
        };
        if !over && !self.is_lost() {
            self.ops.push_front(op);
        }
    }

    /// Rows come when they are fetched: which of them are whose is not followed.
    fn at_cursor(&self, op: &Op, ears: &mut Ears) -> bool {
        ears.unclear += op.doing.iter().map(|doing| doing.pending.len() as u64).sum::<u64>();
        true
    }

    fn first(
        &mut self,
        time: u64,
        thread: Thread,
        op: &mut Op,
        payload: &[u8],
        ears: &mut Ears,
        out: &mut Vec<RemoteStep>,
    ) -> bool {
        match (&mut op.kind, payload[0]) {
            (Kind::Prepare(script), 0) => {
                let [_, a, b, c, d, e, f, g, h, ..] = *payload else { return true };
                self.latest = u32::from_le_bytes([a, b, c, d]);
                let columns = u64::from(u16::from_le_bytes([e, f]));
                let parameters = u16::from_le_bytes([g, h]);
                let (script, types) = (script.take(), Vec::new());
                let prepared = Prepared { script, parameters: parameters.into(), types };
                self.statements.insert(self.latest, prepared);
                op.state = State::Definitions(columns + u64::from(parameters));
                op.state == State::Definitions(0)
            }
            (Kind::Text, _) => true,
            (Kind::Reset, _) => {
                let asked = op.time;
                self.give_all(asked, thread, &RemoteAct::Released, out);
                self.end_rows(asked, thread, out);
                self.statements.take(|_, _| true);
                // How a new user proves itself is not heard.
                if payload[0] != 0 {
                    self.lose(time, thread, out);
                }
                true
            }
            (Kind::Fields, first) => first == 0xfe,
            (Kind::Fetch, first) => first == 0xfe,
            (_, 0) => self.done(time, thread, op, frame::status(payload), ears, out),
            (_, 0xfb) => {
                // A file is asked for, and is not heard.
                self.lose(time, thread, out);
                true
            }
            (_, 0xfe) if payload.len() < 9 => true,
            _ => {
                let mut rest = payload;
                let count = frame::length(&mut rest).flatten().unwrap_or(0);
                // MariaDB may leave out descriptions that the client knows.
                let known = rest.first() == Some(&0);
                op.types.clear();
                op.names.clear();
                op.state = match count {
                    0 => State::AfterColumns,
                    _ if known => State::AfterColumns,
                    count => State::Columns(count),
                };
                false
            }
        }
    }

    fn note(op: &mut Op, payload: &[u8]) {
        if op.types.len() < COLUMNS_AT_MOST
            && let Some((name, kind)) = frame::column(payload)
        {
            op.types.push(kind);
            op.names.push(name[..name.len().min(256)].to_vec());
        }
    }

    /// The columns of a statement that nobody knows repeat what it calls.
    fn described(&mut self, op: &mut Op, ears: &mut Ears, out: &mut Vec<RemoteStep>) {
        let Some(doing) = op.doing.front_mut() else { return };
        let Some(body) = doing.unknown.take() else { return };
        let text = [b"select ".as_slice(), &op.names.join(&b","[..])].concat();
        let script = sql::statements(&text, Flavour::Mysql, &meaning::function);
        let Some(statement) = script.first().filter(|s| !s.calls.is_empty()) else { return };
        let count = text.iter().filter(|&&byte| byte == b'?').count();
        let values = frame::parameters(&body, count, &mut Vec::new()).unwrap_or_default();
        *doing = self.begin(statement, &values, 0, (op.time, op.thread), ears, out);
    }

    fn row(
        &mut self,
        time: u64,
        thread: Thread,
        op: &mut Op,
        payload: &[u8],
        out: &mut Vec<RemoteStep>,
    ) {
        let binary = matches!(op.kind, Kind::Execute);
        let asked = op.time;
        let Some(doing) = op.doing.front_mut() else { return };
        doing.rows = doing.rows.saturating_add(1);
        for pending in &mut doing.pending {
            let Spot::Column(column) = pending.spot else { continue };
            let value = match binary {
                true => frame::binary_value(payload, &op.types, column),
                false => frame::text_value(payload, column),
            };
            let Some(value) = value else { continue };
            pending.told = true;
            let lock = &pending.lock;
            match (pending.function, value) {
                (Function::Take, Some(1)) => self.take(lock, time, thread, out),
                (Function::Take, value) => {
                    let error = if value.is_some() { "timeout" } else { "interrupted" };
                    let act = match (pending.queued, value) {
                        (false, Some(_)) => RemoteAct::Refused { holder: None, ahead: None },
                        _ => RemoteAct::Ended { error, holder: None },
                    };
                    out.push(self.step(time, thread, lock, act));
                }
                (Function::Give, value) => {
                    self.give(lock, value == Some(1), (asked, time), thread, out);
                }
                (Function::GiveAll, _) => {}
            }
        }
    }

    /// A statement is complete. Whether the command is.
    fn done(
        &mut self,
        time: u64,
        thread: Thread,
        op: &mut Op,
        status: u16,
        ears: &mut Ears,
        out: &mut Vec<RemoteStep>,
    ) -> bool {
        if let Some(mut doing) = op.doing.pop_front() {
            for pending in doing.pending.iter_mut().filter(|pending| !pending.told) {
                match (pending.function, pending.spot) {
                    // Of DO there is no result: what was held is not any more.
                    (Function::Give, Spot::Alone) => {
                        if self.has(&pending.lock) {
                            self.give(&pending.lock, true, (op.time, time), thread, out);
                        }
                        pending.told = true;
                    }
                    _ => ears.unclear += 1,
                }
            }
            self.end(time, thread, &doing, "gave_up", out);
            if doing.gives_all {
                self.give_all(op.time, thread, &RemoteAct::Released, out);
            }
            self.rows_done(time, thread, op, &doing, out);
        }
        if status & IN_TRANSACTION == 0 {
            self.end_rows(op.time.max(time), thread, out);
        }
        op.state = State::First;
        status & MORE_RESULTS == 0
    }

    fn fails(
        &mut self,
        time: u64,
        thread: Thread,
        op: &Op,
        payload: &[u8],
        ears: &mut Ears,
        out: &mut Vec<RemoteStep>,
    ) {
        let error = meaning::error(payload);
        let mut told = false;
        for (at, doing) in op.doing.iter().enumerate() {
            let ending = if at == 0 { meaning::ending(error) } else { "interrupted" };
            told |= self.end(time, thread, doing, ending, out);
        }
        let several = op.doing.front().is_some_and(|doing| doing.pending.len() > 1);
        // Which of them it waited for, and had by then, is not said.
        ears.unclear += u64::from(several);
        if error == 1213 {
            self.end_rows(time, thread, out);
        }
        if !told {
            let doing = op.doing.front();
            self.tell_error(op.time, time, thread, error, doing, out);
        }
    }

    /// An answer to a command that was not seen.
    pub fn unasked(
        &mut self,
        time: u64,
        thread: Thread,
        packet: &[u8],
        ears: &mut Ears,
        out: &mut Vec<RemoteStep>,
    ) {
        match packet.get(4..) {
            // Descriptions of columns may precede it; nothing else begins like that.
            Some(payload @ [0xff, ..]) => {
                self.tell_error(time, time, thread, meaning::error(payload), None, out);
            }
            _ if self.left_out => {}
            _ => ears.unpaired += 1,
        }
    }
}
