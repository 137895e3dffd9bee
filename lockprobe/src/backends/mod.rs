//! What observations mean for locks: one folder a locking system.
//!
//! In: observations. Out: lock events. Never: another backend, the wire contract, a clock, files,
//! network.

pub mod futex;
pub mod kernel;

use crate::framing::Backend;
use crate::model::Dialect;

/// The backend that understands a dialect.
pub fn of(_dialect: Dialect) -> Option<Box<dyn Backend + Send>> {
    None
}
