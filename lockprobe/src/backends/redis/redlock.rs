//! One lock on several servers: the same key set to the same token, had where most agree.
//!
//! What is done in a process that is known to use one server passes at once. Else a request waits
//! a little for the same one to another server.

use core::net::SocketAddr;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use super::locks::{Locks, Told};
use super::memory::Memory;
use super::places::{Named, Places};
use super::scripts::{Outcome, What};
use crate::model::{Mode, Owner, RemoteAct, RemoteStep, Thread};

/// Most tokens that are remembered.
const GROUPS_AT_MOST: usize = 8192;
/// Most families of keys whose servers are remembered.
const ENSEMBLES_AT_MOST: usize = 1024;
/// Most servers of one lock.
const MASTERS_AT_MOST: usize = 32;
/// After so long without a request to another server there is none to come, nanoseconds.
const QUIET: u64 = 50_000_000;
/// After so long a server that has not answered is taken not to, nanoseconds.
const DEAF: u64 = 1_000_000_000;

type Key = (Box<[u8]>, Owner);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Asking,
    /// On one server: no group at all.
    Single,
    Held,
    Failed,
    Over,
}

#[derive(Debug)]
struct Group {
    phase: Phase,
    members: Vec<(Told, bool)>,
    /// When something was last asked.
    last: u64,
    announced: bool,
    lock: Option<Arc<Named>>,
    masters: usize,
    granted: usize,
    renewed: Vec<(SocketAddr, bool)>,
    released: Vec<(SocketAddr, bool)>,
}

/// Locks on several servers.
#[derive(Debug)]
pub struct Redlocks {
    groups: Memory<Key, Group>,
    open: VecDeque<Key>,
    ensembles: Memory<u64, BTreeSet<SocketAddr>>,
    /// Processes that were seen to use one server only.
    pub alone: Vec<u32>,
}

impl Default for Redlocks {
    fn default() -> Self {
        Self {
            groups: Memory::new(GROUPS_AT_MOST),
            open: VecDeque::new(),
            ensembles: Memory::new(ENSEMBLES_AT_MOST),
            alone: Vec::new(),
        }
    }
}

impl Group {
    fn new() -> Self {
        Self {
            phase: Phase::Asking,
            members: Vec::new(),
            last: 0,
            announced: false,
            lock: None,
            masters: 0,
            granted: 0,
            renewed: Vec::new(),
            released: Vec::new(),
        }
    }

    fn step(&self, at: (u64, Thread), act: RemoteAct, told: &Told) -> Option<RemoteStep> {
        let lock = self.lock.as_ref()?.lock.clone();
        Some(RemoteStep { lock, connection: 0, ..told.step(at, act) })
    }
}

fn key_of(told: &Told) -> Option<Key> {
    Some((told.named.key.clone(), told.owner?))
}

impl Redlocks {
    /// A token is to be set by a process that talks to several servers. True: what becomes of it is
    /// told by this room.
    pub fn asked(
        &mut self,
        told: &Told,
        locks: &mut Locks,
        places: &Places,
        out: &mut Vec<RemoteStep>,
    ) -> bool {
        let Some(key) = key_of(told).filter(|_| !told.place) else { return false };
        let old = self.groups.get(&key);
        let again = old.is_some_and(|group| {
            let here = group.members.iter().any(|(member, _)| member.server == told.server);
            group.phase != Phase::Asking || here || group.members.len() >= MASTERS_AT_MOST
        });
        if again {
            self.settle(&key, true, locks, places, out);
            self.groups.remove(&key);
        }
        let fresh = self.groups.get(&key).is_none();
        let group = self.groups.entry(key.clone(), Group::new);
        group.last = told.asked.0;
        group.members.push((told.clone(), false));
        if fresh {
            if self.open.len() >= GROUPS_AT_MOST
                && let Some(oldest) = self.open.pop_front()
            {
                self.settle(&oldest, true, locks, places, out);
            }
            self.open.push_back(key);
        }
        true
    }

