//! Connections that are encrypted: what goes over them, as it enters and leaves the TLS library.
//!
//! A library may write to the socket itself, or to memory that its caller then sends. In both cases
//! the thread that called it last is the one that sends: that is how a session finds its socket.

use aya_ebpf::helpers::generated::bpf_probe_read_user;
use lockprobe_ebpf::wire::{Socket, TlsCall, TlsKey, socket_flag};

use super::{Call, Sock, announce, said};
use crate::emit;
use crate::filter;
use crate::maps::*;
use crate::task::Task;

/// Within so many bytes from its beginning a connection turns to encryption.
const EARLY: u64 = 128;
/// Types of TLS records.
const HANDSHAKE: u8 = 22;
const DATA: u8 = 23;
/// A thread that called the library this long ago may send for another reason.
const RECENT: u64 = 100_000_000;
/// Errors and nonsense are no lengths.
const LENGTH_AT_MOST: i64 = 1 << 30;

/// Whether a connection begins to be encrypted with this, or is met in the middle of that.
#[inline(always)]
pub fn begins(socket: &Socket, call: &Call) -> bool {
    let joined = socket.flags & socket_flag::JOINED != 0;
    socket.sent < EARLY && (call.is_tls(HANDSHAKE) || (joined && call.is_tls(DATA)))
}

/// Finds the session of a connection, where a thread sends that has just called the library; `first`
/// with its first bytes.
#[inline(always)]
pub fn pair(sock: Sock, task: Task, socket: &mut Socket, first: bool) {
    if socket.flags & socket_flag::PAIRED != 0 {
        return;
    }
    let Some(call) = TLS_CALLS.get_ptr(task.tid()) else { return };
    // SAFETY: a value of the map, copied at once.
    let call = unsafe { *call };
    if call.sends == 0 || emit::now().wrapping_sub(call.time_ns) > RECENT {
        return;
    }
    let key = TlsKey { session: call.session, tgid: task.tgid(), reserved: 0 };
    // A session has one connection. At the beginning of one the address may be an old session's.
    if !first && TLS_SESSIONS.get_ptr(key).is_some() {
        return;
    }
    socket.flags |= socket_flag::PAIRED;
    // Found later, something may have been said already.
    let late = !first || socket.flags & socket_flag::JOINED != 0;
    let flags = u32::from(late) * socket_flag::JOINED;
    let Socket { id, dialect, port, .. } = *socket;
    let mut session = Socket { id, dialect, port, flags, ..Socket::default() };
    announce(sock, task, &mut session);
    let _ = TLS_SESSIONS.insert(key, session, 0);
}

/// A thread calls the library.
#[inline(always)]
pub fn enters(session: u64, buffer: u64, count_at: u64, sends: bool) {
    let task = Task::current();
    if filter::is_target(task.tgid()) {
        let sends = u64::from(sends);
        let call = TlsCall { session, buffer, count_at, time_ns: emit::now(), sends };
        let _ = TLS_CALLS.insert(task.tid(), call, 0);
    }
}

/// It comes back with this.
#[inline(always)]
pub fn leaves(returned: i64, sent: bool) {
    let task = Task::current();
    let Some(call) = TLS_CALLS.get_ptr(task.tid()) else { return };
    // SAFETY: a value of the map, copied at once.
    let call = unsafe { *call };
    let mut length = i64::from(returned as i32);
    if length <= 0 || call.buffer == 0 {
        return;
    }
    if call.count_at != 0 {
        // SAFETY: the helper checks the user address and writes eight bytes, zeros if it fails.
        unsafe { bpf_probe_read_user((&raw mut length).cast(), 8, call.count_at as *const _) };
    }
    if length <= 0 || length > LENGTH_AT_MOST {
        return;
    }
    let key = TlsKey { session: call.session, tgid: task.tgid(), reserved: 0 };
    let Some(socket) = TLS_SESSIONS.get_ptr_mut(key) else { return };
    // SAFETY: a value of the map; a session is not used by two threads at once.
    let socket = unsafe { &mut *socket };
    let Some(plain) = Call::plain(call.buffer, length as u64) else { return };
    if said(task, socket, plain, sent) {
        plain.copy();
    }
}
