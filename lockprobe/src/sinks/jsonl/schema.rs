//! The JSON Schema of the records, built from the names, so that the two cannot drift apart.

use serde_json::{Map, Value, json};

use super::full::INVERSION;
use super::metrics;
use crate::model::names;
use crate::model::names::*;
use crate::model::{Doing, FindingKind, HoldEnd, HolderSource};

/// The schema, draft 2020-12.
pub fn schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "lockprobe JSON lines",
        "description": "One object a line. The last line of a complete output is the summary.",
        "oneOf": [
            acquire(), hold(), finding(), inversion(), process(), metrics::schema(), summary(),
            look(),
        ],
    })
}

/// Type and meaning of one key.
fn property(key: &str) -> Value {
    let meaning =
        names::ALL.iter().find(|(name, _)| *name == key).map(|(_, meaning)| meaning.trim());
    let mut value = match key {
        LOCK_WAIT_DURATION | LOCK_HOLD_DURATION | LOCK_WAKE_DELAY | LOCK_LEASE_DURATION => {
            json!({ "type": "number", "minimum": 0 })
        }
        LOCK_WAIT_START_ESTIMATED => json!({ "const": true }),
        LOCK_QUEUE_DEPTH | LOCK_ATTEMPT_COUNT => json!({ "type": "integer", "minimum": 1 }),
        LOCK_WAITERS
        | PROCESS_PID
        | THREAD_ID
        | LOCK_HOLDER_PID
        | LOCK_HOLDER_TID
        | LOCK_HANDED_OVER_BY_TID
        | LOCK_RENEWAL_COUNT
        | LOCK_FENCING_TOKEN
        | LOCK_QUEUE_AHEAD
        | SERVER_PORT
        | CODE_LINE_NUMBER => json!({ "type": "integer", "minimum": 0 }),
        LOCK_OUTCOME => json!({ "enum": ["acquired", "abandoned", "refused", "waiting"] }),
        LOCK_MODE => json!({ "enum": ["exclusive", "shared", "unknown"] }),
        LOCK_SCOPE => json!({ "enum": ["process"] }),
        LOCK_CONFIDENCE => json!({ "enum": ["confirmed", "candidate"] }),
        LOCK_HOLD_PRECISION => json!({ "enum": ["exact", "lower_bound", "unknown"] }),
        LOCK_HOLD_END => json!({ "enum": HoldEnd::ALL.map(HoldEnd::name) }),
        LOCK_HOLDER_SOURCE => {
            json!({ "enum": HolderSource::ALL.map(HolderSource::name) })
        }
        LOCK_FINDING_TYPE => json!({ "enum": FindingKind::ALL.map(FindingKind::name) }),
        LOCK_FINDING_ID => json!({ "type": "string", "pattern": "^[0-9a-f]{16}$" }),
        LOCK_FINDING_STATE => json!({ "enum": ["begin", "end", "moment"] }),
        THREAD_STATE => json!({ "enum": Doing::ALL.map(Doing::name) }),
        LOCK_HOLDER_STATE => json!({ "enum": ["blocked", "running"] }),
        LOCK_STACK_MISSING => {
            json!({ "enum": ["too_late", "moved_on", "rate_limited", "unreadable"] })
        }
        ERROR_TYPE => {
            json!({ "enum": [
                "timeout", "thread_exit", "interrupted", "deadlock", "gave_up", "refused", "error",
                "expired", "revoked",
            ] })
        }
        LOCK_NAME | LOCK_ID | LOCK_SYSTEM_NAME | LOCK_TYPE => {
            json!({ "type": "string", "minLength": 1 })
        }
        _ => json!({ "type": "string" }),
    };
    if let Some(meaning) = meaning {
        value["description"] = json!(meaning);
    }
    value
}

/// A point in time.
pub fn time() -> Value {
    json!({ "type": "integer", "minimum": 0, "description": "UNIX time, nanoseconds." })
}

/// A number of things.
pub fn count() -> Value {
    json!({ "type": "integer", "minimum": 0 })
}

fn number() -> Value {
    json!({ "type": ["number", "null"], "minimum": 0, "description": "Seconds." })
}

/// An object with these properties and no others.
pub fn object(record: Option<&str>, required: &[&str], optional: &[&str], more: Value) -> Value {
    let mut properties = Map::new();
    let mut needed: Vec<Value> = Vec::new();
    if let Some(record) = record {
        properties.insert("record".into(), json!({ "const": record }));
        needed.push(json!("record"));
    }
    for key in required.iter().chain(optional) {
        properties.insert((*key).to_owned(), property(key));
    }
    needed.extend(required.iter().map(|key| json!(key)));
    let more = if let Value::Object(more) = more { more } else { Map::new() };
    for (key, value) in more {
        if key != "links" {
            needed.push(json!(key));
        }
        properties.insert(key, value);
    }
    json!({
        "type": "object",
        "properties": properties,
        "required": needed,
        "additionalProperties": false,
    })
}

