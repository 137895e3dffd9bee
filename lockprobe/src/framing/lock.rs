//! How locks of servers are described, and their owners.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::model::thread::printable;
use crate::model::{LockDescription, LockId, LockKind, Owner};

/// Most characters of a key that are shown.
const SHOWN_AT_MOST: usize = 256;

/// A number that tells texts apart: the beginning of their SHA-256.
fn number(bytes: &[u8]) -> u64 {
    let digest = Sha256::digest(bytes);
    digest.iter().take(8).fold(0, |number, &byte| number << 8 | u64::from(byte))
}

/// The owner who proves itself with this: a nonce, a lease, a session. What it is made of does not
/// leave this function.
pub fn owner(secret: &[u8]) -> Owner {
    Owner(number(secret))
}

/// Any bytes as text for people: those that are no text as hexadecimal digits, long ones cut.
pub fn shown(key: &[u8]) -> String {
    let text = match std::str::from_utf8(key) {
        Ok(text) => printable(text),
        Err(_) => {
            let digits = key.iter().take(SHOWN_AT_MOST / 2).map(|byte| format!("{byte:02x}"));
            format!("hex:{}", digits.collect::<String>())
        }
    };
    match text.char_indices().nth(SHOWN_AT_MOST) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

/// The family a key belongs to: numbers, UUIDs and long hexadecimal words become `*`.
pub fn template(key: &str) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let mut template = String::new();
    let mut rest = key;
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|c| is_word(c) != is_word(first)).unwrap_or(rest.len());
        let (run, after) = rest.split_at(end);
        rest = after;
        if !is_word(first) {
            template.push_str(run);
            continue;
        }
        if is_identifier(run) {
            template.push('*');
            continue;
        }
        let parts: Vec<&str> = run.split('-').collect();
        let shown = parts.iter().map(|part| if is_identifier(part) { "*" } else { part });
        template.push_str(&shown.collect::<Vec<_>>().join("-"));
    }
    template
}

/// A number, or hexadecimal digits enough to be made by a machine, hyphens apart.
fn is_identifier(word: &str) -> bool {
    let digits = || word.chars().filter(|c| *c != '-');
    let count = digits().count();
    let all_decimal = count > 0 && digits().all(|c| c.is_ascii_digit());
    let hex = count >= 8
        && digits().all(|c| c.is_ascii_hexdigit())
        && digits().any(|c| c.is_ascii_digit());
    all_decimal || hex
}

/// A lock by its address, which has to be equal on every host; `name` is its key.
pub fn lock(kind: LockKind, address: String, name: &str, confirmed: bool) -> Arc<LockDescription> {
    let mixed = number(address.as_bytes());
    Arc::new(LockDescription {
        id: LockId::Remote { kind, mixed },
        kind,
        name: template(name).into(),
        confirmed,
        call_site: None,
        address: Some(address.into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_told_from_their_members() {
        for (key, family) in [
            ("lock:invoice:42", "lock:invoice:*"),
            ("lock:invoice", "lock:invoice"),
            ("job-7/e7bcfa7e-e559-11f1-b06a-02fc00000001/x", "job-*/*/x"),
            ("{queue}:deadbeef01:lock", "{queue}:*:lock"),
            ("leader-election", "leader-election"),
            ("cafe:facade", "cafe:facade"),
            ("", ""),
        ] {
            assert_eq!(template(key), family);
        }
    }

    #[test]
    fn keys_of_any_bytes_are_shown_safely() {
        assert_eq!(shown(b"lock:\x1b[2J"), "lock:\u{fffd}[2J");
        assert_eq!(shown(&[0xff, 0x00]), "hex:ff00");
        assert_eq!(shown("é".repeat(300).as_bytes()).chars().count(), SHOWN_AT_MOST + 1);
    }

    #[test]
    fn a_lock_is_the_same_wherever_it_is_described() {
        let of = |address: &str| lock(LockKind::RedisLock, address.into(), "a", true);
        let one = of("redis://db:6379/0/a");
        assert_eq!(one, of("redis://db:6379/0/a"));
        assert_ne!(one.id, of("redis://db:6379/1/a").id);
        assert_eq!(one.identity(), "redis://db:6379/0/a");
        assert_eq!(owner(b"t"), owner(b"t"));
        assert_ne!(owner(b"t"), owner(b"u"));
    }
}
