//! Which requests can matter: the rest stays in the kernel.

use lockprobe_ebpf::wire::{Socket, dialect, socket_flag};

use super::capture::Call;
use super::{database, redis};

/// The request may be about a lock.
pub const WANTED: u32 = 1;
/// There are several requests, or it cannot be told.
pub const SEVERAL: u32 = 2;
/// It carries a password.
pub const SECRET: u32 = 4;

/// From here on a request that may be about a lock was sent on the connection.
pub const EVER: u32 = 8;
/// A transaction begins.
pub const BEGINS: u32 = 16;
/// It ends.
pub const ENDS: u32 = 32;

/// What is to be done with what `CALL` says is sent, on a connection with these flags; a function of
/// its own for the verifier, which looks at it once.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lockprobe_want(spoken: u32, flags: u32, start: u32) -> u32 {
    let Some(call) = Call::here() else { return 0 };
    match spoken {
        dialect::REDIS => redis::want(flags, call),
        dialect::POSTGRES => database::postgres(flags, call, start),
        dialect::MYSQL => database::mysql(flags, call),
        dialect::MEMCACHED => memcached(call),
        dialect::ZOOKEEPER => zookeeper(call),
        dialect::CONSUL => consul(call),
        // A stream of frames of which none can be understood without those before it.
        _ => WANTED,
    }
}

/// The same, with what it means for the connection.
#[inline(always)]
pub fn want(socket: &mut Socket, offset: u64) -> u32 {
    let start = if offset < 0xffff { offset as u32 } else { 0xffff };
    let wants = lockprobe_want(socket.dialect, socket.flags, start);
    if wants & EVER != 0 {
        socket.flags |= socket_flag::EVER;
    }
    if wants & BEGINS != 0 {
        socket.flags |= socket_flag::TRANSACTION;
    }
    if wants & ENDS != 0 {
        socket.flags &= !socket_flag::TRANSACTION;
    }
    wants
}

const fn word(text: &[u8; 8]) -> u64 {
    u64::from_le_bytes(*text)
}

#[inline(always)]
fn memcached(head: &Call) -> u32 {
    let four = head.word(0) as u32;
    let wanted = four == word(b"add \0\0\0\0") as u32
        || four == word(b"touc\0\0\0\0") as u32
        || four == word(b"dele\0\0\0\0") as u32
        || four == word(b"cas \0\0\0\0") as u32
        || four == word(b"gets\0\0\0\0") as u32
        || four & 0xff_ffff == word(b"ms \0\0\0\0\0") as u32
        || four & 0xff_ffff == word(b"md \0\0\0\0\0") as u32
        || four & 0xff_ffff == word(b"ma \0\0\0\0\0") as u32
        || four & 0xff_ffff == word(b"mg \0\0\0\0\0") as u32
        || four & 0xff_ffff == word(b"gat\0\0\0\0\0") as u32
        // Binary.
        || four & 0xff == 0x80;
    u32::from(wanted) * WANTED
}

/// Everything but names and passwords: requests of type `auth` (100) have the number -4. Their
/// lengths are counted, so that the agent knows how much is missing.
#[inline(always)]
fn zookeeper(head: &Call) -> u32 {
    // After the length, most significant byte first.
    let number = (head.word(4) as u32).swap_bytes();
    if number as i32 == -4 { SECRET } else { WANTED }
}

#[inline(always)]
fn consul(head: &Call) -> u32 {
    // PUT /v1/kv/..., GET /v1/kv/..., PUT /v1/session/..., DELETE /v1/kv/...
    let method = head.word(0);
    let path = if method as u32 == word(b"PUT \0\0\0\0") as u32
        || method as u32 == word(b"GET \0\0\0\0") as u32
    {
        head.word(4)
    } else {
        head.word(7)
    };
    let kv = word(b"/v1/kv/\0");
    let wanted = path & 0x00ff_ffff_ffff_ffff == kv || path == word(b"/v1/sess");
    u32::from(wanted) * WANTED
}

/// Whether answers to requests that were left out can matter by themselves.
#[inline(always)]
pub fn speaks_for_itself(socket: &Socket) -> bool {
    matches!(socket.dialect, dialect::POSTGRES | dialect::MYSQL)
}

/// What the answer that `CALL` says was received tells; a function of its own for the verifier,
/// which looks at it once.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lockprobe_telling(spoken: u32) -> u32 {
    let Some(call) = Call::here() else { return 0 };
    if spoken == dialect::POSTGRES {
        database::is_telling_of_postgres(call)
    } else {
        database::is_telling_of_mysql(call)
    }
}

/// Whether this one does.
#[inline(always)]
pub fn is_telling(socket: &mut Socket) -> bool {
    let telling = lockprobe_telling(socket.dialect);
    if telling == database::LOCKS {
        socket.flags |= socket_flag::CAPTURED | socket_flag::EVER;
    }
    telling != 0
}

/// How much of it may be copied: passwords stay where they are.
#[inline(always)]
pub fn limit(socket: &Socket, sent: bool, offset: u64, length: u64) -> u64 {
    // ZooKeeper's handshake, a request of 48 or 49 bytes and an answer of 40 or 41, ends with the
    // length of a password (4 bytes), the password (16) and perhaps a byte.
    let (password, end) = if sent { (28, 49) } else { (20, 41) };
    if socket.dialect != dialect::ZOOKEEPER
        || socket.flags & socket_flag::JOINED != 0
        || offset >= end
    {
        return length;
    }
    if offset >= password { 0 } else { length.min(password - offset) }
}
