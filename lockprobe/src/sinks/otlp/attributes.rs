//! What spans and log records say of locks, holders, threads and servers, each in one way.

use super::wire::Attributes;
use crate::model::{
    CallSite, Holder, LockDescription, Precision, Remote, Thread, ThreadId, WaitStacks, names,
};

/// Which lock, and what is known of it.
pub fn lock(list: &mut Attributes<'_>, lock: &LockDescription) {
    list.text(names::LOCK_SYSTEM_NAME, lock.kind.system());
    list.text(names::LOCK_TYPE, lock.kind.name());
    list.text(names::LOCK_NAME, &lock.name);
    match lock.address.as_deref() {
        Some(address) => list.text(names::LOCK_ID, address),
        None => list.shown(names::LOCK_ID, format_args!("{}", lock.id)),
    }
    if let Some(scope) = lock.id.scope() {
        list.text(names::LOCK_SCOPE, scope);
    }
    list.text(names::LOCK_CONFIDENCE, if lock.confirmed { "confirmed" } else { "candidate" });
}

/// Where in code.
pub fn call_site(list: &mut Attributes<'_>, site: &CallSite) {
    if !site.function.is_empty() {
        list.text(names::CODE_FUNCTION_NAME, &site.function);
    }
    if let Some((file, line)) = &site.source {
        list.text(names::CODE_FILE_PATH, file);
        list.int(names::CODE_LINE_NUMBER, (*line).into());
    }
}

/// What locks of servers have beside.
pub fn remote(list: &mut Attributes<'_>, remote: &Remote) {
    if let Some(server) = remote.server {
        list.shown(names::SERVER_ADDRESS, format_args!("{}", server.ip()));
        list.int(names::SERVER_PORT, server.port().into());
    }
    if let Some(owner) = remote.owner {
        list.hex(names::LOCK_OWNER_HASH, owner.0.to_be_bytes());
    }
    if let Some(lease) = remote.lease {
        list.seconds(names::LOCK_LEASE_DURATION, lease);
    }
    if remote.renewals > 0 {
        list.int(names::LOCK_RENEWAL_COUNT, remote.renewals.into());
    }
    if let Some(fence) = remote.fence {
        list.int(names::LOCK_FENCING_TOKEN, i64::try_from(fence).unwrap_or(i64::MAX));
    }
    if let Some(ahead) = remote.ahead {
        list.int(names::LOCK_QUEUE_AHEAD, ahead.into());
    }
    if let Some(said) = remote.said.as_deref() {
        list.text(names::LOCK_HOLDER_SAID, said);
    }
}

/// Who has it; what is unknown is left out.
pub fn holder(list: &mut Attributes<'_>, holder: &Holder) {
    holding(list, holder.id, &holder.name);
    list.text(names::LOCK_HOLDER_SOURCE, holder.source.name());
}

/// Which thread has it; what is unknown is left out.
pub fn holding(list: &mut Attributes<'_>, id: ThreadId, name: &str) {
    if id.pid != 0 {
        list.int(names::LOCK_HOLDER_PID, id.pid.into());
    }
    if id.tid != 0 {
        list.int(names::LOCK_HOLDER_TID, id.tid.into());
    }
    if !name.is_empty() {
        list.text(names::LOCK_HOLDER_NAME, name);
    }
}

/// Which thread, as a record showed it.
pub fn thread(list: &mut Attributes<'_>, thread: &Thread) {
    let end = thread.comm.iter().position(|&byte| byte == 0).unwrap_or(thread.comm.len());
    let name = &thread.comm[..end];
    // Names are ASCII but for a few, which cost more.
    match str::from_utf8(name) {
        Ok(name) if !name.bytes().any(|byte| byte.is_ascii_control() || byte >= 0x80) => {
            whose(list, thread.id, name);
        }
        _ => whose(list, thread.id, &thread.name()),
    }
}

/// Which thread.
pub fn whose(list: &mut Attributes<'_>, thread: ThreadId, name: &str) {
    if thread.tid != 0 {
        list.int(names::THREAD_ID, thread.tid.into());
    }
    if !name.is_empty() {
        list.text(names::THREAD_NAME, name);
    }
}

/// Where waiter and holder stood.
pub fn stacks(list: &mut Attributes<'_>, stacks: &WaitStacks) {
    for (name, text) in stacks.attributes() {
        list.text(name, &text);
    }
}

/// Value of `lock.hold.precision`.
pub fn precision(precision: Precision) -> &'static str {
    match precision {
        Precision::Exact => "exact",
        Precision::LowerBound => "lower_bound",
        Precision::Unknown => "unknown",
    }
}
