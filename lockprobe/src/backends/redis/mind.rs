//! Requests and answers brought together, and what they are about.

use core::net::SocketAddr;

use super::channels::{self, Channels};
use super::frame::{Answer, Request, Value};
use super::locks::Locks;
use super::looks::Looks;
use super::meaning::{Commands, Deed, Meaning, Way};
use super::memory::{Map, Set};
use super::places::{Places, kind};
use super::redlock::Redlocks;
use super::scripts::{Outcome, Rule, Scripts, Sign, What};
use super::servers::Servers;
use super::talk::{Answers, Asked, Pending, Talk};
use crate::framing::{Ears, Rules, owner};
use crate::model::{Connection, LockKind, Piece, RemoteStep, Thread};

/// What is known beyond single connections.
#[derive(Debug)]
pub struct Mind {
    commands: Commands,
    scripts: Scripts,
    places: Places,
    locks: Locks,
    redlocks: Redlocks,
    channels: Channels,
    servers: Servers,
    waiting: Set<u64>,
}

impl Default for Mind {
    fn default() -> Self {
        Self::new(Rules::default())
    }
}

impl Mind {
    /// One that goes by these settings.
    pub fn new(rules: Rules) -> Self {
        let mut scripts = Scripts::default();
        scripts.add(&rules.scripts);
        Self {
            commands: Commands::default(),
            scripts,
            places: Places::new(rules),
            locks: Locks::default(),
            redlocks: Redlocks::default(),
            channels: Channels::default(),
            servers: Servers::default(),
            waiting: Set::default(),
        }
    }

    /// A process talks to a server.
    pub fn opened(&mut self, connection: &Connection) {
        self.servers.opened(connection);
    }

    /// It does no more.
    pub fn closed(
        &mut self,
        connection: &Connection,
        at: (u64, Thread),
        out: &mut Vec<RemoteStep>,
    ) {
        self.waiting.remove(&connection.id);
        self.servers.closed(connection);
        let families = &mut self.locks.families;
        self.channels.closed(at, connection.id, connection.server, families, out);
    }

    /// A request is complete.
    pub fn request(
        &mut self,
        talk: &mut Talk,
        request: &Request,
        piece: &Piece<'_>,
        ears: &mut Ears,
        out: &mut Vec<RemoteStep>,
    ) {
        let meaning = match request.is_dull() {
            true => Meaning::Dull,
            false => self.commands.meaning(request, &mut self.scripts),
        };
        let at = (piece.time, piece.thread);
        let pending = match meaning {
            Meaning::Deed(deed) => self.asked(talk, deed, at, out),
            Meaning::Stranger(keys, arguments) => {
                let server = talk.connection.server;
                if let Some(key) = keys.first() {
                    self.redlocks.flush(key, &mut self.locks, &self.places, out);
                }
                let deed = self.remembered(server, talk.db, &keys, &arguments);
                deed.map_or(Some(Pending::Dull(1)), |deed| self.asked(talk, deed, at, out))
            }
            Meaning::Subscribers(channel) => Some(Pending::Subscribers(channel.into())),
            Meaning::Cluster => Some(Pending::Cluster),
            Meaning::Dull => Some(Pending::Dull(1)),
            Meaning::Subscribe(channel, count, true) => {
                self.subscribed(talk, channel, at, out);
                (count > 0).then_some(Pending::Subscribe(count))
            }
            // How often that is answered depends on what there was; all of it is told from news.
            Meaning::Subscribe(_, _, false) => return,
            session => talk.change(session),
        };
        let pending = match pending {
            None => return,
            Some(Pending::Deed(asked)) if talk.together.is_some() => {
                talk.put_together(Some(asked));
                Pending::Dull(1)
            }
            Some(other) => {
                talk.put_together(None);
                other
            }
        };
        if talk.answers != Answers::On && matches!(pending, Pending::Deed(_)) {
            ears.unclear += 1;
        }
        if matches!(pending, Pending::Deed(_)) {
            self.waiting.insert(talk.connection.id);
        }
        if let Some((pending, time, thread, answer)) = talk.owe(pending, ears) {
            self.answered(talk, pending, &answer, (time, thread), ears, out);
        }
    }

