//! Statements of databases that may be about a lock.

use lockprobe_ebpf::wire::socket_flag;

use super::capture::{Call, read_user};
use super::interest::{EVER, SECRET, WANTED};

/// Bytes of a statement that are searched.
const SEARCHED: u64 = 1024;
/// An answer that tells of locks, so that what follows matters too.
pub const LOCKS: u32 = 1;
/// An answer that tells of something by itself.
pub const TELLING: u32 = 2;

/// What is to be done with messages to PostgreSQL
/// (its documentation, "Message Formats").
#[inline(always)]
pub fn postgres(flags: u32, head: &Call, offset: u32) -> u32 {
    if offset == 0 && head.byte(0) == 0 {
        // The start-up message names the database; a request for encryption is of eight bytes.
        return u32::from(head.length > 8) * WANTED;
    }
    match head.byte(0) {
        b'p' => SECRET,
        // The start-up message again, once encryption was refused.
        0 if offset == 8 => WANTED,
        _ if flags & socket_flag::EVER != 0 => WANTED,
        b'Q' | b'P' => search(head),
        _ => 0,
    }
}

/// What is to be done with packets to MySQL: length of three bytes, number, command.
#[inline(always)]
pub fn mysql(flags: u32, head: &Call) -> u32 {
    const QUERY: u8 = 3;
    const PREPARE: u8 = 0x16;
    if head.byte(3) != 0 {
        // Not the first packet of an exchange: the answer to the server's greeting, a password.
        return SECRET;
    }
    match head.byte(4) {
        _ if flags & socket_flag::EVER != 0 => WANTED,
        QUERY | PREPARE => search(head),
        _ => 0,
    }
}

/// Looks for a word that begins with "lock", or for a statement that locks what it reads.
#[inline(always)]
fn search(buffers: &Call) -> u32 {
    const LOCK: u32 = u32::from_le_bytes(*b"LOCK");
    const UPPER: u32 = !0x2020_2020;
    let mut end = buffers.first_length;
    if end > SEARCHED {
        end = SEARCHED;
    }
    let mut last = 0u64;
    let mut at = 0u64;
    let mut i = 0;
    while i < SEARCHED / 8 {
        if at >= end {
            break;
        }
        let word = read_user(buffers.first + at, 0u64);
        let mut shift = 1u32;
        // Eight places where four letters may begin, three of them in the word before.
        let both = (u128::from(word) << 64) | u128::from(last);
        while shift <= 8 {
            let four = (both >> (8 * (shift + 4))) as u32;
            if four & UPPER == LOCK {
                return WANTED | EVER;
            }
            shift += 1;
        }
        last = word;
        at += 8;
        i += 1;
    }
    0
}

/// A row description whose first column is called after a function that locks, or an error.
#[inline(always)]
pub fn is_telling_of_postgres(head: &Call) -> u32 {
    if head.byte(0) == b'E' {
        return TELLING;
    }
    // A description after the answer to Bind, which has five bytes.
    let start = if head.byte(0) == b'2' { 5 } else { 0 };
    let name = head.word(start + 7);
    let described = head.byte(start) == b'T' && name as u32 & 0xff_ffff == 0x5f_6770;
    u32::from(described) * LOCKS
}

/// An error: lock wait time-out, or deadlock.
#[inline(always)]
pub fn is_telling_of_mysql(head: &Call) -> u32 {
    const LOCK_WAIT_TIMEOUT: u16 = 1205;
    const DEADLOCK: u16 = 1213;
    let code = u16::from_le_bytes([head.byte(5), head.byte(6)]);
    let error = head.byte(4) == 0xff && (code == LOCK_WAIT_TIMEOUT || code == DEADLOCK);
    u32::from(error) * TELLING
}
