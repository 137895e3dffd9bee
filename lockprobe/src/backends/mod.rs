//! What observations mean for locks: one folder a locking system.
//!
//! In: observations. Out: lock events. Never: another backend, the wire contract, a clock, files,
//! network.

pub mod consul;
pub mod etcd;
pub mod futex;
pub mod kernel;
pub mod memcached;
pub mod mysql;
pub mod postgres;
pub mod redis;
pub mod zookeeper;

use crate::framing::{Backend, Rules};
use crate::model::Dialect;

/// The backend that understands a dialect, and goes by these rules.
pub fn of(dialect: Dialect, rules: &Rules) -> Box<dyn Backend + Send> {
    match dialect {
        Dialect::Consul => Box::new(consul::Consul::default()),
        Dialect::Etcd => Box::new(etcd::Etcd::default()),
        Dialect::Memcached => Box::new(memcached::Memcached::with(rules)),
        Dialect::Mysql => Box::new(mysql::Mysql::with(rules)),
        Dialect::Postgres => Box::new(postgres::Postgres::with(rules)),
        Dialect::Redis => Box::new(redis::Redis::new(rules.clone())),
        Dialect::ZooKeeper => Box::new(zookeeper::ZooKeeper::default()),
    }
}
