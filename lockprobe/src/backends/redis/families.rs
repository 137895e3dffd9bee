//! Whether a key is a lock or something else that is only set once, learnt for each family of keys.
//!
//! Session records, marks against doing things twice, rate limiters and caches use the same
//! commands. What is undecided is kept, and told when it is confirmed.

use std::collections::VecDeque;

use super::looks::Looks;
use super::memory::Memory;
use super::places::Named;
use crate::model::RemoteStep;

/// Most families that are remembered.
const FAMILIES_AT_MOST: usize = 4096;
/// Most steps that are kept of a family while it is undecided.
const KEPT_AT_MOST: usize = 64;
/// From here on it is a lock.
const CONFIRMED: i32 = 5;
/// From here on what happens is kept.
const CANDIDATE: i32 = 2;
const SHORT_LEASE: u64 = 600_000_000_000;
const LONG_LEASE: u64 = 3_600_000_000_000;
/// So many members are looked at to see whether any comes again.
const MEMBERS: usize = 32;

/// What an instance of a lock looks like.
#[derive(Clone, Copy, Debug)]
pub struct Sight {
    /// What its value looks like.
    pub looks: Looks,
    /// Its lease, nanoseconds.
    pub lease: Option<u64>,
    /// It is taken by a script that was learnt.
    pub learnt: bool,
    /// The same value was set on several servers.
    pub several: bool,
}

#[derive(Debug, Default)]
struct Family {
    confirmed: bool,
    best: i32,
    takes: u32,
    members: VecDeque<u64>,
    again: bool,
    deleted: bool,
    retried: bool,
    kept: VecDeque<RemoteStep>,
}

/// What is known of families of keys, and the steps that are held back.
#[derive(Debug)]
pub struct Families {
    families: Memory<u64, Family>,
    lost: u64,
}

impl Default for Families {
    fn default() -> Self {
        Self { families: Memory::new(FAMILIES_AT_MOST), lost: 0 }
    }
}

impl Families {
    fn of(&mut self, named: &Named) -> &mut Family {
        self.families.entry(named.family, Family::default)
    }

    /// A key was asked for that looks like this.
    pub fn seen(&mut self, named: &Named, sight: Sight) {
        let family = self.of(named);
        if family.confirmed {
            return;
        }
        family.takes = family.takes.saturating_add(1);
        let member = match named.lock.id {
            crate::model::LockId::Remote { mixed, .. } => mixed,
            _ => 0,
        };
        if family.members.contains(&member) {
            family.again = true;
        } else {
            if family.members.len() >= MEMBERS {
                family.members.pop_front();
            }
            family.members.push_back(member);
        }
        let evidence = family.deleted || family.retried;
        let mut score = if named.called_lock { 3 } else { 0 };
        score += match sight.looks {
            Looks::Token => 2,
            // Some task queues lock with `1`: there the name and what is done say more.
            Looks::Content if named.called_lock => i32::from(evidence) - 1,
            Looks::Content => -3,
            Looks::Word => 0,
        };
        score += i32::from(sight.lease.is_some_and(|lease| lease <= SHORT_LEASE));
        score -= if sight.lease.is_some_and(|lease| lease > LONG_LEASE) && !family.deleted {
            2
        } else {
            0
        };
        score += if sight.learnt { 2 } else { 0 };
        score += if sight.several { 3 } else { 0 };
        score += if family.retried { 3 } else { 0 };
        // Caches are invalidated with DEL, too: it says much only where the name does.
        score += if family.deleted { 1 + i32::from(named.called_lock) } else { 0 };
        score -= if family.takes >= 20 && !family.again { 3 } else { 0 };
        family.best = score;
        family.confirmed |= score >= CONFIRMED;
    }

    /// The process asks for it again and again while somebody else has it.
    pub fn retried(&mut self, named: &Named, sight: Sight) {
        self.of(named).retried = true;
        self.seen(named, sight);
    }

    /// Who has it deletes it.
    pub fn deleted(&mut self, named: &Named, sight: Sight) {
        self.of(named).deleted = true;
        self.seen(named, sight);
    }

    /// It is compared before it is deleted or prolonged, which is done with locks only.
    pub fn confirm(&mut self, named: &Named) {
        self.of(named).confirmed = true;
    }

    /// Tells a step if its family is of locks, and what was kept of it before.
    pub fn say(&mut self, named: &Named, step: RemoteStep, out: &mut Vec<RemoteStep>) {
        if named.ignored {
            return;
        }
        let family = self.of(named);
        if family.confirmed {
            out.extend(std::mem::take(&mut family.kept));
            out.push(step);
            return;
        }
        if family.best >= CANDIDATE {
            let full = family.kept.len() >= KEPT_AT_MOST;
            if full {
                family.kept.pop_front();
            }
            family.kept.push_back(step);
            self.lost += u64::from(full);
        }
    }

    /// How much was forgotten.
    pub fn forgotten(&self) -> u64 {
        self.families.forgotten() + self.lost
    }
}
