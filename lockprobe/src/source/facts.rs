//! Facts as JSON, the form they have in a recording.

mod lock_file;

use serde_json::{Value, json};

use crate::model::{
    Activity, CallSite, Doing, Fact, FileFact, HolderFact, LockFact, LockKind, Look, Missing,
    PlaceFact, ProcessFact, ProcessorFact, SiteClass, SiteFact, Stack, StackFact, StackFrame,
    ThreadFact, ThreadId,
};

/// Most frames read of one stack; no more are written.
const MOST_FRAMES: usize = 256;
/// Attributes of one process.
const ATTRIBUTES_AT_MOST: usize = 128;

/// One fact as a JSON object.
pub fn to_json(fact: &Fact) -> Value {
    match fact {
        Fact::Process(p) => json!({
            "fact": "process", "pid": p.pid, "image": p.image, "start_ticks": p.start_ticks,
            "service": p.service, "executable": p.executable, "command": p.command,
            "attributes": p.attributes, "trace_parent": p.trace_parent,
        }),
        Fact::Site(s) => {
            let (class, detail) = class_to_json(s.class);
            json!({
                "fact": "site", "pid": s.pid, "level": s.level, "ip": s.ip,
                "class": class, "detail": detail, "function": s.function.as_deref(),
            })
        }
        Fact::Lock(l) => json!({
            "fact": "lock", "pid": l.pid, "address": l.address, "symbol": l.symbol,
            "kind": l.kind.map(kind_name), "inner": l.inner,
            "shared": l.shared.map(|(device, inode, offset)| json!([device, inode, offset])),
            "call_site": l.call_site.as_ref().map(call_site_to_json),
        }),
        Fact::Thread(t) => json!({
            "fact": "thread", "pid": t.pid, "ns_tid": t.ns_tid, "home": t.home, "tid": t.tid,
            "name": t.name,
        }),
        Fact::File(f) => json!({
            "fact": "file", "device": f.device, "inode": f.inode, "path": f.path,
        }),
        Fact::LockFile(f) => lock_file::to_json(f),
        Fact::Holder(h) => json!({
            "fact": "holder", "pid": h.pid, "name": h.name, "threads": h.threads,
        }),
        Fact::Place(p) => json!({
            "fact": "place", "pid": p.pid, "ip": p.ip,
            "call_site": p.call_site.as_ref().map(call_site_to_json),
        }),
        Fact::Activity(a) => json!({
            "fact": "activity", "pid": a.id.pid, "tid": a.id.tid, "time": a.time,
            "doing": a.doing.name(), "call": a.call, "switches": a.switches,
            "start_ticks": a.start_ticks, "name": a.name,
        }),
        Fact::Stack(s) => json!({
            "fact": "stack", "waiter": thread_to_json(s.waiter), "start": s.start,
            "thread": thread_to_json(s.thread), "look": look_to_json(&s.look),
        }),
        Fact::Processor(p) => json!({
            "fact": "processor", "pid": p.pid, "start_ticks": p.start_ticks, "user": p.user,
            "system": p.system,
        }),
    }
}

fn thread_to_json(id: ThreadId) -> Value {
    json!([id.pid, id.tid])
}

fn look_to_json(look: &Look) -> Value {
    let stack = match look {
        Look::Asleep(stack) => stack,
        Look::Running => return json!("running"),
        Look::Missing(why) => return json!(why.name()),
    };
    // One list a frame: function, module, offset, and file and line where known.
    let frame = |f: &StackFrame| match &f.source {
        Some((file, line)) => json!([&*f.function, &*f.module, f.offset, &**file, line]),
        None => json!([&*f.function, &*f.module, f.offset]),
    };
    let frames: Vec<Value> = stack.frames.iter().map(frame).collect();
    json!({ "complete": stack.complete, "frames": frames })
}

fn thread_from_json(value: &Value) -> Option<ThreadId> {
    Some(ThreadId { pid: number(&value[0])?, tid: number(&value[1])? })
}

fn look_from_json(value: &Value) -> Option<Look> {
    if let Some(word) = value.as_str() {
        let missing = || Missing::ALL.into_iter().find(|why| why.name() == word);
        return if word == "running" { Some(Look::Running) } else { missing().map(Look::Missing) };
    }
    let frame = |f: &Value| {
        let text = |value: &Value| Some(text(value)?.into());
        Some(StackFrame {
            function: text(&f[0])?,
            module: text(&f[1])?,
            offset: f[2].as_u64()?,
            source: text(&f[3]).zip(number(&f[4])),
        })
    };
    let frames = value["frames"].as_array()?.iter().take(MOST_FRAMES).map(frame);
    let complete = value["complete"].as_bool()?;
    Some(Look::Asleep(Stack { frames: frames.collect::<Option<_>>()?, complete }.into()))
}

