//! The snapshot as one JSON object, and the schema of that.

use std::io::{self, Write};

use serde_json::{Map, Value, json};

use super::{convert, schema as records};
use crate::model::names::*;
use crate::model::{Agent, RemoteHold, Session, Snapshot, ThreadId};

/// Writes it.
pub fn write_json(out: &mut dyn Write, snapshot: &Snapshot, session: &Session) -> io::Result<()> {
    serde_json::to_writer(&mut *out, &to_json(snapshot, session))?;
    writeln!(out)
}

fn to_json(snapshot: &Snapshot, session: &Session) -> Value {
    let agents = snapshot.agents.iter();
    let threads: Vec<Value> = agents.clone().map(|a| agent(a, snapshot, session)).collect();
    let edges: Vec<Value> = agents.clone().filter_map(edge).collect();
    let roots: Vec<Value> = agents.filter(|a| a.is_root()).map(|a| thread(a.id)).collect();
    let findings = snapshot.findings.iter().map(|f| convert::finding_to_json(f, session));
    let mut all = json!({
        "record": "snapshot",
        "time_unix_nano": session.unix_nanos(snapshot.time),
        HOST_NAME: session.host,
        TELEMETRY_DISTRO_NAME: "lockprobe",
        TELEMETRY_DISTRO_VERSION: session.version,
        "threads": threads,
        "edges": edges,
        "roots": roots,
        "findings": findings.collect::<Vec<Value>>(),
    });
    if let Some(holds) = &snapshot.remote {
        all[REMOTE_HOLDS] = holds.iter().map(|hold| remote_hold(hold, snapshot, session)).collect();
    }
    all
}

const REMOTE_HOLDS: &str = "remote_holds";

/// A lock of a server that a process has, and until when.
fn remote_hold(hold: &RemoteHold, snapshot: &Snapshot, session: &Session) -> Value {
    let mut o = convert::lock_to_json(&hold.lock);
    let id = hold.thread.id;
    let mut put = |key: &str, value: Value| o[key] = value;
    put(PROCESS_PID, json!(id.pid));
    put(THREAD_ID, json!(id.tid));
    put(THREAD_NAME, json!(hold.thread.name()));
    if let Some(service) = snapshot.services.get(&id.pid) {
        put(SERVICE_NAME, json!(service));
    }
    put(LOCK_MODE, json!(hold.mode.name()));
    put("start_time_unix_nano", json!(session.unix_nanos(hold.since)));
    if let Some(lease) = hold.lease {
        put(LOCK_LEASE_DURATION, json!(lease as f64 / 1e9));
    }
    if let Some(deadline) = hold.deadline {
        put(LEASE_END, json!(session.unix_nanos(deadline)));
    }
    put(LOCK_RENEWAL_COUNT, json!(hold.renewals));
    if let Some(fence) = hold.fence {
        put(LOCK_FENCING_TOKEN, json!(fence));
    }
    if let Some(owner) = hold.owner {
        put(LOCK_OWNER_HASH, json!(format!("{:016x}", owner.0)));
    }
    put(SERVER_ADDRESS, json!(hold.server.ip().to_string()));
    put(SERVER_PORT, json!(hold.server.port()));
    put("gone", json!(hold.gone));
    o
}

const LEASE_END: &str = "lease_end_unix_nano";

fn thread(id: ThreadId) -> Value {
    json!({ PROCESS_PID: id.pid, THREAD_ID: id.tid })
}

/// Who waits for whom, by their ids, and for which lock.
fn edge(agent: &Agent) -> Option<Value> {
    let wait = agent.waits.as_ref()?;
    let holder = wait.holder.as_ref()?;
    Some(json!({
        PROCESS_PID: agent.id.pid,
        THREAD_ID: agent.id.tid,
        LOCK_ID: wait.lock.identity(),
        LOCK_HOLDER_PID: holder.id.pid,
        LOCK_HOLDER_TID: holder.id.tid,
        LOCK_HOLDER_SOURCE: holder.source.name(),
    }))
}

