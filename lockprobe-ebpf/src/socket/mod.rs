//! Conversations with lock servers: whose they are, which parts matter, and copying those.
//!
//! In: sockets, and the memory of their users. Out: ring records. Never: what a request means for a
//! lock, a password.

mod capture;
mod database;
mod interest;
mod redis;
mod sock;
pub mod tls;
mod unix;

use aya_ebpf::helpers::generated::{bpf_get_prandom_u32, bpf_probe_read_kernel};
use lockprobe_ebpf::wire::{
    BytesRecord, ClosedRecord, ConnectionRecord, Counter, Socket, UNIX_PORT_BITS, bytes_flag,
    dialect, kind, socket_flag,
};

use crate::emit::{self, count};
use crate::filter;
use crate::maps::*;
use crate::task::Task;
pub use capture::Call;
pub use database::SEARCHED;
use interest::want;
pub use sock::Sock;

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
/// MSG_PEEK: what is received will be received again.
const PEEK: i32 = 2;
/// 127.0.0.1.
const HERE: [u8; 16] = [127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// After so long without a byte nothing is owed on a connection with many requests under way.
const QUIET: u64 = 200_000_000;

/// Something was sent or received.
#[inline(always)]
pub fn talked(sock: Sock, length: i32, flags: i32, sent: bool) {
    if length <= 0 || (!sent && flags & PEEK != 0) {
        return;
    }
    let unix = if sock.is_to_server() {
        0
    } else if sock.is_unix() {
        match sock.unix_server() {
            Some(server) => server,
            None => return,
        }
    } else {
        return;
    };
    let task = Task::current();
    if !filter::is_target(task.tgid()) {
        return;
    }
    let Some(socket) = (if unix == 0 { met(sock) } else { met_unix(sock, unix) }) else { return };
    // SAFETY: a value of the map. Two threads that use one connection at once may count wrongly;
    // what is said of offsets then makes the agent join the stream anew.
    let socket = unsafe { &mut *socket };
    let length = length as u64;
    if socket.flags & socket_flag::ENCRYPTED != 0 {
        count_bytes(socket, length, sent);
        tls::pair(sock, task, socket, false);
        return;
    }
    // Answers to what was left out need no look.
    if !sent && socket.flags & socket_flag::CAPTURED == 0 && !interest::speaks_for_itself(socket) {
        count_bytes(socket, length, sent);
        socket.flags &= !socket_flag::OWED;
        socket.last_ns = emit::now();
        return;
    }
    if sent && is_plain_get(socket, task, length) {
        socket.sent += length;
        socket.flags &= !socket_flag::CAPTURED;
        socket.flags |= socket_flag::SKIPPED | socket_flag::OWED;
        return count(Counter::SkippedTalk);
    }
    let Some(call) = Call::of(task, length) else {
        if sent && socket.flags & socket_flag::HIDDEN == 0 {
            socket.flags |= socket_flag::HIDDEN;
            blind(sock, task, socket, bytes_flag::HIDDEN);
        }
        return lost(socket, length, sent);
    };
    if sent && tls::begins(socket, call) {
        count_bytes(socket, length, sent);
        socket.flags |= socket_flag::ENCRYPTED;
        blind(sock, task, socket, bytes_flag::ENCRYPTED);
        tls::pair(sock, task, socket, true);
        return;
    }
    if said(task, socket, call, sent) {
        announce(sock, task, socket);
        call.copy();
    }
}

/// The commonest request of all, told with one look: a GET of Redis by a client that waits for each
/// answer.
#[inline(always)]
fn is_plain_get(socket: &Socket, task: Task, length: u64) -> bool {
    const NOT_SO: u32 = socket_flag::OWED | socket_flag::PIPELINED | socket_flag::TRANSACTION;
    socket.dialect == dialect::REDIS && socket.flags & NOT_SO == 0 && redis::is_get(task, length)
}

#[inline(always)]
fn count_bytes(socket: &mut Socket, length: u64, sent: bool) {
    if sent {
        socket.sent += length;
    } else {
        socket.received += length;
    }
}

/// Something was said on a connection in the clear; whether it is to be copied.
#[inline(always)]
fn said(task: Task, socket: &mut Socket, call: &mut Call, sent: bool) -> bool {
    let chosen = if sent { on_sent(socket, call) } else { on_received(socket, call) };
    socket.last_ns = emit::now();
    if chosen {
        task.describe_current(&mut call.thread);
    }
    chosen
}

/// The entry of a connection, which is made if it is not known.
#[inline(always)]
fn met(sock: Sock) -> Option<*mut Socket> {
    match SOCKETS.get_ptr_mut(sock.address()) {
        Some(socket) => Some(socket),
        None => note(sock, socket_flag::JOINED),
    }
}

/// The same for a unix socket. That it begins or ends is told by nothing: the first is found by its
/// number, and the second is found out when another has its address.
#[inline(always)]
fn met_unix(sock: Sock, server: u32) -> Option<*mut Socket> {
    let cookie = sock.cookie();
    if let Some(socket) = SOCKETS.get_ptr_mut(sock.address()) {
        // SAFETY: a value of the map, copied at once.
        let known = unsafe { *socket };
        if known.cookie == cookie {
            return Some(socket);
        }
        if known.flags & socket_flag::ANNOUNCED != 0 {
            closed(known.id);
        }
    }
    let flags = u32::from(sock.may_be_old()) * socket_flag::JOINED;
    let (port, dialect) = (server & ((1 << UNIX_PORT_BITS) - 1), server >> UNIX_PORT_BITS);
    enter(sock, Socket { dialect, flags, cookie, port, ..Socket::default() })
}

/// A connection that was not known; its entry.
#[inline(always)]
fn note(sock: Sock, flags: u32) -> Option<*mut Socket> {
    let port = u32::from(sock.server_port());
    // SAFETY: a value of the map, copied at once.
    let dialect = DIALECTS.get_ptr(port).map(|dialect| unsafe { *dialect })?;
    enter(sock, Socket { dialect, flags, ..Socket::default() })
}

#[inline(always)]
fn enter(sock: Sock, mut socket: Socket) -> Option<*mut Socket> {
    let address = sock.address();
    // SAFETY: no arguments.
    let chance = u64::from(unsafe { bpf_get_prandom_u32() });
    socket.id = emit::now() << 12 | chance & 0xfff;
    SOCKETS.insert(address, socket, 0).ok()?;
    SOCKETS.get_ptr_mut(address)
}

#[inline(always)]
fn on_sent(socket: &mut Socket, call: &mut Call) -> bool {
    let offset = socket.sent;
    socket.sent += call.length;
    let was = socket.flags;
    socket.flags |= socket_flag::OWED;
    let wants = want(socket, offset);
    let mut settled = was & socket_flag::OWED == 0;
    if socket.dialect == dialect::REDIS {
        // Answers to come cannot be told from those that were had without counting requests.
        if !settled || wants & interest::SEVERAL != 0 {
            socket.flags |= socket_flag::PIPELINED;
        } else if was & socket_flag::PIPELINED != 0 {
            if emit::now().wrapping_sub(socket.last_ns) > QUIET {
                socket.flags &= !socket_flag::PIPELINED;
            } else {
                settled = false;
            }
        }
    }
    if wants & interest::SECRET != 0 || (settled && wants & interest::WANTED == 0) {
        socket.flags &= !socket_flag::CAPTURED;
        socket.flags |= socket_flag::SKIPPED;
        count(Counter::SkippedTalk);
        return false;
    }
    if wants & interest::WANTED != 0 {
        socket.flags |= socket_flag::CAPTURED;
    }
    if socket.flags & socket_flag::CAPTURED == 0 {
        return false;
    }
    let mut flags = bytes_flag::SENT;
    if settled {
        flags |= bytes_flag::SETTLED;
    }
    if socket.flags & socket_flag::SKIPPED != 0 {
        socket.flags &= !socket_flag::SKIPPED;
        flags |= bytes_flag::SKIPPED;
    }
    let limit = interest::limit(socket, true, offset, call.length);
    call.prepare(socket.id, offset, flags, limit);
    true
}

#[inline(always)]
fn on_received(socket: &mut Socket, call: &mut Call) -> bool {
    let offset = socket.received;
    socket.received += call.length;
    socket.flags &= !socket_flag::OWED;
    let mut flags = 0;
    let mut limit = call.length;
    if socket.flags & socket_flag::CAPTURED == 0 {
        if !interest::speaks_for_itself(socket) || !interest::is_telling(socket) {
            return false;
        }
        flags = bytes_flag::SKIPPED;
    } else {
        limit = interest::limit(socket, false, offset, call.length);
    }
    call.prepare(socket.id, offset, flags, limit);
    true
}

/// What was sent or received is nowhere to be seen.
#[inline(always)]
fn lost(socket: &mut Socket, length: u64, sent: bool) {
    count_bytes(socket, length, sent);
    if socket.flags & socket_flag::CAPTURED != 0 {
        count(Counter::BytesUnseen);
    }
}

/// Tells of a connection, once.
#[inline(always)]
fn announce(sock: Sock, task: Task, socket: &mut Socket) {
    if socket.flags & socket_flag::ANNOUNCED != 0 {
        return;
    }
    let full = Counter::DroppedTalkRingFull;
    let Some(mut entry) = emit::reserve::<ConnectionRecord>(kind::CONNECTION, emit::now(), full)
    else {
        return;
    };
    socket.flags |= socket_flag::ANNOUNCED;
    // SAFETY: the slot is a whole `ConnectionRecord`.
    let record = unsafe { &mut *entry.as_mut_ptr() };
    task.describe(&mut record.thread);
    record.connection = socket.id;
    record.namespace = sock.namespace();
    record.dialect = socket.dialect;
    record.flags = socket.flags;
    record.reserved = [0; 3];
    if socket.port == 0 {
        record.family = sock.family();
        record.client_port = sock.client_port();
        record.server_port = sock.server_port();
        sock.addresses(&mut record.client, &mut record.server);
    } else {
        // Called after where clients over TCP meet the same server: a lock is the same for all.
        record.family = AF_INET;
        record.client_port = 0;
        record.server_port = socket.port as u16;
        (record.client, record.server) = (HERE, HERE);
    }
    emit::submit(entry);
}

/// What goes over the connection cannot be seen: said once, with no bytes.
#[inline(always)]
fn blind(sock: Sock, task: Task, socket: &mut Socket, why: u32) {
    announce(sock, task, socket);
    let full = Counter::DroppedTalkRingFull;
    let Some(mut entry) = emit::reserve::<BytesRecord>(kind::BYTES, emit::now(), full) else {
        return;
    };
    // SAFETY: the slot is a whole `BytesRecord`.
    let record = unsafe { &mut *entry.as_mut_ptr() };
    task.describe(&mut record.thread);
    record.connection = socket.id;
    record.offset = 0;
    record.length = 0;
    record.flags = bytes_flag::SENT | why;
    // Each moment until its library is probed is a word that is not heard.
    emit::submit_now(entry);
}

/// A connection of the machine changed its state (include/net/tcp_states.h).
#[inline(always)]
pub fn changed(sock: Sock, old: i32, new: i32) {
    const ESTABLISHED: i32 = 1;
    const SYN_SENT: i32 = 2;
    const CLOSE: i32 = 7;
    const CLOSE_WAIT: i32 = 8;
    if !sock.is_to_server() {
        return;
    }
    if new == ESTABLISHED && old == SYN_SENT {
        note(sock, 0);
        return;
    }
    let address = sock.address();
    let Some(socket) = SOCKETS.get_ptr_mut(address) else { return };
    // SAFETY: a value of the map.
    let socket = unsafe { &mut *socket };
    let flags = socket.flags;
    let quiet = emit::now().wrapping_sub(socket.last_ns) > QUIET;
    if new == CLOSE_WAIT && (flags & socket_flag::OWED != 0 || !quiet) {
        // A server that closes with its answer: the client has still to read that.
        socket.flags |= socket_flag::ENDING;
    } else if (old == ESTABLISHED || flags & socket_flag::ENDING != 0)
        && flags & socket_flag::ANNOUNCED != 0
    {
        socket.flags &= !socket_flag::ENDING;
        closed(socket.id);
    }
    if new == CLOSE {
        let _ = SOCKETS.remove(address);
    }
}

#[inline(always)]
fn closed(id: u64) {
    let full = Counter::DroppedTalkRingFull;
    if let Some(mut entry) = emit::reserve::<ClosedRecord>(kind::CLOSED, emit::now(), full) {
        // SAFETY: the slot is a whole `ClosedRecord`.
        unsafe { (*entry.as_mut_ptr()).connection = id };
        emit::submit(entry);
    }
}

/// A word of the kernel's; zero where it cannot be read.
#[inline(always)]
fn read_kernel<T: Copy + Default>(at: u64) -> T {
    let mut value = T::default();
    // SAFETY: the helper checks the address and writes the size named, zeros if it fails.
    unsafe {
        bpf_probe_read_kernel((&raw mut value).cast(), size_of::<T>() as u32, at as *const _)
    };
    value
}
