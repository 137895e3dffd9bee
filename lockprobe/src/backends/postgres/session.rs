//! What a session holds: how often, how, and until when.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::{LockDescription, LockId, Mode, RemoteAct};

/// Most locks of one session.
const AT_MOST: usize = 1024;

/// How often a lock is held until it is let go, exclusively and shared.
struct Held {
    lock: Arc<LockDescription>,
    session: [u32; 2],
}

/// A lock held until the transaction ends.
struct Grant {
    lock: Arc<LockDescription>,
    mode: Mode,
    depth: usize,
}

/// Locks of a session, and its transaction.
#[derive(Default)]
pub struct Session {
    held: HashMap<LockId, Held>,
    granted: Vec<Grant>,
    savepoints: Vec<Vec<u8>>,
    /// Locks there was no place for.
    pub evicted: u64,
}

/// Steps that come of a change: of which lock, and what.
pub type Acts = Vec<(Arc<LockDescription>, RemoteAct)>;

fn acquired(mode: Mode) -> RemoteAct {
    RemoteAct::Acquired { mode, lease: None, fence: None }
}

impl Session {
    /// How it has the lock.
    fn mode(&self, lock: LockId) -> Option<Mode> {
        let session = self.held.get(&lock).map_or([0; 2], |held| held.session);
        let of = |mode: Mode| self.granted.iter().any(|g| g.lock.id == lock && g.mode == mode);
        match session {
            [exclusive, _] if exclusive > 0 || of(Mode::Exclusive) => Some(Mode::Exclusive),
            [_, shared] if shared > 0 || of(Mode::Shared) => Some(Mode::Shared),
            _ if of(Mode::Unknown) => Some(Mode::Unknown),
            _ => None,
        }
    }

    /// What changes for others when a lock that was held so is now held otherwise.
    fn change(&self, lock: &Arc<LockDescription>, before: Option<Mode>, acts: &mut Acts) {
        let after = self.mode(lock.id);
        let mut act = |act| acts.push((lock.clone(), act));
        match (before, after) {
            (None, Some(mode)) => act(acquired(mode)),
            (Some(_), None) => act(RemoteAct::Released),
            (Some(before), Some(after)) if before != after => {
                act(RemoteAct::Released);
                act(acquired(after));
            }
            _ => {}
        }
    }

    /// The server gave it a lock, until the transaction ends or not.
    pub fn take(
        &mut self,
        lock: &Arc<LockDescription>,
        mode: Mode,
        transaction: bool,
        acts: &mut Acts,
    ) {
        let before = self.mode(lock.id);
        if self.held.len() + self.granted.len() >= AT_MOST && !self.held.contains_key(&lock.id) {
            self.evicted += 1;
            acts.push((lock.clone(), RemoteAct::Ended { error: "gave_up", holder: None }));
            return;
        }
        if transaction {
            let depth = self.savepoints.len();
            let again = |g: &&Grant| g.lock.id == lock.id && g.mode == mode && g.depth <= depth;
            if self.granted.iter().find(again).is_none() {
                self.granted.push(Grant { lock: lock.clone(), mode, depth });
            }
        } else {
            let held = self.held.entry(lock.id);
            let held = held.or_insert_with(|| Held { lock: lock.clone(), session: [0; 2] });
            let count = &mut held.session[usize::from(mode == Mode::Shared)];
            *count = count.saturating_add(1);
        }
        let after = self.mode(lock.id);
        if before == after {
            // Once more.
            acts.push((lock.clone(), acquired(mode)));
        } else {
            self.change(lock, before, acts);
        }
    }

    /// The server let it give one hold back.
    pub fn give(&mut self, lock: &Arc<LockDescription>, mode: Mode, acts: &mut Acts) {
        let before = self.mode(lock.id);
        let count =
            self.held.get_mut(&lock.id).map(|h| &mut h.session[usize::from(mode == Mode::Shared)]);
        match count {
            Some(count) if *count > 0 => *count -= 1,
            // It was taken before anyone looked.
            _ if before.is_none() => return acts.push((lock.clone(), RemoteAct::Released)),
            _ => return,
        }
        if self.mode(lock.id) == before {
            acts.push((lock.clone(), RemoteAct::ReleasedOnce));
        }
        self.change(lock, before, acts);
    }

