//! What functions and errors of MySQL mean for locks, and what the locks are called.

use core::net::SocketAddr;
use std::sync::Arc;

use crate::framing::sql::{Call, RowLocks, Value, Written};
use crate::framing::{lock, shown};
use crate::model::{LockDescription, LockKind};

/// A function that has to do with the locks of users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// GET_LOCK
    Take,
    /// RELEASE_LOCK
    Give,
    /// RELEASE_ALL_LOCKS
    GiveAll,
}

/// The function of this name.
pub fn function(name: &[u8]) -> Option<Function> {
    let is = |own: &str| name.eq_ignore_ascii_case(own.as_bytes());
    if is("get_lock") {
        return Some(Function::Take);
    }
    if is("release_lock") {
        return Some(Function::Give);
    }
    is("release_all_locks").then_some(Function::GiveAll)
}

fn given<'a>(value: &'a Value, parameters: &'a [Value]) -> &'a Value {
    match value {
        Value::Place(at) => parameters.get(at.wrapping_sub(1)).unwrap_or(&Value::Expression),
        value => value,
    }
}

/// The lock a call is about. Nothing: it cannot be told.
///
/// MariaDB tells `Jobs` from `jobs` (10.11, seen), MySQL does not: which of them is at work is not
/// heard, so that the name is taken as it is written.
pub fn lock_of(
    server: SocketAddr,
    call: &Call<Function>,
    parameters: &[Value],
) -> Option<Arc<LockDescription>> {
    let name = match given(call.arguments.first()?, parameters) {
        Value::Text(name) => shown(name),
        Value::Integer(number) => number.to_string(),
        Value::Expression if !call.written.is_empty() => {
            let mut text = String::new();
            for part in &call.written {
                match part {
                    Written::Text(own) => text.push_str(own),
                    Written::Place(at) => {
                        text.push_str(&given(&Value::Place(*at), parameters).written()?);
                    }
                }
            }
            // A column or a variable is another lock each time.
            if !text.contains('\'') || text.contains(['@', '`']) {
                return None;
            }
            let text = shown(text.as_bytes());
            let address = format!("mysql://{server}/ul/?{text}");
            return Some(lock(LockKind::MysqlUser, address, &text, false));
        }
        _ => return None,
    };
    Some(lock(LockKind::MysqlUser, format!("mysql://{server}/ul/{name}"), &name, true))
}

/// Whether it does not wait: nothing where the limit cannot be told.
pub fn is_only_now(call: &Call<Function>, parameters: &[Value]) -> bool {
    match call.arguments.get(1).map(|limit| given(limit, parameters)) {
        Some(Value::Integer(limit)) => *limit == 0,
        Some(Value::Real(limit)) => *limit == 0.0,
        Some(limit @ Value::Text(_)) => limit.integer() == Some(0),
        _ => false,
    }
}

/// Rows that a statement locks. What tells those of two statements apart is their text.
pub fn rows(server: SocketAddr, rows: Option<&RowLocks>, sql: Option<u64>) -> Arc<LockDescription> {
    let table = rows.and_then(|rows| rows.table.as_deref());
    let name = shown(table.unwrap_or("?").as_bytes());
    let mut address = format!("mysql://{server}/rows/{name}");
    if let Some(sql) = sql {
        address.push_str(&format!("/{sql:016x}"));
    }
    lock(LockKind::MysqlRow, address, &name, table.is_some())
}

/// An error of a statement: its number.
pub fn error(payload: &[u8]) -> u16 {
    payload.get(1..3).map_or(0, |code| u16::from_le_bytes([code[0], code[1]]))
}

/// Whether an error is about a lock: a limit of time, a deadlock, NOWAIT, a deadlock of users' locks.
pub fn is_of_locks(error: u16) -> bool {
    matches!(error, 1205 | 1213 | 3058 | 3572)
}

/// How an attempt ended, as an error says.
pub fn ending(error: u16) -> &'static str {
    match error {
        1213 | 3058 => "deadlock",
        // Lock wait, MySQL's and MariaDB's limit for a statement.
        1205 | 3024 | 1969 => "timeout",
        3572 => "refused",
        _ => "interrupted",
    }
}