fn class_to_json(class: SiteClass) -> (&'static str, Value) {
    match class {
        SiteClass::Lock(kind) => ("lock", json!(kind_name(kind))),
        SiteClass::Shared(kind) => ("shared", json!(kind_name(kind))),
        SiteClass::Idle => ("idle", Value::Null),
        SiteClass::ByCaller(offset) => ("by_caller", json!(offset)),
        SiteClass::Unknown => ("unknown", Value::Null),
    }
}

fn kind_name(kind: LockKind) -> String {
    format!("{}/{}", kind.system(), kind.name())
}

fn kind_named(name: &str) -> Option<LockKind> {
    LockKind::ALL.iter().copied().find(|&kind| kind_name(kind) == name)
}

fn call_site_to_json(site: &CallSite) -> Value {
    json!({
        "function": site.function, "module": site.module, "offset": site.offset,
        "source": site.source.as_ref().map(|(file, line)| json!([file, line])),
    })
}

/// Attributes of a process, no more than [`ATTRIBUTES_AT_MOST`].
fn pairs(value: &Value) -> Vec<(String, String)> {
    let pairs = value.as_array().map(Vec::as_slice).unwrap_or_default().iter();
    let pairs = pairs.take(ATTRIBUTES_AT_MOST);
    pairs.filter_map(|pair| Some((text(&pair[0])?, text(&pair[1])?))).collect()
}

/// Reads a fact back; `None` for anything that is not one.
pub fn from_json(bytes: &[u8]) -> Option<Fact> {
    let value: Value = serde_json::from_slice(bytes).ok()?;
    let fact = match value["fact"].as_str()? {
        "processor" => Fact::Processor(ProcessorFact {
            pid: number(&value["pid"])?,
            start_ticks: value["start_ticks"].as_u64()?,
            user: value["user"].as_u64()?,
            system: value["system"].as_u64()?,
        }),
        "process" => Fact::Process(ProcessFact {
            pid: number(&value["pid"])?,
            image: number(&value["image"])?,
            start_ticks: value["start_ticks"].as_u64()?,
            service: text(&value["service"])?,
            executable: text(&value["executable"])?,
            command: value["command"].as_array()?.iter().filter_map(text).collect(),
            // Recordings of older versions have none.
            attributes: pairs(&value["attributes"]),
            trace_parent: text(&value["trace_parent"]),
        }),
        "site" => Fact::Site(SiteFact {
            pid: number(&value["pid"])?,
            level: number(&value["level"])?,
            ip: value["ip"].as_u64()?,
            class: class_from_json(&value)?,
            function: value["function"].as_str().map(Into::into),
        }),
        "lock" => Fact::Lock(LockFact {
            pid: number(&value["pid"])?,
            address: value["address"].as_u64()?,
            kind: value["kind"].as_str().and_then(kind_named),
            inner: value["inner"].as_u64().unwrap_or(0),
            symbol: text(&value["symbol"]),
            shared: shared_from_json(&value["shared"]),
            call_site: call_site_from_json(&value["call_site"]),
        }),
        "thread" => Fact::Thread(ThreadFact {
            pid: number(&value["pid"])?,
            ns_tid: number(&value["ns_tid"])?,
            home: number(&value["home"]).or_else(|| number(&value["pid"]))?,
            tid: number(&value["tid"])?,
            name: text(&value["name"])?,
        }),
        "file" => Fact::File(FileFact {
            device: number(&value["device"])?,
            inode: value["inode"].as_u64()?,
            path: text(&value["path"]),
        }),
        "lock_file" => Fact::LockFile(lock_file::from_json(&value)?),
        "holder" => Fact::Holder(HolderFact {
            pid: number(&value["pid"])?,
            name: text(&value["name"])?,
            threads: number(&value["threads"])?,
        }),
        "place" => Fact::Place(PlaceFact {
            pid: number(&value["pid"])?,
            ip: value["ip"].as_u64()?,
            call_site: call_site_from_json(&value["call_site"]),
        }),
        "activity" => Fact::Activity(activity_from_json(&value)?),
        "stack" => Fact::Stack(StackFact {
            waiter: thread_from_json(&value["waiter"])?,
            start: value["start"].as_u64()?,
            thread: thread_from_json(&value["thread"])?,
            look: look_from_json(&value["look"])?,
        }),
        _ => return None,
    };
    Some(fact)
}

fn activity_from_json(value: &Value) -> Option<Activity> {
    let doing = value["doing"].as_str()?;
    Some(Activity {
        id: ThreadId { pid: number(&value["pid"])?, tid: number(&value["tid"])? },
        time: value["time"].as_u64()?,
        doing: Doing::ALL.into_iter().find(|d| d.name() == doing)?,
        call: text(&value["call"])?,
        switches: value["switches"].as_u64()?,
        start_ticks: value["start_ticks"].as_u64()?,
        name: text(&value["name"])?,
    })
}

