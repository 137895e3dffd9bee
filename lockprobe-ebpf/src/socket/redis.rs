//! Commands of Redis that may be about a lock.

use lockprobe_ebpf::wire::socket_flag;

use super::capture::{Call, read_user};
use super::interest::{BEGINS, ENDS, EVER, SECRET, SEVERAL, WANTED};
use crate::maps::*;
use crate::task::Task;

/// Most arguments that are counted; with more of them a command cannot be told from several.
const ARGUMENTS: u32 = 12;

/// What a command is good for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verb {
    Other,
    Set,
    Lock,
    Later,
    Begin,
    End,
    Secret,
}

const fn word(text: &str) -> u64 {
    let bytes = text.as_bytes();
    let mut word = 0;
    let mut i = 0;
    while i < bytes.len() && i < 8 {
        word |= (bytes[i] as u64) << (8 * i);
        i += 1;
    }
    word
}

/// Upper case letters, at all eight places at once.
const UPPER: u64 = !0x2020_2020_2020_2020;

#[inline(always)]
fn verb(text: u64, length: usize) -> Verb {
    let mask = if length >= 8 { u64::MAX } else { (1u64 << (8 * length as u64)) - 1 };
    let text = text & mask & UPPER;
    match length {
        3 if text == word("SET") => Verb::Set,
        3 if text == word("DEL") => Verb::Lock,
        4 if text == word("EVAL") || text == word("ZREM") => Verb::Lock,
        5 if text == word("RESET") || text == word("PSYNC") => Verb::Lock,
        4 if text == word("AUTH") => Verb::Secret,
        4 if text == word("EXEC") => Verb::End,
        5 if text == word("SETNX") => Verb::Lock,
        5 if text == word("BLPOP") || text == word("BRPOP") => Verb::Lock,
        5 if text == word("FCALL") || text == word("DELEX") => Verb::Lock,
        5 if text == word("MULTI") => Verb::Begin,
        5 if text == word("HELLO") => Verb::Secret,
        6 if text == word("UNLINK") || text == word("SELECT") => Verb::Lock,
        6 if text == word("SCRIPT") || text == word("PUBSUB") => Verb::Lock,
        6 if text == word("GETSET") || text == word("HSETNX") => Verb::Lock,
        6 if text == word("CLIENT") => Verb::Lock,
        6 if text == word("EXPIRE") => Verb::Later,
        // An underscore is no letter: with its bit 5 cleared it stays what it is.
        7 if text == word("EVAL_RO") || text == word("CLUSTER") || text == word("MONITOR") => {
            Verb::Lock
        }
        7 if text == word("PERSIST") => Verb::Later,
        7 if text == word("EVALSHA") || text == word("DELIFEQ") => Verb::Lock,
        7 if text == word("PUBLISH") || text == word("PEXPIRE") => Verb::Later,
        7 if text == word("DISCARD") => Verb::End,
        9 | 10 if text == word("SUBSCRIB") || text == word("PSUBSCRI") => Verb::Lock,
        10 if text == word("EVALSHA_") => Verb::Lock,
        11 if text == word("UNSUBSCR") => Verb::Lock,
        _ => Verb::Other,
    }
}

/// A number of up to four digits and the line's end, at the beginning of these bytes: its value, and
/// how many bytes that was; no bytes for anything else.
#[inline(always)]
fn number(bytes: u64) -> (u32, usize) {
    let found = lockprobe_number(bytes);
    (found >> 8, (found & 0xff) as usize)
}

/// A function of its own for the verifier: what follows is the same for any number of digits.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lockprobe_number(bytes: u64) -> u32 {
    let mut value = 0;
    let mut i = 0;
    while i < 5 {
        let c = (bytes >> (8 * i)) as u8;
        if c == b'\r' {
            return if i == 0 { 0 } else { value << 8 | (i + 2) };
        }
        let digit = c.wrapping_sub(b'0');
        if digit > 9 {
            return 0;
        }
        value = value * 10 + u32::from(digit);
        i += 1;
    }
    0
}

