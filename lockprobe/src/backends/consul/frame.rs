//! Requests of Consul's HTTP API that matter to locks (Consul documentation, HTTP API: Session, KV
//! Store, Blocking Queries).

use percent_encoding::percent_decode_str;
use serde_json::Value;

use crate::framing::{owner, shown};
use crate::model::Owner;

/// A request. Sessions are kept as hashes only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// A session that ends unless it is renewed within this time; `None`: not by time.
    Create(Option<u64>),
    /// Renews a session.
    Renew(Owner),
    /// Ends a session.
    Destroy(Owner),
    /// Asks for a key.
    Acquire(Key, Owner),
    /// Lets go of a key.
    Release(Key, Owner),
    /// Deletes a key.
    Delete(Key),
    /// Reads a key; waits until it changes, if so asked.
    Read {
        /// The key.
        key: Key,
        /// It is answered when the key changes.
        waits: bool,
    },
}

/// A key and where it is, as far as the request says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The key.
    pub name: Vec<u8>,
    /// The data centre; `None`: that of the agent which is asked.
    pub dc: Option<String>,
    /// Partition and name space, where they are named: `partition=a;ns=b`.
    pub within: String,
}

/// Whether a request is to be looked at, by its method and target.
pub fn matters(method: &str, target: &str) -> bool {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    match method {
        "PUT" if path.starts_with("/v1/kv/") => {
            query.split('&').any(|q| q.starts_with("acquire=") || q.starts_with("release="))
        }
        "PUT" => path.starts_with("/v1/session/"),
        "GET" | "DELETE" => path.starts_with("/v1/kv/"),
        _ => false,
    }
}

/// A request; `None`: nothing of locks.
pub fn request(method: &str, target: &str, body: &[u8]) -> Option<Request> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let of = |name: &str| {
        let value = |pair: &str| Some(pair.strip_prefix(name)?.strip_prefix('=')?.to_owned());
        let value = query.split('&').find_map(value)?;
        Some(shown(&percent_decode_str(&value).collect::<Vec<u8>>())).filter(|v| !v.is_empty())
    };
    let session = |id: &str| (!id.is_empty()).then(|| owner(id.to_ascii_lowercase().as_bytes()));
    if method == "PUT" && path == "/v1/session/create" {
        return Some(Request::Create(ttl_asked(body)));
    }
    if let Some(id) = path.strip_prefix("/v1/session/renew/") {
        return session(id).map(Request::Renew);
    }
    if let Some(id) = path.strip_prefix("/v1/session/destroy/") {
        return session(id).map(Request::Destroy);
    }
    let name: Vec<u8> = percent_decode_str(path.strip_prefix("/v1/kv/")?).collect();
    let part = |name| of(name).map(|value| format!("{name}={value}"));
    let within: Vec<String> = ["partition", "ns"].into_iter().filter_map(part).collect();
    let key = Key { name, dc: of("dc"), within: within.join(";") };
    // Whole families of keys are no locks.
    let flag =
        |name: &str| query.split('&').any(|q| q == name || q.starts_with(&format!("{name}=")));
    if flag("recurse") || flag("keys") || flag("raw") || key.name.is_empty() {
        return None;
    }
    match method {
        "PUT" => match (of("acquire"), of("release")) {
            (Some(id), _) => session(&id).map(|session| Request::Acquire(key, session)),
            (None, Some(id)) => session(&id).map(|session| Request::Release(key, session)),
            (None, None) => None,
        },
        "DELETE" => Some(Request::Delete(key)),
        "GET" => Some(Request::Read { key, waits: of("index").is_some_and(|i| i != "0") }),
        _ => None,
    }
}

/// A field by its name, in capitals or not.
fn field<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    let fields = value.as_object()?;
    fields.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

fn ttl_asked(body: &[u8]) -> Option<u64> {
    let value: Value = serde_json::from_slice(body).ok()?;
    duration(field(&value, "TTL")?.as_str()?)
}

/// The session that was created.
pub fn created(body: &[u8]) -> Option<Owner> {
    let value: Value = serde_json::from_slice(body).ok()?;
    Some(owner(field(&value, "ID")?.as_str()?.to_ascii_lowercase().as_bytes()))
}

/// For how long a session was renewed.
pub fn renewed(body: &[u8]) -> Option<u64> {
    let value: Value = serde_json::from_slice(body).ok()?;
    duration(field(value.as_array()?.first()?, "TTL")?.as_str()?)
}

/// Who has the key that was read: `Some(None)`: nobody.
pub fn holder(body: &[u8]) -> Option<Option<Owner>> {
    let value: Value = serde_json::from_slice(body).ok()?;
    let session = field(value.as_array()?.first()?, "Session").and_then(Value::as_str);
    let session = session.filter(|session| !session.is_empty());
    Some(session.map(|session| owner(session.to_ascii_lowercase().as_bytes())))
}

/// A duration as Go writes it, in nanoseconds: `1m30s`; `None`: it is none, or nothing.
pub fn duration(text: &str) -> Option<u64> {
    let mut rest = text.trim();
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let letters = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let factor = match unit {
            "h" => 3600e9,
            "m" => 60e9,
            "s" => 1e9,
            "ms" => 1e6,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * factor;
        rest = after;
    }
    (total > 0.0).then_some(total as u64)
}