fn number(value: &Value) -> Option<u32> {
    u32::try_from(value.as_u64()?).ok()
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(crate::model::thread::printable)
}

fn class_from_json(value: &Value) -> Option<SiteClass> {
    Some(match value["class"].as_str()? {
        "lock" => {
            let name = value["detail"].as_str()?;
            SiteClass::Lock(kind_named(name)?)
        }
        "shared" => SiteClass::Shared(kind_named(value["detail"].as_str()?)?),
        "idle" => SiteClass::Idle,
        "by_caller" => SiteClass::ByCaller(number(&value["detail"])?),
        "unknown" => SiteClass::Unknown,
        _ => return None,
    })
}

fn shared_from_json(value: &Value) -> Option<(u64, u64, u64)> {
    Some((value[0].as_u64()?, value[1].as_u64()?, value[2].as_u64()?))
}

fn call_site_from_json(value: &Value) -> Option<CallSite> {
    let source = value["source"]
        .as_array()
        .and_then(|parts| Some((text(parts.first()?)?, number(parts.get(1)?)?)));
    Some(CallSite {
        function: text(&value["function"])?,
        source,
        module: text(&value["module"])?,
        offset: value["offset"].as_u64()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fact_survives_the_journey() {
        let mut facts = vec![
            Fact::Process(ProcessFact {
                pid: 7,
                image: 1,
                start_ticks: 99,
                service: "worker".into(),
                executable: "/usr/bin/worker".into(),
                command: vec!["worker".into(), "--fast".into()],
                attributes: vec![("container.id".into(), "0123".into())],
                trace_parent: Some("00-1-2-01".into()),
            }),
            Fact::Lock(LockFact {
                pid: 7,
                address: 0xffff_ffff_0000_1000,
                kind: Some(LockKind::PthreadMutex),
                inner: 8,
                symbol: Some("queue_lock+0x8".into()),
                shared: Some((8, 1234, 64)),
                call_site: Some(CallSite {
                    function: "process_batch".into(),
                    source: Some(("worker.c".into(), 42)),
                    module: "worker".into(),
                    offset: 0x1149,
                }),
            }),
            Fact::File(FileFact { device: 0x80_0001, inode: 9, path: Some("/tmp/x".into()) }),
            Fact::File(FileFact { device: 8, inode: 9, path: None }),
            Fact::Holder(HolderFact { pid: 7, name: "w".into(), threads: 2 }),
            Fact::Thread(ThreadFact { pid: 7, ns_tid: 3, home: 8, tid: 70, name: "io".into() }),
            Fact::Place(PlaceFact { pid: 7, ip: 0x1234, call_site: None }),
            Fact::Processor(ProcessorFact { pid: 7, start_ticks: 9, user: 1 << 60, system: 3 }),
        ];
        facts.extend(lock_file::examples().map(Fact::LockFile));
        let frame = StackFrame {
            function: "process_batch".into(),
            source: Some(("worker.c".into(), 42)),
            module: "worker".into(),
            offset: 0x1149,
        };
        let frames = vec![frame.clone(), StackFrame { source: None, ..frame }];
        let looks = [Look::Running, Look::Asleep(Stack { frames, complete: true }.into())];
        for look in looks.into_iter().chain(Missing::ALL.map(Look::Missing)) {
            let thread = ThreadId { pid: 7, tid: 8 };
            facts.push(Fact::Stack(StackFact { waiter: thread, start: u64::MAX, thread, look }));
        }
        let kinds = LockKind::ALL.iter().copied();
        let classes = kinds
            .clone()
            .map(SiteClass::Lock)
            .chain(kinds.map(SiteClass::Shared))
            .chain([SiteClass::Idle, SiteClass::ByCaller(40), SiteClass::Unknown]);
        facts.extend(classes.map(|class| {
            Fact::Site(SiteFact { pid: 7, level: 1, ip: 5, class, function: Some("f".into()) })
        }));
        facts.extend(Doing::ALL.map(|doing| {
            Fact::Activity(Activity {
                id: ThreadId { pid: 7, tid: 8 },
                time: 9,
                doing,
                call: "nanosleep".into(),
                switches: 10,
                start_ticks: 11,
                name: "io".into(),
            })
        }));
        for fact in facts {
            let json = to_json(&fact).to_string();
            assert_eq!(from_json(json.as_bytes()).as_ref(), Some(&fact), "{json}");
        }
    }

    #[test]
    fn hostile_json_is_no_fact() {
        for json in
            ["", "{}", "[1]", r#"{"fact":"site","pid":-1}"#, r#"{"fact":"lock","pid":1e99}"#]
        {
            assert_eq!(from_json(json.as_bytes()), None, "{json}");
        }
    }
}
