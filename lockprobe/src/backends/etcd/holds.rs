//! Who has which key under which lease, and who waits for one.

use core::net::SocketAddr;
use std::sync::Arc;

use crate::framing::{Bounded, lock, owner, shown};
use crate::model::{LockDescription, LockKind, Owner, Thread};

/// Most keys and leases that are remembered.
const AT_MOST: usize = 4096;

/// Most processes that are remembered to have one key, and keys of one lease.
const OF_ONE_AT_MOST: usize = 64;

/// Longest key whose text alone tells it from others.
const SHOWN_AT_MOST: usize = 200;

/// Where keys are: two stores have nothing to do with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// A cluster that said its number.
    Cluster(u64),
    /// A server that did not yet say of which cluster it is, in a name space of the network.
    Server(u32, SocketAddr),
}

impl Place {
    /// The lock of this name.
    pub fn lock(self, name: &[u8]) -> Arc<LockDescription> {
        let name_shown = shown(name);
        let mut address = match self {
            // As etcd's own log writes it.
            Self::Cluster(cluster) => format!("etcd://{cluster:x}/{name_shown}"),
            Self::Server(_, server) => format!("etcd://{server}/{name_shown}"),
        };
        if name.len() > SHOWN_AT_MOST {
            address.push_str(&format!("#{:x}", owner(name).0));
        }
        lock(LockKind::EtcdLock, address, &name_shown, true)
    }
}

/// The owner who holds under a lease.
pub fn owner_of(lease: i64) -> Option<Owner> {
    (lease != 0).then(|| owner(&lease.to_be_bytes()))
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Its key is there, behind others.
    Queued {
        /// Revision of its key.
        revision: i64,
        /// It was told that it has to wait.
        told: bool,
        /// It looked on after that.
        waited: bool,
    },
    /// It has the lock.
    Held,
}

/// A process and its key.
#[derive(Clone, Debug)]
pub struct Hold {
    /// The lock.
    pub lock: Arc<LockDescription>,
    /// Who was given it.
    pub thread: Thread,
    /// Under which lease.
    pub lease: i64,
    /// What it wrote into the key.
    pub value: Option<Owner>,
    /// How far it is.
    pub standing: Standing,
    /// Since when.
    pub since: u64,
}

impl Hold {
    /// Process.
    pub fn pid(&self) -> u32 {
        self.thread.id.pid
    }

    /// Owner.
    pub fn owner(&self) -> Option<Owner> {
        owner_of(self.lease)
    }
}

/// A lease.
#[derive(Clone, Debug)]
struct Lease {
    /// Nanoseconds.
    ttl: u64,
    /// When it was last granted or prolonged.
    since: u64,
    keys: Vec<Vec<u8>>,
}

/// The books.
#[derive(Debug)]
pub struct Holds {
    keys: Bounded<(Place, Vec<u8>), Vec<Hold>>,
    leases: Bounded<(Place, i64), Lease>,
    /// Keys in queues, by process and revision.
    queued: Bounded<(Place, u32, i64), Vec<u8>>,
}

impl Default for Holds {
    fn default() -> Self {
        let (keys, leases) = (Bounded::new(AT_MOST), Bounded::new(AT_MOST));
        Self { keys, leases, queued: Bounded::new(AT_MOST) }
    }
}

impl Holds {
    /// Entries that were given up.
    pub fn evicted(&self) -> u64 {
        self.keys.evicted + self.leases.evicted
    }

    /// A lease is so long from now on.
    pub fn lease(&mut self, place: Place, lease: i64, ttl: u64, since: u64) {
        match self.leases.get_mut(&(place, lease)) {
            Some(known) => (known.ttl, known.since) = (ttl, since),
            None => {
                self.leases.insert((place, lease), Lease { ttl, since, keys: Vec::new() });
            }
        }
    }

    /// How long a lease is.
    pub fn ttl(&self, place: Place, lease: i64) -> Option<u64> {
        self.leases.get(&(place, lease)).map(|lease| lease.ttl).filter(|ttl| *ttl > 0)
    }

    /// How long a lease still is at a time.
    pub fn rest(&self, place: Place, lease: i64, now: u64) -> Option<u64> {
        let lease = self.leases.get(&(place, lease)).filter(|lease| lease.ttl > 0)?;
        Some(lease.since.saturating_add(lease.ttl).saturating_sub(now))
    }

