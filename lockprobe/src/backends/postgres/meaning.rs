//! What functions and errors of PostgreSQL mean for locks, and what the locks are called.

use core::net::SocketAddr;
use std::sync::Arc;

use super::frame::{Error, Field};
use crate::framing::sql::{Call, RowLocks, Value, Written};
use crate::framing::{lock, owner, shown};
use crate::model::{LockDescription, LockKind, Mode, Owner, Said};

/// A function that has to do with advisory locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// Takes one.
    Take {
        /// Only if that is possible at once.
        only_now: bool,
        /// Until the transaction ends.
        transaction: bool,
        /// Exclusive or shared.
        mode: Mode,
    },
    /// Gives one back.
    Give(Mode),
    /// Gives all back.
    GiveAll,
}

/// The function of this name.
pub fn function(name: &[u8]) -> Option<Function> {
    let mut lower = [0; 32];
    let lower = lower.get_mut(..name.len())?;
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    let rest = lower.strip_prefix(b"pg_")?;
    let (mode, rest) = match rest.strip_suffix(b"_shared") {
        Some(rest) => (Mode::Shared, rest),
        None => (Mode::Exclusive, rest),
    };
    let (only_now, rest) = match rest.strip_prefix(b"try_") {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    match rest {
        b"advisory_lock" => Some(Function::Take { only_now, transaction: false, mode }),
        b"advisory_xact_lock" => Some(Function::Take { only_now, transaction: true, mode }),
        b"advisory_unlock" if !only_now => Some(Function::Give(mode)),
        b"advisory_unlock_all" if !only_now => Some(Function::GiveAll),
        _ => None,
    }
}

/// Where locks are: a server and one of its databases.
pub struct Place<'a> {
    /// The server.
    pub server: SocketAddr,
    /// The database, as far as known.
    pub database: Option<&'a str>,
}

/// Parameters of a statement.
pub type Parameters = Vec<Value>;

/// A parameter as it was given.
pub fn parameter(value: Field<'_>, binary: bool) -> Value {
    match value {
        None => Value::Null,
        Some(text) if !binary => Value::Text(text.to_vec()),
        Some(&[a, b]) => Value::Integer(i16::from_be_bytes([a, b]).into()),
        Some(&[a, b, c, d]) => Value::Integer(i32::from_be_bytes([a, b, c, d]).into()),
        Some(eight) => match <[u8; 8]>::try_from(eight) {
            Ok(eight) => Value::Integer(i64::from_be_bytes(eight)),
            Err(_) => Value::Expression,
        },
    }
}

fn given<'a>(value: &'a Value, parameters: &'a [Value]) -> &'a Value {
    match value {
        Value::Place(at) => parameters.get(at.wrapping_sub(1)).unwrap_or(&Value::Expression),
        value => value,
    }
}

