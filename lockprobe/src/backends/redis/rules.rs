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

/// What this value looks like.
pub fn looks(value: &[u8]) -> Looks {
    let number = value.iter().all(|byte| byte.is_ascii_digit() || b".+-".contains(byte));
    let date = value.len() >= 10
        && value[..4].iter().all(u8::is_ascii_digit)
        && value[4] == b'-'
        && value[5..7].iter().all(u8::is_ascii_digit)
        && value[7] == b'-';
    let document = matches!(value.first(), Some(b'{' | b'[' | b'"' | b'<'));
    if number || date || document || value.len() > 128 {
        return Looks::Content;
    }
    if std::str::from_utf8(value).is_err() {
        return if (16..=32).contains(&value.len()) { Looks::Token } else { Looks::Content };
    }
    let digit = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_+/=".contains(byte);
    let mixed = value.iter().any(u8::is_ascii_digit) && value.iter().any(u8::is_ascii_alphabetic);
    let capitals =
        value.iter().any(u8::is_ascii_uppercase) && value.iter().any(u8::is_ascii_lowercase);
    if (16..=64).contains(&value.len()) && value.iter().all(digit) && (mixed || capitals) {
        return Looks::Token;
    }
    if value.iter().all(|byte| byte.is_ascii_control()) { Looks::Content } else { Looks::Word }
}

/// Whether two owners would not choose the same value.
pub fn is_owner(value: &[u8]) -> bool {
    match looks(value) {
        Looks::Token => true,
        Looks::Content => false,
        Looks::Word => value.len() >= 4 && value.iter().any(u8::is_ascii_digit),
    }
}
