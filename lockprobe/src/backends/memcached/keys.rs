//! What requests for keys mean for locks: a key that is there is a lock that somebody has.

use core::net::SocketAddr;
use std::collections::{HashMap, HashSet};

use super::frame::{Life, Request, Result};
use crate::framing::{Rules, lock, owner, shown, template};
use crate::model::{Connection, LockKind, Mode, Owner, RemoteAct, RemoteStep, Thread};

/// Most keys followed at a time.
const KEYS_AT_MOST: usize = 16_384;
/// Most steps kept of a key that may be a lock.
const STEPS_AT_MOST: usize = 32;
/// Most families of keys remembered as locks.
const LEARNT_AT_MOST: usize = 1024;
/// Longest value of a lock: a longer one is something worth keeping.
const VALUE_AT_MOST: usize = 128;
/// Longest lease of a lock that does not look like one, nanoseconds.
const LEASE_AT_MOST: u64 = 3_600_000_000_000;

/// Who asked, when and where.
#[derive(Clone, Copy, Debug)]
pub struct Here {
    /// When it was asked for.
    pub asked: u64,
    /// When it was answered.
    pub answered: u64,
    /// Who asked.
    pub thread: Thread,
}

/// A key somebody has, or asks for.
#[derive(Debug, Default)]
struct Key {
    /// Who has it, and until when.
    holder: Option<Holder>,
    /// What was not told, since it may be something else than a lock.
    quiet: Vec<RemoteStep>,
    touched: u64,
}

#[derive(Clone, Copy, Debug)]
struct Holder {
    pid: u32,
    owner: Option<Owner>,
    deadline: Option<u64>,
    /// It looks like the hold of a lock rather than like something kept.
    plausible: bool,
}

impl Holder {
    fn has_it(&self, now: u64) -> bool {
        self.deadline.is_none_or(|deadline| now < deadline)
    }
}

/// All keys.
#[derive(Debug, Default)]
pub struct Keys {
    rules: Rules,
    keys: HashMap<(SocketAddr, Vec<u8>), Key>,
    learnt: HashSet<String>,
    /// Keys given up since there were too many.
    pub evicted: u64,
    /// Operations whose outcome could not be told.
    pub unclear: u64,
}

/// One step on its way.
struct Telling<'a> {
    connection: &'a Connection,
    key: &'a [u8],
    here: Here,
}

impl Telling<'_> {
    fn step(&self, time: u64, owner: Option<Owner>, act: RemoteAct) -> RemoteStep {
        let Connection { id, server, .. } = *self.connection;
        let key = shown(self.key);
        let address = format!("memcached://{server}/{key}");
        RemoteStep {
            time,
            thread: self.here.thread,
            lock: lock(LockKind::MemcachedLock, address, &key, true),
            connection: id,
            server,
            owner,
            act,
        }
    }
}

/// Whoever gives such a value is told from others by it.
fn nonce(value: &[u8]) -> Option<Owner> {
    let plain = value.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.');
    ((8..=VALUE_AT_MOST).contains(&value.len()) && !plain).then(|| owner(value))
}

impl Keys {
    /// None yet.
    pub fn new(rules: Rules) -> Self {
        Self { rules, ..Self::default() }
    }

    /// What came of a request; `None`: nobody will say.
    pub fn apply(
        &mut self,
        connection: &Connection,
        request: &Request,
        result: Option<Result>,
        here: Here,
        out: &mut Vec<RemoteStep>,
    ) {
        let telling = |key| Telling { connection, key, here };
        match request {
            Request::Add(key, ..) if self.rules.is_ignored(key) => {}
            Request::Add(key, value, life) => {
                self.added(&telling(key), value.as_deref(), *life, result, out);
            }
            Request::Swap(key, life) | Request::Touch(key, life) => {
                self.prolonged(&telling(key), *life, result, out);
            }
            Request::Delete(key) => self.deleted(&telling(key), result, out),
            Request::Other | Request::List => {}
        }
    }

    fn is_known(&self, key: &[u8]) -> bool {
        self.rules.is_called_lock(key) || self.learnt.contains(&template(&shown(key)))
    }

    fn added(
        &mut self,
        telling: &Telling<'_>,
        value: Option<&[u8]>,
        life: Life,
        result: Option<Result>,
        out: &mut Vec<RemoteStep>,
    ) {
        let here = telling.here;
        let known = self.is_known(telling.key);
        let lease = match life {
            Life::Ever => None,
            Life::For(lease) => Some(lease),
            Life::Over => return,
            Life::Until => {
                self.unclear += u64::from(known);
                return;
            }
        };
        let Some(result @ (Result::Done | Result::Exists)) = result else {
            self.unclear += u64::from(known);
            return;
        };
        let value = value.unwrap_or(&[]);
        let plausible = value.len() <= VALUE_AT_MOST
            && !value.starts_with(b"{")
            && !value.starts_with(b"[")
            && lease.is_some_and(|lease| lease <= LEASE_AT_MOST);
        if !known && !plausible {
            return;
        }
        let owner = nonce(value);
        let asked = RemoteAct::Asked { mode: Mode::Exclusive, lease, queued: false };
        let mut steps = vec![telling.step(here.asked, owner, asked)];
        let entry = (telling.connection.server, telling.key.to_vec());
        let Some(key) = self.key(entry, here.answered) else { return };
        if result == Result::Done {
            let act = RemoteAct::Acquired { mode: Mode::Exclusive, lease, fence: None };
            steps.push(telling.step(here.answered, owner, act));
            let deadline = lease.map(|lease| here.answered.saturating_add(lease));
            let pid = here.thread.id.pid;
            key.holder = Some(Holder { pid, owner, deadline, plausible });
        } else {
            let act = RemoteAct::Refused { holder: None, ahead: None };
            steps.push(telling.step(here.answered, owner, act));
        }
        key.tell(known, steps, out);
    }

