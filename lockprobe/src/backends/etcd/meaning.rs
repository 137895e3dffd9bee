//! What calls mean for locks.

use core::net::SocketAddr;
use std::sync::Arc;

use super::holds::{Holds, Place, Standing, owner_of};
use super::message::{Answer, Failure, Heard, Keys, Range, Request, Says, What};
use super::recipe::{Recipe, lease_of, recipe};
use super::steps::{At, acquired, asked, ended};
use crate::framing::Bounded;
use crate::model::{Connection, LockDescription, Owner, RemoteAct, RemoteStep};

/// Most servers, refused attempts and blocked calls that are remembered.
const AT_MOST: usize = 1024;

/// How long a request is held back for its answer to tell the cluster.
const UNTOLD: u64 = 50_000_000;

const SECOND: u64 = 1_000_000_000;

/// A watch that begins so long after a refusal has nothing to do with it.
const WATCHED: u64 = SECOND;

/// An attempt that was refused.
#[derive(Debug)]
pub struct Refusal {
    /// Its lease.
    pub lease: i64,
    /// What it would have written.
    pub value: Owner,
    /// When it was told; 0 once it is known how it waits.
    pub time: u64,
}

/// A call of the lock service that has not been answered.
#[derive(Debug)]
struct Blocked {
    name: Vec<u8>,
    lease: i64,
    at: At,
    /// The lock, once the request has been told.
    lock: Option<Arc<LockDescription>>,
}

/// The locks of all clients.
#[derive(Debug)]
pub struct Meaning {
    clusters: Bounded<(u32, SocketAddr), u64>,
    pub(super) holds: Holds,
    /// Attempts at a key that were refused, by process: lease and value.
    pub(super) refused: Bounded<(Place, Vec<u8>, u32), Refusal>,
    blocked: Bounded<(u64, u64), Blocked>,
    /// Operations whose outcome could not be told.
    pub unclear: u64,
}

impl Default for Meaning {
    fn default() -> Self {
        Self {
            clusters: Bounded::new(AT_MOST),
            holds: Holds::default(),
            refused: Bounded::new(AT_MOST),
            blocked: Bounded::new(AT_MOST),
            unclear: 0,
        }
    }
}

impl Meaning {
    /// State that was given up.
    pub fn evicted(&self) -> u64 {
        self.holds.evicted() + self.clusters.evicted + self.blocked.evicted + self.refused.evicted
    }

    /// What was heard on a connection.
    pub fn hear(&mut self, connection: &Connection, heard: &Heard, out: &mut Vec<RemoteStep>) {
        let &Connection { id, namespace, server, .. } = connection;
        let Heard { time, thread, call, .. } = *heard;
        let at = At { connection: id, namespace, server, time, thread };
        match &heard.what {
            What::Asked => self.asked(at, call, &heard.request, out),
            What::Answered(answer) => {
                let place = self.learn(at, answer.cluster);
                self.answered(at, place, heard, answer, out);
            }
            What::Failed(failure) => self.failed(at, heard, *failure, out),
        }
    }

    /// Everything up to this time was heard.
    pub fn tick(&mut self, now: u64, out: &mut Vec<RemoteStep>) {
        let Self { blocked, clusters, holds, .. } = self;
        blocked.each(|blocked| {
            if blocked.lock.is_none() && now.saturating_sub(blocked.at.time) >= UNTOLD {
                let place = place_of(clusters, blocked.at);
                blocked.tell(place, holds, out);
            }
        });
    }

    fn place(&self, at: At) -> Place {
        place_of(&self.clusters, at)
    }

    fn learn(&mut self, at: At, cluster: u64) -> Place {
        if cluster == 0 {
            return self.place(at);
        }
        let server = (at.namespace, at.server);
        if self.clusters.get(&server) != Some(&cluster) {
            self.clusters.insert(server, cluster);
        }
        Place::Cluster(cluster)
    }

    fn asked(&mut self, at: At, call: u64, request: &Request, out: &mut Vec<RemoteStep>) {
        let place = self.place(at);
        match request {
            Request::Lock { name, lease } => {
                let mut blocked = Blocked { name: name.clone(), lease: *lease, at, lock: None };
                if matches!(place, Place::Cluster(_)) {
                    blocked.tell(place, &self.holds, out);
                }
                self.blocked.insert((at.connection, call), blocked);
            }
            Request::Watch(key) => {
                // It waits to be told that the key is gone, and will ask again then.
                let attempt = (place, key.clone(), at.pid());
                if let Some(refusal) = self.refused.get_mut(&attempt)
                    && at.time.saturating_sub(refusal.time) < WATCHED
                {
                    refusal.time = 0;
                    let lease = refusal.lease;
                    let (owner, ttl) = (owner_of(lease), self.holds.ttl(place, lease));
                    out.push(at.step(&place.lock(key), owner, asked(ttl, true)));
                }
            }
            _ => {}
        }
    }

