//! What is known of commands and scripts: which words are key, token and lease, and what answers mean.

use std::sync::Arc;

use sha1::{Digest as _, Sha1};

use super::frame::{Answer, Value, integer};
use super::lua;
use super::memory::{Map, Memory};

/// Most scripts that are remembered.
const LEARNT_AT_MOST: usize = 1024;

/// What is done with a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Taken, if it is free.
    Take,
    /// Taken, or prolonged by who has it.
    TakeOrRenew,
    /// Prolonged by who has it.
    Renew,
    /// Given back by who has it.
    Release,
    /// Removed, whoever has it.
    Remove,
    /// Given a lease, whoever has it.
    Expire,
    /// Waited for until it is given back.
    Wait,
    /// Nothing that can be seen.
    Ask,
}

/// What an answer may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// `+OK`.
    Ok,
    /// Nothing.
    Nil,
    /// This number.
    Number(i64),
    /// A positive number.
    Some,
    /// The number of keys.
    Keys,
    /// Any number.
    Any,
    /// The value that is there.
    Text,
    /// The script's own error.
    Error,
    /// A list of ones and zeros, one a key.
    Each,
}

/// Which words are what, and what the answer means.
#[derive(Clone, Debug)]
pub struct Rule {
    /// What is done.
    pub what: What,
    /// A place of several rather than a lock.
    pub place: bool,
    /// Every key is a lock, not only the first.
    pub all_keys: bool,
    /// Which argument is the token; from which on there is one for each key.
    pub token: Option<(usize, bool)>,
    /// Which argument is the lease, and nanoseconds of its unit.
    pub lease: Option<(usize, u64)>,
    /// Where this argument is 0, the lease is added to what is left.
    pub added: Option<usize>,
    /// Which argument is the number of the database.
    pub db: Option<usize>,
    /// Done.
    pub done: Vec<Sign>,
    /// Refused.
    pub refused: Vec<Sign>,
    /// One of several holds ended.
    pub once: Vec<Sign>,
    /// It stands in the table, rather than that it was learnt.
    pub listed: bool,
}

impl Rule {
    /// One without arguments.
    pub fn new(what: What, done: &[Sign], refused: &[Sign]) -> Self {
        Self {
            what,
            place: false,
            all_keys: false,
            token: None,
            lease: None,
            added: None,
            db: None,
            done: done.to_vec(),
            refused: refused.to_vec(),
            once: Vec::new(),
            listed: false,
        }
    }
}

/// What an answer meant for one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Done,
    /// It was refused.
    Refused,
    /// One of several holds ended.
    Once,
    /// The client has to ask again, here or elsewhere.
    Again,
    /// The server could not.
    Failed,
    /// Nothing that is known.
    Unclear,
}

/// Errors after which a client asks again: not a word on the lock was spoken.
const AGAIN: [&[u8]; 5] = [b"NOSCRIPT", b"MOVED", b"ASK", b"TRYAGAIN", b"UNKILLABLE"];

fn is(sign: Sign, value: Value<'_>, keys: usize) -> bool {
    match (sign, value) {
        (Sign::Ok, Value::Text(text)) => text == b"OK",
        (Sign::Nil, Value::Nil) | (Sign::Any, Value::Number(_)) => true,
        (Sign::Number(is), Value::Number(number)) => is == number,
        (Sign::Some, Value::Number(number)) => number > 0,
        (Sign::Keys, Value::Number(number)) => number == keys as i64,
        (Sign::Text, Value::Text(_) | Value::Long) => true,
        // aioredlock raises errors of its own where the lock is another's.
        (Sign::Error, Value::Error(text)) => text.starts_with(b"ERROR"),
        _ => false,
    }
}

impl Rule {
    /// What this value means, the answer to a request with so many keys.
    pub fn outcome(&self, value: Value<'_>, keys: usize) -> Outcome {
        let any = |signs: &[Sign]| signs.iter().any(|&sign| is(sign, value, keys));
        if any(&self.done) {
            return Outcome::Done;
        }
        if any(&self.refused) {
            return Outcome::Refused;
        }
        if any(&self.once) {
            return Outcome::Once;
        }
        match value {
            Value::Error(text) if AGAIN.iter().any(|word| text.starts_with(word)) => Outcome::Again,
            Value::Error(_) => Outcome::Failed,
            _ => Outcome::Unclear,
        }
    }

