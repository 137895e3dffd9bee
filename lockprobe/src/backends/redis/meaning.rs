//! What requests mean for locks.

use std::sync::Arc;

use super::frame::{Request, integer};
use super::looks::{Looks, is_owner, is_owner_that, looks};
use super::scripts::{Rule, Scripts, Sign, What, sha};
use crate::framing::owner;
use crate::model::Owner;

/// Most keys of one request.
const KEYS_AT_MOST: usize = 256;

/// Longest command that is looked at.
const COMMAND: usize = 16;

/// A command in capitals, unless it is too long to be one that is looked at.
fn capitals<'a>(command: &[u8], room: &'a mut [u8; COMMAND]) -> Option<&'a [u8]> {
    let name = room.get_mut(..command.len())?;
    name.copy_from_slice(command);
    name.make_ascii_uppercase();
    Some(name)
}

/// Whether a command is looked at; of all others only that they were sent.
#[rustfmt::skip]
pub fn matters(command: &[u8]) -> bool {
    matches!(
        capitals(command, &mut [0; COMMAND]),
        Some(
            b"SET" | b"SETNX" | b"DEL" | b"UNLINK" | b"EXPIRE" | b"PEXPIRE" | b"PERSIST"
            | b"EVALSHA" | b"EVAL" | b"FCALL" | b"SCRIPT" | b"BLPOP" | b"DELIFEQ" | b"DELEX"
            | b"ZREM" | b"SELECT" | b"MULTI" | b"EXEC" | b"DISCARD" | b"CLIENT" | b"SUBSCRIBE"
            | b"UNSUBSCRIBE" | b"PSUBSCRIBE" | b"PUNSUBSCRIBE" | b"SSUBSCRIBE" | b"SUNSUBSCRIBE"
            | b"PUBSUB" | b"CLUSTER" | b"RESET" | b"MONITOR" | b"SYNC" | b"PSYNC" | b"EVALSHA_RO"
            | b"EVAL_RO"
        )
    )
}

/// What is done with locks by one request.
#[derive(Clone, Debug)]
pub struct Deed {
    /// Which words mean what.
    pub rule: Arc<Rule>,
    /// The keys, and whose they are or would be.
    pub keys: Vec<(Box<[u8]>, Option<Owner>)>,
    /// For how long, nanoseconds.
    pub lease: Option<u64>,
    /// The lease is added to what is left.
    pub added: bool,
    /// The database it names itself.
    pub db: Option<u32>,
    /// What the value looks like.
    pub looks: Looks,
    /// How the lock was recognised.
    pub way: Way,
}

/// How a deed was recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// By a command that others use for other things.
    Command,
    /// By a script that was learnt.
    Learnt,
    /// By a script or command that nothing but locks has.
    Sure,
    /// By its arguments: they are those of a lock that is held.
    Remembered,
}

