//! Records as JSON objects.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{full, metrics};
use crate::model::names::*;
use crate::model::{
    AcquireSpan, Activity, Blind, CallSite, Edge, Finding, HoldSpan, Holder, LockDescription,
    LockSummary, Losses, Notice, Precision, ProcessFact, Record, Remote, Session, SpanId, Summary,
};

pub(super) type Object = Map<String, Value>;

/// One record as an object. Services are names of processes by id.
pub fn to_json(record: &Record, session: &Session, services: &HashMap<u32, String>) -> Value {
    let mut o = Object::new();
    match record {
        Record::Acquire(span) => acquire(&mut o, span, session, services),
        Record::Hold(span) => hold(&mut o, span, session, services),
        Record::Finding(found) => finding(&mut o, found, session),
        Record::Inversion(found) => full::inversion(&mut o, found, session),
        Record::Process(fact) => process(&mut o, fact),
        Record::Summary(summary) => summarise(&mut o, summary, session),
        Record::Metrics(all) => metrics::to_json(&mut o, all, session),
    }
    Value::Object(o)
}

pub(super) fn put(o: &mut Object, key: &str, value: impl Into<Value>) {
    o.insert(key.to_owned(), value.into());
}

/// Nanoseconds as seconds.
pub(super) fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

fn begin(o: &mut Object, record: &str, id: SpanId, times: (u64, u64), session: &Session) {
    put(o, "record", record);
    put(o, "start_time_unix_nano", session.unix_nanos(times.0));
    put(o, "end_time_unix_nano", session.unix_nanos(times.1));
    put(o, "trace_id", format!("{:032x}", id.trace));
    put(o, "span_id", format!("{:016x}", id.span));
}

fn service(o: &mut Object, pid: u32, services: &HashMap<u32, String>) {
    if let Some(service) = services.get(&pid) {
        put(o, SERVICE_NAME, service.as_str());
    }
    put(o, PROCESS_PID, pid);
}

/// A lock as an object of its own.
pub fn lock_to_json(described: &Arc<LockDescription>) -> Value {
    let mut o = Object::new();
    lock(&mut o, described);
    Value::Object(o)
}

/// The end of looking for findings alone.
pub fn look_to_json(summary: &Summary, findings: u64, session: &Session) -> Value {
    let mut o = Object::new();
    put(&mut o, "record", "look");
    put(&mut o, "time_unix_nano", session.unix_nanos(summary.end));
    put(&mut o, HOST_NAME, session.host.as_str());
    put(&mut o, TELEMETRY_DISTRO_NAME, "lockprobe");
    put(&mut o, TELEMETRY_DISTRO_VERSION, session.version.as_str());
    put(&mut o, "waiting", summary.still_waiting());
    put(&mut o, "findings", findings);
    Value::Object(o)
}

/// A finding as an object of its own, as it is in a record.
pub fn finding_to_json(found: &Finding, session: &Session) -> Value {
    let mut o = Object::new();
    finding(&mut o, found, session);
    Value::Object(o)
}

pub(super) fn lock(o: &mut Object, lock: &LockDescription) {
    put(o, LOCK_SYSTEM_NAME, lock.kind.system());
    put(o, LOCK_TYPE, lock.kind.name());
    put(o, LOCK_NAME, &*lock.name);
    put(o, LOCK_ID, lock.identity());
    if let Some(scope) = lock.id.scope() {
        put(o, LOCK_SCOPE, scope);
    }
    put(o, LOCK_CONFIDENCE, if lock.confirmed { "confirmed" } else { "candidate" });
    if let Some(site) = &lock.call_site {
        call_site(o, site);
    }
}

pub(super) fn call_site(o: &mut Object, site: &CallSite) {
    if !site.function.is_empty() {
        put(o, CODE_FUNCTION_NAME, site.function.as_str());
    }
    if let Some((file, line)) = &site.source {
        put(o, CODE_FILE_PATH, file.as_str());
        put(o, CODE_LINE_NUMBER, *line);
    }
}

