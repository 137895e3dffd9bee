//! What values look like: nonces, or something else.

/// What a value looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looks {
    /// A nonce: UUID, hexadecimal or base64 digits, random bytes.
    Token,
    /// Something that is not made to tell owners apart: a number, a date, a document.
    Content,
    /// Neither.
    Word,
}

/// What bytes of a value are.
mod class {
    pub const DIGIT: u8 = 1;
    pub const UPPER: u8 = 2;
    pub const LOWER: u8 = 4;
    /// Of a number.
    pub const NUMBER: u8 = 8;
    /// Of a UUID, or of hexadecimal or base64 digits.
    pub const NONCE: u8 = 16;
    pub const CONTROL: u8 = 32;
    pub const ASCII: u8 = 64;
}

/// Values are looked at byte by byte, and with every request.
const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0u8;
    while byte < 128 {
        let c = byte;
        let letter_or_digit = c.is_ascii_alphanumeric();
        let marks = [
            (true, class::ASCII),
            (c.is_ascii_digit(), class::DIGIT),
            (c.is_ascii_uppercase(), class::UPPER),
            (c.is_ascii_lowercase(), class::LOWER),
            (c.is_ascii_digit() || matches!(c, b'.' | b'+' | b'-'), class::NUMBER),
            (letter_or_digit || matches!(c, b'-' | b'_' | b'+' | b'/' | b'='), class::NONCE),
            (c.is_ascii_control(), class::CONTROL),
        ];
        let mut at = 0;
        while at < marks.len() {
            if marks[at].0 {
                classes[byte as usize] |= marks[at].1;
            }
            at += 1;
        }
        byte += 1;
    }
    classes
};

/// What this value looks like.
pub fn looks(value: &[u8]) -> Looks {
    if value.len() > 128 {
        return Looks::Content;
    }
    let classes = value.iter().map(|&byte| CLASSES[usize::from(byte)]);
    let (any, all) = classes.fold((0, u8::MAX), |(any, all), class| (any | class, all & class));
    let date = value.len() >= 10
        && value[..4].iter().all(u8::is_ascii_digit)
        && value[4] == b'-'
        && value[5..7].iter().all(u8::is_ascii_digit)
        && value[7] == b'-';
    let document = matches!(value.first(), Some(b'{' | b'[' | b'"' | b'<'));
    if all & class::NUMBER != 0 || date || document {
        return Looks::Content;
    }
    if all & class::ASCII == 0 && std::str::from_utf8(value).is_err() {
        return if (16..=32).contains(&value.len()) { Looks::Token } else { Looks::Content };
    }
    let has = |class: u8| any & class != 0;
    let mixed = has(class::DIGIT) && has(class::UPPER | class::LOWER);
    let capitals = has(class::UPPER) && has(class::LOWER);
    if (16..=64).contains(&value.len()) && all & class::NONCE != 0 && (mixed || capitals) {
        return Looks::Token;
    }
    if all & class::CONTROL != 0 { Looks::Content } else { Looks::Word }
}

/// Whether two owners would not choose the same value.
pub fn is_owner(value: &[u8]) -> bool {
    is_owner_that(looks(value), value)
}

/// The same of a value that looks like this.
pub fn is_owner_that(looks: Looks, value: &[u8]) -> bool {
    match looks {
        Looks::Token => true,
        Looks::Content => false,
        Looks::Word => value.len() >= 4 && value.iter().any(u8::is_ascii_digit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_known_by_their_looks() {
        for (value, seems) in [
            (&b"e7bcfa7ee55911f1b06a02fc00000001"[..], Looks::Token),
            (b"3fa85f64-5717-4562-b3fc-2c963f66afa6", Looks::Token),
            (b"AbCdEfGhIjKlMnOp", Looks::Token),
            (b"abcdefghijklmnop", Looks::Word),
            (b"worker-3", Looks::Word),
            (b"worker", Looks::Word),
            ("h\u{e9}te-1".as_bytes(), Looks::Word),
            (b"", Looks::Content),
            (b"-12.5", Looks::Content),
            (b"2024-01-31T10:00", Looks::Content),
            (b"{\"a\":1}", Looks::Content),
            (b"\x01\x02", Looks::Content),
            (&[0xff; 20], Looks::Token),
            (&[0xff; 8], Looks::Content),
            (&[b'a'; 129], Looks::Content),
        ] {
            assert_eq!(looks(value), seems, "{}", value.escape_ascii());
        }
        assert!(is_owner(b"worker-3") && !is_owner(b"worker") && !is_owner(b"12"));
    }
}