    /// Gives a key its place; what was last used longest ago makes room.
    fn key(&mut self, entry: (SocketAddr, Vec<u8>), now: u64) -> Option<&mut Key> {
        if self.keys.len() >= KEYS_AT_MOST && !self.keys.contains_key(&entry) {
            let before = self.keys.len();
            let mut times: Vec<u64> = self.keys.values().map(|key| key.touched).collect();
            let (_, &mut median, _) = times.select_nth_unstable(before / 2);
            self.keys.retain(|_, key| key.touched > median);
            self.evicted += (before - self.keys.len()) as u64;
        }
        let key = self.keys.entry(entry).or_default();
        key.touched = now;
        Some(key)
    }

    fn prolonged(
        &mut self,
        telling: &Telling<'_>,
        life: Life,
        result: Option<Result>,
        out: &mut Vec<RemoteStep>,
    ) {
        let here = telling.here;
        let known = self.is_known(telling.key);
        let entry = (telling.connection.server, telling.key.to_vec());
        let Some(key) = self.keys.get_mut(&entry) else { return };
        let Some(holder) = key.holder.filter(|h| h.pid == here.thread.id.pid) else { return };
        // Who does not want to hear it and is in time has it.
        let result = match result {
            None if holder.has_it(here.asked) => Result::Done,
            Some(result) => result,
            None => return,
        };
        let act = match (result, life) {
            (Result::Done, Life::Over) => RemoteAct::Released,
            (Result::Done, Life::Ever) => RemoteAct::Renewed { lease: None },
            (Result::Done, Life::For(lease)) => RemoteAct::Renewed { lease: Some(lease) },
            (Result::Done, Life::Until) => {
                self.unclear += 1;
                return;
            }
            (Result::Exists | Result::Missing, _) => RemoteAct::Lost { why: "expired" },
            (Result::Else, _) => return,
        };
        key.holder = match act {
            RemoteAct::Renewed { lease } => {
                let deadline = lease.map(|lease| here.answered.saturating_add(lease));
                Some(Holder { deadline, ..holder })
            }
            // It may still try to let go of what it lost.
            RemoteAct::Lost { .. } => Some(Holder { deadline: Some(0), ..holder }),
            _ => None,
        };
        let time = if act == RemoteAct::Released { here.asked } else { here.answered };
        let step = telling.step(time, holder.owner, act);
        key.tell(known, vec![step], out);
    }

    fn deleted(
        &mut self,
        telling: &Telling<'_>,
        result: Option<Result>,
        out: &mut Vec<RemoteStep>,
    ) {
        let here = telling.here;
        let mut known = self.is_known(telling.key);
        let entry = (telling.connection.server, telling.key.to_vec());
        let Some(key) = self.keys.get_mut(&entry) else { return };
        let Some(holder) = key.holder else { return };
        let own = holder.pid == here.thread.id.pid;
        let had_it = holder.has_it(here.asked);
        let (time, act) = match result {
            None | Some(Result::Done) if own && had_it => (here.asked, RemoteAct::Released),
            // It is there though its time is over: it is another's, of another host.
            Some(Result::Done) => (here.answered, RemoteAct::Removed),
            Some(Result::Missing) if own => (here.answered, RemoteAct::ReleaseRefused),
            _ => return,
        };
        key.holder = None;
        let confirms = act == RemoteAct::Released && holder.plausible && !known;
        let step = telling.step(time, holder.owner, act);
        if confirms {
            if self.learnt.len() < LEARNT_AT_MOST {
                self.learnt.insert(template(&shown(telling.key)));
            }
            known = true;
        }
        key.tell(known, vec![step], out);
    }
}

impl Key {
    /// Tells steps if this is a lock, and what was kept back of it before; else keeps them back.
    fn tell(&mut self, known: bool, steps: Vec<RemoteStep>, out: &mut Vec<RemoteStep>) {
        if known {
            out.append(&mut self.quiet);
            out.extend(steps);
            return;
        }
        let over = (self.quiet.len() + steps.len()).saturating_sub(STEPS_AT_MOST);
        self.quiet.drain(..over.min(self.quiet.len()));
        self.quiet.extend(steps);
    }
}
