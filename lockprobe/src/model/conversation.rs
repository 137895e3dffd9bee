//! Clients talking to lock servers, as the kernel half overheard them.

use core::net::SocketAddr;

use super::Thread;

/// What is spoken on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dialect {
    /// Redis and Valkey.
    Redis,
    /// etcd: gRPC, and its JSON gateway.
    Etcd,
    /// ZooKeeper.
    ZooKeeper,
    /// PostgreSQL.
    Postgres,
    /// MySQL and MariaDB.
    Mysql,
    /// memcached.
    Memcached,
    /// Consul.
    Consul,
}

impl Dialect {
    /// Every dialect, in the order of their numbers on the wire.
    pub const ALL: [Self; 7] = [
        Self::Redis,
        Self::Etcd,
        Self::ZooKeeper,
        Self::Postgres,
        Self::Mysql,
        Self::Memcached,
        Self::Consul,
    ];

    /// Value of `lock.system.name`, and what users call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Etcd => "etcd",
            Self::ZooKeeper => "zookeeper",
            Self::Postgres => "postgresql",
            Self::Mysql => "mysql",
            Self::Memcached => "memcached",
            Self::Consul => "consul",
        }
    }

    /// Where its servers listen unless told otherwise.
    pub fn ports(self) -> &'static [u16] {
        match self {
            Self::Redis => &[6379],
            Self::Etcd => &[2379],
            Self::ZooKeeper => &[2181],
            Self::Postgres => &[5432],
            Self::Mysql => &[3306],
            Self::Memcached => &[11211],
            Self::Consul => &[8500],
        }
    }
}

/// A connection of a client on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Identity, never given twice in a run.
    pub id: u64,
    /// The process that was first seen to use it.
    pub pid: u32,
    /// What is spoken on it.
    pub dialect: Dialect,
    /// The client's end.
    pub client: SocketAddr,
    /// The server's end.
    pub server: SocketAddr,
    /// Network name space of the client.
    pub namespace: u32,
    /// It was there before observation began, or what was said first was not captured.
    pub joined: bool,
}

/// Bytes that went over a connection in one piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BytesSeen {
    /// When the call was over that sent or received them, CLOCK_MONOTONIC nanoseconds.
    pub time: u64,
    /// Who called.
    pub thread: Thread,
    /// On which connection.
    pub connection: u64,
    /// Sent to the server rather than received.
    pub sent: bool,
    /// How many bytes went this way before.
    pub offset: u64,
    /// What was captured.
    pub bytes: Vec<u8>,
    /// When this was sent, the server owed no answer.
    pub settled: bool,
    /// Bytes that nobody cared for were left out before these, whole requests and whole answers.
    pub skipped: bool,
    /// Why nothing can be seen of what goes over the connection, in a word.
    pub blind: Option<&'static str>,
}

/// What happened on a connection.
#[derive(Clone, Debug, PartialEq)]
pub enum TalkSeen {
    /// It was seen for the first time.
    Opened(Connection),
    /// Bytes.
    Bytes(BytesSeen),
    /// It was closed by the client, or by the server.
    Closed {
        /// When.
        time: u64,
        /// Which.
        connection: u64,
    },
}

/// A piece of a conversation as a backend takes it.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'a> {
    /// When it was over.
    pub time: u64,
    /// Who sent or received it.
    pub thread: Thread,
    /// Sent to the server rather than received.
    pub sent: bool,
    /// The bytes.
    pub bytes: &'a [u8],
    /// This many bytes before these were not captured; what they were is unknown.
    pub missing: u64,
    /// The server owed no answer when this was sent.
    pub settled: bool,
}
