//! The state of all locks at one moment, written out at once.

mod dot;
mod table;
mod tree;

pub use dot::write as write_dot;
pub use table::write as write_table;

use crate::model::Snapshot;

fn process(snapshot: &Snapshot, pid: u32) -> String {
    match snapshot.services.get(&pid) {
        Some(service) => format!("{service}[{pid}]"),
        None => format!("[{pid}]"),
    }
}