fn holder(o: &mut Object, holder: &Holder) {
    put(o, LOCK_HOLDER_PID, holder.id.pid);
    put(o, LOCK_HOLDER_TID, holder.id.tid);
    if !holder.name.is_empty() {
        put(o, LOCK_HOLDER_NAME, holder.name.as_str());
    }
    put(o, LOCK_HOLDER_SOURCE, holder.source.name());
}

fn acquire(o: &mut Object, s: &AcquireSpan, session: &Session, services: &HashMap<u32, String>) {
    begin(o, "acquire", s.id, (s.start, s.end), session);
    service(o, s.thread.id.pid, services);
    put(o, THREAD_ID, s.thread.id.tid);
    put(o, THREAD_NAME, s.thread.name());
    lock(o, &s.lock);
    put(o, LOCK_MODE, s.mode.name());
    put(o, LOCK_OUTCOME, s.outcome.name());
    if let Some(error) = s.error {
        put(o, ERROR_TYPE, error);
    }
    put(o, LOCK_WAIT_DURATION, seconds(s.end - s.start));
    if s.start_estimated {
        put(o, LOCK_WAIT_START_ESTIMATED, true);
    }
    put(o, LOCK_QUEUE_DEPTH, s.queue_depth);
    put(o, LOCK_ATTEMPT_COUNT, s.sleeps);
    if let Some(delay) = s.wake_delay {
        put(o, LOCK_WAKE_DELAY, seconds(delay));
    }
    if let Some(has) = &s.holder {
        holder(o, has);
    }
    if let Some(of_server) = &s.remote {
        remote(o, of_server);
    }
    for (key, text) in s.stacks.iter().flat_map(|stacks| stacks.attributes()) {
        put(o, key, text);
    }
    if let Some(from) = &s.handed_over_by {
        put(o, LOCK_HANDED_OVER_BY_TID, from.id.tid);
    }
    if let Some(hold) = s.blocked_by {
        let (trace, span) = (format!("{:032x}", hold.trace), format!("{:016x}", hold.span));
        let link = json!({ "trace_id": trace, "span_id": span, LOCK_LINK_TYPE: "blocked_by" });
        put(o, "links", json!([link]));
    }
}

/// A precision, as `lock.hold.precision` has it.
pub fn precision_name(precision: Precision) -> &'static str {
    match precision {
        Precision::Exact => "exact",
        Precision::LowerBound => "lower_bound",
        Precision::Unknown => "unknown",
    }
}

fn hold(o: &mut Object, s: &HoldSpan, session: &Session, services: &HashMap<u32, String>) {
    begin(o, "hold", s.id, (s.start, s.end), session);
    service(o, s.holder.id.pid, services);
    put(o, THREAD_ID, s.holder.id.tid);
    put(o, THREAD_NAME, s.holder.name.as_str());
    lock(o, &s.lock);
    put(o, LOCK_HOLD_DURATION, seconds(s.end - s.start));
    put(o, LOCK_HOLD_PRECISION, precision_name(s.precision));
    put(o, LOCK_HOLD_END, s.ended.name());
    put(o, LOCK_HOLDER_SOURCE, s.holder.source.name());
    put(o, LOCK_WAITERS, s.waiters);
    if let Some(of_server) = &s.remote {
        remote(o, of_server);
    }
}

/// What locks of servers have beside.
fn remote(o: &mut Object, remote: &Remote) {
    if let Some(server) = remote.server {
        put(o, SERVER_ADDRESS, server.ip().to_string());
        put(o, SERVER_PORT, server.port());
    }
    if let Some(owner) = remote.owner {
        put(o, LOCK_OWNER_HASH, format!("{:016x}", owner.0));
    }
    if let Some(lease) = remote.lease {
        put(o, LOCK_LEASE_DURATION, seconds(lease));
    }
    if remote.renewals > 0 {
        put(o, LOCK_RENEWAL_COUNT, remote.renewals);
    }
    if let Some(fence) = remote.fence {
        put(o, LOCK_FENCING_TOKEN, fence);
    }
    if let Some(ahead) = remote.ahead {
        put(o, LOCK_QUEUE_AHEAD, ahead);
    }
    if let Some(said) = &remote.said {
        put(o, LOCK_HOLDER_SAID, &**said);
    }
}