    /// Something is done with locks.
    fn asked(
        &mut self,
        talk: &Talk,
        deed: Deed,
        at: (u64, Thread),
        out: &mut Vec<RemoteStep>,
    ) -> Option<Pending> {
        let mut asked = Asked { db: deed.db.or(talk.db), deed, at, announced: false };
        let named_by_key = matches!(asked.deed.rule.what, What::Remove | What::Expire)
            || (asked.deed.rule.place && asked.deed.way == Way::Command);
        if named_by_key && asked.deed.way == Way::Command {
            // Most keys that are deleted are none of a lock.
            let (server, db, kind) = (talk.connection.server, asked.db, kind(&asked.deed));
            let places = &mut self.places;
            if !asked.deed.keys.iter().any(|(key, _)| places.known(server, db, key, kind).is_some())
            {
                return Some(Pending::Dull(1));
            }
        }
        self.redlocks.alone.drain(..).for_each(|pid| self.servers.alone(pid));
        let several = self.servers.may_be_several(&talk.connection)
            && !self.places.is_clustered(talk.connection.server);
        match asked.deed.rule.what {
            What::Wait => {
                let key = asked.deed.keys[0].0.clone();
                self.redlocks.flush(&key, &mut self.locks, &self.places, out);
                self.announce(talk, &mut asked, out);
            }
            What::Take | What::TakeOrRenew if several && talk.together.is_none() => {
                for told in self.places.tellings(&talk.connection, &asked) {
                    asked.announced =
                        self.redlocks.asked(&told, &mut self.locks, &self.places, out);
                }
            }
            _ => {}
        }
        Some(Pending::Deed(Box::new(asked)))
    }

    /// A script that is not known, with the key and the token of a lock that is held.
    fn remembered(
        &mut self,
        server: SocketAddr,
        db: Option<u32>,
        keys: &[&[u8]],
        arguments: &[&[u8]],
    ) -> Option<Deed> {
        let named = self.places.known(server, db, keys.first()?, LockKind::RedisLock)?;
        let mut owners = arguments.iter().take(8).map(|argument| owner(argument));
        let owner = owners.find(|owner| self.locks.holds(named.lock.id, *owner))?;
        let is_number = |word: &&[u8]| !word.is_empty() && word.iter().all(u8::is_ascii_digit);
        let what = if arguments.iter().any(is_number) { What::Renew } else { What::Release };
        let rule = Rule::new(what, &[Sign::Ok, Sign::Number(1)], &[]);
        Some(Deed {
            rule: rule.into(),
            keys: vec![(named.key.clone(), Some(owner))],
            lease: None,
            added: false,
            db: None,
            looks: Looks::Token,
            way: Way::Remembered,
        })
    }

    fn subscribed(
        &mut self,
        talk: &Talk,
        channel: &[u8],
        at: (u64, Thread),
        out: &mut Vec<RemoteStep>,
    ) {
        let Some(holder) = channels::holder(&talk.name, channel) else { return };
        let server = talk.connection.server;
        let named = self.places.named(server, None, channel, LockKind::RedisChannel);
        let families = &mut self.locks.families;
        let way = (talk.connection.id, server);
        self.channels.subscribed(named, at, way, holder, families, out);
    }

    /// An answer is complete.
    pub fn answer(
        &mut self,
        talk: &mut Talk,
        answer: &Answer,
        piece: &Piece<'_>,
        ears: &mut Ears,
        out: &mut Vec<RemoteStep>,
    ) {
        if talk.is_news(answer) {
            return;
        }
        match talk.pair() {
            Some(pending) => {
                self.answered(talk, pending, answer, (piece.time, piece.thread), ears, out);
            }
            None => {
                self.waiting.insert(talk.connection.id);
                talk.keep(piece.time, piece.thread, answer, ears);
            }
        }
    }

    fn answered(
        &mut self,
        talk: &mut Talk,
        pending: Pending,
        answer: &Answer,
        at: (u64, Thread),
        ears: &mut Ears,
        out: &mut Vec<RemoteStep>,
    ) {
        match pending {
            Pending::Deed(asked) => {
                if let Value::Error(error) = answer.first() {
                    self.places.moved(talk.connection.server, error);
                }
                let keys = asked.deed.keys.len();
                let outcomes = asked.deed.rule.outcomes(answer, keys);
                self.told(talk, &asked, &outcomes, answer.first(), at, out);
            }
            Pending::Select(before) if matches!(answer.first(), Value::Error(_)) => {
                talk.db = before
            }
            Pending::Dull(_) | Pending::Subscribe(_) | Pending::Select(_) => {}
            Pending::Subscribers(channel) => {
                if let Some(Value::Number(count)) = answer.items().nth(1) {
                    let families = &mut self.locks.families;
                    let server = talk.connection.server;
                    self.channels.counted(at, server, &channel, count, families, out);
                }
            }
            Pending::Cluster => self.places.cluster(talk.connection.server, answer),
            Pending::Exec(all) => self.done_together(talk, &all, answer, at, ears, out),
        }
    }

