//! RESP2 and RESP3 cut into tokens, and tokens gathered into requests and answers.
//!
//! A long string is a token of its head only, so that values of megabytes are passed over by
//! counting. <https://redis.io/docs/latest/develop/reference/protocol-spec/>

use crate::framing::Cut;

/// Longest string of a request that is looked at: scripts are up to some kilobytes.
const REQUEST_STRING: usize = 32 << 10;
/// Longest string of an answer that is looked at.
const ANSWER_STRING: usize = 256;
/// Longest line.
const LINE: usize = 16 << 10;
/// Most bytes that are kept of a message.
const KEPT: usize = 56 << 10;
/// Most parts that are kept of a message.
const PARTS: usize = 4096;
/// How deep answers may be nested.
const DEEP: usize = 16;

/// Cuts what clients send.
pub fn cut_request(bytes: &[u8]) -> Cut {
    match bytes[0] {
        b'*' => line(bytes),
        b'$' => string(bytes, REQUEST_STRING),
        // Commands as people type them, and the empty lines between them.
        b'a'..=b'z' | b'A'..=b'Z' | b'\r' => line(bytes),
        _ => Cut::Broken,
    }
}

/// Cuts what servers send.
pub fn cut_answer(bytes: &[u8]) -> Cut {
    match bytes[0] {
        b'*' | b'%' | b'~' | b'>' | b'|' | b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(' => {
            line(bytes)
        }
        b'$' | b'=' | b'!' => string(bytes, ANSWER_STRING),
        _ => Cut::Broken,
    }
}

fn end_of_line(bytes: &[u8]) -> Result<usize, Cut> {
    let seen = &bytes[..bytes.len().min(LINE)];
    match seen.iter().position(|&byte| byte == b'\n') {
        Some(at) if at > 0 && seen[at - 1] == b'\r' => Ok(at + 1),
        Some(_) => Err(Cut::Broken),
        None if seen.len() == LINE => Err(Cut::Broken),
        None => Err(Cut::More),
    }
}

fn line(bytes: &[u8]) -> Cut {
    end_of_line(bytes).map_or_else(|cut| cut, Cut::Whole)
}

fn string(bytes: &[u8], looked_at: usize) -> Cut {
    let head = match end_of_line(bytes) {
        Ok(head) => head,
        Err(cut) => return cut,
    };
    match integer(&bytes[1..head - 2]) {
        Some(-1) => Cut::Whole(head),
        Some(length) if (0..=looked_at as i64).contains(&length) => {
            let whole = head + length as usize + 2;
            match bytes.get(whole - 2..whole) {
                Some(end) if end != b"\r\n" => Cut::Broken,
                Some(_) => Cut::Whole(whole),
                None => Cut::More,
            }
        }
        Some(length) if (0..1 << 40).contains(&length) => {
            Cut::Head { head, rest: length as u64 + 2 }
        }
        _ => Cut::Broken,
    }
}

/// A number in decimal digits.
pub fn integer(digits: &[u8]) -> Option<i64> {
    let (negative, digits) = match digits.split_first()? {
        (b'-', rest) => (true, rest),
        (b'+', rest) => (false, rest),
        _ => (false, digits),
    };
    if digits.is_empty() || digits.len() > 18 {
        return None;
    }
    let mut number = 0i64;
    for digit in digits {
        number = number * 10 + i64::from(digit.checked_sub(b'0').filter(|digit| *digit < 10)?);
    }
    Some(if negative { -number } else { number })
}

/// What became of a message with one more token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gathered {
    /// It goes on.
    More,
    /// It is complete.
    Whole,
    /// That is no message.
    Broken,
}

/// The inside of a token that is a string; `None` where it is too long to be looked at.
fn inside(token: &[u8]) -> Option<&[u8]> {
    let head = token.iter().position(|&byte| byte == b'\n')? + 1;
    token.get(head..token.len().checked_sub(2)?).filter(|_| token.len() > head)
}

/// A request on its way.
#[derive(Clone, Debug, Default)]
pub struct Request {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    count: usize,
    left: usize,
    partial: bool,
    dull: bool,
}

impl Request {
    /// Takes a token. `matters` tells from the command whether its arguments do.
    pub fn take(&mut self, token: &[u8], matters: impl Fn(&[u8]) -> bool) -> Gathered {
        match token[0] {
            b'*' if self.left == 0 => {
                self.clear();
                match integer(&token[1..token.len() - 2]) {
                    Some(count @ 1..=0x10_0000) => self.left = count as usize,
                    // Redis ignores an empty array, as it does an empty line.
                    Some(-1 | 0) => {}
                    _ => return Gathered::Broken,
                }
                Gathered::More
            }
            b'$' if self.left > 0 => {
                self.left -= 1;
                match inside(token) {
                    Some(argument) => self.push(argument, &matters),
                    None if token.starts_with(b"$-1") => return Gathered::Broken,
                    None => {
                        self.partial = true;
                        self.push(b"", &matters);
                    }
                }
                if self.left == 0 { Gathered::Whole } else { Gathered::More }
            }
            b'*' | b'$' => Gathered::Broken,
            _ if self.left > 0 => Gathered::Broken,
            _ => {
                self.clear();
                for word in token.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()) {
                    self.push(word, &matters);
                }
                if self.count == 0 { Gathered::More } else { Gathered::Whole }
            }
        }
    }

    fn push(&mut self, argument: &[u8], matters: impl Fn(&[u8]) -> bool) {
        if self.count == 0 {
            self.dull = !matters(argument);
        }
        self.count += 1;
        if self.dull {
            return;
        }
        if self.bytes.len() + argument.len() > KEPT || self.ends.len() >= PARTS {
            self.partial = true;
            return;
        }
        self.bytes.extend_from_slice(argument);
        self.ends.push(self.bytes.len());
    }

    /// Forgets what was gathered.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        *self = Self {
            bytes: std::mem::take(&mut self.bytes),
            ends: std::mem::take(&mut self.ends),
            ..Self::default()
        };
    }

    /// Whether nothing of it matters, be it that parts are too long to be looked at.
    pub fn is_dull(&self) -> bool {
        self.dull || self.partial
    }

    /// How many words it has.
    pub fn count(&self) -> usize {
        self.count
    }

    /// A word of it, the command being the first.
    pub fn word(&self, at: usize) -> Option<&[u8]> {
        let end = *self.ends.get(at)?;
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        Some(&self.bytes[start..end])
    }
}

