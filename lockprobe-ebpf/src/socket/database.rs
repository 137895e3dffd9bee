//! Statements of databases that may be about a lock.

use aya_ebpf::helpers::generated::bpf_probe_read_user;
use lockprobe_ebpf::wire::socket_flag;

use super::capture::{Call, read_user};
use super::interest::{EVER, SECRET, WANTED};
use crate::maps::{ROW_LOCKS, STATEMENT};

/// Bytes of a statement that are searched.
pub const SEARCHED: u64 = 1024;
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

/// Looks for a word that begins with "lock", and where that is asked for, for a statement that locks
/// what it reads.
#[inline(always)]
fn search(call: &Call) -> u32 {
    let length = call.first_length.min(SEARCHED);
    lockprobe_search(call.first, length)
}

/// A function of its own for the verifier; likewise what it does again and again.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lockprobe_search(at: u64, size: u64) -> u32 {
    let Some(words) = STATEMENT.get_ptr_mut(0) else { return 0 };
    if size > SEARCHED {
        return 0;
    }
    // SAFETY: this processor's slot, which no other program of ours uses meanwhile; the helper
    // checks the user address and writes no more than the size named.
    unsafe { bpf_probe_read_user(words.cast(), size as u32, at as *const _) };
    let mut from = 0;
    while from < SEARCHED {
        if from >= size {
            break;
        }
        if lockprobe_says_lock(from, size) != 0 {
            return WANTED | EVER;
        }
        from += STRIDE;
    }
    0
}

/// Bytes that [`lockprobe_says_lock`] looks at.
const STRIDE: u64 = 64;

/// Whether "lock" ends in the bytes from there on, of so many in all, or what a statement says that
/// locks what it reads (FOR UPDATE, FOR SHARE and the like): not zero.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lockprobe_says_lock(from: u64, size: u64) -> u32 {
    let Some(words) = STATEMENT.get_ptr(0) else { return 0 };
    let word = |i: u64| {
        // SAFETY: inside the slot, by the mask; a power of two.
        unsafe { (*words)[i as usize & (SEARCHED as usize / 8 - 1)] }
    };
    let mut last = if from == 0 { 0 } else { word(from / 8 - 1) };
    let mut i = 0;
    while i < STRIDE && from + i < size {
        let this = word((from + i) / 8);
        // Eight places where four letters may begin, three of them in the word before.
        let before = last >> 40 | this << 24;
        if says(this, *b"lock") | says(before, *b"lock") != 0 {
            return 1;
        }
        if ROW_LOCKS.load() != 0 && says(this, *b"for ") | says(before, *b"for ") != 0 {
            return 1;
        }
        last = this;
        i += 8;
    }
    0
}

/// Whether four characters, in letters of either case, begin at one of the first five bytes: not
/// zero.
#[inline(always)]
fn says(word: u64, four: [u8; 4]) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let lower = word | 0x20 * EACH;
    let differs = (lower ^ four[0] as u64 * EACH)
        | (lower >> 8 ^ four[1] as u64 * EACH)
        | (lower >> 16 ^ four[2] as u64 * EACH)
        | (lower >> 24 ^ four[3] as u64 * EACH);
    // Whether a byte is zero (Warren, Hacker's Delight, 6-1).
    differs.wrapping_sub(EACH) & !differs & 0x80 * EACH
}

/// Messages before the rows that are looked at: the answers to Parse, Bind and Describe, notices.
const MESSAGES: u32 = 6;

/// A row description whose first column is called after a function that locks, or an error: at the
/// beginning, behind what precedes rows, or of a transaction that has failed, wherever it is.
#[inline(always)]
pub fn is_telling_of_postgres(answer: &Call) -> u32 {
    // Z, a length of five, E.
    const FAILED: u64 = 0x45_0500_0000_5a;
    let mut at = 0u64;
    let mut i = 0;
    while i < MESSAGES && at + 5 <= answer.first_length {
        // Its kind, and its length without that, most significant byte first.
        let word = read_user(answer.first + at, 0u64);
        match word as u8 {
            b'E' => return TELLING,
            b'T' => {
                let name = read_user(answer.first + at + 7, 0u32);
                if name & 0xff_ffff == 0x5f_6770 {
                    return LOCKS;
                }
            }
            b'1' | b'2' | b'3' | b't' | b'n' | b'N' | b'S' => {}
            _ => break,
        }
        at += 1 + u64::from(((word >> 8) as u32).swap_bytes());
        i += 1;
    }
    if at == 0 || answer.first_length < 8 {
        return 0;
    }
    let last = read_user(answer.first + answer.first_length - 8, 0u64);
    u32::from(last >> 16 == FAILED) * TELLING
}

/// Packets that are looked at: the number of columns, their descriptions, and their end.
const PACKETS: u32 = 18;

/// An error, lock wait time-out or deadlock: at the beginning, or behind the descriptions of a few
/// columns.
#[inline(always)]
pub fn is_telling_of_mysql(answer: &Call) -> u32 {
    const LOCK_WAIT_TIMEOUT: u16 = 1205;
    const DEADLOCK: u16 = 1213;
    /// How the description of a column begins: its catalogue is called "def".
    const COLUMN: u32 = u32::from_le_bytes(*b"\x03def");
    let mut at = 0u64;
    let mut i = 0;
    while i < PACKETS && at + 7 <= answer.first_length {
        // A length of three bytes, a number, and what the packet says.
        let word = read_user(answer.first + at, 0u64);
        let length = word & 0xff_ffff;
        let first = (word >> 32) as u8;
        if first == 0xff {
            let code = (word >> 40) as u16;
            return u32::from(code == LOCK_WAIT_TIMEOUT || code == DEADLOCK) * TELLING;
        }
        let columns = i == 0 && length == 1;
        if !columns && (word >> 32) as u32 != COLUMN && first != 0xfe {
            return 0;
        }
        at += 4 + length;
        i += 1;
    }
    0
}
