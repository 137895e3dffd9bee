//! What statements say of locks, for the backends of databases: a tolerant look, not a grammar.

mod calls;
mod comment;
mod statement;
#[cfg(test)]
mod tests;
mod tokens;
mod value;

pub use calls::{Call, Spot, Written};
pub use comment::{bare, context, trace};
pub use statement::{Head, RowLocks, Statement, statements};
pub use tokens::Flavour;
pub use value::{Value, number_with};

/// Whether this may say something of a lock, or of a transaction: the rest need not be looked at.
pub fn is_telling(sql: &[u8]) -> bool {
    let start = sql.iter().position(|byte| byte.is_ascii_alphabetic()).unwrap_or(sql.len());
    // A comment in front hides the first word.
    let hidden = sql[..start].iter().any(|byte| !byte.is_ascii_whitespace());
    let first = sql[start..].split(|byte| !byte.is_ascii_alphabetic()).next().unwrap_or_default();
    const HEADS: [&str; 12] = [
        "begin",
        "start",
        "commit",
        "end",
        "rollback",
        "abort",
        "savepoint",
        "release",
        "discard",
        "deallocate",
        "prepare",
        "execute",
    ];
    let is_head = HEADS.iter().any(|head| first.eq_ignore_ascii_case(head.as_bytes()));
    let body = sql.strip_suffix(b";").unwrap_or(sql);
    hidden || is_head || has_lock(sql) || body.contains(&b';') || locks_rows(sql)
}

fn has_lock(sql: &[u8]) -> bool {
    sql.windows(4).any(|four| four.eq_ignore_ascii_case(b"lock"))
}

fn locks_rows(sql: &[u8]) -> bool {
    let sql = bare(sql);
    let tail = &sql[sql.len().saturating_sub(120)..];
    tail.windows(4).any(|four| four.eq_ignore_ascii_case(b"for "))
}