/// What every record about a lock says of it.
pub const LOCK: [&str; 5] = [LOCK_SYSTEM_NAME, LOCK_TYPE, LOCK_NAME, LOCK_ID, LOCK_CONFIDENCE];
/// What is said of some locks only; where the call site is, as far as known.
pub const SOME: [&str; 4] = [LOCK_SCOPE, CODE_FUNCTION_NAME, CODE_FILE_PATH, CODE_LINE_NUMBER];
const HOLDER: [&str; 4] = [LOCK_HOLDER_PID, LOCK_HOLDER_TID, LOCK_HOLDER_NAME, LOCK_HOLDER_SOURCE];
const STACKS: [&str; 4] =
    [CODE_STACKTRACE, LOCK_HOLDER_STACKTRACE, LOCK_HOLDER_STATE, LOCK_STACK_MISSING];

/// What locks of servers have beside.
const REMOTE: [&str; 8] = [
    SERVER_ADDRESS,
    SERVER_PORT,
    LOCK_OWNER_HASH,
    LOCK_LEASE_DURATION,
    LOCK_RENEWAL_COUNT,
    LOCK_FENCING_TOKEN,
    LOCK_QUEUE_AHEAD,
    LOCK_HOLDER_SAID,
];

fn span(extra: Value) -> Value {
    let mut span = json!({
        "start_time_unix_nano": time(),
        "end_time_unix_nano": time(),
        "trace_id": { "type": "string", "pattern": "^[0-9a-f]{32}$" },
        "span_id": { "type": "string", "pattern": "^[0-9a-f]{16}$" },
    });
    if let (Value::Object(span), Value::Object(extra)) = (&mut span, extra) {
        span.extend(extra);
    }
    span
}

fn acquire() -> Value {
    let required = [
        &LOCK[..],
        &[PROCESS_PID, THREAD_ID, THREAD_NAME, LOCK_MODE, LOCK_OUTCOME, LOCK_WAIT_DURATION],
        &[LOCK_QUEUE_DEPTH, LOCK_ATTEMPT_COUNT],
    ]
    .concat();
    let optional = [
        &SOME[..],
        &HOLDER,
        &[SERVICE_NAME, ERROR_TYPE, LOCK_WAIT_START_ESTIMATED, LOCK_WAKE_DELAY],
        &[LOCK_HANDED_OVER_BY_TID],
        &STACKS,
        &REMOTE,
    ]
    .concat();
    let links = json!({ "links": {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {
                "trace_id": { "type": "string", "pattern": "^[0-9a-f]{32}$" },
                "span_id": { "type": "string", "pattern": "^[0-9a-f]{16}$" },
                LOCK_LINK_TYPE: { "enum": ["blocked_by", "handed_over_by"] },
            },
            "required": ["trace_id", "span_id", LOCK_LINK_TYPE],
            "additionalProperties": false,
        },
    }});
    object(Some("acquire"), &required, &optional, span(links))
}

fn hold() -> Value {
    let required = [
        &LOCK[..],
        &[PROCESS_PID, THREAD_ID, THREAD_NAME, LOCK_HOLD_DURATION, LOCK_HOLD_PRECISION],
        &[LOCK_HOLD_END, LOCK_HOLDER_SOURCE, LOCK_WAITERS],
    ]
    .concat();
    let optional = [&SOME[..], &[SERVICE_NAME], &REMOTE].concat();
    object(Some("hold"), &required, &optional, span(json!({})))
}

/// One wait for one holder.
fn edge() -> Value {
    let required = [&LOCK[..], &[PROCESS_PID, THREAD_ID, THREAD_NAME]].concat();
    let required = [&required[..], &[LOCK_HOLDER_PID, LOCK_HOLDER_TID]].concat();
    let optional = [&SOME[..], &[LOCK_HOLDER_NAME, LOCK_WAIT_START_ESTIMATED], &STACKS].concat();
    object(None, &required, &optional, json!({ "start_time_unix_nano": time() }))
}

/// What a thread does.
fn doing() -> Value {
    let required = [PROCESS_PID, THREAD_ID, THREAD_STATE];
    object(None, &required, &[THREAD_NAME, THREAD_CALL], json!({}))
}

