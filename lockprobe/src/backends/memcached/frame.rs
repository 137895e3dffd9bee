//! Messages of memcached: lines of text, some with data after them, or frames of the binary protocol.

use crate::framing::Cut;

/// Longest value that can be an owner's nonce.
const VALUE_AT_MOST: usize = 4096;
/// Longest key the server takes.
const KEY_AT_MOST: usize = 250;
/// Longest line that is looked at: a `get` of many keys.
const LINE_AT_MOST: usize = 32 << 10;
/// Length of the head of a binary frame.
const HEAD: usize = 24;
/// A time above this is a date rather than a duration, in seconds: 30 days.
const DURATION_AT_MOST: i64 = 2_592_000;

/// For how long a key is to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// For ever.
    Ever,
    /// Nanoseconds.
    For(u64),
    /// It is gone at once.
    Over,
    /// Until a date, and there is no clock here that knows it.
    Until,
}

impl Life {
    fn of(seconds: i64) -> Self {
        match seconds {
            0 => Self::Ever,
            1..=DURATION_AT_MOST => Self::For(seconds as u64 * 1_000_000_000),
            _ if seconds < 0 => Self::Over,
            _ => Self::Until,
        }
    }
}

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// A key that must not be there, with this value.
    Add(Vec<u8>, Option<Vec<u8>>, Life),
    /// A key to have another value, if nobody else has changed it.
    Swap(Vec<u8>, Life),
    /// A key to be there for longer.
    Touch(Vec<u8>, Life),
    /// A key to be gone.
    Delete(Vec<u8>),
    /// Something whose answer is a line, or a frame.
    Other,
    /// Something whose answer ends with `END`.
    List,
}

/// A request, and how it is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// What.
    pub request: Request,
    /// No answer comes, or none if it went well.
    pub quiet: bool,
    /// Number that comes back with the answer, and operation: of the binary protocol.
    pub binary: Option<(u32, u8)>,
}

/// What came of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Result {
    /// Done.
    Done,
    /// There is such a key already, or another value.
    Exists,
    /// There is no such key.
    Missing,
    /// Something else: a value, a number, an error.
    Else,
}

fn line(bytes: &[u8]) -> Option<&[u8]> {
    let end = bytes.iter().take(LINE_AT_MOST).position(|&byte| byte == b'\n')?;
    Some(&bytes[..=end])
}

fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| byte.is_ascii_whitespace()).filter(|word| !word.is_empty())
}

fn number(word: Option<&[u8]>) -> Option<i64> {
    std::str::from_utf8(word?).ok()?.parse().ok()
}

/// How many bytes of data follow a line.
fn data(line: &[u8]) -> Option<u64> {
    let mut words = words(line);
    let at = match words.next()? {
        b"set" | b"add" | b"replace" | b"append" | b"prepend" | b"cas" => 3,
        b"VALUE" => 2,
        b"ms" => 1,
        b"VA" => 0,
        _ => return None,
    };
    let length = number(words.nth(at))?;
    Some(u64::try_from(length).ok()?.min(1 << 32) + 2)
}

/// Cuts either direction.
pub fn cut(bytes: &[u8]) -> Cut {
    if matches!(bytes[0], 0x80 | 0x81) {
        return cut_binary(bytes);
    }
    let Some(line) = line(bytes) else {
        return if bytes.len() < LINE_AT_MOST { Cut::More } else { Cut::Broken };
    };
    // Every line of the protocol begins with a word, or a number.
    if !line[0].is_ascii_alphanumeric() {
        return Cut::Broken;
    }
    match data(line) {
        Some(length) if holds_nonce(line) && length <= VALUE_AT_MOST as u64 => {
            Cut::Whole(line.len() + length as usize)
        }
        Some(rest) => Cut::Head { head: line.len(), rest },
        None => Cut::Whole(line.len()),
    }
}

fn holds_nonce(line: &[u8]) -> bool {
    line.starts_with(b"add ") || line.starts_with(b"ms ")
}

fn cut_binary(bytes: &[u8]) -> Cut {
    let Some(head) = bytes.get(..HEAD) else { return Cut::More };
    let body = u64::from(u32::from_be_bytes([head[8], head[9], head[10], head[11]]));
    let parts = u64::from(u16::from_be_bytes([head[2], head[3]])) + u64::from(head[4]);
    if parts > body {
        return Cut::Broken;
    }
    let looked_at = head[0] == 0x80 && matches!(head[1], 0x01 | 0x02 | 0x04 | 0x1c);
    if looked_at && body <= (VALUE_AT_MOST + KEY_AT_MOST) as u64 {
        Cut::Whole(HEAD + body as usize)
    } else {
        Cut::Head { head: HEAD, rest: body }
    }
}

