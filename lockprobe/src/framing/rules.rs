//! What users may say of locks that servers keep: which keys are some, and what else is told.

/// After so long a statement is taken to wait for rows or a table, unless told otherwise.
const THRESHOLD: u64 = 50_000_000;

/// Settings of the backends.
///
/// A pattern without `*` is a word of the key, between two of `:_./-{}` or its ends; one with `*` is
/// all of the key. Case does not matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Keys of Redis and memcached that are called after locks.
    pub lock_patterns: Vec<String>,
    /// Keys that are never locks.
    pub ignore_patterns: Vec<String>,
    /// A plain `DEL` by the process that has the lock gives it back.
    pub plain_del_is_release: bool,
    /// Locks that are never given back by design.
    pub cooldown_patterns: Vec<String>,
    /// Further lines as those of `backends/redis/scripts.tsv`.
    pub scripts: String,
    /// Rows that statements lock by their words (`FOR UPDATE`) are told of too. Every ORM does that.
    pub row_locks: bool,
    /// Tables that statements lock by their words (`LOCK TABLE`) are told of too.
    pub table_locks: bool,
    /// A statement that took so long waited for rows or a table, nanoseconds.
    pub statement_threshold: u64,
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
            row_locks: false,
            table_locks: false,
            statement_threshold: THRESHOLD,
        }
    }
}

/// What is told of statements of SQL beside the locks they call by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OfStatements {
    /// Rows.
    pub rows: bool,
    /// Tables.
    pub tables: bool,
    /// A statement that took so long waited, nanoseconds.
    pub threshold: u64,
}

impl Rules {
    /// What users say, beside what is known anyway.
    pub fn beside(lock: &[String], ignore: &[String], row_locks: bool, table_locks: bool) -> Self {
        let ignore_patterns = ignore.to_vec();
        let mut rules = Self { ignore_patterns, row_locks, table_locks, ..Self::default() };
        rules.lock_patterns.extend_from_slice(lock);
        rules
    }

    /// Whether a key is called after a lock.
    pub fn is_called_lock(&self, key: &[u8]) -> bool {
        matches(&self.lock_patterns, key)
    }

    /// Whether users say that a key is none.
    pub fn is_ignored(&self, key: &[u8]) -> bool {
        matches(&self.ignore_patterns, key)
    }

    /// What is told of statements.
    pub fn of_statements(&self) -> OfStatements {
        let (rows, tables) = (self.row_locks, self.table_locks);
        OfStatements { rows, tables, threshold: self.statement_threshold }
    }

    /// Whether a lock of this key is never given back by design: that its lease ends is no fault.
    pub fn is_cooldown(&self, key: &[u8]) -> bool {
        matches(&self.cooldown_patterns, key)
    }
}

/// Whether one of these patterns is meant by a key.
fn matches(patterns: &[String], key: &[u8]) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_words_or_whole_keys() {
        let patterns = ["Lock", "batch:*:turn", "*~"].map(str::to_owned).to_vec();
        let rules = Rules { lock_patterns: patterns, ..Rules::default() };
        for key in ["lock", "a:lock:b", "a-LOCK", "{lock}x", "batch:7:turn", "BATCH::turn", "x~"] {
            assert!(rules.is_called_lock(key.as_bytes()), "{key}");
        }
        for key in ["", "clock", "locks", "batch:7:turns", "a:batch:7:turn", "~x"] {
            assert!(!rules.is_called_lock(key.as_bytes()), "{key}");
        }
        assert!(!rules.is_ignored(b"lock") && !rules.is_cooldown(b"lock"));
    }

    #[test]
    fn rows_and_tables_are_an_option() {
        let (rows, tables, threshold) = (false, false, THRESHOLD);
        assert_eq!(Rules::default().of_statements(), OfStatements { rows, tables, threshold });
    }
}
