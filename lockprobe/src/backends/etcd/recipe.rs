//! Which transactions are steps of lock recipes.

use super::message::{Against, Found, Op, Txn};
use crate::model::Owner;

/// What a transaction is for locks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipe {
    /// The key itself is the lock: whoever creates it has it.
    Claim {
        /// The key.
        key: Vec<u8>,
        /// It is written under this lease.
        lease: i64,
        /// With this in it.
        value: Owner,
    },
    /// Keys of a prefix queue: whoever's was created first has the lock. Go's
    /// `concurrency.Mutex` and `Election` (etcd client/v3/concurrency/{mutex,election}.go).
    Queue {
        /// The own key, `<lock>/<lease>`.
        key: Vec<u8>,
        /// How many bytes of it are the lock's.
        lock: usize,
        /// The lease.
        lease: i64,
    },
    /// A key is deleted if it is still one's own.
    Release {
        /// The key.
        key: Vec<u8>,
        /// What has to be in it; `None`: told by a revision.
        value: Option<Owner>,
    },
}

/// What a transaction is for locks; `None`: nothing.
pub fn recipe(txn: &Txn) -> Option<Recipe> {
    txn.compares.iter().filter(|compare| compare.equal).find_map(|compare| {
        let deletes = |op: &Op| match op {
            Op::Delete(keys) => keys.key == compare.key && keys.end.is_empty(),
            _ => false,
        };
        match compare.against {
            Against::Birth(0) => txn.success.iter().find_map(|op| match op {
                Op::Put { key, lease, value } if *key == compare.key && *lease != 0 => {
                    Some(claim(key.clone(), *lease, *value))
                }
                _ => None,
            }),
            Against::Value(value) if txn.success.iter().any(deletes) => {
                Some(Recipe::Release { key: compare.key.clone(), value: Some(value) })
            }
            Against::Birth(_) if txn.success.iter().any(deletes) => {
                Some(Recipe::Release { key: compare.key.clone(), value: None })
            }
            _ => None,
        }
    })
}

fn claim(key: Vec<u8>, lease: i64, value: Owner) -> Recipe {
    match lease_of(&key) {
        Some((lock, named)) if named == lease => Recipe::Queue { key, lock, lease },
        _ => Recipe::Claim { key, lease, value },
    }
}

/// The lock and the lease that a key `<lock>/<lease>` names: how long the first is, and the second.
pub fn lease_of(key: &[u8]) -> Option<(usize, i64)> {
    let slash = key.iter().rposition(|byte| *byte == b'/')?;
    let digits = std::str::from_utf8(&key[slash + 1..]).ok()?;
    let is_hex = digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let lease = i64::from_str_radix(digits, 16).ok().filter(|lease| is_hex && *lease > 0)?;
    Some((slash, lease))
}

/// What the answer to a [`Recipe::Queue`] tells: the own key's revision, and the first of the queue
/// where it was asked for.
pub fn place_in_queue<'a>(
    txn: &Txn,
    succeeded: bool,
    revision: i64,
    parts: &'a [Found],
) -> (Option<i64>, Option<&'a Found>) {
    let ops = if succeeded { &txn.success } else { &txn.failure };
    let of = |is_prefix: bool| {
        let wanted = |op: &Op| matches!(op, Op::Range(r) if r.keys.end.is_empty() != is_prefix);
        ops.iter().zip(parts).find(|(op, _)| wanted(op)).map(|(_, found)| found)
    };
    let own = match succeeded {
        true => Some(revision),
        false => of(false).and_then(|found| found.first.as_ref()).map(|entry| entry.created),
    };
    (own, of(true))
}
