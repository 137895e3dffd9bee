//! The state of all locks at one moment, written out at once.

mod dot;
mod json;
mod table;
mod tree;

use std::io::{self, Write};

use crate::model::{Session, Snapshot};

pub use json::schema;

/// Formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// For people; in colour or not.
    Table(bool),
    /// One JSON object.
    Json,
    /// A graph for graphviz.
    Dot,
}

/// Writes it.
pub fn write(
    out: &mut dyn Write,
    form: Form,
    snapshot: &Snapshot,
    session: &Session,
) -> io::Result<()> {
    match form {
        Form::Table(colour) => table::write(out, snapshot, session, colour)?,
        Form::Json => json::write(out, snapshot, session)?,
        Form::Dot => dot::write(out, snapshot)?,
    }
    out.flush()
}

fn process(snapshot: &Snapshot, pid: u32) -> String {
    match snapshot.services.get(&pid) {
        Some(service) => format!("{service}[{pid}]"),
        None => format!("[{pid}]"),
    }
}