    /// The server says that it has no such hold. Where it had, the session at the other end is
    /// another one by now: a pooler between them gave the connection to somebody else.
    pub fn refused(&mut self, lock: &Arc<LockDescription>, mode: Mode, acts: &mut Acts) {
        let Some(held) = self.held.get_mut(&lock.id) else { return };
        let count = &mut held.session[usize::from(mode == Mode::Shared)];
        let wrong = std::mem::take(count) > 0;
        if self.mode(lock.id).is_none() {
            acts.push((lock.clone(), RemoteAct::ReleaseRefused));
        } else if wrong {
            acts.push((lock.clone(), RemoteAct::ReleasedOnce));
        }
    }

    /// Everything that does not end with the transaction is let go.
    pub fn give_all(&mut self, acts: &mut Acts) {
        for held in self.take_held() {
            let before = match held.session {
                [0, 0] => continue,
                [0, _] => Mode::Shared,
                _ => Mode::Exclusive,
            };
            // What the transaction holds beside it stays.
            let stays = self.mode(held.lock.id);
            let before = if stays == Some(Mode::Exclusive) { Mode::Exclusive } else { before };
            self.change(&held.lock, Some(before), acts);
        }
    }

    fn take_held(&mut self) -> Vec<Held> {
        let mut held: Vec<Held> = self.held.drain().map(|(_, held)| held).collect();
        // A map has no order; what is said has.
        held.sort_unstable_by(|a, b| a.lock.address.cmp(&b.lock.address));
        held
    }

    /// A savepoint is set.
    pub fn save(&mut self, name: &[u8]) {
        if self.savepoints.len() < AT_MOST {
            self.savepoints.push(name.to_vec());
        }
    }

    /// Back to a savepoint: what was locked since is let go.
    pub fn back_to(&mut self, name: &[u8], acts: &mut Acts) {
        let at = self.savepoints.iter().rposition(|own| own == name);
        // One that nobody saw was set before everything that is known.
        self.savepoints.truncate(at.map_or(0, |at| at + 1));
        self.end_from(at.map_or(0, |at| at + 1), acts);
    }

    /// A savepoint is forgotten: what was locked since stays.
    pub fn forget(&mut self, name: &[u8]) {
        let at = self.savepoints.iter().rposition(|own| own == name).unwrap_or(0);
        self.savepoints.truncate(at);
        self.granted.iter_mut().for_each(|grant| grant.depth = grant.depth.min(at));
    }

    /// The transaction failed: what was locked since the last savepoint is let go.
    pub fn fail(&mut self, acts: &mut Acts) {
        self.end_from(self.savepoints.len(), acts);
    }

    /// The transaction is over.
    pub fn end(&mut self, acts: &mut Acts) {
        self.savepoints.clear();
        self.end_from(0, acts);
    }

    fn end_from(&mut self, depth: usize, acts: &mut Acts) {
        while let Some(at) = self.granted.iter().position(|grant| grant.depth >= depth) {
            let lock = self.granted[at].lock.clone();
            let before = self.mode(lock.id);
            self.granted.retain(|grant| grant.lock.id != lock.id || grant.depth < depth);
            self.change(&lock, before, acts);
        }
    }

    /// The connection is closed.
    pub fn close(&mut self, acts: &mut Acts) {
        let mut locks: Vec<_> = self.granted.drain(..).map(|grant| grant.lock).collect();
        let held = self.take_held().into_iter().filter(|held| held.session != [0, 0]);
        locks.extend(held.map(|held| held.lock));
        locks.sort_unstable_by(|a, b| a.address.cmp(&b.address));
        locks.dedup_by_key(|lock| lock.id);
        acts.extend(locks.into_iter().map(|lock| (lock, RemoteAct::Disconnected)));
    }
}