/// Circles have a `cycle`, those about a server's lock its `lock.id`, all others `waits`.
pub fn finding() -> Value {
    let names = [LOCK_FINDING_TYPE, LOCK_FINDING_ID, LOCK_FINDING_STATE, LOCK_WAITERS];
    let more = json!({ "start_time_unix_nano": time(), "time_unix_nano": time() });
    let mut finding = object(Some("finding"), &names, &[], more);
    finding["properties"]["end_time_unix_nano"] = time();
    finding["properties"]["holder"] = doing();
    for key in ["cycle", "waits"] {
        finding["properties"][key] = json!({ "type": "array", "items": edge(), "minItems": 1 });
    }
    for key in [&LOCK[..], &HOLDER[..3], &REMOTE[..5]].concat() {
        finding["properties"][key] = property(key);
    }
    for key in ["acquired_time_unix_nano", "deadline_time_unix_nano"] {
        finding["properties"][key] = time();
    }
    let other = [PROCESS_PID, THREAD_ID];
    finding["properties"]["other"] = object(None, &other, &[LOCK_OWNER_HASH], json!({}));
    finding["oneOf"] = json!([
        { "required": ["cycle"] },
        { "required": ["waits"] },
        { "required": [LOCK_ID, LOCK_HOLDER_PID] },
    ]);
    finding
}

fn inversion() -> Value {
    let required = [&LOCK[..], &[LOCK_MODE]].concat();
    let side = object(None, &required, &SOME, json!({}));
    let more = json!({
        "several_threads": { "type": "boolean" }, "count": count(), "held": side, "asked": side,
    });
    let order = object(None, &[PROCESS_PID, THREAD_ID], &[], more);
    let more = json!({
        "time_unix_nano": time(),
        "orders": { "type": "array", "items": order, "minItems": 2 },
    });
    let mut finding = object(Some("finding"), &[LOCK_FINDING_TYPE], &[], more);
    finding["properties"][LOCK_FINDING_TYPE] = json!({ "const": INVERSION });
    finding
}

fn acquisitions() -> Value {
    let required = [&LOCK[..], &[PROCESS_PID, SERVICE_NAME]].concat();
    let share = json!({ "type": ["number", "null"], "minimum": 0, "maximum": 1 });
    let more = json!({
        "acquisitions": count(), "contended": count(), "contention_rate": share,
        "shared": count(), "refused": count(), "acquired_before": count(), "holds": count(),
        "hold_total": number(), "hold_mean": number(), "hold_p50": number(), "hold_p95": number(),
        "hold_p99": number(), "hold_max": number(),
    });
    object(None, &required, &SOME, more)
}

fn process() -> Value {
    let required = [
        PROCESS_PID,
        SERVICE_NAME,
        SERVICE_INSTANCE_ID,
        PROCESS_EXECUTABLE_NAME,
        PROCESS_EXECUTABLE_PATH,
        PROCESS_COMMAND,
    ];
    object(Some("process"), &required, &[], json!({}))
}

/// The last line of `lockprobe deadlocks`.
fn look() -> Value {
    let names = [HOST_NAME, TELEMETRY_DISTRO_NAME, TELEMETRY_DISTRO_VERSION];
    let more = json!({ "time_unix_nano": time(), "waiting": count(), "findings": count() });
    object(Some("look"), &names, &[], more)
}

fn summary() -> Value {
    let required = [&LOCK[..], &[PROCESS_PID, SERVICE_NAME]].concat();
    let optional = [&SOME[..], &HOLDER, &[LOCK_HOLD_PRECISION]].concat();
    let mut lock = object(
        None,
        &required,
        &optional,
        json!({
            "waits": count(), "wait_total": number(), "wait_p50": number(), "wait_p95": number(),
            "wait_p99": number(), "wait_max": number(), "abandoned": count(),
            "still_waiting": count(),
        }),
    );
    lock["properties"]["grouped_locks"] = count();
    lock["properties"]["hold_max"] = number();
    lock["properties"]["holder_waits"] = count();
    let cause = |more: Value| object(None, &[], &[], more);
    let text = json!({ "type": "string", "minLength": 1 });
    let dropped = cause(json!({ "stage": text, "cause": text, "count": count() }));
    let skipped = cause(json!({ "cause": text, "count": count() }));
    let more = json!({
        "start_time_unix_nano": time(),
        "end_time_unix_nano": time(),
        "min_wait": number(),
        "locks": { "type": "array", "items": lock },
        "findings": count(),
        "received": count(),
        "emitted": count(),
        "waits": count(),
        "dropped": { "type": "array", "items": dropped },
        "skipped": { "type": "array", "items": skipped },
    });
    let names = [HOST_NAME, TELEMETRY_DISTRO_NAME, TELEMETRY_DISTRO_VERSION];
    let mut summary = object(Some("summary"), &names, &[], more);
    let names = [PROCESS_PID, SERVICE_NAME, LOCK_SYSTEM_NAME, SERVER_ADDRESS, SERVER_PORT];
    let blind = object(None, &names, &[], json!({ "why": { "type": "string" } }));
    summary["properties"]["blind"] = json!({ "type": "array", "items": blind });
    summary["properties"]["acquisitions"] = json!({ "type": "array", "items": acquisitions() });
    summary
}