/// Whether what is sent is a GET, in upper case, and nothing else.
#[inline(always)]
pub fn is_get(task: Task, length: u64) -> bool {
    const BEGIN: u64 = word("*2\r\n$3\r\n");
    const VERB: u64 = word("GET\r\n$");
    let registers = task.registers();
    let nr = registers.get(&REG_NR);
    if nr != NR_WRITE.load() && nr != NR_SENDTO.load() {
        return false;
    }
    let [begin, verb, rest] = read_user(registers.get(&REG_ARG1), [0u64; 3]);
    if begin != BEGIN || verb & 0xffff_ffff_ffff != VERB {
        return false;
    }
    // The length of the key begins two bytes before the last word.
    let (key, digits) = number(verb >> 48 | rest << 16);
    digits != 0 && 14 + digits as u64 + u64::from(key) + 2 == length
}

/// What is to be done with requests. Clients send a whole transaction at once, or in pieces that are
/// cut anywhere: where it ends is told by the last bytes.
#[inline(always)]
pub fn want(flags: u32, head: &Call) -> u32 {
    let wants = want_first(flags, head);
    let within = flags & socket_flag::TRANSACTION != 0 || wants & BEGINS != 0;
    if within && executes(head) { wants | ENDS } else { wants }
}

/// Whether the last request is EXEC.
#[inline(always)]
fn executes(call: &Call) -> bool {
    if call.length < 16 || call.first_length < call.length {
        return false;
    }
    let last = read_user(call.first + call.length - 16, [0u64; 2]);
    let letters = 0x2020_2020 << 16;
    last[0] >> 16 == word("*1\r\n$4") && last[1] & !letters == word("\r\nEXEC\r\n")
}

/// What is to be done with the first request, and whether there are more.
#[inline(always)]
fn want_first(flags: u32, head: &Call) -> u32 {
    let (arguments, digits) = number(head.word(1));
    if head.byte(0) != b'*' || digits == 0 || head.byte(1 + digits) != b'$' {
        // The rest of something, or a command as people type them.
        return SEVERAL | WANTED;
    }
    let start = 2 + digits;
    let (length, more) = number(head.word(start));
    if more == 0 || length > 16 {
        return SEVERAL | WANTED;
    }
    let verb = verb(head.word(start + more), length as usize);
    if verb == Verb::Secret {
        return SECRET;
    }
    let begin = (start + more) as u64 + u64::from(length) + 2;
    let (alone, chosen) = walk(head, begin, arguments);
    let within = flags & socket_flag::TRANSACTION != 0;
    let ever = flags & socket_flag::EVER != 0;
    let wanted = within
        || !alone
        || matches!(verb, Verb::Lock | Verb::Begin)
        || (verb == Verb::Set && chosen)
        || (verb == Verb::Later && ever);
    let first = wanted && alone && !within && verb != Verb::Later;
    u32::from(wanted) * WANTED
        | u32::from(!alone) * SEVERAL
        | u32::from(first) * EVER
        | u32::from(verb == Verb::Begin) * BEGINS
        | u32::from(verb == Verb::End) * ENDS
}

/// Whether the command is all there is, and whether one of its options may make it a lock: NX, GET
/// or one that compares (IFEQ and its relatives).
#[inline(always)]
fn walk(buffers: &Call, begin: u64, arguments: u32) -> (bool, bool) {
    let mut at = begin;
    let mut chosen = false;
    if arguments > ARGUMENTS || buffers.first_length < buffers.length {
        return (false, true);
    }
    let mut i = 1;
    while i < ARGUMENTS {
        if i >= arguments {
            break;
        }
        let argument = lockprobe_argument(buffers.first + at);
        if argument == 0 {
            return (false, chosen);
        }
        chosen |= i >= 3 && argument >> 32 != 0;
        at += argument & u64::from(u32::MAX);
        i += 1;
    }
    (at == buffers.length, chosen)
}

/// How long the argument is that begins there, with what is before and behind it; 0 for none. The
/// upper half tells whether it begins like an option that counts. A function of its own for the
/// verifier.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lockprobe_argument(at: u64) -> u64 {
    let [low, high] = read_user(at, [0u64; 2]);
    let (length, digits) = number(low >> 8 | high << 56);
    if low as u8 != b'$' || digits == 0 {
        return 0;
    }
    // Four digits and the end of the line at most: still in the lower half.
    let word = low >> (8 * (1 + digits as u64));
    let counts = matches!(word as u8 & !0x20, b'N' | b'G' | b'I');
    u64::from(counts) << 32 | (1 + digits as u64 + u64::from(length) + 2)
}