/// What a request means.
#[derive(Debug)]
pub enum Meaning<'a> {
    /// Nothing for locks.
    Dull,
    /// Something is done with locks.
    Deed(Deed),
    /// A script that is not known, its keys and its arguments.
    Stranger(Vec<&'a [u8]>, Vec<&'a [u8]>),
    /// The database is changed.
    Select(Option<u32>),
    /// What comes is held back.
    Multi,
    /// What was held back is done.
    Exec,
    /// What was held back is dropped.
    Discard,
    /// No answer to this one: none from now on, or none to the next.
    Mute(bool),
    /// Answers again.
    Unmute,
    /// The connection is called this.
    Name(&'a [u8]),
    /// Channels are subscribed to, or no longer.
    Subscribe(&'a [u8], usize, bool),
    /// How many have subscribed to a channel.
    Subscribers(&'a [u8]),
    /// How the cluster is made up.
    Cluster,
    /// The connection is as new.
    Reset,
    /// From now on the server speaks unasked.
    Stream,
}

/// Rules of commands.
#[derive(Debug)]
pub struct Commands {
    set_nx: Arc<Rule>,
    set_nx_get: Arc<Rule>,
    setnx: Arc<Rule>,
    set_same: Arc<Rule>,
    delete: Arc<Rule>,
    delete_same: Arc<Rule>,
    leave: Arc<Rule>,
    expire: Arc<Rule>,
    wait: Arc<Rule>,
}

impl Default for Commands {
    fn default() -> Self {
        let rule = |what, done: &[Sign], refused: &[Sign]| Arc::new(Rule::new(what, done, refused));
        let mut leave = Rule::new(What::Release, &[Sign::Number(1)], &[Sign::Number(0)]);
        leave.place = true;
        Self {
            set_nx: rule(What::Take, &[Sign::Ok], &[Sign::Nil]),
            // With GET the answer is what was there: nothing means that it was set.
            set_nx_get: rule(What::Take, &[Sign::Nil], &[Sign::Text]),
            setnx: rule(What::Take, &[Sign::Number(1)], &[Sign::Number(0)]),
            set_same: rule(What::Renew, &[Sign::Ok], &[Sign::Nil]),
            delete: rule(What::Remove, &[Sign::Keys], &[Sign::Number(0)]),
            delete_same: rule(
                What::Release,
                &[Sign::Number(1)],
                &[Sign::Number(0), Sign::Number(-1)],
            ),
            leave: Arc::new(leave),
            expire: rule(What::Expire, &[Sign::Number(1)], &[Sign::Number(0)]),
            // The list of python-redis-lock has an element when the lock was given back.
            wait: rule(What::Wait, &[], &[Sign::Nil]),
        }
    }
}

impl Commands {
    /// What a request means.
    pub fn meaning<'a>(&self, request: &'a Request, scripts: &mut Scripts) -> Meaning<'a> {
        let word = |at| request.word(at).unwrap_or_default();
        let count = request.count();
        let mut room = [0; COMMAND];
        let Some(name) = capitals(word(0), &mut room) else { return Meaning::Dull };
        match name {
            b"SET" if count >= 4 => self.set(request),
            b"SETNX" if count == 3 => deed(&self.setnx, word(1), word(2), None),
            b"DEL" | b"UNLINK" if count >= 2 => self.delete(request),
            b"DELIFEQ" if count == 3 => sure(deed(&self.delete_same, word(1), word(2), None)),
            b"DELEX" if count == 4 && word(2).eq_ignore_ascii_case(b"IFEQ") => {
                sure(deed(&self.delete_same, word(1), word(3), None))
            }
            b"ZREM" if count == 3 => deed(&self.leave, word(1), word(2), None),
            b"EXPIRE" | b"PEXPIRE" if count >= 3 => {
                let unit = if name.len() == 6 { 1_000_000_000 } else { 1_000_000 };
                match lease(word(2), unit) {
                    Some(lease) => deed(&self.expire, word(1), b"", Some(lease)),
                    None => Meaning::Dull,
                }
            }
            b"PERSIST" if count == 2 => deed(&self.expire, word(1), b"", None),
            b"BLPOP" if count == 3 => match word(1).strip_prefix(b"lock-signal:") {
                Some(name) => sure(deed(&self.wait, &[b"lock:", name].concat(), b"", None)),
                None => Meaning::Dull,
            },
            b"EVALSHA" | b"EVALSHA_RO" => {
                script(request, sha(word(1)).and_then(|sha| scripts.of(&sha)))
            }
            b"EVAL" | b"EVAL_RO" => script(request, Some(scripts.learn(word(1)))),
            b"FCALL" => script(request, None),
            b"SCRIPT" if word(1).eq_ignore_ascii_case(b"LOAD") => {
                scripts.learn(word(2));
                Meaning::Dull
            }
            _ => session(name, request),
        }
    }

    fn set<'a>(&self, request: &Request) -> Meaning<'a> {
        let word = |at| request.word(at).unwrap_or_default();
        let (key, value) = (word(1), word(2));
        let (mut only_new, mut only_there, mut get, mut same, mut time) =
            (false, false, false, None, None);
        let mut at = 3;
        while at < request.count() {
            let option = word(at);
            let is = |name: &str| option.eq_ignore_ascii_case(name.as_bytes());
            if is("NX") {
                only_new = true;
            } else if is("XX") {
                only_there = true;
            } else if is("GET") {
                get = true;
            } else if is("EX") || is("PX") {
                let unit = if is("EX") { 1_000_000_000 } else { 1_000_000 };
                at += 1;
                time = lease(word(at), unit);
            } else if is("IFEQ") {
                at += 1;
                same = Some(word(at));
            } else if is("EXAT") || is("PXAT") || is("IFNE") || is("IFDEQ") || is("IFDNE") {
                at += 1;
            }
            at += 1;
        }
        match (only_new, same) {
            (true, None) if get => deed(&self.set_nx_get, key, value, time),
            (true, None) => deed(&self.set_nx, key, value, time),
            (false, Some(same)) if same == value && !get => {
                sure(deed(&self.set_same, key, value, time))
            }
            // ShedLock without scripts sets what it has set itself; others set what they like.
            (false, None) if only_there && !get && is_owner(value) => {
                match deed(&self.set_same, key, value, time) {
                    Meaning::Deed(deed) => Meaning::Deed(Deed { way: Way::Remembered, ..deed }),
                    other => other,
                }
            }
            _ => Meaning::Dull,
        }
    }

    fn delete<'a>(&self, request: &Request) -> Meaning<'a> {
        let keys = (1..request.count().min(KEYS_AT_MOST)).filter_map(|at| request.word(at));
        let keys = keys.map(|key| (key.into(), None)).collect();
        Meaning::Deed(Deed {
            rule: self.delete.clone(),
            keys,
            lease: None,
            added: false,
            db: None,
            looks: Looks::Word,
            way: Way::Command,
        })
    }
}

