//! The snapshot as one JSON object, and the schema of that.

use std::io::{self, Write};

use serde_json::{Map, Value, json};

use super::{convert, schema as records};
use crate::model::names::*;
use crate::model::{Agent, Session, Snapshot, ThreadId};

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
    json!({
        "record": "snapshot",
        "time_unix_nano": session.unix_nanos(snapshot.time),
        HOST_NAME: session.host,
        TELEMETRY_DISTRO_NAME: "lockprobe",
        TELEMETRY_DISTRO_VERSION: session.version,
        "threads": threads,
        "edges": edges,
        "roots": roots,
        "findings": findings.collect::<Vec<Value>>(),
    })
}

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
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("lockprobe snapshot");
    schema["description"] = json!(
        "Every thread that waits for a lock, and every one that has a lock another waits for. \
         Roots are holders that wait for nothing."
    );
    schema
}
