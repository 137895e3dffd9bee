//! What requests and their answers mean for locks.

use core::net::SocketAddr;
use std::sync::Arc;

use super::frame::{self, Key, Request};
use crate::framing::{Bounded, lock, owner, shown};
use crate::model::{
    Connection, LockDescription, LockKind, Mode, Owner, RemoteAct, RemoteStep, Said, Thread,
};

/// Most sessions, holds and attempts that are remembered.
const AT_MOST: usize = 4096;

/// Longest key whose text alone tells it from others.
const SHOWN_AT_MOST: usize = 200;

/// A query that begins so long after a refusal has nothing to do with it.
const LOOKED: u64 = 1_000_000_000;

/// Where and when something happened.
#[derive(Clone, Copy, Debug)]
pub struct At {
    connection: u64,
    server: SocketAddr,
    time: u64,
    thread: Thread,
}

impl At {
    /// On this connection.
    pub fn new(connection: &Connection, time: u64, thread: Thread) -> Self {
        Self { connection: connection.id, server: connection.server, time, thread }
    }

    fn step(&self, lock: &Arc<LockDescription>, owner: Owner, act: RemoteAct) -> RemoteStep {
        let Self { connection, server, time, thread } = *self;
        RemoteStep { time, thread, lock: lock.clone(), connection, server, owner: Some(owner), act }
    }

    /// Said of a hold: by its own process, or on its behalf.
    fn of(self, hold: &Hold) -> Self {
        let own = hold.thread.id.pid == self.thread.id.pid;
        Self { thread: if own { self.thread } else { hold.thread }, ..self }
    }

    /// The lock a key is.
    fn lock(&self, key: &Key) -> Arc<LockDescription> {
        let name = shown(&key.name);
        let place = key.dc.clone().unwrap_or_else(|| self.server.to_string());
        let within = if key.within.is_empty() { String::new() } else { format!("/{}", key.within) };
        let mut address = format!("consul://{place}{within}/{name}");
        if key.name.len() > SHOWN_AT_MOST {
            address.push_str(&format!("#{:x}", owner(&key.name).0));
        }
        lock(LockKind::ConsulLock, address, &name, true)
    }
}

#[derive(Clone, Debug)]
struct Hold {
    lock: Arc<LockDescription>,
    session: Owner,
    thread: Thread,
    since: u64,
    /// Its release is on its way: that it is gone is no surprise.
    leaving: bool,
}

#[derive(Clone, Copy, Debug)]
struct Session {
    ttl: u64,
    since: u64,
}

/// The locks of all clients.
#[derive(Debug)]
pub struct Meaning {
    sessions: Bounded<Owner, Session>,
    holds: Bounded<(Arc<str>, Owner), Hold>,
    /// Attempts that were refused, by process, and when they last were.
    refused: Bounded<(Arc<str>, u32), (Owner, u64)>,
    /// Answers that tell nothing.
    pub unclear: u64,
}

impl Default for Meaning {
    fn default() -> Self {
        let (sessions, holds) = (Bounded::new(AT_MOST), Bounded::new(AT_MOST));
        Self { sessions, holds, refused: Bounded::new(AT_MOST), unclear: 0 }
    }
}

fn asked(lease: Option<u64>, queued: bool) -> RemoteAct {
    RemoteAct::Asked { mode: Mode::Exclusive, lease, queued }
}

fn address(lock: &LockDescription) -> Arc<str> {
    lock.address.clone().unwrap_or_else(|| lock.name.clone())
}

impl Meaning {
    /// State that was given up.
    pub fn evicted(&self) -> u64 {
        self.sessions.evicted + self.holds.evicted + self.refused.evicted
    }

    fn ttl(&self, session: Owner) -> Option<u64> {
        self.sessions.get(&session).map(|session| session.ttl)
    }