fn blind(blind: &Blind) -> Value {
    let mut o = Object::new();
    put(&mut o, PROCESS_PID, blind.pid);
    put(&mut o, SERVICE_NAME, blind.service.as_str());
    put(&mut o, LOCK_SYSTEM_NAME, blind.dialect.name());
    put(&mut o, SERVER_ADDRESS, blind.server.ip().to_string());
    put(&mut o, SERVER_PORT, blind.server.port());
    put(&mut o, "why", blind.why);
    Value::Object(o)
}

/// The hold that something was noticed of.
fn noticed(o: &mut Object, notice: &Notice, session: &Session) {
    let hold = &notice.hold;
    lock(o, &hold.lock);
    put(o, LOCK_HOLDER_PID, hold.thread.id.pid);
    put(o, LOCK_HOLDER_TID, hold.thread.id.tid);
    put(o, LOCK_HOLDER_NAME, hold.thread.name());
    put(o, SERVER_ADDRESS, hold.server.ip().to_string());
    put(o, SERVER_PORT, hold.server.port());
    put(o, "acquired_time_unix_nano", session.unix_nanos(hold.since));
    if let Some(owner) = hold.owner {
        put(o, LOCK_OWNER_HASH, format!("{:016x}", owner.0));
    }
    if let Some(lease) = hold.lease {
        put(o, LOCK_LEASE_DURATION, seconds(lease));
    }
    if let Some(deadline) = hold.deadline {
        put(o, "deadline_time_unix_nano", session.unix_nanos(deadline));
    }
    put(o, LOCK_RENEWAL_COUNT, hold.renewals);
    if let Some((thread, owner)) = &notice.other {
        let mut other = Object::new();
        put(&mut other, PROCESS_PID, thread.id.pid);
        put(&mut other, THREAD_ID, thread.id.tid);
        if let Some(owner) = owner {
            put(&mut other, LOCK_OWNER_HASH, format!("{:016x}", owner.0));
        }
        put(o, "other", Value::Object(other));
    }
}

fn finding(o: &mut Object, finding: &Finding, session: &Session) {
    put(o, "record", "finding");
    put(o, LOCK_FINDING_TYPE, finding.kind.name());
    put(o, LOCK_FINDING_ID, format!("{:016x}", finding.id));
    put(o, LOCK_FINDING_STATE, state_of(finding));
    put(o, "start_time_unix_nano", session.unix_nanos(finding.formed));
    put(o, "time_unix_nano", session.unix_nanos(finding.found));
    if let Some(ended) = finding.ended {
        put(o, "end_time_unix_nano", session.unix_nanos(ended));
    }
    put(o, LOCK_WAITERS, finding.waiters);
    if finding.remote.is_none() {
        let waits: Vec<Value> = finding.waits.iter().map(|edge| wait_edge(edge, session)).collect();
        put(o, if finding.kind.is_circle() { "cycle" } else { "waits" }, waits);
    }
    if let Some(activity) = &finding.holder {
        put(o, "holder", doing(activity));
    }
    if let Some(notice) = &finding.remote {
        noticed(o, notice, session);
    }
}

fn state_of(finding: &Finding) -> &'static str {
    match finding.ended {
        Some(_) => "end",
        None if finding.kind.is_moment() => "moment",
        None => "begin",
    }
}

/// What a thread does.
pub fn doing(activity: &Activity) -> Value {
    let mut o = Object::new();
    put(&mut o, PROCESS_PID, activity.id.pid);
    put(&mut o, THREAD_ID, activity.id.tid);
    if !activity.name.is_empty() {
        put(&mut o, THREAD_NAME, activity.name.as_str());
    }
    put(&mut o, THREAD_STATE, activity.doing.name());
    if !activity.call.is_empty() {
        put(&mut o, THREAD_CALL, activity.call.as_str());
    }
    Value::Object(o)
}

