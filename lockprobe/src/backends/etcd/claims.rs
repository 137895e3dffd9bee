//! Keys that are created, looked for and deleted.

use std::sync::Arc;

use super::holds::{Hold, Place, Standing, owner_of};
use super::meaning::{Meaning, Refusal};
use super::message::{Entry, Found, Range, Txn};
use super::recipe::{Recipe, lease_of, place_in_queue, recipe};
use super::steps::{At, acquired, asked, ended, said};
use crate::model::{LockDescription, Owner, RemoteAct, RemoteStep, Thread};

/// A key in the queue of a lock.
struct Own {
    key: Vec<u8>,
    lock: Arc<LockDescription>,
    lease: i64,
    revision: i64,
    /// It was not there before.
    fresh: bool,
}

impl Meaning {
    /// A step of a recipe that is one transaction.
    pub(super) fn txn(
        &mut self,
        at: At,
        place: Place,
        when_asked: (u64, Thread),
        txn: &Txn,
        (succeeded, revision, parts): (bool, i64, &[Found]),
        out: &mut Vec<RemoteStep>,
    ) {
        let request = at.asked(when_asked);
        match recipe(txn) {
            Some(Recipe::Claim { key, lease, value }) => {
                let (lock, owner) = (place.lock(&key), owner_of(lease));
                let ttl = self.holds.ttl(place, lease);
                let attempt = (place, key.clone(), at.pid());
                if let Some(before) = self.refused.get(&attempt)
                    && before.time == 0
                    && before.lease != lease
                {
                    // It watched under its last lease, and asks under this one from here on.
                    out.push(request.step(&lock, owner_of(before.lease), ended("gave_up")));
                }
                out.push(request.step(&lock, owner, asked(ttl, false)));
                if succeeded {
                    self.refused.remove(&attempt);
                    let rest = self.holds.rest(place, lease, at.time);
                    out.push(at.step(&lock, owner, acquired(rest, Some(revision))));
                    self.put(at, place, &key, (lock, lease, Some(value)), Standing::Held);
                } else {
                    let entries = parts.iter().filter_map(|found| found.first.as_ref());
                    let holder =
                        entries.filter(|entry| entry.key == key).find_map(|e| said(e.lease));
                    out.push(at.step(&lock, owner, RemoteAct::Refused { holder, ahead: None }));
                    self.refused.insert(attempt, Refusal { lease, value, time: at.time });
                }
            }
            Some(Recipe::Queue { key, lock, lease }) => {
                let (own, first) = place_in_queue(txn, succeeded, revision, parts);
                let Some(revision) = own else {
                    self.unclear += 1;
                    return;
                };
                let lock = place.lock(&key[..lock]);
                self.queue(
                    at,
                    request,
                    place,
                    Own { key, lock, lease, revision, fresh: succeeded },
                    first,
                    out,
                );
            }
            Some(Recipe::Release { key, value }) => {
                self.release(at, place, &key, value, succeeded, out);
            }
            None => {}
        }
    }

    /// A key was put into the queue of a lock.
    fn queue(
        &mut self,
        at: At,
        request: At,
        place: Place,
        Own { key, lock, lease, revision: own, fresh }: Own,
        first: Option<&Found>,
        out: &mut Vec<RemoteStep>,
    ) {
        // Asking again under one lease is no second attempt, and no second hold.
        if self.holds.of(place, &key, at.pid()).is_some_and(|hold| hold.lease == lease) {
            return;
        }
        let owner = owner_of(lease);
        let is_first = |found: &Found| found.first.as_ref().is_none_or(|e| e.created == own);
        // A key that was there and has the lock already: the attempt went by unheard.
        if fresh || !first.is_some_and(is_first) {
            out.push(request.step(&lock, owner, asked(self.holds.ttl(place, lease), true)));
        }
        let standing = match first.map(|found| (&found.first, found.count)) {
            Some((Some(entry), count)) if entry.created != own => {
                let ahead = u32::try_from(count.saturating_sub(1)).ok().filter(|ahead| *ahead > 0);
                let holder = said(lease_of(&entry.key).map_or(entry.lease, |(_, lease)| lease));
                out.push(at.step(&lock, owner, RemoteAct::Refused { holder, ahead }));
                Standing::Queued { revision: own, told: true, waited: false }
            }
            Some(_) => {
                let rest = self.holds.rest(place, lease, at.time);
                out.push(at.step(&lock, owner, acquired(rest, Some(own))));
                Standing::Held
            }
            None => Standing::Queued { revision: own, told: false, waited: false },
        };
        self.put(at, place, &key, (lock, lease, None), standing);
    }

