//! What clients of etcd say and hear, whichever way it is encoded; only what locks are made of.

use std::sync::Arc;

use crate::model::{Owner, Thread};

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// A transaction.
    Txn(Txn),
    /// Reads keys.
    Range(Range),
    /// Deletes keys.
    Delete(Keys),
    /// Asks for a lease of so many seconds.
    Grant {
        /// Seconds.
        ttl: i64,
    },
    /// Ends a lease.
    Revoke(i64),
    /// Prolongs a lease.
    KeepAlive(i64),
    /// Asks how long a lease still is.
    TimeToLive(i64),
    /// Wants to hear of a key.
    Watch(Vec<u8>),
    /// The lock service: blocks until the lock is had.
    Lock {
        /// Of the lock.
        name: Vec<u8>,
        /// 0: one of the server's own.
        lease: i64,
    },
    /// The lock service: lets go.
    Unlock(Vec<u8>),
    /// One key and nothing else: read, deleted or unlocked, as the answer will tell.
    KeyOnly(Vec<u8>),
    /// One lease and nothing else: prolonged or ended, as the answer will tell.
    LeaseOnly(i64),
}

/// Keys from one to another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    /// The first.
    pub key: Vec<u8>,
    /// The one after the last; empty: only the first.
    pub end: Vec<u8>,
}

/// A question for keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// Which.
    pub keys: Keys,
    /// None created after this revision; 0: any.
    pub created_until: i64,
}

/// A transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Txn {
    /// All of these have to hold.
    pub compares: Vec<Compare>,
    /// What is done then.
    pub success: Vec<Op>,
    /// What is done else.
    pub failure: Vec<Op>,
}

/// What a condition looks at, and what it is held against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Against {
    /// The revision of its creation, or its version: both are 0 of a key that is not there.
    Birth(i64),
    /// Its value, as a hash.
    Value(Owner),
    /// Anything else.
    Other,
}

/// A condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compare {
    /// Of which key.
    pub key: Vec<u8>,
    /// What of it.
    pub against: Against,
    /// Whether it has to be equal.
    pub equal: bool,
}

/// A part of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Reads.
    Range(Range),
    /// Writes a key under a lease; 0: under none.
    Put {
        /// Key.
        key: Vec<u8>,
        /// Lease.
        lease: i64,
        /// What is written, as a hash.
        value: Owner,
    },
    /// Deletes.
    Delete(Keys),
    /// Anything else.
    Other,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The client wants none any more.
    Cancelled,
    /// It took too long.
    TimedOut,
    /// What it was about is not there.
    NotFound,
    /// Something else.
    Other,
}

/// A request, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// It was sent.
    Asked,
    /// It was answered; of streams, once more.
    Answered(Answer),
    /// It will not be answered.
    Failed(Failure),
}

/// What was heard on a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// When.
    pub time: u64,
    /// Who sent or received it.
    pub thread: Thread,
    /// Which call of the connection.
    pub call: u64,
    /// When the request was sent, and by whom.
    pub asked: (u64, Thread),
    /// The request.
    pub request: Arc<Request>,
    /// What happened.
    pub what: What,
}

/// An answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The cluster that gave it; 0: it does not say.
    pub cluster: u64,
    /// Revision of the store.
    pub revision: i64,
    /// What it says.
    pub says: Says,
}

/// What an answer says, by what was asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Says {
    /// To a transaction.
    Txn {
        /// Whether the conditions held.
        succeeded: bool,
        /// One for each part.
        parts: Vec<Found>,
    },
    /// To a question for keys.
    Found(Found),
    /// How many keys were deleted.
    Deleted(i64),
    /// A lease, and its seconds: none left, it is gone.
    Lease {
        /// Which.
        id: i64,
        /// Seconds.
        ttl: i64,
    },
    /// The key of the lock that is had.
    Locked(Vec<u8>),
    /// That it is done.
    #[default]
    Done,
}

/// What was found for a part of a transaction; nothing where it was no question.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The first key that was found.
    pub first: Option<Entry>,
    /// How many there are.
    pub count: i64,
}

/// A key in the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Key.
    pub key: Vec<u8>,
    /// Revision of its creation.
    pub created: i64,
    /// Its lease.
    pub lease: i64,
}