    /// A process has a key, or waits with it.
    pub fn put(&mut self, place: Place, key: &[u8], hold: Hold) {
        if let Standing::Queued { revision, .. } = hold.standing {
            self.queued.insert((place, hold.pid(), revision), key.to_vec());
        }
        if hold.lease != 0 {
            if self.leases.get(&(place, hold.lease)).is_none() {
                // How long it is, is not known; what hangs on it is.
                let lease = Lease { ttl: 0, since: 0, keys: Vec::new() };
                self.leases.insert((place, hold.lease), lease);
            }
            if let Some(lease) = self.leases.get_mut(&(place, hold.lease))
                && lease.keys.len() < OF_ONE_AT_MOST
                && !lease.keys.iter().any(|known| known == key)
            {
                lease.keys.push(key.to_vec());
            }
        }
        let at = (place, key.to_vec());
        match self.keys.get_mut(&at) {
            Some(holds) => {
                holds.retain(|known| known.pid() != hold.pid());
                if holds.len() >= OF_ONE_AT_MOST {
                    holds.remove(0);
                }
                holds.push(hold);
            }
            None => {
                self.keys.insert(at, vec![hold]);
            }
        }
    }

    /// What a process has to do with a key.
    pub fn of(&mut self, place: Place, key: &[u8], pid: u32) -> Option<&mut Hold> {
        let holds = self.keys.get_mut(&(place, key.to_vec()))?;
        holds.iter_mut().find(|hold| hold.pid() == pid)
    }

    /// The key a process waits with in a queue, by its revision.
    pub fn queued(&self, place: Place, pid: u32, revision: i64) -> Option<Vec<u8>> {
        self.queued.get(&(place, pid, revision)).cloned()
    }

    /// A process has nothing more to do with a key.
    pub fn drop_of(&mut self, place: Place, key: &[u8], pid: u32) -> Option<Hold> {
        let at = (place, key.to_vec());
        let holds = self.keys.get_mut(&at)?;
        let index = holds.iter().position(|hold| hold.pid() == pid)?;
        let hold = holds.remove(index);
        if holds.is_empty() {
            self.keys.remove(&at);
        }
        self.unlist(place, key, &hold);
        Some(hold)
    }

    /// A key is gone: everybody who had to do with it.
    pub fn drop_key(&mut self, place: Place, key: &[u8]) -> Vec<Hold> {
        let holds = self.keys.remove(&(place, key.to_vec())).unwrap_or_default();
        holds.iter().for_each(|hold| self.unlist(place, key, hold));
        holds
    }

    fn unlist(&mut self, place: Place, key: &[u8], hold: &Hold) {
        if let Standing::Queued { revision, .. } = hold.standing {
            self.queued.remove(&(place, hold.pid(), revision));
        }
        if let Some(lease) = self.leases.get_mut(&(place, hold.lease)) {
            lease.keys.retain(|known| known != key);
        }
    }

    /// Those whose key hangs on a lease.
    pub fn under(&self, place: Place, lease: i64) -> Vec<&Hold> {
        let keys = self.leases.get(&(place, lease)).map_or(&[][..], |lease| &lease.keys);
        let of = |key: &Vec<u8>| self.keys.get(&(place, key.clone()));
        keys.iter().filter_map(of).flatten().filter(|hold| hold.lease == lease).collect()
    }

    /// A lease is over: those whose key hung on it.
    pub fn drop_lease(&mut self, place: Place, lease: i64) -> Vec<Hold> {
        let Some(known) = self.leases.remove(&(place, lease)) else { return Vec::new() };
        let mut gone = Vec::new();
        for key in known.keys {
            let at = (place, key);
            let Some(holds) = self.keys.get_mut(&at) else { continue };
            gone.extend(holds.extract_if(.., |hold| hold.lease == lease));
            if holds.is_empty() {
                self.keys.remove(&at);
            }
        }
        for hold in &gone {
            if let Standing::Queued { revision, .. } = hold.standing {
                self.queued.remove(&(place, hold.pid(), revision));
            }
        }
        gone
    }
}