    /// A request was sent.
    pub fn asked(&mut self, at: At, request: &Request, out: &mut Vec<RemoteStep>) {
        match request {
            Request::Release(key, session) => {
                let lock = at.lock(key);
                if let Some(hold) = self.holds.get_mut(&(address(&lock), *session)) {
                    hold.leaving = true;
                }
            }
            Request::Destroy(session) => {
                let leave = |hold: &mut Hold| hold.leaving |= hold.session == *session;
                self.holds.each(leave);
            }
            Request::Read { key, waits: true } => {
                // It waits to be told that the key changes, and will ask again then.
                let lock = at.lock(key);
                let attempt = (address(&lock), at.thread.id.pid);
                if let Some((session, told)) = self.refused.get(&attempt).copied()
                    && at.time.saturating_sub(told) < LOOKED
                {
                    out.push(at.step(&lock, session, asked(self.ttl(session), true)));
                }
            }
            _ => {}
        }
    }

    /// A request was answered.
    pub fn answered(
        &mut self,
        at: At,
        (when_asked, asker): (u64, Thread),
        request: &Request,
        (status, body): (u16, &[u8]),
        out: &mut Vec<RemoteStep>,
    ) {
        let says = match body.trim_ascii() {
            b"true" => Some(true),
            b"false" => Some(false),
            _ => None,
        };
        match request {
            Request::Create(ttl) => {
                if let (Some(session), Some(ttl)) = (frame::created(body), *ttl) {
                    self.sessions.insert(session, Session { ttl, since: at.time });
                }
            }
            Request::Acquire(key, session) => {
                let request = At { time: when_asked, thread: asker, ..at };
                self.acquire(at, request, key, *session, (status, says), out);
            }
            Request::Release(key, session) => self.release(at, key, *session, says, out),
            Request::Delete(key) if says == Some(true) => {
                let lock = at.lock(key);
                for (_, hold) in self.holds.take(|(known, _), _| **known == *address(&lock)) {
                    let own = hold.thread.id.pid == at.thread.id.pid;
                    let act = if own { RemoteAct::Released } else { RemoteAct::Removed };
                    out.push(at.step(&hold.lock, hold.session, act));
                }
            }
            Request::Renew(session) if status == 404 => {
                self.over(at, *session, "session_expired", out);
            }
            Request::Renew(session) => {
                let Some(ttl) = frame::renewed(body) else { return };
                self.sessions.insert(*session, Session { ttl, since: at.time });
                let act = RemoteAct::Renewed { lease: Some(ttl) };
                for hold in self.holds.values().filter(|hold| hold.session == *session) {
                    out.push(at.of(hold).step(&hold.lock, *session, act.clone()));
                }
            }
            Request::Destroy(session) if says == Some(true) => {
                self.over(at, *session, "revoked", out);
            }
            Request::Read { key, waits } => {
                let holder = match status {
                    404 => Some(None),
                    _ => frame::holder(body),
                };
                let Some(holder) = holder else { return };
                self.read(at, when_asked, (key, *waits), holder, out);
            }
            Request::Delete(_) | Request::Destroy(_) => {}
        }
    }

    fn acquire(
        &mut self,
        at: At,
        request: At,
        key: &Key,
        session: Owner,
        (status, says): (u16, Option<bool>),
        out: &mut Vec<RemoteStep>,
    ) {
        let lock = at.lock(key);
        let id = (address(&lock), session);
        // Who has it may write to it again in the same way.
        if says == Some(true) && self.holds.get(&id).is_some_and(|hold| !hold.leaving) {
            return;
        }
        if says.is_none() && status < 300 {
            self.unclear += 1;
            return;
        }
        out.push(request.step(&lock, session, asked(self.ttl(session), false)));
        let attempt = (address(&lock), at.thread.id.pid);
        let act = match says {
            Some(true) => {
                self.refused.remove(&attempt);
                let known = self.sessions.get(&session);
                let lease = known.map(|s| s.since.saturating_add(s.ttl).saturating_sub(at.time));
                let (thread, since) = (at.thread, at.time);
                let hold = Hold { lock: lock.clone(), session, thread, since, leaving: false };
                self.holds.insert(id, hold);
                RemoteAct::Acquired { mode: Mode::Exclusive, lease, fence: None }
            }
            // The lock-delay says no as well, when nobody has it.
            Some(false) => {
                self.refused.insert(attempt, (session, at.time));
                RemoteAct::Refused { holder: None, ahead: None }
            }
            None => RemoteAct::Ended { error: "error", holder: None },
        };
        out.push(at.step(&lock, session, act));
    }

