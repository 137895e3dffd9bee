//! What the names of nodes say of locks: recipes give their nodes names of their own.

use core::net::SocketAddr;
use std::sync::Arc;

use super::frame::{EPHEMERAL, SEQUENTIAL};
use crate::framing::{lock, owner, shown};
use crate::model::{LockDescription, LockKind, Mode, Owner};

/// Digits of the number the server adds to a name.
const DIGITS: usize = 10;

/// What kind of place a node is in the queue for a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Of kazoo, exclusive.
    KazooLock,
    /// Of kazoo, among readers and writers.
    KazooRead,
    /// Of Curator, and of many others.
    Lock,
    /// Of Curator, among readers and writers.
    Read,
    /// Likewise.
    Write,
    /// The candidate of an election, of Curator.
    Latch,
    /// A place of a semaphore, of Curator.
    Lease,
    /// A place of a semaphore, of kazoo.
    Place,
    /// A node with a number whose name says nothing.
    Numbered,
}

impl Family {
    /// Whose node it would be.
    pub fn of(stem: &[u8], flags: i32) -> Option<Self> {
        if flags & SEQUENTIAL == 0 || flags & !(EPHEMERAL | SEQUENTIAL) != 0 {
            return None;
        }
        let known = [
            (&b"__lock__"[..], Self::KazooLock),
            (b"__rlock__", Self::KazooRead),
            (b"__READ__", Self::Read),
            (b"__WRIT__", Self::Write),
            (b"latch-", Self::Latch),
            (b"lease-", Self::Lease),
            (b"lock-", Self::Lock),
        ];
        let known = known.iter().find(|(end, _)| stem.ends_with(end)).map(|(_, family)| *family);
        known.or_else(|| (flags & EPHEMERAL != 0).then_some(Self::Numbered))
    }

    /// How it would have the lock.
    pub fn mode(self) -> Mode {
        match self {
            Self::KazooRead | Self::Read => Mode::Shared,
            Self::Lease | Self::Place => Mode::Unknown,
            _ => Mode::Exclusive,
        }
    }

    /// Whether it waits for a node of this name if that comes before it.
    fn waits_for(self, stem: &[u8]) -> bool {
        match self {
            Self::KazooLock => stem.ends_with(b"__lock__") || stem.ends_with(b"__rlock__"),
            Self::KazooRead => stem.ends_with(b"__lock__"),
            Self::Read => stem.ends_with(b"__WRIT__"),
            Self::Lock | Self::Write | Self::Latch | Self::Numbered => true,
            Self::Lease | Self::Place => false,
        }
    }

    fn kind(self, parent: &[u8]) -> LockKind {
        match self {
            Self::Read | Self::Write => LockKind::ZooKeeperRwLock,
            Self::Latch => LockKind::ZooKeeperElection,
            Self::Lease | Self::Place => LockKind::ZooKeeperSemaphore,
            // Elections made of a lock look like one but for their place.
            _ if has_word(parent, &ELECTIONS) => LockKind::ZooKeeperElection,
            _ => LockKind::ZooKeeperLock,
        }
    }
}

const ELECTIONS: [&str; 5] = ["election", "elections", "leader", "leaders", "leadership"];
const LOCKS: [&str; 9] =
    ["lock", "locks", "mutex", "lease", "leader", "election", "sem", "semaphore", "redlock"];

fn has_word(path: &[u8], words: &[&str]) -> bool {
    let mut parts = path.split(|byte| !byte.is_ascii_alphanumeric());
    parts.any(|part| words.iter().any(|word| part.eq_ignore_ascii_case(word.as_bytes())))
}

/// Whether the path says that it is for locks.
pub fn is_for_locks(parent: &[u8]) -> bool {
    has_word(parent, &LOCKS)
}

/// Directory and name.
pub fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(0) => (&path[..path.len().min(1)], &path[1..]),
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (&[], path),
    }
}

/// A name without the number the server added, and the number.
pub fn number(name: &[u8]) -> Option<(&[u8], u64)> {
    let (stem, digits) = name.split_at(name.len().checked_sub(DIGITS)?);
    let text = std::str::from_utf8(digits).ok()?;
    digits.iter().all(u8::is_ascii_digit).then_some(())?;
    Some((stem, text.parse().ok()?))
}

/// Where a node stands among its siblings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// How many it waits for.
    pub ahead: u32,
    /// The first of them, who has the lock.
    pub first: Option<Vec<u8>>,
}

/// How many of these names come before this number and are waited for.
pub fn standing(family: Family, own: u64, names: &[&[u8]]) -> Standing {
    let before = || {
        let numbered = names.iter().filter_map(|name| Some((number(name)?, *name)));
        numbered.filter(move |((stem, at), _)| *at < own && family.waits_for(stem))
    };
    let first = before().min_by_key(|((_, at), _)| *at);
    let ahead = u32::try_from(before().count()).unwrap_or(u32::MAX);
    Standing { ahead, first: first.map(|(_, name)| name.to_vec()) }
}

/// Who owns a node of this name. A recipe that makes names nobody else can have says by them who it
/// is, wherever it is seen; one that does not is known by its session.
pub fn owner_of(stem: &[u8], session: Option<i64>) -> Option<Owner> {
    let longest = stem
        .split(|byte| !byte.is_ascii_hexdigit() && *byte != b'-')
        .map(|run| run.iter().filter(|byte| **byte != b'-').count())
        .max();
    if longest >= Some(32) {
        return Some(owner(stem));
    }
    session.map(|session| owner(&[&session.to_be_bytes()[..], stem].concat()))
}

/// The lock whose queue is the children of this node.
pub fn describe(server: SocketAddr, parent: &[u8], family: Family) -> Arc<LockDescription> {
    // Curator has the places of a semaphore in a directory of their own.
    let places = parent.strip_suffix(b"/leases").filter(|_| family == Family::Lease);
    let path = shown(places.unwrap_or(parent));
    lock(family.kind(parent), format!("zk://{server}{path}"), &path, true)
}