impl Place<'_> {
    fn address(&self, rest: &str) -> String {
        format!("pg://{}/{}/{rest}", self.server, self.database.unwrap_or("db=?"))
    }

    /// The lock a call is about. Nothing: it cannot be told.
    pub fn of_call(
        &self,
        call: &Call<Function>,
        parameters: &[Value],
    ) -> Option<Arc<LockDescription>> {
        let integer = |at: usize| given(&call.arguments[at], parameters).integer();
        match call.arguments.len() {
            1 => match integer(0) {
                Some(key) => Some(self.of_key(key, true)),
                None => self.of_expression(call, parameters),
            },
            2 => match (integer(0).map(i32::try_from), integer(1).map(i32::try_from)) {
                (Some(Ok(first)), Some(Ok(second))) => Some(self.of_pair(first, second, true)),
                _ => None,
            },
            _ => None,
        }
    }

    /// A lock of one number, as `pg_locks` shows it.
    pub fn of_key(&self, key: i64, sure: bool) -> Arc<LockDescription> {
        let address = self.address(&format!("adv/{}:{}:1", (key as u64) >> 32, key as u32));
        lock(LockKind::PostgresAdvisory, address, &format!("advisory:{key}"), sure)
    }

    /// A lock of two numbers.
    pub fn of_pair(&self, first: i32, second: i32, sure: bool) -> Arc<LockDescription> {
        let address = self.address(&format!("adv/{}:{}:2", first as u32, second as u32));
        lock(LockKind::PostgresAdvisory, address, &format!("advisory:{first}:{second}"), sure)
    }

    /// A lock whose number the server computes: called after what it computes it from.
    fn of_expression(
        &self,
        call: &Call<Function>,
        parameters: &[Value],
    ) -> Option<Arc<LockDescription>> {
        let mut text = String::new();
        for part in &call.written {
            match part {
                Written::Text(own) => text.push_str(own),
                Written::Place(at) => {
                    text.push_str(&given(&Value::Place(*at), parameters).written()?);
                }
            }
        }
        // What a column or a function of nothing comes to is not told by its name.
        if !text.contains(|c: char| c == '\'' || c.is_ascii_digit()) || text.contains("()") {
            return None;
        }
        let text = shown(text.as_bytes());
        let address = self.address(&format!("adv/?{text}"));
        Some(lock(LockKind::PostgresAdvisory, address, &text, false))
    }

    /// Rows of a table, or a table. What tells the rows of two statements apart is their text.
    pub fn of_rows(&self, rows: &RowLocks, sql: u64) -> Arc<LockDescription> {
        let table = rows.table.as_deref().unwrap_or("?");
        let table = shown(table.as_bytes());
        if rows.whole {
            let address = self.address(&format!("table/{table}"));
            return lock(LockKind::PostgresTable, address, &table, rows.table.is_some());
        }
        let address = self.address(&format!("rows/{table}/{sql:016x}"));
        lock(LockKind::PostgresRow, address, &table, true)
    }

    /// What an error is about that nothing else tells of.
    pub fn of_error(&self, error: &Error<'_>) -> Arc<LockDescription> {
        let text = String::from_utf8_lossy(if error.context.is_empty() {
            error.message
        } else {
            error.context
        });
        // The last thing in quotes, in whatever language.
        let name = text.rsplit('"').nth(1).filter(|name| !name.is_empty());
        let name = shown(name.unwrap_or("?").as_bytes());
        let relation =
            error.routine.starts_with(b"RangeVar") || error.routine == b"LockTableRecurse";
        let (kind, what) = match relation {
            true => (LockKind::PostgresTable, "table"),
            false => (LockKind::PostgresRow, "rows"),
        };
        lock(kind, self.address(&format!("{what}/{name}")), &name, name != "?")
    }
}

/// The session with this number at the server.
pub fn owner_of(server: SocketAddr, backend: u32) -> Owner {
    owner(format!("{server}/{backend}").as_bytes())
}

/// How an attempt ended, as an error says.
pub fn ending(error: &Error<'_>) -> &'static str {
    match error.code {
        b"40P01" => "deadlock",
        // A time limit strikes wherever the session waits; NOWAIT is refused by who has the lock.
        b"55P03" if error.routine == b"ProcessInterrupts" => "timeout",
        b"55P03" => "refused",
        b"57014" if error.message.windows(7).any(|word| word == b"timeout") => "timeout",
        _ => "interrupted",
    }
}

/// Who was in the way: the first line of a deadlock's detail begins with the session it is told to
/// and ends with the one that it waits for, in whatever language.
pub fn blocker(error: &Error<'_>, server: SocketAddr) -> Option<Said> {
    if error.code != b"40P01" {
        return None;
    }
    let line = error.detail.split(|&byte| byte == b'\n').next()?;
    let line = std::str::from_utf8(line).ok()?;
    let numbers = line.split(|c: char| !c.is_ascii_digit()).filter(|part| !part.is_empty());
    let numbers: Vec<&str> = numbers.collect();
    let (first, last) = (numbers.first()?, numbers.last()?);
    let backend: u32 = last.parse().ok()?;
    if numbers.len() < 2 || first == last {
        return None;
    }
    let words = Some(format!("backend {backend}").into());
    Some(Said { owner: Some(owner_of(server, backend)), words })
}

/// Whether a result says yes.
pub fn truth(value: Field<'_>) -> Option<bool> {
    match value? {
        b"t" | b"true" | b"1" | [1] | [0, 0, 0, 1] => Some(true),
        b"f" | b"false" | b"0" | [0] | [0, 0, 0, 0] => Some(false),
        _ => None,
    }
}