    fn release(
        &mut self,
        at: At,
        key: &Key,
        session: Owner,
        says: Option<bool>,
        out: &mut Vec<RemoteStep>,
    ) {
        let lock = at.lock(key);
        let id = (address(&lock), session);
        let attempt = (address(&lock), at.thread.id.pid);
        match (says, self.holds.get(&id).is_some()) {
            (Some(true), true) => out.push(at.step(&lock, session, RemoteAct::Released)),
            (Some(false), true) => out.push(at.step(&lock, session, RemoteAct::ReleaseRefused)),
            (None, true) => {
                self.unclear += 1;
                return;
            }
            // Who never had it tidies up.
            (Some(_), false)
                if self.refused.get(&attempt).is_some_and(|(own, _)| *own == session) =>
            {
                let ended = RemoteAct::Ended { error: "gave_up", holder: None };
                out.push(at.step(&lock, session, ended));
                self.refused.remove(&attempt);
            }
            _ => {}
        }
        self.holds.remove(&id);
    }

    /// A session is over, and what it had is free.
    fn over(&mut self, at: At, session: Owner, why: &'static str, out: &mut Vec<RemoteStep>) {
        self.sessions.remove(&session);
        for (_, hold) in self.holds.take(|(_, known), _| *known == session) {
            let own = why == "revoked" && hold.thread.id.pid == at.thread.id.pid;
            let act = if own { RemoteAct::Released } else { RemoteAct::Lost { why } };
            out.push(at.of(&hold).step(&hold.lock, session, act));
        }
    }

    /// A key was read.
    fn read(
        &mut self,
        at: At,
        when_asked: u64,
        (key, waited): (&Key, bool),
        holder: Option<Owner>,
        out: &mut Vec<RemoteStep>,
    ) {
        let lock = at.lock(key);
        let (id, pid) = (address(&lock), at.thread.id.pid);
        let lost = |(known, session): &(Arc<str>, Owner), hold: &Hold| {
            *known == id
                && hold.thread.id.pid == pid
                && Some(*session) != holder
                && !hold.leaving
                && when_asked > hold.since
        };
        for (_, hold) in self.holds.take(lost) {
            let act = RemoteAct::Lost { why: "session_expired" };
            out.push(at.step(&hold.lock, hold.session, act));
        }
        let Some((session, told)) = self.refused.get_mut(&(id, pid)) else { return };
        let is_recent = at.time.saturating_sub(*told) < LOOKED || waited;
        let Some(holder) = holder.filter(|holder| holder != session && is_recent) else { return };
        *told = at.time;
        let session = *session;
        if waited {
            // It waits no more, unless it asks for that again.
            out.push(at.step(&lock, session, asked(self.ttl(session), false)));
        }
        let holder = Some(Said { owner: Some(holder), words: None });
        out.push(at.step(&lock, session, RemoteAct::Refused { holder, ahead: None }));
    }

    /// A request will not be answered.
    pub fn unanswered(&mut self, at: At, request: &Request, out: &mut Vec<RemoteStep>) {
        let Request::Read { key, waits: true } = request else { return };
        let lock = at.lock(key);
        if let Some((session, _)) = self.refused.remove(&(address(&lock), at.thread.id.pid)) {
            let ended = RemoteAct::Ended { error: "gave_up", holder: None };
            out.push(at.step(&lock, session, ended));
        }
    }
}