    /// An answer came. It is given back where it concerns one server only.
    pub fn answered(
        &mut self,
        told: Told,
        locks: &mut Locks,
        places: &Places,
        out: &mut Vec<RemoteStep>,
    ) -> Option<Told> {
        if self.groups.is_empty() {
            return Some(told);
        }
        let Some(key) = key_of(&told) else { return Some(told) };
        match told.what {
            What::Take | What::TakeOrRenew => self.taken(&key, told, locks, places, out),
            What::Renew | What::Release => {
                self.settle(&key, true, locks, places, out);
                let Some(group) = self.groups.get(&key) else { return Some(told) };
                match group.phase {
                    Phase::Single | Phase::Asking => return Some(told),
                    _ if told.outcome == Outcome::Again => {}
                    Phase::Over => {}
                    _ if told.what == What::Renew => renew(group, &told, locks, out),
                    _ => release(group, &told, locks, out),
                }
                None
            }
            _ => {
                self.flush(&told.named.key, locks, places, out);
                Some(told)
            }
        }
    }

    fn taken(
        &mut self,
        key: &Key,
        mut told: Told,
        locks: &mut Locks,
        places: &Places,
        out: &mut Vec<RemoteStep>,
    ) -> Option<Told> {
        let Some(group) = self.groups.get(key) else { return Some(told) };
        let mine = |member: &Told| {
            (member.server, member.connection, member.asked.0)
                == (told.server, told.connection, told.asked.0)
        };
        let Some(at) = group.members.iter().position(|(member, done)| mine(member) && !done) else {
            // It was asked for when there was no reason to wait for others.
            return Some(told);
        };
        if told.outcome == Outcome::Again {
            group.members.remove(at);
            if group.members.is_empty() {
                self.groups.remove(key);
            }
            return None;
        }
        told.announced = group.announced;
        if group.phase == Phase::Single {
            group.members[at].1 = true;
            return Some(told);
        }
        if group.phase != Phase::Asking {
            group.members[at].1 = true;
            group.granted +=
                usize::from(told.outcome == Outcome::Done && group.phase == Phase::Held);
            return None;
        }
        group.members[at] = (told, true);
        let all = group.members.iter().all(|(_, done)| *done).then_some(group.members.len());
        let family = group.members[0].0.named.family;
        let known = self.ensembles.get(&family).map(|masters| masters.len());
        if all.is_some() && all == known {
            self.settle(key, false, locks, places, out);
        }
        None
    }

    /// Decides what became of an attempt. `force`: with what is there.
    fn settle(
        &mut self,
        key: &Key,
        force: bool,
        locks: &mut Locks,
        places: &Places,
        out: &mut Vec<RemoteStep>,
    ) {
        let Some(group) = self.groups.get(key) else { return };
        let answered = group.members.iter().all(|(_, done)| *done);
        if group.phase != Phase::Asking || group.members.is_empty() || !(answered || force) {
            return;
        }
        let servers: BTreeSet<SocketAddr> =
            group.members.iter().map(|(told, _)| told.server).collect();
        let first = group.members[0].0.clone();
        let known = self.ensembles.get(&first.named.family);
        let known = known.filter(|known| !known.is_disjoint(&servers)).cloned();
        if servers.len() < 2 && known.is_none() {
            group.phase = Phase::Single;
            self.alone.push(first.asked.1.id.pid);
            for (told, done) in &mut group.members {
                if *done {
                    locks.told(told.clone(), places, out);
                } else {
                    locks.announce(told, out);
                    group.announced = true;
                }
            }
            if answered {
                self.groups.remove(key);
            }
            return;
        }
        let mut masters = known.unwrap_or_default();
        masters.extend(&servers);
        group.masters = masters.len();
        let lock = places.redlock(&masters, None, &first.named.key);
        self.ensembles.insert(first.named.family, masters);
        group.lock = Some(lock);
        decide(group, &first, locks, out);
    }

    /// Something else is done with a key: what waits for it is decided.
    pub fn flush(
        &mut self,
        key: &[u8],
        locks: &mut Locks,
        places: &Places,
        out: &mut Vec<RemoteStep>,
    ) {
        let keys: Vec<Key> = self.open.iter().filter(|open| *open.0 == *key).cloned().collect();
        for key in keys {
            self.settle(&key, true, locks, places, out);
        }
    }

    /// Decides what waited long enough.
    pub fn tick(
        &mut self,
        now: u64,
        locks: &mut Locks,
        places: &Places,
        out: &mut Vec<RemoteStep>,
    ) {
        for _ in 0..self.open.len() {
            let Some(key) = self.open.pop_front() else { break };
            let Some(group) = self.groups.get(&key) else { continue };
            if group.phase != Phase::Asking {
                continue;
            }
            let all = group.members.iter().all(|(_, done)| *done);
            let one = group.members.len() == 1;
            let due = group.last.saturating_add(if all || one { QUIET } else { DEAF }) <= now;
            if due {
                self.settle(&key, true, locks, places, out);
            } else {
                self.open.push_back(key);
            }
        }
    }