fn agent(agent: &Agent, snapshot: &Snapshot, session: &Session) -> Value {
    let mut o = Map::new();
    o.insert(PROCESS_PID.into(), json!(agent.id.pid));
    if let Some(service) = snapshot.services.get(&agent.id.pid) {
        o.insert(SERVICE_NAME.into(), json!(service));
    }
    o.insert(THREAD_ID.into(), json!(agent.id.tid));
    o.insert(THREAD_NAME.into(), json!(agent.name));
    o.insert("blocks".into(), json!(agent.blocks));
    o.insert("holds".into(), agent.holds.iter().map(convert::lock_to_json).collect());
    if let Some(wait) = &agent.waits {
        let mut waits = convert::lock_to_json(&wait.lock);
        waits["start_time_unix_nano"] = json!(session.unix_nanos(wait.since));
        if wait.estimated {
            waits[LOCK_WAIT_START_ESTIMATED] = json!(true);
        }
        o.insert("waits".into(), waits);
    }
    if let Some(activity) = &agent.activity {
        o.insert(THREAD_STATE.into(), json!(activity.doing.name()));
        if !activity.call.is_empty() {
            o.insert(THREAD_CALL.into(), json!(activity.call));
        }
    }
    Value::Object(o)
}

/// The schema of it, draft 2020-12.
pub fn schema() -> Value {
    use records::{LOCK, SOME, count, object, time};
    let lock = object(None, &LOCK, &SOME, json!({}));
    let mut wait = object(
        None,
        &LOCK,
        &[&SOME[..], &[LOCK_WAIT_START_ESTIMATED]].concat(),
        json!({ "start_time_unix_nano": time() }),
    );
    wait["description"] = json!("The lock the thread waits for, and since when.");
    let mut thread = object(
        None,
        &[PROCESS_PID, THREAD_ID, THREAD_NAME],
        &[SERVICE_NAME, THREAD_STATE, THREAD_CALL],
        json!({ "blocks": count(), "holds": { "type": "array", "items": lock } }),
    );
    thread["properties"]["waits"] = wait;
    let edge = [PROCESS_PID, THREAD_ID, LOCK_ID, LOCK_HOLDER_PID, LOCK_HOLDER_TID];
    let edge = object(None, &[&edge[..], &[LOCK_HOLDER_SOURCE]].concat(), &[], json!({}));
    let root = object(None, &[PROCESS_PID, THREAD_ID], &[], json!({}));
    let mut remote = object(
        None,
        &[
            &LOCK[..],
            &[PROCESS_PID, THREAD_ID, THREAD_NAME, LOCK_MODE, SERVER_ADDRESS, SERVER_PORT],
        ]
        .concat(),
        &[
            &SOME[..],
            &[SERVICE_NAME, LOCK_LEASE_DURATION, LOCK_RENEWAL_COUNT, LOCK_FENCING_TOKEN],
            &[LOCK_OWNER_HASH],
        ]
        .concat(),
        json!({ "start_time_unix_nano": time(), "gone": {
            "type": "boolean", "description": "The process has ended, and the lock stays.",
        } }),
    );
    remote["properties"][LEASE_END] = time();
    let list = |items: Value| json!({ "type": "array", "items": items });
    let names = [HOST_NAME, TELEMETRY_DISTRO_NAME, TELEMETRY_DISTRO_VERSION];
    let more = json!({
        "time_unix_nano": time(),
        "threads": list(thread),
        "edges": list(edge),
        "roots": list(root),
        "findings": list(records::finding()),
    });
    let mut schema = object(Some("snapshot"), &names, &[], more);
    schema["properties"][REMOTE_HOLDS] = list(remote);
    schema["properties"][REMOTE_HOLDS]["description"] = json!(
        "Locks that servers keep and processes of this host have; only from a lockprobe that has \
         been listening, at /snapshot."
    );
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("lockprobe snapshot");
    schema["description"] = json!(
        "Every thread that waits for a lock, and every one that has a lock another waits for. \
         Roots are holders that wait for nothing."
    );
    schema
}
