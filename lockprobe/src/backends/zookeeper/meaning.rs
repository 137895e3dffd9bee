//! What requests and answers mean for locks.

use std::collections::{HashMap, HashSet, VecDeque};

use super::frame::{self, EPHEMERAL, Head, NO_NODE, Reader, Request};
use super::session::{Here, Node, Session};
use crate::framing::template;
use crate::model::{RemoteAct, RemoteStep};

/// Most sessions followed at a time.
const SESSIONS_AT_MOST: usize = 16_384;
/// Most queues remembered that a waiting client gave away as such.
const LEARNT_AT_MOST: usize = 1024;
/// Most nodes remembered that went with their session.
const LOST_AT_MOST: usize = 1024;

/// What a session is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// Its number.
    Session(i64),
    /// The connection, of one whose beginning was not heard.
    Connection(u64),
}

/// All sessions.
#[derive(Default)]
pub struct Mind {
    sessions: HashMap<Key, Session>,
    learnt: HashSet<String>,
    lost: VecDeque<Node>,
    /// State given up since there was too much of it.
    pub evicted: u64,
    /// Operations whose outcome could not be told.
    pub unclear: u64,
}

impl Mind {
    fn session(&mut self, key: Key) -> Option<&mut Session> {
        if !self.sessions.contains_key(&key) {
            if self.sessions.len() >= SESSIONS_AT_MOST {
                self.sessions.retain(|_, session| !session.nodes.is_empty());
                self.evicted += 1;
            }
            if self.sessions.len() >= SESSIONS_AT_MOST {
                return None;
            }
        }
        Some(self.sessions.entry(key).or_insert_with(|| Session {
            id: match key {
                Key::Session(id) => Some(id),
                Key::Connection(_) => None,
            },
            ..Session::default()
        }))
    }

    /// A session begins, or goes on over another connection.
    pub fn begins(&mut self, here: &Here, id: i64, lease: u64, out: &mut Vec<RemoteStep>) {
        if let Some(session) = self.session(Key::Session(id)) {
            session.lease = Some(lease);
            session.renew(here, true, out);
        }
    }

    /// A session is over, says the server to a client that would go on with it.
    pub fn expired(&mut self, here: &Here, id: i64, out: &mut Vec<RemoteStep>) {
        let Some(session) = self.sessions.remove(&Key::Session(id)) else { return };
        session.expire(here, out).into_iter().for_each(|node| self.lose(node));
    }

    /// Remembers a node that is gone while its client believes in it.
    fn lose(&mut self, node: Node) {
        if self.lost.len() >= LOST_AT_MOST {
            self.lost.pop_front();
        }
        self.lost.push_back(node);
    }

    /// A connection is gone: of a session without a number nothing more will be heard.
    pub fn forget(&mut self, key: Key) {
        if matches!(key, Key::Connection(_)) {
            self.sessions.remove(&key);
        }
    }

    /// A client asks for something.
    pub fn request(&mut self, key: Key, here: &Here, what: &Request, out: &mut Vec<RemoteStep>) {
        match what {
            Request::Create { path, flags, .. } => self.create(key, here, path, *flags, out),
            Request::Multi(requests) => {
                requests.iter().for_each(|request| self.request(key, here, request, out));
            }
            Request::Other => {}
            _ => {
                let Some(session) = self.sessions.get_mut(&key) else { return };
                match what {
                    Request::Delete(path) => {
                        session.leave_door(here, path, out);
                        session.delete(here, path, out);
                    }
                    Request::Children { path, .. } => session.look_around(here, path, out),
                    Request::Look { path, watch: true, .. } => {
                        let learnt = session.watches(here, path, out);
                        self.learn(learnt, out);
                    }
                    Request::Close => session.leave_all(here, out),
                    _ => {}
                }
            }
        }
    }

    fn create(
        &mut self,
        key: Key,
        here: &Here,
        path: &[u8],
        flags: i32,
        out: &mut Vec<RemoteStep>,
    ) {
        if flags & !(EPHEMERAL | frame::SEQUENTIAL) != 0 || flags == 0 {
            return;
        }
        if flags == EPHEMERAL {
            if let Some(session) = self.sessions.get_mut(&key) {
                session.sit_down(path);
            }
            return;
        }
        let learnt = self.learnt.contains(&family(super::names::split(path).0));
        let Some(session) = self.session(key) else { return };
        session.ask(*here, path, flags, learnt, out);
        self.evicted += std::mem::take(&mut self.sessions.entry(key).or_default().evicted);
    }

    /// A queue was given away by one who waits in it: what else is in such queues is told too.
    fn learn(&mut self, parent: Option<Vec<u8>>, out: &mut Vec<RemoteStep>) {
        let Some(parent) = parent else { return };
        if self.learnt.len() < LEARNT_AT_MOST {
            self.learnt.insert(family(&parent));
        } else {
            self.evicted += 1;
        }
        self.sessions.values_mut().for_each(|session| session.tell(&parent, out));
    }

