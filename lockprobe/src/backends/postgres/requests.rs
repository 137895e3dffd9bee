//! What a client asks for.

use std::collections::VecDeque;
use std::sync::Arc;

use super::frame::{self, Startup};
use super::meaning::{self, Function};
use super::rows::Waits;
use super::talk::{
    Doing, Kind, OWED_AT_MOST, Op, Pending, Portal, STATEMENTS_AT_MOST, Script, Talk,
};
use crate::framing::sql::{self, Flavour, Head, Statement};
use crate::framing::{Bounded, Ears, owner, shown};
use crate::model::{Piece, RemoteAct, RemoteStep};

impl Talk {
    /// Takes a request.
    pub fn request(
        &mut self,
        piece: &Piece<'_>,
        message: &[u8],
        ears: &mut Ears,
        out: &mut Vec<RemoteStep>,
    ) {
        if self.lost.is_some() || message.is_empty() {
            return;
        }
        if message[0] == 0 {
            return self.start(message);
        }
        let body = message.get(5..).unwrap_or_default();
        let doing = &mut VecDeque::new();
        let kind = match message[0] {
            b'Q' => {
                self.query(body, piece, doing, ears, out);
                Kind::Query
            }
            b'P' => self.parse(body),
            b'B' => {
                self.bind(body, ears);
                Kind::Bind
            }
            b'D' => Kind::Describe(body.first() == Some(&b'S')),
            b'E' => {
                self.execute(body, piece, doing, ears, out);
                Kind::Execute
            }
            b'C' => {
                self.forget(body);
                Kind::Close
            }
            b'S' => Kind::Sync,
            b'F' => Kind::Call,
            // With the session its locks end, before the connection does.
            b'X' => return self.leave(piece.time, piece.thread, out),
            _ => return,
        };
        if self.ops.len() >= OWED_AT_MOST {
            ears.evicted += 1;
            return self.lose(piece, out);
        }
        let doing = std::mem::take(doing);
        self.ops.push_back(Op { time: piece.time, thread: piece.thread, kind, doing });
        self.skip_failed(piece.time, piece.thread, out);
        while let Some(early) = self.early.pop_front() {
            if self.ops.is_empty() {
                self.early.push_front(early);
                break;
            }
            self.answer(early.time.max(piece.time), early.thread, &early.message, ears, out);
        }
    }

    fn start(&mut self, message: &[u8]) {
        match frame::startup(message) {
            Some(Startup::Session(parameters)) => {
                self.joined = false;
                self.database = frame::database(parameters).map(shown);
            }
            Some(Startup::Encryption) => self.encryption_asked = true,
            Some(Startup::Cancel) | None => {}
        }
    }

    fn script(sql: &[u8], ears: &mut Ears) -> Option<(Script, u64)> {
        if !sql::is_telling(sql) {
            return None;
        }
        let script = sql::statements(sql, Flavour::Postgres, &meaning::function);
        ears.unclear += script.iter().filter(|statement| statement.hidden).count() as u64;
        Some((Arc::new(script), owner(sql::bare(sql)).0))
    }

    fn query(
        &mut self,
        body: &[u8],
        piece: &Piece<'_>,
        doing: &mut VecDeque<Doing>,
        ears: &mut Ears,
        out: &mut Vec<RemoteStep>,
    ) {
        let sql = body.strip_suffix(b"\0").unwrap_or(body);
        let Some((script, number)) = Self::script(sql, ears) else { return };
        let from = out.len();
        for statement in script.iter() {
            doing.push_back(self.begin(statement, &[], number, piece, ears, out));
        }
        sql::trace(sql::context(sql), from, out);
    }

    fn parse(&mut self, body: &[u8]) -> Kind {
        let Some((name, rest)) = frame::text(body) else { return Kind::Parse(Vec::new()) };
        let sql = frame::text(rest).map_or(rest, |(sql, _)| sql);
        let mut ears = Ears::default();
        let script = Self::script(sql, &mut ears);
        // One that has a name is carried out again and again, in whatever trace.
        self.unnamed = script.as_ref().filter(|_| name.is_empty()).and(sql::context(sql));
        self.put(name, script);
        Kind::Parse(name.to_vec())
    }

