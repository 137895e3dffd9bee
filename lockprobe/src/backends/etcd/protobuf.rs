//! etcd's messages as protocol buffers (etcd api/etcdserverpb/rpc.proto, v3lockpb/v3lock.proto).

use super::frame::Method;
use super::message::{Against, Answer, Compare, Entry, Found, Keys, Op, Range, Request, Says, Txn};
use crate::framing::owner;

/// Most entries of a list that are looked at; lock recipes have three.
const LISTED_AT_MOST: usize = 8;

/// A field's value.
#[derive(Clone, Copy, Debug)]
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Value<'a> {
    fn number(self) -> i64 {
        match self {
            // Varints are two's complement.
            Self::Number(number) => number as i64,
            Self::Bytes(_) => 0,
        }
    }

    fn bytes(self) -> &'a [u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Number(_) => &[],
        }
    }
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0u64;
    for (at, byte) in bytes.iter().enumerate().take(10) {
        number |= u64::from(byte & 0x7f).checked_shl(7 * at as u32)?;
        if byte & 0x80 == 0 {
            return Some((number, &bytes[at + 1..]));
        }
    }
    None
}

/// Hands on every field; `None`: this is no message.
fn fields<'a>(mut bytes: &'a [u8], mut each: impl FnMut(u64, Value<'a>)) -> Option<()> {
    while !bytes.is_empty() {
        let (tag, rest) = varint(bytes)?;
        let number = tag >> 3;
        if number == 0 {
            return None;
        }
        bytes = match tag & 7 {
            0 => {
                let (value, rest) = varint(rest)?;
                each(number, Value::Number(value));
                rest
            }
            2 => {
                let (length, rest) = varint(rest)?;
                let (value, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
                each(number, Value::Bytes(value));
                rest
            }
            1 => rest.get(8..)?,
            5 => rest.get(4..)?,
            _ => return None,
        };
    }
    Some(())
}

/// A request of a method; `None`: it is none.
pub fn request(method: Method, bytes: &[u8]) -> Option<Request> {
    Some(match method {
        Method::Txn => Request::Txn(txn(bytes)?),
        Method::Range => Request::Range(range(bytes)?),
        Method::Delete => Request::Delete(keys(bytes)?),
        Method::Grant => Request::Grant { ttl: first_number(bytes)? },
        Method::Revoke => Request::Revoke(first_number(bytes)?),
        Method::KeepAlive => Request::KeepAlive(first_number(bytes)?),
        Method::TimeToLive => Request::TimeToLive(first_number(bytes)?),
        Method::Watch => Request::Watch(watch(bytes)?),
        Method::Lock => {
            let (mut name, mut lease) = (Vec::new(), 0);
            fields(bytes, |number, value| match number {
                1 => name = value.bytes().to_vec(),
                2 => lease = value.number(),
                _ => {}
            })?;
            Request::Lock { name, lease }
        }
        Method::Unlock => Request::Unlock(keys(bytes)?.key),
        Method::Unknown => shape(bytes)?,
        Method::Other => return None,
    })
}

fn first_number(bytes: &[u8]) -> Option<i64> {
    let mut first = 0;
    fields(bytes, |number, value| {
        if number == 1 {
            first = value.number();
        }
    })?;
    Some(first)
}

fn watch(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut create = None;
    fields(bytes, |number, value| {
        if number == 1 {
            create = Some(value.bytes());
        }
    })?;
    // Cancels and asks for progress are not of interest.
    Some(keys(create?)?.key)
}

fn keys(bytes: &[u8]) -> Option<Keys> {
    let mut keys = Keys::default();
    fields(bytes, |number, value| match number {
        1 => keys.key = value.bytes().to_vec(),
        2 => keys.end = value.bytes().to_vec(),
        _ => {}
    })?;
    Some(keys)
}

fn range(bytes: &[u8]) -> Option<Range> {
    let mut range = Range { keys: keys(bytes)?, ..Range::default() };
    fields(bytes, |number, value| {
        if number == 13 {
            range.created_until = value.number();
        }
    })?;
    Some(range)
}

fn txn(bytes: &[u8]) -> Option<Txn> {
    let mut txn = Txn::default();
    let mut sound = Some(());
    fields(bytes, |number, value| {
        let bytes = value.bytes();
        let one = match number {
            1 if txn.compares.len() < LISTED_AT_MOST => {
                compare(bytes).map(|compare| txn.compares.push(compare))
            }
            2 if txn.success.len() < LISTED_AT_MOST => op(bytes).map(|op| txn.success.push(op)),
            3 if txn.failure.len() < LISTED_AT_MOST => op(bytes).map(|op| txn.failure.push(op)),
            _ => Some(()),
        };
        sound = sound.and(one);
    })?;
    sound.map(|()| txn)
}

fn compare(bytes: &[u8]) -> Option<Compare> {
    let (mut result, mut target, mut key) = (0, 0, Vec::new());
    let (mut version, mut created, mut held) = (0, 0, &[][..]);
    fields(bytes, |number, value| match number {
        1 => result = value.number(),
        2 => target = value.number(),
        3 => key = value.bytes().to_vec(),
        4 => version = value.number(),
        5 => created = value.number(),
        7 => held = value.bytes(),
        _ => {}
    })?;
    let against = match target {
        0 => Against::Birth(version),
        1 => Against::Birth(created),
        3 => Against::Value(owner(held)),
        _ => Against::Other,
    };
    Some(Compare { key, against, equal: result == 0 })
}

fn op(bytes: &[u8]) -> Option<Op> {
    let mut op = Some(Op::Other);
    fields(bytes, |number, value| {
        let bytes = value.bytes();
        op = match number {
            1 => range(bytes).map(Op::Range),
            2 => put(bytes),
            3 => keys(bytes).map(Op::Delete),
            _ => Some(Op::Other),
        };
    })?;
    op
}

fn put(bytes: &[u8]) -> Option<Op> {
    let (mut key, mut lease, mut written) = (Vec::new(), 0, &[][..]);
    fields(bytes, |number, value| match number {
        1 => key = value.bytes().to_vec(),
        2 => written = value.bytes(),
        3 => lease = value.number(),
        _ => {}
    })?;
    Some(Op::Put { key, lease, value: owner(written) })
}

/// Leases are named by numbers of more than 32 bits; what is asked for is seconds.
const SECONDS_AT_MOST: i64 = 1 << 31;

/// What a request is whose method was not heard: by its shape alone.
fn shape(bytes: &[u8]) -> Option<Request> {
    let (mut count, mut has_other) = (0, false);
    let (mut first, mut second) = (None, None);
    fields(bytes, |number, value| {
        count += 1;
        match number {
            1 if first.is_none() => first = Some(value),
            2 if second.is_none() => second = Some(value),
            _ => has_other = true,
        }
    })?;
    match (first?, second) {
        (Value::Number(_), None) if count == 1 => {
            let number = first?.number();
            match number {
                1..SECONDS_AT_MOST => Some(Request::Grant { ttl: number }),
                SECONDS_AT_MOST.. => Some(Request::LeaseOnly(number)),
                _ => None,
            }
        }
        (Value::Bytes(key), None) if count == 1 && is_key(key) => {
            Some(Request::KeyOnly(key.to_vec()))
        }
        (Value::Bytes(name), Some(Value::Number(lease))) if count == 2 && is_key(name) => {
            let lease = lease as i64;
            (lease >= SECONDS_AT_MOST).then(|| Request::Lock { name: name.to_vec(), lease })
        }
        (Value::Bytes(_), Some(Value::Bytes(end))) => {
            let txn = txn(bytes).filter(is_lock_txn).map(Request::Txn);
            let limited = || range(bytes).filter(|r| is_key(end) && r.created_until > 0);
            txn.or_else(|| limited().map(Request::Range))
        }
        _ => None,
    }
}

/// A key of letters; a message begins with a control character.
fn is_key(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| (0x20..0x7f).contains(byte))
}