    /// The server answers.
    pub fn answer(
        &mut self,
        key: Key,
        here: &Here,
        what: &Request,
        (head, body): (Head, &[u8]),
        out: &mut Vec<RemoteStep>,
    ) {
        self.heard(key, here, false, out);
        let understood = match what {
            Request::Create { path, with_stat, .. } => {
                self.created(key, here, (path, *with_stat), (head, body), out)
            }
            Request::Delete(path) => {
                self.deleted(key, here, path, head.error, out);
                Some(())
            }
            Request::Multi(requests) => self.together(key, here, requests, (head, body), out),
            Request::Close => {
                if let Some(mut session) = self.sessions.remove(&key) {
                    session.left_all(out);
                }
                Some(())
            }
            _ if head.error != 0 => Some(()),
            Request::Children { path, .. } => self.sessions.get_mut(&key).map_or(Some(()), |s| {
                s.children(here, path, &frame::children(body)?, out);
                Some(())
            }),
            Request::Look { path, data: true, .. } => {
                self.sessions.get_mut(&key).map_or(Some(()), |session| {
                    let mut reader = Reader(body);
                    let words = reader.buffer()?;
                    session.looked(here, path, words, reader.owner()?, out);
                    Some(())
                })
            }
            Request::Look { .. } | Request::Other => Some(()),
        };
        self.unclear += u64::from(understood.is_none());
    }

    /// The server was heard, so the session lives.
    pub fn heard(&mut self, key: Key, here: &Here, ping: bool, out: &mut Vec<RemoteStep>) {
        if let Some(session) = self.sessions.get_mut(&key) {
            session.renew(here, ping, out);
        }
    }

    fn created(
        &mut self,
        key: Key,
        here: &Here,
        (asked, with_stat): (&[u8], bool),
        (head, body): (Head, &[u8]),
        out: &mut Vec<RemoteStep>,
    ) -> Option<()> {
        let Some(session) = self.sessions.get_mut(&key) else { return Some(()) };
        if head.error != 0 {
            session.not_created(here, asked, head.error, out);
            return Some(());
        }
        let (path, owner) = frame::created(&mut Reader(body), with_stat)?;
        if !session.seated(here, &path, out) {
            session.created(asked, path, head.transaction);
        }
        if session.id.is_none() {
            session.id = owner.filter(|owner| *owner != 0);
        }
        Some(())
    }

    fn deleted(
        &mut self,
        key: Key,
        here: &Here,
        path: &[u8],
        error: i32,
        out: &mut Vec<RemoteStep>,
    ) {
        if let Some(session) = self.sessions.get_mut(&key)
            && session.nodes.iter().any(|node| node.path == path)
        {
            return session.deleted(here, path, error, out);
        }
        let lost = self
            .lost
            .iter()
            .position(|node| node.path == path && node.here.thread.id.pid == here.thread.id.pid);
        if let Some(node) = lost.and_then(|at| self.lost.remove(at))
            && error == NO_NODE
        {
            out.push(node.step(here, here.time, RemoteAct::ReleaseRefused));
        }
        if error != 0 || super::names::number(path).is_none() {
            return;
        }
        // Not its own: perhaps that of another session on this host.
        for session in self.sessions.values_mut() {
            let here_too = |node: &Node| node.here.server == here.server && node.path == path;
            if session.nodes.iter().any(here_too) {
                if let Some(node) = session.taken(here, path, out) {
                    self.lose(node);
                }
                return;
            }
        }
    }

    fn together(
        &mut self,
        key: Key,
        here: &Here,
        requests: &[Request],
        (head, body): (Head, &[u8]),
        out: &mut Vec<RemoteStep>,
    ) -> Option<()> {
        let results = match head.error {
            0 => frame::together(body, requests.len()),
            _ => None,
        };
        for (at, request) in requests.iter().enumerate() {
            let result = results.as_ref().map(|results| results[at].clone());
            match (request, result) {
                (Request::Delete(path), Some(_)) => self.deleted(key, here, path, 0, out),
                // Something else went wrong, and nothing was done.
                (Request::Delete(path), None) => self.deleted(key, here, path, -1, out),
                (Request::Create { path, .. }, Some(Some(made))) => {
                    if let Some(session) = self.sessions.get_mut(&key) {
                        session.created(path, made, head.transaction);
                    }
                }
                (Request::Create { path, .. }, None) => {
                    if let Some(session) = self.sessions.get_mut(&key) {
                        session.not_created(here, path, -1, out);
                    }
                }
                _ => {}
            }
        }
        Some(())
    }

    /// Something that was watched for came about.
    pub fn event(&mut self, key: Key, here: &Here, body: &[u8], out: &mut Vec<RemoteStep>) {
        let Some((kind, path)) = frame::event(body) else {
            self.unclear += 1;
            return;
        };
        // Deleted.
        if kind == 2
            && let Some(session) = self.sessions.get_mut(&key)
            && let Some(node) = session.vanished(here, path, out)
        {
            self.lose(node);
        }
    }

    /// Everything up to this time was heard.
    pub fn tick(&mut self, now: u64, out: &mut Vec<RemoteStep>) {
        self.sessions.values_mut().for_each(|session| session.tick(now, out));
    }
}

/// Queues of one kind: what is learnt of one holds for all.
fn family(parent: &[u8]) -> String {
    template(&crate::framing::shown(parent))
}