/// A request. `None`: none of the protocol.
pub fn request(message: &[u8]) -> Option<Asked> {
    if message[0] == 0x80 {
        return binary_request(message);
    }
    let line = line(message)?;
    let mut words = words(line);
    let verb = words.next()?;
    let quiet = line.trim_ascii_end().ends_with(b" noreply");
    let plain = |request| Some(Asked { request, quiet, binary: None });
    match verb {
        b"add" | b"cas" => {
            let key = key(words.next())?;
            let life = Life::of(number(words.nth(1))?);
            plain(match verb {
                b"add" => Request::Add(key, value(message, line), life),
                _ => Request::Swap(key, life),
            })
        }
        b"touch" => {
            let key = key(words.next())?;
            plain(Request::Touch(key, Life::of(number(words.next())?)))
        }
        b"delete" => plain(Request::Delete(key(words.next())?)),
        b"get" | b"gets" | b"gat" | b"gats" | b"stats" => plain(Request::List),
        b"ms" | b"md" | b"mg" | b"ma" => meta(verb, message, line),
        b"quit" => Some(Asked { request: Request::Other, quiet: true, binary: None }),
        _ if verb.iter().all(|byte| byte.is_ascii_lowercase() || *byte == b'_') => {
            plain(Request::Other)
        }
        _ => None,
    }
}

fn key(word: Option<&[u8]>) -> Option<Vec<u8>> {
    word.filter(|key| key.len() <= KEY_AT_MOST).map(<[u8]>::to_vec)
}

/// The data after a line, if it is there.
fn value(message: &[u8], line: &[u8]) -> Option<Vec<u8>> {
    message.get(line.len()..message.len().checked_sub(2)?).map(<[u8]>::to_vec)
}

fn meta(verb: &[u8], message: &[u8], line: &[u8]) -> Option<Asked> {
    let mut words = words(line).skip(1);
    let key = key(words.next())?;
    if verb == b"ms" {
        words.next()?;
    }
    let flags: Vec<&[u8]> = words.take(32).collect();
    let has = |flag: u8| flags.iter().find(|word| word[0] == flag).map(|word| &word[1..]);
    let life = has(b'T').map_or(Some(Life::Ever), |time| Some(Life::of(number(Some(time))?)))?;
    let mode = has(b'M').and_then(|mode| mode.first()).map(u8::to_ascii_uppercase);
    let request = match verb {
        // A key written in base 64 would be another's name.
        _ if has(b'b').is_some() => Request::Other,
        b"ms" if mode == Some(b'E') => Request::Add(key, value(message, line), life),
        b"ms" if has(b'C').is_some() => Request::Swap(key, life),
        b"md" if has(b'I').is_none() => Request::Delete(key),
        b"mg" if has(b'T').is_some() => Request::Touch(key, life),
        _ => Request::Other,
    };
    Some(Asked { request, quiet: has(b'q').is_some(), binary: None })
}

fn binary_request(message: &[u8]) -> Option<Asked> {
    let code = message[1];
    let opaque = u32::from_be_bytes(message.get(12..16)?.try_into().ok()?);
    let swaps = message.get(16..HEAD)? != [0; 8];
    let extras = usize::from(message[4]);
    let length = usize::from(u16::from_be_bytes([message[2], message[3]]));
    let body = &message[HEAD..];
    let key = || key(body.get(extras..extras + length));
    let life = |at: usize| {
        let seconds = body.get(..extras)?.get(at..at + 4)?;
        Some(Life::of(i64::from(i32::from_be_bytes(seconds.try_into().ok()?))))
    };
    let request = match code {
        _ if body.is_empty() => Request::Other,
        0x01 if swaps => Request::Swap(key()?, life(4)?),
        0x02 => Request::Add(key()?, body.get(extras + length..).map(<[u8]>::to_vec), life(4)?),
        0x04 => Request::Delete(key()?),
        0x1c => Request::Touch(key()?, life(0)?),
        _ => Request::Other,
    };
    // What is answered only if it fails, or only if it succeeds.
    let quiet = matches!(code, 0x09 | 0x0d | 0x11..=0x1a | 0x1e | 0x24);
    Some(Asked { request, quiet, binary: Some((opaque, code)) })
}

/// What an answer says: to which binary request, what, and whether more of the same answer comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Number and operation.
    pub binary: Option<(u32, u8)>,
    /// What came of it.
    pub result: Result,
    /// It is a part of a list.
    pub part: bool,
    /// It ends a list.
    pub end: bool,
    /// It can be an answer to anything.
    pub error: bool,
}

/// An answer. `None`: none of the protocol.
pub fn answer(message: &[u8]) -> Option<Answer> {
    let plain =
        Answer { binary: None, result: Result::Else, part: false, end: false, error: false };
    if message[0] == 0x81 {
        let opaque = u32::from_be_bytes(message.get(12..16)?.try_into().ok()?);
        let result = match (message[6], message[7]) {
            (0, 0) => Result::Done,
            (0, 1) => Result::Missing,
            (0, 2 | 5) => Result::Exists,
            _ => Result::Else,
        };
        return Some(Answer { binary: Some((opaque, message[1])), result, ..plain });
    }
    let word = words(message).next()?;
    let result = match word {
        b"STORED" | b"TOUCHED" | b"DELETED" | b"HD" | b"OK" => Result::Done,
        b"NOT_STORED" | b"EXISTS" | b"NS" | b"EX" => Result::Exists,
        b"NOT_FOUND" | b"NF" | b"EN" => Result::Missing,
        _ => Result::Else,
    };
    Some(Answer {
        result,
        part: matches!(word, b"VALUE" | b"STAT" | b"ITEM"),
        end: word == b"END",
        error: matches!(word, b"ERROR" | b"CLIENT_ERROR" | b"SERVER_ERROR"),
        ..plain
    })
}