fn lease(word: &[u8], unit: u64) -> Option<u64> {
    integer(word).and_then(|time| u64::try_from(time).ok()).map(|time| time.saturating_mul(unit))
}

fn deed<'a>(rule: &Arc<Rule>, key: &[u8], value: &[u8], lease: Option<u64>) -> Meaning<'a> {
    let looks = looks(value);
    let token = is_owner_that(looks, value).then(|| owner(value));
    Meaning::Deed(Deed {
        rule: rule.clone(),
        keys: vec![(key.into(), token)],
        lease,
        added: false,
        db: None,
        looks,
        way: Way::Command,
    })
}

fn sure(meaning: Meaning<'_>) -> Meaning<'_> {
    match meaning {
        Meaning::Deed(deed) => Meaning::Deed(Deed { way: Way::Sure, ..deed }),
        other => other,
    }
}

/// `EVALSHA sha keys key... argument...` and its like.
fn script<'a>(request: &'a Request, rule: Option<Option<Arc<Rule>>>) -> Meaning<'a> {
    let words = || (3..request.count()).filter_map(|at| request.word(at));
    let Some(count) = request.word(2).and_then(integer).and_then(|n| usize::try_from(n).ok())
    else {
        return Meaning::Dull;
    };
    if count == 0 || count > KEYS_AT_MOST || count > request.count().saturating_sub(3) {
        return Meaning::Dull;
    }
    let Some(rule) = rule else {
        return Meaning::Stranger(words().take(count).collect(), words().skip(count).collect());
    };
    let Some(rule) = rule.filter(|rule| rule.what != What::Ask) else { return Meaning::Dull };
    let argument = |at: usize| request.word(2 + count + at);
    let used = if rule.all_keys { count } else { 1 };
    let mut keys = Vec::with_capacity(used);
    let mut seems = Looks::Word;
    for (at, key) in words().take(used).enumerate() {
        let token =
            rule.token.and_then(|(from, each)| argument(if each { from + at } else { from }));
        if rule.token.is_some() && token.is_none() {
            return Meaning::Dull;
        }
        seems = token.map_or(Looks::Word, looks);
        let token = token.filter(|token| is_owner_that(seems, token));
        keys.push((key.into(), token.map(owner)));
    }
    let time = rule.lease.and_then(|(at, unit)| lease(argument(at)?, unit));
    let added = rule.added.and_then(argument).is_some_and(|word| word == b"0");
    let db = rule.db.and_then(argument).and_then(integer).and_then(|db| u32::try_from(db).ok());
    let way = if rule.listed { Way::Sure } else { Way::Learnt };
    Meaning::Deed(Deed { rule, keys, lease: time, added, db, looks: seems, way })
}

/// Commands about the connection itself.
fn session<'a>(name: &[u8], request: &'a Request) -> Meaning<'a> {
    let word = |at| request.word(at).unwrap_or_default();
    let is = |at, name: &str| word(at).eq_ignore_ascii_case(name.as_bytes());
    match name {
        b"SELECT" => Meaning::Select(integer(word(1)).and_then(|db| u32::try_from(db).ok())),
        b"MULTI" => Meaning::Multi,
        b"EXEC" => Meaning::Exec,
        b"DISCARD" => Meaning::Discard,
        b"CLIENT" if is(1, "REPLY") && is(2, "OFF") => Meaning::Mute(true),
        b"CLIENT" if is(1, "REPLY") && is(2, "SKIP") => Meaning::Mute(false),
        b"CLIENT" if is(1, "REPLY") && is(2, "ON") => Meaning::Unmute,
        b"CLIENT" if is(1, "SETNAME") => Meaning::Name(word(2)),
        b"SUBSCRIBE" | b"PSUBSCRIBE" | b"SSUBSCRIBE" => {
            Meaning::Subscribe(word(1), request.count().saturating_sub(1), true)
        }
        b"UNSUBSCRIBE" | b"PUNSUBSCRIBE" | b"SUNSUBSCRIBE" => {
            Meaning::Subscribe(word(1), request.count().saturating_sub(1), false)
        }
        b"PUBSUB" if is(1, "NUMSUB") && request.count() == 3 => Meaning::Subscribers(word(2)),
        b"CLUSTER" if is(1, "SLOTS") => Meaning::Cluster,
        b"RESET" => Meaning::Reset,
        b"MONITOR" | b"SYNC" | b"PSYNC" => Meaning::Stream,
        _ => Meaning::Dull,
    }
}
