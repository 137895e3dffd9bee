//! Conversations with lock servers: whose they are, which parts matter, and copying those.
//!
//! In: sockets, and the memory of their users. Out: ring records. Never: what a request means for a
//! lock, a password.

mod capture;
mod database;
mod interest;
mod redis;
mod sock;

use aya_ebpf::helpers::generated::{bpf_get_prandom_u32, bpf_probe_read_kernel};
use lockprobe_ebpf::wire::{
    BytesRecord, ClosedRecord, ConnectionRecord, Counter, Socket, bytes_flag, dialect, kind,
    socket_flag,
};

use crate::emit::{self, count};
use crate::filter;
use crate::maps::*;
use crate::task::Task;
pub use capture::Call;
use interest::want;
pub use sock::Sock;

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
/// MSG_PEEK: what is received will be received again.
const PEEK: i32 = 2;
/// After so long without a byte nothing is owed on a connection with many requests under way.
const QUIET: u64 = 200_000_000;
/// Within so many bytes from its beginning a connection turns to encryption.
const EARLY: u64 = 128;

/// Something was sent or received.
#[inline(always)]
pub fn talked(sock: Sock, length: i32, flags: i32, sent: bool) {
    if length <= 0 || !sock.is_to_server() || (!sent && flags & PEEK != 0) {
        return;
    }
    let task = Task::current();
    if !filter::is_target(task.tgid()) {
        return;
    }
    let known = SOCKETS.get_ptr_mut(sock.address());
    let socket = match known {
        Some(socket) => socket,
        None => {
            let Some(socket) = note(sock, socket_flag::JOINED) else { return };
            socket
        }
    };
    // SAFETY: a value of the map. Two threads that use one connection at once may count wrongly;
    // what is said of offsets then makes the agent join the stream anew.
    let socket = unsafe { &mut *socket };
    let length = length as u64;
    if sent {
        on_sent(sock, task, socket, length)
    } else {
        on_received(sock, task, socket, length)
    }
    socket.last_ns = emit::now();
}

/// A connection that was not known; its entry.
#[inline(always)]
fn note(sock: Sock, flags: u32) -> Option<*mut Socket> {
    let port = u32::from(sock.server_port());
    // SAFETY: a value of the map, copied at once.
    let dialect = DIALECTS.get_ptr(port).map(|dialect| unsafe { *dialect })?;
    let address = sock.address();
    // SAFETY: no arguments.
    let chance = u64::from(unsafe { bpf_get_prandom_u32() });
    let id = emit::now() << 12 | chance & 0xfff;
    let socket = Socket { id, dialect, flags, ..Socket::default() };
    SOCKETS.insert(address, socket, 0).ok()?;
    SOCKETS.get_ptr_mut(address)
}

#[inline(always)]
fn on_sent(sock: Sock, task: Task, socket: &mut Socket, length: u64) {
    let offset = socket.sent;
    socket.sent += length;
    let was = socket.flags;
    socket.flags |= socket_flag::OWED;
    if was & socket_flag::ENCRYPTED != 0 {
        return;
    }
    let Some(buffers) = Call::of(task, length) else {
        return lost(socket, length);
    };
    if offset < EARLY && buffers.is_tls() {
        socket.flags |= socket_flag::ENCRYPTED;
        return encrypted(sock, task, socket);
    }
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
        return count(Counter::SkippedTalk);
    }
    if wants & interest::WANTED != 0 {
        socket.flags |= socket_flag::CAPTURED;
    }
    if socket.flags & socket_flag::CAPTURED == 0 {
        return;
    }
    let mut flags = bytes_flag::SENT;
    if settled {
        flags |= bytes_flag::SETTLED;
    }
    if socket.flags & socket_flag::SKIPPED != 0 {
        socket.flags &= !socket_flag::SKIPPED;
        flags |= bytes_flag::SKIPPED;
    }
    announce(sock, task, socket);
    buffers.copy(task, socket.id, offset, flags, interest::limit(socket, true, offset, length));
}

#[inline(always)]
fn on_received(sock: Sock, task: Task, socket: &mut Socket, length: u64) {
    let offset = socket.received;
    socket.received += length;
    socket.flags &= !socket_flag::OWED;
    if socket.flags & socket_flag::ENCRYPTED != 0 {
        return;
    }
    let mut flags = 0;
    if socket.flags & socket_flag::CAPTURED == 0 {
        if !interest::speaks_for_itself(socket) {
            return;
        }
        let Some(buffers) = Call::of(task, length) else { return };
        if !interest::is_telling(socket, buffers) {
            return;
        }
        flags = bytes_flag::SKIPPED;
        announce(sock, task, socket);
        return buffers.copy(task, socket.id, offset, flags, length);
    }
    let Some(buffers) = Call::of(task, length) else {
        return lost(socket, length);
    };
    announce(sock, task, socket);
    buffers.copy(task, socket.id, offset, flags, interest::limit(socket, false, offset, length));
}

/// What was sent or received is nowhere to be seen.
#[inline(always)]
fn lost(socket: &Socket, _length: u64) {
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
    record.family = sock.family();
    record.client_port = sock.client_port();
    record.server_port = sock.server_port();
    record.reserved = [0; 3];
    sock.addresses(&mut record.client, &mut record.server);
    emit::submit(entry);
}

/// The connection is encrypted: said once, with no bytes.
#[inline(always)]
fn encrypted(sock: Sock, task: Task, socket: &mut Socket) {
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
    record.flags = bytes_flag::SENT | bytes_flag::ENCRYPTED;
    emit::submit(entry);
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
