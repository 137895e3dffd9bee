//! Which lock a key is: the same on every host, wherever in a cluster it is kept.

use core::net::{IpAddr, SocketAddr};
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use hashbrown::Equivalent;

use super::frame::{Answer, Value};
use super::locks::Told;
use super::meaning::Deed;
use super::memory::Memory;
use super::scripts::Outcome;
use super::talk::Asked;
use crate::framing::{self, Rules};
use crate::model::{Connection, LockDescription, LockKind};

/// Most locks that are remembered.
const LOCKS_AT_MOST: usize = 16_384;
/// Most servers that are known to be of a cluster.
const SERVERS_AT_MOST: usize = 4096;
/// Longest key that is its own name.
const NAMED_AT_MOST: usize = 200;

/// A lock and what its key tells.
#[derive(Debug)]
pub struct Named {
    /// The lock.
    pub lock: Arc<LockDescription>,
    /// Its key.
    pub key: Box<[u8]>,
    /// The family of keys it belongs to.
    pub family: u64,
    /// It is called after a lock.
    pub called_lock: bool,
    /// Users say that it is none.
    pub ignored: bool,
}

/// Where a key is.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Spot {
    server: SocketAddr,
    db: Option<u32>,
    kind: LockKind,
    key: Box<[u8]>,
}

/// The same to ask with; the order of its members is that of [`Spot`], for their hashes to be equal.
#[derive(Hash)]
struct SpotOf<'a> {
    server: SocketAddr,
    db: Option<u32>,
    kind: LockKind,
    key: &'a [u8],
}

impl Equivalent<Spot> for SpotOf<'_> {
    fn equivalent(&self, spot: &Spot) -> bool {
        (self.server, self.db, self.kind) == (spot.server, spot.db, spot.kind)
            && *self.key == *spot.key
    }
}

/// The locks by where their keys are.
#[derive(Debug)]
pub struct Places {
    rules: Rules,
    clusters: Memory<SocketAddr, Arc<str>>,
    locks: Memory<Spot, Arc<Named>>,
}

impl Places {
    /// None yet.
    pub fn new(rules: Rules) -> Self {
        let (clusters, locks) = (Memory::new(SERVERS_AT_MOST), Memory::new(LOCKS_AT_MOST));
        Self { rules, clusters, locks }
    }

    /// What users said.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The lock of a key, if it was asked for before.
    pub fn known(
        &mut self,
        server: SocketAddr,
        db: Option<u32>,
        key: &[u8],
        kind: LockKind,
    ) -> Option<Arc<Named>> {
        self.locks.get(&SpotOf { server, db, kind, key }).cloned()
    }

    /// The lock of a key.
    pub fn named(
        &mut self,
        server: SocketAddr,
        db: Option<u32>,
        key: &[u8],
        kind: LockKind,
    ) -> Arc<Named> {
        if let Some(named) = self.locks.get(&SpotOf { server, db, kind, key }) {
            return named.clone();
        }
        let scheme = if kind == LockKind::RedisChannel { "redis-channel" } else { "redis" };
        let address = match (self.clusters.get(&server), db) {
            (Some(cluster), _) => format!("redis-cluster://{cluster}/{}", text(key)),
            // Channels are of no database.
            (None, _) if kind == LockKind::RedisChannel => {
                format!("{scheme}://{server}/{}", text(key))
            }
            (None, Some(db)) => format!("{scheme}://{server}/{db}/{}", text(key)),
            (None, None) => format!("{scheme}://{server}/db=?/{}", text(key)),
        };
        let named = Arc::new(self.describe(kind, address, key));
        self.locks.insert(Spot { server, db, kind, key: key.into() }, named.clone());
        named
    }

    /// The lock of a key on several servers.
    pub fn redlock(
        &self,
        masters: &BTreeSet<SocketAddr>,
        db: Option<u32>,
        key: &[u8],
    ) -> Arc<Named> {
        let masters: Vec<String> = masters.iter().map(SocketAddr::to_string).collect();
        let db = db.filter(|db| *db > 0).map(|db| format!("{db}/")).unwrap_or_default();
        let address = format!("redlock://{}/{db}{}", masters.join(","), text(key));
        Arc::new(self.describe(LockKind::RedisRedlock, address, key))
    }

