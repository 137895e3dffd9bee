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

use crate::framing::Backend;
use crate::model::Dialect;

/// The backend that understands a dialect.
pub fn of(dialect: Dialect) -> Box<dyn Backend + Send> {
    match dialect {
        Dialect::Consul => Box::new(consul::Consul::default()),
        Dialect::Etcd => Box::new(etcd::Etcd::default()),
        Dialect::Memcached => Box::new(memcached::Memcached::default()),
        Dialect::Mysql => Box::new(mysql::Mysql::default()),
        Dialect::Postgres => Box::new(postgres::Postgres::default()),
        Dialect::Redis => Box::new(redis::Redis::default()),
        Dialect::ZooKeeper => Box::new(zookeeper::ZooKeeper::default()),
    }
}