    fn bind(&mut self, body: &[u8], ears: &mut Ears) {
        let Some(bind) = frame::bind(body) else {
            ears.malformed += 1;
            return;
        };
        let name = bind.statement.to_vec();
        let ordinary = || self.ordinary.get(&name).map(|()| <(Script, u64)>::default());
        let known = self.statements.get(&name).cloned().or_else(ordinary);
        let matters = known.as_ref().is_none_or(|(script, _)| !script.is_empty());
        let parameters = match matters {
            true => bind.parameters.iter().map(|(v, b)| meaning::parameter(*v, *b)).collect(),
            false => Vec::new(),
        };
        let (script, sql) = known.map_or((None, 0), |(script, sql)| (Some(script), sql));
        let context = self.unnamed.filter(|_| name.is_empty());
        self.portals.insert(bind.portal.to_vec(), Portal { script, parameters, sql, context });
    }

    fn execute(
        &mut self,
        body: &[u8],
        piece: &Piece<'_>,
        doing: &mut VecDeque<Doing>,
        ears: &mut Ears,
        out: &mut Vec<RemoteStep>,
    ) {
        let Some((name, _)) = frame::text(body) else { return };
        // What goes on with a portal begins nothing.
        let Some(portal) = self.portals.remove(&name.to_vec()) else { return };
        match portal.script {
            Some(script) => {
                for statement in script.iter().take(1) {
                    let (own, from) = (&portal.parameters, out.len());
                    doing.push_back(self.begin(statement, own, portal.sql, piece, ears, out));
                    sql::trace(portal.context, from, out);
                }
            }
            None => {
                let unknown = Some(portal.parameters);
                doing.push_back(Doing { unknown, ..Doing::nothing() });
            }
        }
    }

    fn forget(&mut self, body: &[u8]) {
        let name = body.get(1..).and_then(frame::text).map(|(name, _)| name.to_vec());
        if let (Some(b'S'), Some(name)) = (body.first(), name) {
            self.put(&name, None);
        }
    }

    fn put(&mut self, name: &[u8], script: Option<(Script, u64)>) {
        match script {
            Some(script) => {
                self.ordinary.remove(&name.to_vec());
                self.statements.insert(name.to_vec(), script);
            }
            None => {
                self.statements.remove(&name.to_vec());
                self.ordinary.insert(name.to_vec(), ());
            }
        }
    }

    /// The server did not take a statement.
    pub fn unprepare(&mut self, name: Option<&[u8]>) {
        match name {
            Some(name) => self.put(name, None),
            None => self.statements = Bounded::new(STATEMENTS_AT_MOST),
        }
    }

    /// The server knows a statement by this name.
    pub fn prepared(&mut self, name: Vec<u8>, script: Script) {
        self.put(&name, Some((script, 0)));
    }

    /// A statement that is to be carried out, and what it asks for.
    fn begin(
        &mut self,
        statement: &Statement<Function>,
        parameters: &[sql::Value],
        sql: u64,
        piece: &Piece<'_>,
        ears: &mut Ears,
        out: &mut Vec<RemoteStep>,
    ) -> Doing {
        let mut doing = Doing { head: statement.head.clone(), ..Doing::nothing() };
        match &statement.head {
            Head::Prepare(_) => {
                let body = Statement { head: Head::Other, ..statement.clone() };
                doing.prepares = Some(Arc::new(vec![body]));
            }
            Head::Execute(name, given) => match self.statements.get(name).cloned() {
                Some((script, _)) if !script.is_empty() => {
                    let inner = script[0].clone();
                    if !matches!(inner.head, Head::Execute(..)) {
                        return self.begin(&inner, given, sql, piece, ears, out);
                    }
                }
                Some(_) => {}
                None if self.ordinary.get(name).is_some() => {}
                None => doing.unknown = Some(given.clone()),
            },
            _ => self.ask(&mut doing, statement, parameters, piece, ears, out),
        }
        doing.waits = Waits::new(self, statement.locks.as_ref(), sql, parameters);
        doing
    }

    fn ask(
        &self,
        doing: &mut Doing,
        statement: &Statement<Function>,
        parameters: &[sql::Value],
        piece: &Piece<'_>,
        ears: &mut Ears,
        out: &mut Vec<RemoteStep>,
    ) {
        for call in &statement.calls {
            if call.function == Function::GiveAll {
                doing.gives_all = call.spot != sql::Spot::Inside;
                continue;
            }
            let lock = self.place().of_call(call, parameters);
            let (Some(lock), true) = (lock, call.spot != sql::Spot::Inside) else {
                ears.unclear += 1;
                continue;
            };
            if let Function::Take { only_now, mode, .. } = call.function {
                let asked = RemoteAct::Asked { mode, lease: None, queued: !only_now };
                out.push(self.step(piece.time, piece.thread, &lock, asked));
            }
            let (function, spot) = (call.function, call.spot);
            doing.pending.push(Pending { lock, function, spot, told: false });
        }
    }
}
