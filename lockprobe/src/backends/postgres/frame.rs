//! Messages of PostgreSQL (its documentation, "Message Formats"), and what is read from them.

use crate::framing::Cut;

/// Most bytes of a statement or its parameters that are looked at.
const HEAD: usize = 32 << 10;
/// Most bytes of a row that are looked at.
const ROW: usize = 1024;
/// No message before the first byte of a type is longer.
const STARTUP_AT_MOST: usize = 10_000;

/// What a message before the start is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Startup<'a> {
    /// A session begins.
    Session(&'a [u8]),
    /// It asks for encryption.
    Encryption,
    /// It cancels what another connection does.
    Cancel,
}

fn long(bytes: &[u8]) -> Option<usize> {
    let four = bytes.get(..4)?.try_into().ok()?;
    Some(u32::from_be_bytes(four) as usize)
}

fn cut(bytes: &[u8], known: &[u8], head: impl Fn(u8) -> usize) -> Cut {
    let Some(kind) = bytes.first() else { return Cut::More };
    if !known.contains(kind) {
        return Cut::Broken;
    }
    let Some(length) = long(&bytes[1..]) else { return Cut::More };
    if !(4..=1 << 30).contains(&length) {
        return Cut::Broken;
    }
    let (whole, most) = (length + 1, head(*kind));
    if whole <= most {
        Cut::Whole(whole)
    } else {
        Cut::Head { head: most, rest: (whole - most) as u64 }
    }
}

/// Cuts what clients send.
pub fn sent(bytes: &[u8]) -> Cut {
    if bytes.first() == Some(&0) {
        return match long(bytes) {
            None => Cut::More,
            Some(length @ 8..=STARTUP_AT_MOST) => Cut::Whole(length),
            Some(_) => Cut::Broken,
        };
    }
    cut(bytes, b"QPBDEHSCXFdcfp", |kind| match kind {
        b'Q' | b'P' | b'B' | b'D' | b'E' | b'C' => HEAD,
        // Of copied data and passwords nothing is kept.
        _ => 5,
    })
}

/// Cuts what servers send.
pub fn received(bytes: &[u8]) -> Cut {
    cut(bytes, b"RKSZ123CDEINTtnsAGHWVdcv", |kind| match kind {
        b'D' => ROW,
        b'E' | b'T' => 8 << 10,
        b'Z' | b'K' | b'C' | b'R' => 64,
        _ => 5,
    })
}

/// What a message without a type is.
pub fn startup(message: &[u8]) -> Option<Startup<'_>> {
    match long(message.get(4..)?)? {
        80_877_103 | 80_877_104 => Some(Startup::Encryption),
        80_877_102 => Some(Startup::Cancel),
        version if version >> 16 == 3 => Some(Startup::Session(&message[8..])),
        _ => None,
    }
}

/// The database of a session: named, or that of its user's name.
pub fn database(parameters: &[u8]) -> Option<&[u8]> {
    let mut parts = parameters.split(|&byte| byte == 0);
    let (mut user, mut database) = (None, None);
    while let (Some(name), Some(value)) = (parts.next(), parts.next()) {
        match name {
            b"user" => user = Some(value),
            b"database" => database = Some(value),
            _ => {}
        }
    }
    database.filter(|name| !name.is_empty()).or(user)
}

/// Bytes up to the next zero, and those after it.
pub fn text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|&byte| byte == 0)?;
    Some((&bytes[..end], &bytes[end + 1..]))
}

fn short(bytes: &mut &[u8]) -> Option<usize> {
    let (two, rest) = bytes.split_first_chunk::<2>()?;
    *bytes = rest;
    Some(usize::from(u16::from_be_bytes(*two)))
}

/// A value of a parameter or a column; `None` where it is NULL.
pub type Field<'a> = Option<&'a [u8]>;

fn field<'a>(bytes: &mut &'a [u8]) -> Option<Field<'a>> {
    let length = long(bytes)?;
    *bytes = &bytes[4..];
    if length == u32::MAX as usize {
        return Some(None);
    }
    let value = bytes.get(..length)?;
    *bytes = &bytes[length..];
    Some(Some(value))
}

/// A portal is made of a statement and parameters.
#[derive(Debug)]
pub struct Bind<'a> {
    /// The portal.
    pub portal: &'a [u8],
    /// The statement.
    pub statement: &'a [u8],
    /// Each parameter, and whether it is binary.
    pub parameters: Vec<(Field<'a>, bool)>,
}

/// Most parameters that are looked at.
const PARAMETERS_AT_MOST: usize = 64;

/// Reads a Bind; parameters that are cut off are left out.
pub fn bind(body: &[u8]) -> Option<Bind<'_>> {
    let (portal, rest) = text(body)?;
    let (statement, mut rest) = text(rest)?;
    let count = short(&mut rest)?;
    let formats = rest.get(..2 * count)?;
    rest = &rest[2 * count..];
    let is_binary = |at: usize| {
        let at = if count == 1 { 0 } else { at };
        formats.get(2 * at + 1).is_some_and(|&format| format == 1)
    };
    let mut parameters = Vec::new();
    for at in 0..short(&mut rest)?.min(PARAMETERS_AT_MOST) {
        let Some(value) = field(&mut rest) else { break };
        parameters.push((value, is_binary(at)));
    }
    Some(Bind { portal, statement, parameters })
}

/// The value in a column of a row, if that was captured.
pub fn column(body: &[u8], column: usize) -> Option<Field<'_>> {
    let mut rest = body;
    let count = short(&mut rest)?;
    if column >= count {
        return None;
    }
    for _ in 0..column {
        field(&mut rest)?;
    }
    field(&mut rest)
}

/// Names of the columns a description tells of, the first few of them.
pub fn columns(body: &[u8]) -> Option<Vec<&[u8]>> {
    const OF_A_COLUMN: usize = 18;
    let mut rest = body;
    let count = short(&mut rest)?;
    let mut names = Vec::new();
    for _ in 0..count.min(8) {
        let (name, after) = text(rest)?;
        names.push(name);
        rest = after.get(OF_A_COLUMN..)?;
    }
    Some(names)
}

/// What an error says.
#[derive(Debug, Default)]
pub struct Error<'a> {
    /// SQLSTATE.
    pub code: &'a [u8],
    /// In the language of the server.
    pub message: &'a [u8],
    /// Likewise.
    pub detail: &'a [u8],
    /// Where it happened.
    pub context: &'a [u8],
    /// The function of the server that said it, in no language.
    pub routine: &'a [u8],
}

/// Reads an error.
pub fn error(body: &[u8]) -> Error<'_> {
    let mut error = Error::default();
    let mut rest = body;
    while let Some((&kind, after)) = rest.split_first() {
        let Some((value, after)) = text(after) else { break };
        rest = after;
        match kind {
            b'C' => error.code = value,
            b'M' => error.message = value,
            b'D' => error.detail = value,
            b'W' => error.context = value,
            b'R' => error.routine = value,
            _ => {}
        }
    }
    error
}