    /// How much was forgotten.
    pub fn forgotten(&self) -> u64 {
        self.groups.forgotten() + self.ensembles.forgotten()
    }
}

/// An attempt on several servers: had from the answer on that made it a majority.
fn decide(group: &mut Group, first: &Told, locks: &mut Locks, out: &mut Vec<RemoteStep>) {
    let Some(named) = group.lock.clone() else { return };
    let whole = Told { named: named.clone(), ..first.clone() };
    locks.judge(&whole, Some(true));
    let mut say = |step: Option<RemoteStep>, locks: &mut Locks| {
        if let Some(step) = step {
            locks.families.say(&named, step, out);
        }
    };
    let mode = Mode::Exclusive;
    let asked = RemoteAct::Asked { mode, lease: first.lease, queued: false };
    say(group.step(first.asked, asked, first), locks);
    let answers = group.members.iter().filter(|(_, done)| *done).map(|(told, _)| told);
    let mut last: Option<(u64, Thread)> = None;
    let mut granted: Vec<(u64, Thread)> = Vec::new();
    for told in answers {
        if told.outcome == Outcome::Done {
            granted.push(told.answered);
        }
        if last.is_none_or(|last| last.0 <= told.answered.0) {
            last = Some(told.answered);
        }
    }
    granted.sort_by_key(|(time, _)| *time);
    group.granted = granted.len();
    let act = match granted.get(group.masters / 2) {
        Some(&at) => {
            group.phase = Phase::Held;
            Some((at, RemoteAct::Acquired { mode, lease: first.lease, fence: None }))
        }
        None => {
            group.phase = Phase::Failed;
            last.map(|at| (at, RemoteAct::Refused { holder: None, ahead: None }))
        }
    };
    if let Some((at, act)) = act {
        say(group.step(at, act, first), locks);
    }
}

/// Notes what a server answered; one that had answered before begins anew.
fn note(round: &mut Vec<(SocketAddr, bool)>, told: &Told) -> (usize, usize) {
    if round.iter().any(|(server, _)| *server == told.server) || round.len() >= MASTERS_AT_MOST {
        round.clear();
    }
    round.push((told.server, told.outcome == Outcome::Done));
    let done = round.iter().filter(|(_, done)| *done).count();
    (done, round.len() - done)
}

fn renew(group: &mut Group, told: &Told, locks: &mut Locks, out: &mut Vec<RemoteStep>) {
    if group.phase != Phase::Held {
        return;
    }
    let (done, refused) = note(&mut group.renewed, told);
    let quorum = group.masters / 2 + 1;
    let act = if done == quorum && told.outcome == Outcome::Done {
        RemoteAct::Renewed { lease: told.lease }
    } else if refused > group.masters - quorum && told.outcome == Outcome::Refused {
        group.phase = Phase::Over;
        RemoteAct::Lost { why: "expired" }
    } else {
        return;
    };
    say(group, told, told.answered, act, locks, out);
}

fn release(group: &mut Group, told: &Told, locks: &mut Locks, out: &mut Vec<RemoteStep>) {
    let (done, refused) = note(&mut group.released, told);
    let quorum = group.masters / 2 + 1;
    let (at, act) = if group.phase == Phase::Failed {
        (told.asked, RemoteAct::Ended { error: "gave_up", holder: None })
    } else if done > 0 && group.granted.saturating_sub(done) < quorum {
        (told.answered, RemoteAct::Released)
    } else if refused >= quorum {
        (told.answered, RemoteAct::ReleaseRefused)
    } else {
        return;
    };
    group.phase = Phase::Over;
    say(group, told, at, act, locks, out);
}

/// A script that compares was used on it, which is done with locks only.
fn say(
    group: &Group,
    told: &Told,
    at: (u64, Thread),
    act: RemoteAct,
    locks: &mut Locks,
    out: &mut Vec<RemoteStep>,
) {
    if let (Some(named), Some(step)) = (&group.lock, group.step(at, act, told)) {
        locks.families.confirm(named);
        locks.families.say(named, step, out);
    }
}