    fn describe(&self, kind: LockKind, address: String, key: &[u8]) -> Named {
        let name = text(key);
        let mut hasher = DefaultHasher::new();
        (framing::template(&name), kind == LockKind::RedisSemaphore).hash(&mut hasher);
        Named {
            lock: framing::lock(kind, address, &name, true),
            key: key.into(),
            family: hasher.finish(),
            called_lock: self.rules.is_called_lock(key),
            ignored: self.rules.is_ignored(key),
        }
    }

    /// A server said that a key is elsewhere: `MOVED 3999 127.0.0.1:6381`.
    pub fn moved(&mut self, server: SocketAddr, error: &[u8]) {
        let mut words = error.split(|&byte| byte == b' ');
        let moved = matches!(words.next(), Some(b"MOVED" | b"ASK"));
        let target = words.nth(1).and_then(|word| std::str::from_utf8(word).ok());
        if let Some(Ok(target)) = target.map(str::parse).filter(|_| moved) {
            self.together(&[server, target]);
        }
    }

    /// A server said which servers there are: lists of lists of addresses.
    pub fn cluster(&mut self, server: SocketAddr, answer: &Answer) {
        if !matches!(answer.first(), Value::Many(_)) {
            return;
        }
        let mut servers = vec![server];
        let mut address: Option<IpAddr> = None;
        for value in answer.all().take(SERVERS_AT_MOST) {
            match (address.take(), value) {
                (Some(address), Value::Number(port @ 1..=0xffff)) => {
                    servers.push(SocketAddr::new(address, port as u16));
                }
                (_, Value::Text(text)) => {
                    address = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
                }
                _ => {}
            }
        }
        self.together(&servers);
    }

    /// Whether a server is known to be of a cluster, where each key is on one server only.
    pub fn is_clustered(&mut self, server: SocketAddr) -> bool {
        self.clusters.get(&server).is_some()
    }

    /// These servers are of one cluster, which is called after the least of those that told.
    fn together(&mut self, servers: &[SocketAddr]) {
        let known = servers.iter().find_map(|server| self.clusters.get(server).cloned());
        if known.is_some()
            && servers.iter().all(|server| self.clusters.get(server) == known.clone().as_mut())
        {
            return;
        }
        let least = || servers.iter().min().map(|server| Arc::from(server.to_string()));
        let Some(name) = known.or_else(least) else { return };
        for server in servers {
            self.clusters.insert(*server, name.clone());
        }
        // Keys of these servers are other locks than it seemed.
        self.locks.clear();
    }

    /// A deed as one for each key; the answer is filled in later.
    pub fn tellings(&mut self, connection: &Connection, asked: &Asked) -> Vec<Told> {
        let deed = &asked.deed;
        let mut tellings = Vec::with_capacity(deed.keys.len());
        for (key, owner) in &deed.keys {
            tellings.push(Told {
                what: deed.rule.what,
                named: self.named(connection.server, asked.db, key, kind(deed)),
                owner: *owner,
                looks: deed.looks,
                way: deed.way,
                lease: deed.lease,
                added: deed.added,
                server: connection.server,
                connection: connection.id,
                asked: asked.at,
                announced: asked.announced,
                outcome: Outcome::Unclear,
                answered: asked.at,
                holder: None,
                place: deed.rule.place,
            });
        }
        tellings
    }

    /// How much was forgotten.
    pub fn forgotten(&self) -> u64 {
        self.clusters.forgotten() + self.locks.forgotten()
    }
}

/// A key as text; the end of a long one is told by a hash, so that no two are called the same.
fn text(key: &[u8]) -> String {
    if key.len() <= NAMED_AT_MOST
        && (std::str::from_utf8(key).is_ok() || key.len() <= NAMED_AT_MOST / 2)
    {
        return framing::shown(key);
    }
    format!("{}#{:016x}", framing::shown(&key[..key.len().min(64)]), framing::owner(key).0)
}

/// What kind of lock it is done with.
pub fn kind(deed: &Deed) -> LockKind {
    if deed.rule.place { LockKind::RedisSemaphore } else { LockKind::RedisLock }
}
