//! CPython's location table (3.11 to 3.14, `Objects/locations.md`): from an instruction to a line.

/// The line of an instruction, counted in two bytes from the first; `None` where the table has
/// none.
pub fn line(table: &[u8], first: u32, instruction: u64) -> Option<u32> {
    let mut bytes = table.iter().copied();
    let (mut line, mut at) = (i64::from(first), 0);
    // Every entry takes a byte at least, so the table bounds the loop.
    while let Some(head) = bytes.next() {
        if head & 0x80 == 0 {
            return None;
        }
        let code = head >> 3 & 15;
        let (change, skip) = match code {
            0..=9 => (0, 1),
            10..=12 => (i64::from(code) - 10, 2),
            13 => (signed(&mut bytes)?, 0),
            14 => (signed(&mut bytes)?, 3),
            _ => (0, 0),
        };
        match code {
            // A long entry's three other numbers are of any length.
            14 => (0..skip).try_for_each(|_| number(&mut bytes).map(drop))?,
            _ => (0..skip).try_for_each(|_| bytes.next().map(drop))?,
        }
        line = line.checked_add(change)?;
        at += u64::from(head & 7) + 1;
        if instruction < at {
            return if code == 15 { None } else { u32::try_from(line).ok() };
        }
    }
    None
}

/// Six bits a byte, the lowest first; the seventh says that more follow.
fn number(bytes: &mut impl Iterator<Item = u8>) -> Option<u64> {
    let mut value = 0;
    for shift in (0..60).step_by(6) {
        let byte = bytes.next()?;
        value |= u64::from(byte & 63) << shift;
        if byte & 64 == 0 {
            return Some(value);
        }
    }
    None
}

/// The sign is the lowest bit.
fn signed(bytes: &mut impl Iterator<Item = u8>) -> Option<i64> {
    let value = number(bytes)?;
    let size = i64::try_from(value >> 1).ok()?;
    Some(if value & 1 == 0 { size } else { -size })
}
