//! Conversations with lock servers: each piece to the backend that understands it.

use std::collections::{BTreeMap, HashMap};

use core::net::SocketAddr;

use crate::backends;
use crate::framing::{Backend, Rules};
use crate::model::{BytesSeen, Connection, Dialect, Piece, RemoteStep, TalkSeen, Thread};
use crate::track::Reorder;

/// Most connections followed at a time.
const CONNECTIONS_AT_MOST: usize = 16_384;
/// Most connections remembered that nothing can be understood of.
const BLIND_AT_MOST: usize = 1024;
/// Steps may be told so much later than they happened, nanoseconds.
pub const GRACE: u64 = 120_000_000;

struct Talk {
    connection: Connection,
    thread: Thread,
    /// Offset of the next byte received and sent.
    next: [Option<u64>; 2],
}

/// Who cannot be understood, and why.
pub type Blind = BTreeMap<(u32, SocketAddr), (Dialect, &'static str)>;

/// All conversations.
#[derive(Default)]
pub struct Talks {
    rules: Rules,
    talks: HashMap<u64, Talk>,
    backends: BTreeMap<Dialect, Box<dyn Backend + Send>>,
    order: Reorder<RemoteStep>,
    exits: Vec<(u64, u32)>,
    blind: Blind,
    evicted: u64,
    unknown: u64,
}

/// What is next, in order of time.
pub enum Next {
    /// A step.
    Step(RemoteStep),
    /// The end of a process.
    Exit(u64, u32),
}

impl Talks {
    /// None yet.
    pub fn new(rules: Rules) -> Self {
        Self { rules, ..Self::default() }
    }

    /// Takes what was overheard.
    pub fn observe(&mut self, seen: TalkSeen) {
        let mut steps = Vec::new();
        match seen {
            TalkSeen::Opened(connection) => self.opened(connection),
            TalkSeen::Bytes(bytes) => match bytes.blind {
                Some(why) => self.cannot_see(&bytes, why),
                None => self.bytes(&bytes, &mut steps),
            },
            TalkSeen::Closed { time, connection } => {
                if let Some(talk) = self.talks.remove(&connection)
                    && let Some(backend) = self.backends.get_mut(&talk.connection.dialect)
                {
                    backend.closed(&talk.connection, time, talk.thread, &mut steps);
                }
            }
        }
        steps.into_iter().for_each(|step| self.order.push(step));
    }

    fn opened(&mut self, connection: Connection) {
        // Told once more, when the library that encrypts it has been found.
        self.blind.remove(&(connection.pid, connection.server));
        if self.talks.len() >= CONNECTIONS_AT_MOST {
            self.evicted += 1;
            return;
        }
        let dialect = connection.dialect;
        let Self { backends, rules, .. } = self;
        let backend = backends.entry(dialect).or_insert_with(|| backends::of(dialect, rules));
        backend.opened(&connection);
        let talk = Talk { thread: Thread::default(), next: [None; 2], connection };
        self.talks.insert(talk.connection.id, talk);
    }

    fn cannot_see(&mut self, bytes: &BytesSeen, why: &'static str) {
        if let Some(talk) = self.talks.get(&bytes.connection)
            && self.blind.len() < BLIND_AT_MOST
        {
            let key = (bytes.thread.id.pid, talk.connection.server);
            self.blind.insert(key, (talk.connection.dialect, why));
        }
    }

    fn bytes(&mut self, seen: &BytesSeen, steps: &mut Vec<RemoteStep>) {
        let Some(talk) = self.talks.get_mut(&seen.connection) else {
            self.unknown += 1;
            return;
        };
        talk.thread = seen.thread;
        if !seen.bytes.is_empty() {
            // Whatever hid it, it is heard now.
            self.blind.remove(&(seen.thread.id.pid, talk.connection.server));
        }
        let way = usize::from(seen.sent);
        let first = talk.next[way].is_none();
        // What was left out was whole: requests, and the answers to them.
        let settled = match seen.sent {
            true => seen.settled && (seen.skipped || first),
            false => seen.skipped,
        };
        if settled {
            talk.next = if seen.sent { [None; 2] } else { [None, talk.next[1]] };
        }
        let at = talk.next[way].unwrap_or(seen.offset);
        let known = at.saturating_sub(seen.offset).min(seen.bytes.len() as u64);
        let bytes = &seen.bytes[known as usize..];
        talk.next[way] = Some(at.max(seen.offset + seen.bytes.len() as u64));
        let piece = Piece {
            time: seen.time,
            thread: seen.thread,
            sent: seen.sent,
            bytes,
            missing: seen.offset.saturating_sub(at),
            settled,
        };
        if let Some(backend) = self.backends.get_mut(&talk.connection.dialect) {
            backend.piece(&talk.connection, &piece, steps);
        }
    }

    /// A process ended. With it end the connections it used last of which no end is told: those over
    /// unix sockets, which have no port of the client.
    pub fn exited(&mut self, time: u64, pid: u32) {
        let ended = |talk: &Talk| talk.connection.client.port() == 0 && talk.thread.id.pid == pid;
        let mut over: Vec<u64> =
            self.talks.iter().filter(|(_, talk)| ended(talk)).map(|(id, _)| *id).collect();
        over.sort_unstable();
        for connection in over {
            self.observe(TalkSeen::Closed { time, connection });
        }
        self.exits.push((time, pid));
    }

    /// Everything up to this time was observed.
    pub fn tick(&mut self, now: u64) {
        let mut steps = Vec::new();
        self.backends.values_mut().for_each(|backend| backend.tick(now, &mut steps));
        steps.into_iter().for_each(|step| self.order.push(step));
    }

    /// What comes next before this time.
    pub fn next(&mut self, before: u64) -> Option<Next> {
        // Backends may still have something to say of a process that has ended.
        let exit = self.exits.first().filter(|(time, _)| *time < before).copied();
        let before = exit.map_or(before, |(time, _)| before.min(time.saturating_add(1)));
        if let Some(step) = self.order.pop(before) {
            return Some(Next::Step(step));
        }
        let (time, pid) = exit?;
        self.exits.remove(0);
        Some(Next::Exit(time, pid))
    }

    /// Who cannot be understood.
    pub fn blind(&self) -> &Blind {
        &self.blind
    }

    /// What could not be used, by dialect and cause.
    pub fn losses(&self) -> Vec<(&'static str, &'static str, u64)> {
        let mut losses = Vec::new();
        for (dialect, backend) in &self.backends {
            let causes = backend.ears().causes().into_iter();
            losses.extend(causes.map(|(cause, count)| (dialect.name(), cause, count)));
        }
        losses.push(("talk", "connections_evicted", self.evicted));
        losses.push(("talk", "connection_unknown", self.unknown));
        losses
    }
}
