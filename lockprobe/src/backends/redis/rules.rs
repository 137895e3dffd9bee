//! What users may say of their keys, and what keys and values look like.

/// Settings of the backend.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Keys that are called after locks: a word between separators, or with `*` the whole key.
    pub lock_patterns: Vec<String>,
    /// Keys that are never locks, likewise.
    pub ignore_patterns: Vec<String>,
    /// A plain `DEL` by the process that has the lock gives it back.
    pub plain_del_is_release: bool,
    /// Locks that are never given back by design, likewise.
    pub cooldown_patterns: Vec<String>,
    /// Further lines as those of `scripts.tsv`.
    pub scripts: String,
}

impl Default for Rules {
    fn default() -> Self {
        let words = ["lock", "locks", "mutex", "lease", "leader", "sem", "semaphore", "redlock"];
        Self {
            lock_patterns: words.map(str::to_owned).to_vec(),
            ignore_patterns: Vec::new(),
            plain_del_is_release: true,
            cooldown_patterns: Vec::new(),
            scripts: String::new(),
        }
    }
}

impl Rules {
    /// Whether a lock of this key is never given back by design: that its lease ends is no fault.
    pub fn is_cooldown(&self, key: &[u8]) -> bool {
        matches(&self.cooldown_patterns, key)
    }
}

/// Whether one of these patterns is meant by a key.
pub fn matches(patterns: &[String], key: &[u8]) -> bool {
    let is_separator = |byte: &u8| b":_./-{}".contains(byte);
    patterns.iter().any(|pattern| match pattern.contains('*') {
        true => glob(pattern.as_bytes(), key),
        false => key.split(is_separator).any(|word| word.eq_ignore_ascii_case(pattern.as_bytes())),
    })
}

/// Whether a pattern with `*` is all of a key.
fn glob(pattern: &[u8], key: &[u8]) -> bool {
    let mut parts = pattern.split(|&byte| byte == b'*');
    let first = parts.next().unwrap_or_default();
    let begins = key.len() >= first.len() && key[..first.len()].eq_ignore_ascii_case(first);
    if !begins {
        return false;
    }
    let mut rest = &key[first.len()..];
    let parts: Vec<&[u8]> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let found = part.is_empty().then_some(0).or_else(|| {
            rest.windows(part.len()).position(|window| window.eq_ignore_ascii_case(part))
        });
        let Some(at) = found else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.len() >= last.len() && rest[rest.len() - last.len()..].eq_ignore_ascii_case(last)
}

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
