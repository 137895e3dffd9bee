//! What observations mean for locks: one folder a locking system.
//!
//! In: observations. Out: lock events. Never: another backend, the wire contract, a clock, files,
//! network.

pub mod futex;
pub mod kernel;
pub mod memcached;
pub mod zookeeper;

use crate::framing::Backend;
use crate::model::Dialect;

/// The backend that understands a dialect.
pub fn of(dialect: Dialect) -> Option<Box<dyn Backend + Send>> {
    match dialect {
        Dialect::ZooKeeper => Some(Box::new(zookeeper::ZooKeeper::default())),
        Dialect::Memcached => Some(Box::new(memcached::Memcached::default())),
        _ => None,
    }
}