    pub(super) fn put(
        &mut self,
        at: At,
        place: Place,
        key: &[u8],
        (lock, lease, value): (Arc<LockDescription>, i64, Option<Owner>),
        standing: Standing,
    ) {
        let hold = Hold { lock, thread: at.thread, lease, value, standing, since: at.time };
        self.holds.put(place, key, hold);
    }

    /// Keys were looked for.
    pub(super) fn found(
        &mut self,
        at: At,
        place: Place,
        when_asked: u64,
        range: &Range,
        found: &Found,
        out: &mut Vec<RemoteStep>,
    ) {
        let (key, until) = (&range.keys.key, range.created_until);
        if until > 0 {
            let Some(own) = self.holds.queued(place, at.pid(), until.saturating_add(1)) else {
                return;
            };
            let rest = lease_of(&own).and_then(|(_, lease)| self.holds.rest(place, lease, at.time));
            let Some(hold) = self.holds.of(place, &own, at.pid()) else { return };
            let Standing::Queued { revision, told, .. } = hold.standing else { return };
            let (lock, owner) = (hold.lock.clone(), hold.owner());
            if found.first.is_none() {
                (hold.standing, hold.since) = (Standing::Held, at.time);
                out.push(at.step(&lock, owner, acquired(rest, Some(revision))));
                return;
            }
            hold.standing = Standing::Queued { revision, told: true, waited: true };
            if !told {
                let refused = RemoteAct::Refused { holder: None, ahead: None };
                out.push(at.step(&lock, owner, refused));
            }
        } else if range.keys.end.is_empty() {
            // A look at a key that is had: it may be another's by now, or gone.
            let Some(hold) = self.holds.of(place, key, at.pid()) else { return };
            let is_own = |entry: &Entry| entry.lease == hold.lease;
            let gone = !found.first.as_ref().is_some_and(is_own);
            if gone && hold.standing == Standing::Held && when_asked > hold.since {
                let (lock, owner) = (hold.lock.clone(), hold.owner());
                out.push(at.step(&lock, owner, RemoteAct::Lost { why: "expired" }));
                self.holds.drop_of(place, key, at.pid());
            }
        }
    }

    /// A key was to be deleted if it were still one's own.
    fn release(
        &mut self,
        at: At,
        place: Place,
        key: &[u8],
        value: Option<Owner>,
        succeeded: bool,
        out: &mut Vec<RemoteStep>,
    ) {
        let hold = self.holds.of(place, key, at.pid());
        let is_own = hold.is_some_and(|hold| value.is_none() || hold.value == value);
        if is_own || succeeded {
            return self.deleted(at, place, key, succeeded, out);
        }
        // Who never had it tidies up.
        let attempt = (place, key.to_vec(), at.pid());
        if let Some(refusal) = self.refused.get(&attempt)
            && value.is_none_or(|value| value == refusal.value)
        {
            out.push(at.step(&place.lock(key), owner_of(refusal.lease), ended("gave_up")));
            self.refused.remove(&attempt);
        }
    }

    /// A key was deleted, or was not there to be deleted.
    pub(super) fn deleted(
        &mut self,
        at: At,
        place: Place,
        key: &[u8],
        there: bool,
        out: &mut Vec<RemoteStep>,
    ) {
        if let Some(hold) = self.holds.drop_of(place, key, at.pid()) {
            let act = match hold.standing {
                Standing::Held if there => RemoteAct::Released,
                Standing::Held => RemoteAct::ReleaseRefused,
                Standing::Queued { waited: true, .. } => ended("gave_up"),
                Standing::Queued { .. } => ended("refused"),
            };
            out.push(at.step(&hold.lock, hold.owner(), act));
        }
        if !there {
            return;
        }
        for hold in self.holds.drop_key(place, key) {
            if hold.standing == Standing::Held {
                out.push(at.step(&hold.lock, hold.owner(), RemoteAct::Removed));
            }
        }
    }
}
