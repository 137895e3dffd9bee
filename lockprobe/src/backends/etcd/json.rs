//! etcd's messages as its JSON gateway takes and gives them (grpc-gateway, jsonpb).

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde_json::Value;

use super::frame::Method;
use super::message::{Against, Answer, Compare, Entry, Found, Keys, Op, Range, Request, Says, Txn};
use crate::framing::owner;

/// Most entries of a list that are looked at.
const LISTED_AT_MOST: usize = 8;

/// A field by either of its names; jsonpb takes both.
fn field<'a>(value: &'a Value, snake: &str, camel: &str) -> &'a Value {
    match &value[snake] {
        Value::Null => &value[camel],
        found => found,
    }
}

/// A number, which may be written as a text; 0 where there is none.
fn number(value: &Value) -> i64 {
    match value {
        Value::String(text) => {
            text.parse().unwrap_or_else(|_| text.parse::<u64>().map_or(0, |n| n as i64))
        }
        value => value.as_i64().unwrap_or_else(|| value.as_u64().map_or(0, |n| n as i64)),
    }
}

fn bytes(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap_or_default();
    STANDARD.decode(text).or_else(|_| URL_SAFE.decode(text)).unwrap_or_default()
}

fn list<T>(value: &Value, each: impl Fn(&Value) -> T) -> Vec<T> {
    value.as_array().into_iter().flatten().take(LISTED_AT_MOST).map(each).collect()
}

fn keys(value: &Value) -> Keys {
    Keys { key: bytes(&value["key"]), end: bytes(field(value, "range_end", "rangeEnd")) }
}

fn range(value: &Value) -> Range {
    let created_until = number(field(value, "max_create_revision", "maxCreateRevision"));
    Range { keys: keys(value), created_until }
}

/// An enumeration's value by its name or number.
fn is(value: &Value, name: &str, value_of: i64) -> bool {
    match value {
        Value::Null => value_of == 0,
        Value::String(text) => text == name,
        value => value.as_i64() == Some(value_of),
    }
}

fn compare(value: &Value) -> Compare {
    let target = &value["target"];
    let against = if is(target, "CREATE", 1) {
        Against::Birth(number(field(value, "create_revision", "createRevision")))
    } else if is(target, "VERSION", 0) {
        Against::Birth(number(&value["version"]))
    } else if is(target, "VALUE", 3) {
        Against::Value(owner(&bytes(&value["value"])))
    } else {
        Against::Other
    };
    Compare { key: bytes(&value["key"]), against, equal: is(&value["result"], "EQUAL", 0) }
}

fn op(value: &Value) -> Op {
    let part = |snake, camel| Some(field(value, snake, camel)).filter(|part| part.is_object());
    if let Some(part) = part("request_put", "requestPut") {
        let value = owner(&bytes(&part["value"]));
        Op::Put { key: bytes(&part["key"]), lease: number(&part["lease"]), value }
    } else if let Some(part) = part("request_range", "requestRange") {
        Op::Range(range(part))
    } else if let Some(part) = part("request_delete_range", "requestDeleteRange") {
        Op::Delete(keys(part))
    } else {
        Op::Other
    }
}

/// A request of a method; `None`: it is none.
pub fn request(method: Method, body: &[u8]) -> Option<Request> {
    let value: Value = serde_json::from_slice(body).ok()?;
    let id = || number(&value["ID"]);
    Some(match method {
        Method::Txn => Request::Txn(Txn {
            compares: list(&value["compare"], compare),
            success: list(&value["success"], op),
            failure: list(&value["failure"], op),
        }),
        Method::Range => Request::Range(range(&value)),
        Method::Delete => Request::Delete(keys(&value)),
        Method::Grant => Request::Grant { ttl: number(&value["TTL"]) },
        Method::Revoke => Request::Revoke(id()),
        Method::KeepAlive => Request::KeepAlive(id()),
        Method::TimeToLive => Request::TimeToLive(id()),
        Method::Watch => {
            Request::Watch(bytes(&field(&value, "create_request", "createRequest")["key"]))
        }
        Method::Lock => {
            Request::Lock { name: bytes(&value["name"]), lease: number(&value["lease"]) }
        }
        Method::Unlock => Request::Unlock(bytes(&value["key"])),
        Method::Unknown | Method::Other => return None,
    })
}

fn found(value: &Value) -> Found {
    let entry = |kv: &Value| Entry {
        key: bytes(&kv["key"]),
        created: number(field(kv, "create_revision", "createRevision")),
        lease: number(&kv["lease"]),
    };
    let first = value["kvs"].as_array().and_then(|kvs| kvs.first()).map(entry);
    Found { first, count: number(&value["count"]) }
}

/// An answer to a request; `None`: it is none.
pub fn answer(request: &Request, body: &[u8]) -> Option<Answer> {
    let value: Value = serde_json::from_slice(body).ok()?;
    // Answers of streams are wrapped.
    let value = match &value["result"] {
        Value::Null => &value,
        wrapped => wrapped,
    };
    let header = value["header"].as_object()?;
    let of = |name: &str| header.get(name).map_or(0, number);
    let says = match request {
        Request::Txn(_) => Says::Txn {
            succeeded: value["succeeded"].as_bool().unwrap_or(false),
            parts: list(&value["responses"], |part| {
                found(field(part, "response_range", "responseRange"))
            }),
        },
        Request::Range(_) => Says::Found(found(value)),
        Request::Delete(_) => Says::Deleted(number(&value["deleted"])),
        Request::Grant { .. } | Request::KeepAlive(_) | Request::TimeToLive(_) => {
            Says::Lease { id: number(&value["ID"]), ttl: number(&value["TTL"]) }
        }
        Request::Lock { .. } => Says::Locked(bytes(&value["key"])),
        _ => Says::Done,
    };
    let cluster = header.get("cluster_id").or_else(|| header.get("clusterId")).map_or(0, number);
    Some(Answer { cluster: cluster as u64, revision: of("revision"), says })
}