    fn answered(
        &mut self,
        at: At,
        place: Place,
        heard: &Heard,
        answer: &Answer,
        out: &mut Vec<RemoteStep>,
    ) {
        match (&*heard.request, &answer.says) {
            (Request::Txn(txn), Says::Txn { succeeded, parts }) => {
                let outcome = (*succeeded, answer.revision, &parts[..]);
                self.txn(at, place, heard.asked, txn, outcome, out);
            }
            (Request::Range(range), Says::Found(found)) => {
                self.found(at, place, heard.asked.0, range, found, out);
            }
            (Request::KeyOnly(key), Says::Found(found)) => {
                let keys = Keys { key: key.clone(), ..Keys::default() };
                let range = Range { keys, created_until: 0 };
                self.found(at, place, heard.asked.0, &range, found, out);
            }
            (Request::Delete(keys), Says::Deleted(count)) if keys.end.is_empty() => {
                self.deleted(at, place, &keys.key, *count > 0, out);
            }
            (Request::KeyOnly(key), Says::Deleted(count)) => {
                self.deleted(at, place, key, *count > 0, out);
            }
            (Request::Unlock(key), _) => self.deleted(at, place, key, true, out),
            (Request::Grant { .. }, Says::Lease { id, ttl }) => {
                self.holds.lease(place, *id, seconds(*ttl), at.time);
            }
            (Request::KeepAlive(_) | Request::LeaseOnly(_), Says::Lease { id, ttl }) => {
                match *ttl {
                    1.. => self.renewed(at, place, *id, seconds(*ttl), out),
                    _ => self.lease_over(at, place, *id, "expired", out),
                }
            }
            (Request::TimeToLive(id), Says::Lease { ttl: ..=0, .. }) => {
                self.lease_over(at, place, *id, "expired", out);
            }
            (Request::Revoke(id) | Request::LeaseOnly(id), Says::Done) => {
                self.lease_over(at, place, *id, "revoked", out);
            }
            (Request::Lock { .. }, Says::Locked(key)) => {
                self.locked(at, place, heard.call, key, out);
            }
            _ => {}
        }
    }

    fn renewed(&mut self, at: At, place: Place, lease: i64, ttl: u64, out: &mut Vec<RemoteStep>) {
        self.holds.lease(place, lease, ttl, at.time);
        for hold in self.holds.under(place, lease) {
            if hold.standing == Standing::Held {
                let act = RemoteAct::Renewed { lease: Some(ttl) };
                out.push(at.of(hold).step(&hold.lock, hold.owner(), act));
            }
        }
    }

    /// A lease is over, and with it what hung on it.
    fn lease_over(
        &mut self,
        at: At,
        place: Place,
        lease: i64,
        why: &'static str,
        out: &mut Vec<RemoteStep>,
    ) {
        for hold in self.holds.drop_lease(place, lease) {
            let own = why == "revoked" && hold.pid() == at.pid();
            let act = match hold.standing {
                Standing::Held if own => RemoteAct::Released,
                Standing::Held => RemoteAct::Lost { why },
                Standing::Queued { .. } if own => ended("gave_up"),
                Standing::Queued { .. } => ended(why),
            };
            out.push(at.of(&hold).step(&hold.lock, hold.owner(), act));
        }
    }

    /// The lock service gave the lock.
    fn locked(&mut self, at: At, place: Place, call: u64, key: &[u8], out: &mut Vec<RemoteStep>) {
        let Some(mut blocked) = self.blocked.remove(&(at.connection, call)) else { return };
        let lock = blocked.tell(place, &self.holds, out);
        let lease = lease_of(key).map_or(blocked.lease, |(_, lease)| lease);
        let rest = self.holds.rest(place, lease, at.time);
        out.push(at.step(&lock, owner_of(lease), acquired(rest, None)));
        self.put(at, place, key, (lock, lease, None), Standing::Held);
    }

    fn failed(&mut self, at: At, heard: &Heard, failure: Failure, out: &mut Vec<RemoteStep>) {
        let place = self.place(at);
        let error = match failure {
            Failure::Cancelled => "gave_up",
            Failure::TimedOut => "timeout",
            Failure::NotFound | Failure::Other => "error",
        };
        match (&*heard.request, failure) {
            (Request::Lock { .. }, _) => {
                let Some(mut blocked) = self.blocked.remove(&(at.connection, heard.call)) else {
                    return;
                };
                let lock = blocked.tell(place, &self.holds, out);
                out.push(at.step(&lock, owner_of(blocked.lease), ended(error)));
            }
            (Request::Txn(txn), _) => {
                let (key, lease) = match recipe(txn) {
                    Some(Recipe::Claim { key, lease, .. }) => (key, lease),
                    Some(Recipe::Queue { key, lock, lease }) => (key[..lock].to_vec(), lease),
                    Some(Recipe::Release { .. }) => {
                        // Whether it was let go is not known.
                        self.unclear += 1;
                        return;
                    }
                    None => return,
                };
                let (lock, ttl) = (place.lock(&key), self.holds.ttl(place, lease));
                let request = at.asked(heard.asked);
                out.push(request.step(&lock, owner_of(lease), asked(ttl, false)));
                out.push(at.step(&lock, owner_of(lease), ended(error)));
            }
            (Request::Revoke(lease) | Request::LeaseOnly(lease), Failure::NotFound) => {
                self.lease_over(at, place, *lease, "expired", out);
            }
            _ => {}
        }
    }
}

impl Blocked {
    /// Tells of the request, if that has not been done; the lock.
    fn tell(
        &mut self,
        place: Place,
        holds: &Holds,
        out: &mut Vec<RemoteStep>,
    ) -> Arc<LockDescription> {
        let Self { name, lease, at, lock } = self;
        let told = lock.get_or_insert_with(|| {
            let lock = place.lock(name);
            out.push(at.step(&lock, owner_of(*lease), asked(holds.ttl(place, *lease), true)));
            lock
        });
        told.clone()
    }
}

fn place_of(clusters: &Bounded<(u32, SocketAddr), u64>, at: At) -> Place {
    let cluster = clusters.get(&(at.namespace, at.server));
    cluster.map_or(Place::Server(at.namespace, at.server), |cluster| Place::Cluster(*cluster))
}

/// Seconds as nanoseconds.
fn seconds(ttl: i64) -> u64 {
    u64::try_from(ttl).unwrap_or(0).saturating_mul(SECOND)
}