fn wait_edge(edge: &Edge, session: &Session) -> Value {
    let mut o = Object::new();
    put(&mut o, PROCESS_PID, edge.waiter.id.pid);
    put(&mut o, THREAD_ID, edge.waiter.id.tid);
    put(&mut o, THREAD_NAME, edge.waiter.name());
    put(&mut o, "start_time_unix_nano", session.unix_nanos(edge.since));
    if edge.estimated {
        put(&mut o, LOCK_WAIT_START_ESTIMATED, true);
    }
    lock(&mut o, &edge.lock);
    put(&mut o, LOCK_HOLDER_PID, edge.holder.pid);
    put(&mut o, LOCK_HOLDER_TID, edge.holder.tid);
    if !edge.holder_name.is_empty() {
        put(&mut o, LOCK_HOLDER_NAME, edge.holder_name.as_str());
    }
    for (key, text) in edge.stacks.iter().flat_map(|stacks| stacks.attributes()) {
        put(&mut o, key, text);
    }
    Value::Object(o)
}

fn process(o: &mut Object, fact: &ProcessFact) {
    put(o, "record", "process");
    put(o, PROCESS_PID, fact.pid);
    put(o, SERVICE_NAME, fact.service.as_str());
    put(o, SERVICE_INSTANCE_ID, format!("{}-{}", fact.pid, fact.start_ticks));
    let name = fact.executable.rsplit('/').next().unwrap_or_default();
    put(o, PROCESS_EXECUTABLE_NAME, name);
    put(o, PROCESS_EXECUTABLE_PATH, fact.executable.as_str());
    put(o, PROCESS_COMMAND, fact.command.first().map_or("", String::as_str));
}

fn summarise(o: &mut Object, summary: &Summary, session: &Session) {
    put(o, "record", "summary");
    put(o, "start_time_unix_nano", session.unix_nanos(summary.start));
    put(o, "end_time_unix_nano", session.unix_nanos(summary.end));
    put(o, HOST_NAME, session.host.as_str());
    put(o, TELEMETRY_DISTRO_NAME, "lockprobe");
    put(o, TELEMETRY_DISTRO_VERSION, session.version.as_str());
    put(o, "min_wait", seconds(summary.min_wait));
    put(o, "locks", summary.locks.iter().map(lock_summary).collect::<Vec<Value>>());
    if !summary.blind.is_empty() {
        put(o, "blind", summary.blind.iter().map(blind).collect::<Vec<Value>>());
    }
    if let Some(rows) = &summary.acquisitions {
        put(o, "acquisitions", rows.iter().map(full::acquisitions).collect::<Vec<Value>>());
    }
    put(o, "findings", summary.findings);
    put(o, "received", summary.received);
    losses(o, &summary.losses);
}

fn lock_summary(s: &LockSummary) -> Value {
    let mut o = Object::new();
    lock(&mut o, &s.lock);
    put(&mut o, PROCESS_PID, s.pid);
    put(&mut o, SERVICE_NAME, s.service.as_str());
    put(&mut o, "waits", s.counts.waits);
    put(&mut o, "wait_total", seconds(s.counts.total));
    for (key, share) in [("wait_p50", 0.5), ("wait_p95", 0.95), ("wait_p99", 0.99)] {
        let quantile = s.counts.histogram.quantile(share, s.counts.longest);
        put(&mut o, key, quantile.map(seconds));
    }
    put(&mut o, "wait_max", seconds(s.counts.longest));
    put(&mut o, "abandoned", s.abandoned);
    put(&mut o, "still_waiting", s.still_waiting);
    if s.locks > 1 {
        put(&mut o, "grouped_locks", s.locks);
    }
    if let Some((longest, precision)) = s.longest_hold {
        put(&mut o, LOCK_HOLD_PRECISION, precision_name(precision));
        put(&mut o, "hold_max", seconds(longest));
    }
    if let Some((top, count)) = &s.top_holder {
        holder(&mut o, top);
        put(&mut o, "holder_waits", *count);
    }
    Value::Object(o)
}

fn losses(o: &mut Object, losses: &Losses) {
    let dropped = losses
        .dropped
        .iter()
        .map(|(stage, cause, count)| json!({ "stage": stage, "cause": cause, "count": count }));
    put(o, "dropped", dropped.collect::<Vec<Value>>());
    let skipped =
        losses.skipped.iter().map(|(cause, count)| json!({ "cause": cause, "count": count }));
    put(o, "skipped", skipped.collect::<Vec<Value>>());
    put(o, "emitted", losses.emitted);
    put(o, "waits", losses.waits);
}
