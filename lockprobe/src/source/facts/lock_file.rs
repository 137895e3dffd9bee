//! Facts about lock files as JSON.

use serde_json::{Value, json};

use super::{number, text};
use crate::model::{FoundFile, LockFileFact, NamedProcess, NamedState};

/// The fact as a JSON object.
pub fn to_json(fact: &LockFileFact) -> Value {
    let LockFileFact { root, directory, name, at, path, found } = fact;
    let said = |said: &NamedProcess| {
        let NamedProcess { pid, host_pid, name, threads, state } = said;
        json!({
            "pid": pid, "host_pid": host_pid, "name": name, "threads": threads,
            "state": state.name(),
        })
    };
    let found = found
        .as_ref()
        .map(|found| json!({ "made": found.made, "says": found.says.as_ref().map(said) }));
    json!({
        "fact": "lock_file", "root": [root.0, root.1], "directory": directory, "name": name,
        "at": at.map(|(device, inode)| json!([device, inode])), "path": path, "found": found,
    })
}

/// Reads it back.
pub fn from_json(value: &Value) -> Option<LockFileFact> {
    let pair = |value: &Value| Some((value[0].as_u64()?, value[1].as_u64()?));
    let said = |value: &Value| {
        let state = value["state"].as_str()?;
        Some(NamedProcess {
            pid: number(&value["pid"])?,
            host_pid: number(&value["host_pid"])?,
            name: text(&value["name"])?,
            threads: number(&value["threads"])?,
            state: NamedState::ALL.into_iter().find(|known| known.name() == state)?,
        })
    };
    let found = |value: &Value| {
        value
            .is_object()
            .then(|| FoundFile { made: value["made"].as_u64(), says: said(&value["says"]) })
    };
    Some(LockFileFact {
        root: (number(&value["root"][0])?, value["root"][1].as_u64()?),
        directory: text(&value["directory"])?,
        name: text(&value["name"])?,
        at: pair(&value["at"]),
        path: text(&value["path"]),
        found: found(&value["found"]),
    })
}

/// One of every kind.
#[cfg(test)]
pub fn examples() -> impl Iterator<Item = LockFileFact> {
    let whole = |found| LockFileFact {
        root: (8, 2),
        directory: "/a/b".into(),
        name: "x.lock".into(),
        at: Some((8, 9)),
        path: Some("/a/c".into()),
        found,
    };
    let said = |state| NamedProcess { pid: 7, host_pid: 70, name: "w".into(), threads: 2, state };
    let found = |state| FoundFile { made: Some(5), says: Some(said(state)) };
    let named = NamedState::ALL.map(|state| whole(Some(found(state))));
    let plain = whole(Some(FoundFile::default()));
    let unknown = LockFileFact { at: None, path: None, ..whole(None) };
    named.into_iter().chain([plain, unknown])
}