    /// The same for each key, where the answer is a list.
    pub fn outcomes(&self, answer: &Answer, keys: usize) -> Vec<Outcome> {
        if self.done.contains(&Sign::Each) && matches!(answer.first(), Value::Many(_)) {
            let each = answer.items().take(keys).map(|value| match value {
                Value::Number(1) => Outcome::Done,
                Value::Number(0) => Outcome::Refused,
                _ => Outcome::Unclear,
            });
            let mut each: Vec<Outcome> = each.collect();
            each.resize(keys, Outcome::Unclear);
            return each;
        }
        vec![self.outcome(answer.first(), keys); keys]
    }
}

/// A SHA-1.
pub type Sha = [u8; 20];

/// Reads one as scripts are named by it.
pub fn sha(digits: &[u8]) -> Option<Sha> {
    let mut sha = [0; 20];
    if digits.len() != 40 {
        return None;
    }
    for (byte, pair) in sha.iter_mut().zip(digits.chunks(2)) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16);
        *byte = (digit(0)? << 4 | digit(1)?) as u8;
    }
    Some(sha)
}

/// The scripts that are known.
#[derive(Debug)]
pub struct Scripts {
    listed: Map<Sha, Arc<Rule>>,
    /// Those that were seen with their text; `None`: no lock's.
    learnt: Memory<Sha, Option<Arc<Rule>>>,
}

impl Default for Scripts {
    fn default() -> Self {
        let mut scripts = Self { listed: Map::default(), learnt: Memory::new(LEARNT_AT_MOST) };
        scripts.add(include_str!("scripts.tsv"));
        scripts
    }
}

impl Scripts {
    /// Adds lines as those of `scripts.tsv`; says which of them make no sense.
    pub fn add(&mut self, table: &str) -> Vec<String> {
        let mut senseless = Vec::new();
        for line in table.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            match listed(line) {
                Some((sha, rule)) => {
                    self.listed.insert(sha, Arc::new(rule));
                }
                None => senseless.push(line.to_owned()),
            }
        }
        senseless
    }

    /// What the script of this hash does. `None`: nothing is known of it; `Some(None)`: no lock's.
    pub fn of(&mut self, sha: &Sha) -> Option<Option<Arc<Rule>>> {
        if let Some(rule) = self.listed.get(sha) {
            return Some(Some(rule.clone()));
        }
        self.learnt.get(sha).map(|rule| rule.clone())
    }

    /// Learns what a script does from its text.
    pub fn learn(&mut self, text: &[u8]) -> Option<Arc<Rule>> {
        let sha: Sha = Sha1::digest(text).into();
        if let Some(known) = self.of(&sha) {
            return known;
        }
        let rule = lua::rule(text).map(Arc::new);
        self.learnt.insert(sha, rule.clone());
        rule
    }

    /// How many were forgotten.
    pub fn forgotten(&self) -> u64 {
        self.learnt.forgotten()
    }
}

fn listed(line: &str) -> Option<(Sha, Rule)> {
    let fields: Vec<&str> = line.split('\t').collect();
    let [digits, _, what, keys, token, lease, db, done, refused, once] = fields[..] else {
        return None;
    };
    let (what, place) = match what {
        "take" => (What::Take, false),
        "take_place" => (What::Take, true),
        "take_or_renew" => (What::TakeOrRenew, false),
        "renew" => (What::Renew, false),
        "renew_place" => (What::Renew, true),
        "release" => (What::Release, false),
        "remove" => (What::Remove, false),
        "ask" => (What::Ask, false),
        _ => return None,
    };
    let at = |field: &str| if field == "-" { Some(None) } else { field.parse().ok().map(Some) };
    let (lease, added) = lease.split_once('+').unwrap_or((lease, "-"));
    let unit = if lease.ends_with('s') { 1_000_000_000 } else { 1_000_000 };
    let mut rule = Rule::new(what, &signs(done)?, &signs(refused)?);
    rule.place = place;
    rule.all_keys = keys == "all";
    rule.token = match token.strip_prefix("each") {
        Some(from) => Some((from.parse().ok()?, true)),
        None => at(token)?.map(|at| (at, false)),
    };
    rule.lease = at(lease.trim_end_matches('s'))?.map(|at| (at, unit));
    rule.added = at(added)?;
    rule.db = at(db)?;
    rule.once = signs(once)?;
    rule.listed = true;
    Some((sha(digits.as_bytes())?, rule))
}

fn signs(field: &str) -> Option<Vec<Sign>> {
    let sign = |word: &str| {
        Some(match word {
            "OK" => Sign::Ok,
            "nil" => Sign::Nil,
            "1+" => Sign::Some,
            "n" => Sign::Keys,
            "int" => Sign::Any,
            "error" => Sign::Error,
            "each" => Sign::Each,
            number => Sign::Number(integer(number.as_bytes())?),
        })
    };
    if field == "-" { Some(Vec::new()) } else { field.split(',').map(sign).collect() }
}
