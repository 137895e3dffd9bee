//! Packets of MySQL and MariaDB, and what is read from them.

use crate::framing::Cut;
use crate::framing::sql::Value;

/// Most bytes of a command that are looked at.
const COMMAND: usize = 32 << 10;
/// Most bytes of an answer's packet that are looked at.
const ANSWER: usize = 1024;
/// The last command there is, and MariaDB's own.
const LAST: u8 = 0x1f;
const BULK_EXECUTE: u8 = 0xfa;

fn cut(bytes: &[u8], most: usize) -> Cut {
    let Some(header) = bytes.first_chunk::<4>() else { return Cut::More };
    let whole = 4 + u32::from_le_bytes([header[0], header[1], header[2], 0]) as usize;
    if whole <= most {
        Cut::Whole(whole)
    } else {
        Cut::Head { head: most, rest: (whole - most) as u64 }
    }
}

/// Cuts what clients send: commands.
pub fn sent(bytes: &[u8]) -> Cut {
    match (bytes.get(3), bytes.get(4)) {
        (Some(0), Some(&command)) if command > LAST && command != BULK_EXECUTE => Cut::Broken,
        (Some(0), None) if bytes[..3] == [0; 3] => Cut::Broken,
        _ => cut(bytes, COMMAND),
    }
}

/// Cuts what servers send.
pub fn received(bytes: &[u8]) -> Cut {
    cut(bytes, ANSWER)
}

/// Takes so many bytes off the front.
pub fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let taken = rest.get(..count)?;
    *rest = &rest[count..];
    Some(taken)
}

fn number(rest: &mut &[u8], bytes: usize) -> Option<u64> {
    Some(take(rest, bytes)?.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
}

/// A number of variable length; `None` inside is NULL.
pub fn length(rest: &mut &[u8]) -> Option<Option<u64>> {
    Some(match take(rest, 1)?[0] {
        0xfb => None,
        0xfc => Some(number(rest, 2)?),
        0xfd => Some(number(rest, 3)?),
        0xfe => Some(number(rest, 8)?),
        small => Some(u64::from(small)),
    })
}

/// A text behind its length; `None` inside is NULL.
pub fn text<'a>(rest: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    match length(rest)? {
        None => Some(None),
        Some(count) => take(rest, usize::try_from(count).ok()?).map(Some),
    }
}

/// Status flags of a packet that ends an answer.
pub fn status(payload: &[u8]) -> u16 {
    let mut rest = payload.get(1..).unwrap_or_default();
    if payload.first() == Some(&0xfe) && payload.len() == 5 {
        return u16::from_le_bytes([payload[3], payload[4]]);
    }
    let affected = length(&mut rest);
    let id = length(&mut rest);
    let flags = number(&mut rest, 2);
    affected.and(id).and(flags).map_or(0, |flags| flags as u16)
}

/// The name of a column, and the type of its values.
pub fn column(payload: &[u8]) -> Option<(&[u8], u8)> {
    let mut rest = payload;
    for _ in 0..4 {
        text(&mut rest)?;
    }
    let name = text(&mut rest)??;
    text(&mut rest)?;
    if rest.first() != Some(&0x0c) {
        // MariaDB says more of the type here.
        text(&mut rest)?;
    }
    take(&mut rest, 7)?;
    Some((name, *rest.first()?))
}

/// A value of a row that is text; `None` inside is NULL.
pub fn text_value(payload: &[u8], column: usize) -> Option<Option<i64>> {
    let mut rest = payload;
    for _ in 0..column {
        text(&mut rest)?;
    }
    match text(&mut rest)? {
        None => Some(None),
        Some(digits) => std::str::from_utf8(digits).ok()?.parse().ok().map(Some),
    }
}

/// A value of a row that is binary, of columns of these types.
pub fn binary_value(payload: &[u8], types: &[u8], column: usize) -> Option<Option<i64>> {
    let mut rest = payload.get(1..)?;
    let nulls = take(&mut rest, (types.len() + 9) / 8)?;
    let is_null = |at: usize| nulls[(at + 2) / 8] >> ((at + 2) % 8) & 1 == 1;
    for at in 0..column {
        if !is_null(at) {
            value(&mut rest, *types.get(at)?, false)?;
        }
    }
    if is_null(column) {
        return Some(None);
    }
    match value(&mut rest, *types.get(column)?, false)? {
        Value::Integer(number) => Some(Some(number)),
        other => other.integer().map(Some),
    }
}

/// A value of a type.
fn value(rest: &mut &[u8], kind: u8, unsigned: bool) -> Option<Value> {
    let whole = |rest: &mut &[u8], bytes: usize| {
        let raw = number(rest, bytes)?;
        let unused = 64 - 8 * bytes as u32;
        let signed = ((raw << unused) as i64) >> unused;
        Some(Value::Integer(if unsigned { i64::try_from(raw).ok()? } else { signed }))
    };
    match kind {
        0x01 => whole(rest, 1),
        0x02 | 0x0d => whole(rest, 2),
        0x03 | 0x09 => whole(rest, 4),
        0x08 => whole(rest, 8),
        0x04 => Some(Value::Real(f32::from_bits(number(rest, 4)? as u32).into())),
        0x05 => Some(Value::Real(f64::from_bits(number(rest, 8)?))),
        0x06 => Some(Value::Null),
        0x07 | 0x0a | 0x0b | 0x0c => {
            let count = take(rest, 1)?[0];
            take(rest, count.into())?;
            Some(Value::Expression)
        }
        _ => Some(text(rest)?.map_or(Value::Null, |bytes| Value::Text(bytes.to_vec()))),
    }
}

/// Types of the parameters of a statement, each with whether it has no sign.
pub type Types = Vec<(u8, bool)>;

/// Reads the parameters of a COM_STMT_EXECUTE, after command and statement; `types` are those of
/// the time before, and are renewed where it brings new ones.
pub fn parameters(body: &[u8], count: usize, types: &mut Types) -> Option<Vec<Value>> {
    const COUNTED: u8 = 8;
    let mut rest = body;
    let flags = take(&mut rest, 1)?[0];
    take(&mut rest, 4)?;
    let named = flags & COUNTED != 0;
    let all = if named { usize::try_from(length(&mut rest)??).ok()? } else { count };
    if all == 0 || all > 1024 {
        return Some(Vec::new());
    }
    let nulls = take(&mut rest, all.div_ceil(8))?;
    if take(&mut rest, 1)?[0] == 1 {
        types.clear();
        for _ in 0..all {
            let kind = take(&mut rest, 2)?;
            types.push((kind[0], kind[1] & 0x80 != 0));
            if named {
                text(&mut rest)?;
            }
        }
    }
    let mut values = Vec::new();
    for at in 0..count.min(all) {
        let (kind, unsigned) = *types.get(at)?;
        let is_null = nulls[at / 8] >> (at % 8) & 1 == 1;
        values.push(if is_null { Value::Null } else { value(&mut rest, kind, unsigned)? });
    }
    Some(values)
}