    /// What a transaction became: a list of answers, or nothing where a watched key was changed.
    fn done_together(
        &mut self,
        talk: &Talk,
        all: &[Option<Box<Asked>>],
        answer: &Answer,
        at: (u64, Thread),
        ears: &mut Ears,
        out: &mut Vec<RemoteStep>,
    ) {
        if all.iter().all(Option::is_none) || !matches!(answer.first(), Value::Many(_)) {
            return;
        }
        let values: Vec<Value<'_>> = answer.items().collect();
        if !matches!(answer.first(), Value::Many(count) if count == all.len() as u64)
            || values.len() != all.len()
        {
            // Requests of it were not captured.
            ears.unclear += all.iter().flatten().count() as u64;
            return;
        }
        for (asked, value) in all.iter().zip(values) {
            let Some(asked) = asked else { continue };
            let keys = asked.deed.keys.len();
            let outcomes = vec![asked.deed.rule.outcome(value, keys); keys];
            self.told(talk, asked, &outcomes, value, at, out);
        }
    }

    /// A deed and its outcomes, one for each key.
    fn told(
        &mut self,
        talk: &Talk,
        asked: &Asked,
        outcomes: &[Outcome],
        value: Value<'_>,
        at: (u64, Thread),
        out: &mut Vec<RemoteStep>,
    ) {
        // With GET, the answer to a refusal is the token that is there.
        let holder = match value {
            Value::Text(token) if asked.deed.rule.refused.contains(&Sign::Text) => {
                super::looks::is_owner(token).then(|| owner(token))
            }
            _ => None,
        };
        let named_only = asked.deed.way == Way::Command
            && matches!(asked.deed.rule.what, What::Remove | What::Expire);
        let tellings = self.places.tellings(&talk.connection, asked);
        for ((mut told, outcome), (key, _)) in
            tellings.into_iter().zip(outcomes).zip(&asked.deed.keys)
        {
            let server = talk.connection.server;
            if named_only && self.places.known(server, asked.db, key, kind(&asked.deed)).is_none() {
                continue;
            }
            told.outcome = *outcome;
            told.answered = at;
            told.holder = holder;
            if let Some(told) = self.redlocks.answered(told, &mut self.locks, &self.places, out) {
                self.locks.told(told, &self.places, out);
            }
        }
    }

    fn announce(&mut self, talk: &Talk, asked: &mut Asked, out: &mut Vec<RemoteStep>) {
        for mut told in self.places.tellings(&talk.connection, asked) {
            self.locks.announce(&mut told, out);
        }
        asked.announced = true;
    }

    /// Time went on.
    pub fn tick(
        &mut self,
        now: u64,
        talks: &mut Map<u64, Talk>,
        ears: &mut Ears,
        out: &mut Vec<RemoteStep>,
    ) {
        let mut waiting: Vec<u64> = self.waiting.drain().collect();
        waiting.sort_unstable();
        for id in waiting {
            let Some(talk) = talks.get_mut(&id) else { continue };
            let connection = talk.connection.clone();
            for asked in talk.overdue(now, ears) {
                let take = matches!(asked.deed.rule.what, What::Take | What::TakeOrRenew);
                if take {
                    for mut told in self.places.tellings(&connection, asked) {
                        self.locks.announce(&mut told, out);
                    }
                }
                asked.announced = true;
            }
            if talk.is_waiting() {
                self.waiting.insert(id);
            }
        }
        self.redlocks.tick(now, &mut self.locks, &self.places, out);
        self.redlocks.alone.drain(..).for_each(|pid| self.servers.alone(pid));
    }

    /// Operations whose outcome could not be told, and how much was forgotten.
    pub fn given_up(&self) -> (u64, u64) {
        let forgotten = self.scripts.forgotten()
            + self.places.forgotten()
            + self.locks.forgotten()
            + self.redlocks.forgotten()
            + self.channels.forgotten();
        (self.locks.unclear, forgotten)
    }
}