/// A transaction that can be nothing but one, and one of a lock.
fn is_lock_txn(txn: &Txn) -> bool {
    let of = |op: &Op, key: &[u8]| match op {
        Op::Put { key: other, lease, .. } => other == key && *lease != 0,
        Op::Delete(keys) => keys.key == key && keys.end.is_empty(),
        _ => false,
    };
    let is_one = |compare: &Compare| {
        !compare.key.is_empty() && txn.success.iter().any(|op| of(op, &compare.key))
    };
    txn.compares.iter().any(is_one)
}

/// An answer to a request; `None`: it is none.
pub fn answer(request: &Request, bytes: &[u8]) -> Option<Answer> {
    let (mut head, mut second, mut third) = (None, None, None);
    let mut parts = Vec::new();
    let mut sound = Some(());
    let is_txn = matches!(request, Request::Txn(_));
    fields(bytes, |number, value| match number {
        1 => head = Some(value.bytes()),
        2 => second = second.or(Some(value)),
        3 if is_txn && parts.len() < LISTED_AT_MOST => match part(value.bytes()) {
            Some(part) => parts.push(part),
            None => sound = None,
        },
        3 => third = Some(value),
        _ => {}
    })?;
    sound?;
    let (mut cluster, mut revision) = (0, 0);
    fields(head.unwrap_or_default(), |number, value| match number {
        1 => cluster = value.number() as u64,
        3 => revision = value.number(),
        _ => {}
    })?;
    let says = match (request, second) {
        (Request::Txn(_), _) => {
            Says::Txn { succeeded: second.is_some_and(|v| v.number() != 0), parts }
        }
        (Request::Range(_), _) | (Request::KeyOnly(_), Some(Value::Bytes(_))) => {
            Says::Found(found(bytes)?)
        }
        (Request::Delete(_), _) | (Request::KeyOnly(_), Some(Value::Number(_))) => {
            Says::Deleted(second.map_or(0, Value::number))
        }
        (Request::LeaseOnly(_), None) => Says::Done,
        (
            Request::Grant { .. }
            | Request::KeepAlive(_)
            | Request::TimeToLive(_)
            | Request::LeaseOnly(_),
            Some(id),
        ) => Says::Lease { id: id.number(), ttl: third.map_or(0, Value::number) },
        (Request::Lock { .. }, Some(key)) => Says::Locked(key.bytes().to_vec()),
        _ => Says::Done,
    };
    Some(Answer { cluster, revision, says })
}

/// What one part of a transaction found.
fn part(bytes: &[u8]) -> Option<Found> {
    let mut part = Some(Found::default());
    fields(bytes, |number, value| {
        if number == 1 {
            part = found(value.bytes());
        }
    })?;
    part
}

fn found(bytes: &[u8]) -> Option<Found> {
    let mut result = Found::default();
    let mut sound = Some(());
    fields(bytes, |number, value| match number {
        2 if result.first.is_none() => {
            result.first = entry(value.bytes());
            sound = sound.and(result.first.as_ref().map(|_| ()));
        }
        4 => result.count = value.number(),
        _ => {}
    })?;
    sound.map(|()| result)
}

fn entry(bytes: &[u8]) -> Option<Entry> {
    let mut entry = Entry::default();
    fields(bytes, |number, value| match number {
        1 => entry.key = value.bytes().to_vec(),
        2 => entry.created = value.number(),
        6 => entry.lease = value.number(),
        _ => {}
    })?;
    Some(entry)
}