/// A value of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// Nothing.
    Nil,
    /// A number.
    Number(i64),
    /// A string of either kind.
    Text(&'a [u8]),
    /// An error.
    Error(&'a [u8]),
    /// A string that is too long to be looked at.
    Long,
    /// So many values.
    Many(u64),
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Nil,
    Number(i64),
    Text,
    Error,
    Long,
    Many(u64),
}

#[derive(Clone, Copy, Debug)]
struct Leaf {
    depth: usize,
    kind: Kind,
    from: usize,
    to: usize,
}

/// An answer on its way.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    bytes: Vec<u8>,
    leaves: Vec<Leaf>,
    /// How many values are to come on each level, and whether they are about the answer only.
    levels: Vec<(u64, bool)>,
    pushed: bool,
}

impl Answer {
    /// Takes a token.
    pub fn take(&mut self, token: &[u8]) -> Gathered {
        if self.levels.is_empty() {
            self.clear();
        }
        let line = || &token[1..token.len() - 2];
        let kind = match token[0] {
            b'*' | b'~' | b'>' | b'%' | b'|' => return self.open(token[0], line()),
            b'$' | b'=' | b'!' if token.starts_with(b"$-1") => Kind::Nil,
            b'$' | b'=' | b'!' => match inside(token) {
                Some(text) => return self.text(text, token[0] == b'!'),
                None => Kind::Long,
            },
            b':' => match integer(line()) {
                Some(number) => Kind::Number(number),
                None => return Gathered::Broken,
            },
            b'_' => Kind::Nil,
            b'#' => Kind::Number(i64::from(line() == b"t")),
            b'+' | b',' | b'(' => return self.text(line(), false),
            _ => return self.text(line(), true),
        };
        self.leaf(kind, &[]);
        self.complete()
    }

    fn text(&mut self, text: &[u8], error: bool) -> Gathered {
        self.leaf(if error { Kind::Error } else { Kind::Text }, text);
        self.complete()
    }

    fn open(&mut self, kind: u8, line: &[u8]) -> Gathered {
        let count = match integer(line) {
            Some(-1) => {
                self.leaf(Kind::Nil, &[]);
                return self.complete();
            }
            Some(count @ 0..=0x7fff_ffff) => count as u64,
            _ => return Gathered::Broken,
        };
        if self.levels.len() >= DEEP {
            return Gathered::Broken;
        }
        let about = kind == b'|';
        self.pushed |= kind == b'>' && self.levels.is_empty();
        if !about {
            self.leaf(Kind::Many(count), &[]);
        }
        let values = if kind == b'%' || about { count * 2 } else { count };
        self.levels.push((values, about));
        self.close()
    }

    fn leaf(&mut self, kind: Kind, text: &[u8]) {
        let about = self.levels.iter().any(|(_, about)| *about);
        if about || self.leaves.len() >= PARTS || self.bytes.len() + text.len() > KEPT {
            return;
        }
        let from = self.bytes.len();
        self.bytes.extend_from_slice(text);
        self.leaves.push(Leaf { depth: self.levels.len(), kind, from, to: self.bytes.len() });
    }

    /// A value is complete.
    fn complete(&mut self) -> Gathered {
        let Some((left, _)) = self.levels.last_mut() else { return Gathered::Whole };
        *left = left.saturating_sub(1);
        self.close()
    }

    fn close(&mut self) -> Gathered {
        while let Some((0, about)) = self.levels.last().copied() {
            self.levels.pop();
            if about {
                // What it is about comes next.
                return Gathered::More;
            }
            match self.levels.last_mut() {
                None => return Gathered::Whole,
                Some((left, _)) => *left = left.saturating_sub(1),
            }
        }
        Gathered::More
    }

    /// Forgets what was gathered.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.leaves.clear();
        self.levels.clear();
        self.pushed = false;
    }

    /// Whether it is no answer but something the server says of itself.
    pub fn is_pushed(&self) -> bool {
        self.pushed
    }

    fn value(&self, leaf: &Leaf) -> Value<'_> {
        let text = &self.bytes[leaf.from..leaf.to];
        match leaf.kind {
            Kind::Nil => Value::Nil,
            Kind::Number(number) => Value::Number(number),
            Kind::Text => Value::Text(text),
            Kind::Error => Value::Error(text),
            Kind::Long => Value::Long,
            Kind::Many(count) => Value::Many(count),
        }
    }

    /// The answer, or what it begins with.
    pub fn first(&self) -> Value<'_> {
        self.leaves.first().map_or(Value::Long, |leaf| self.value(leaf))
    }

    /// The values of an answer that is a list; those of lists within it are left out.
    pub fn items(&self) -> impl Iterator<Item = Value<'_>> {
        self.leaves.iter().filter(|leaf| leaf.depth == 1).map(|leaf| self.value(leaf))
    }

    /// All values, lists within lists and all.
    pub fn all(&self) -> impl Iterator<Item = Value<'_>> {
        self.leaves.iter().map(|leaf| self.value(leaf))
    }
}
