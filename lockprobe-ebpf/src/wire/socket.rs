//! Conversations with lock servers: connections, and the bytes that went over them.

use super::{Header, Thread};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What is spoken on a port; 0 is nothing of interest.
pub mod dialect {
    /// Redis, Valkey.
    pub const REDIS: u32 = 1;
    /// etcd.
    pub const ETCD: u32 = 2;
    /// ZooKeeper.
    pub const ZOOKEEPER: u32 = 3;
    /// PostgreSQL.
    pub const POSTGRES: u32 = 4;
    /// MySQL, MariaDB.
    pub const MYSQL: u32 = 5;
    /// memcached.
    pub const MEMCACHED: u32 = 6;
    /// Consul.
    pub const CONSUL: u32 = 7;
}

/// Words of the map of ports, a bit a port.
pub const PORT_WORDS: u32 = 65_536 / 64;

/// Sizes of data a [`BytesRecord`] is followed by; the smallest that fits is used.
pub const PIECES: [usize; 3] = [128, 1024, 4096];
/// Most pieces that are copied of one call: 128 KiB, or so many buffers.
pub const PIECES_A_CALL: u32 = 32;

/// Bits of [`Socket::flags`].
pub mod socket_flag {
    /// The connection has been announced.
    pub const ANNOUNCED: u32 = 1;
    /// Its beginning was not seen.
    pub const JOINED: u32 = 2;
    /// What goes over it is copied at present.
    pub const CAPTURED: u32 = 4;
    /// Something was sent and nothing received since.
    pub const OWED: u32 = 8;
    /// Requests are sent before the answers to others are there.
    pub const PIPELINED: u32 = 16;
    /// What goes over it is encrypted.
    pub const ENCRYPTED: u32 = 32;
    /// Within a transaction: everything counts.
    pub const TRANSACTION: u32 = 64;
    /// Requests have been left out since the last that was copied.
    pub const SKIPPED: u32 = 128;
    /// A request that may be about a lock was sent on it once.
    pub const EVER: u32 = 256;
    /// That its bytes cannot be seen has been said.
    pub const HIDDEN: u32 = 1024;
    /// The TLS session that encrypts it is known.
    pub const PAIRED: u32 = 512;
    /// The server has closed it, and what it sent may not have been read yet.
    pub const ENDING: u32 = 2048;
}

/// A connection: value of the `SOCKETS` map.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Socket {
    /// Its identity.
    pub id: u64,
    /// Bytes sent so far.
    pub sent: u64,
    /// Bytes received so far.
    pub received: u64,
    /// When something last went over it.
    pub last_ns: u64,
    /// Of a unix socket, the kernel's own number of it: another one may come to its address.
    pub cookie: u64,
    /// One of [`dialect`].
    pub dialect: u32,
    /// Bits of [`socket_flag`].
    pub flags: u32,
    /// Of a unix socket, the TCP port at which the same server is known; else 0.
    pub port: u32,
    /// Zero.
    pub reserved: u32,
}

/// Bytes of the path of a unix socket (`sun_path`).
pub const UNIX_PATH: usize = 108;
/// Words of the map of lengths of such paths, a bit a length.
pub const UNIX_LENGTH_WORDS: u32 = 2;
/// The kernel numbers sockets in blocks of so many, one processor a block (`LAST_INO_BATCH` of
/// fs/inode.c).
pub const SOCKET_BLOCK: u32 = 1024;
/// Bits of a value of the `UNIX_SERVERS` map that are the port; those above are the dialect.
pub const UNIX_PORT_BITS: u32 = 16;

/// A call of a TLS library a thread is in: value of the `TLS_CALLS` map.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TlsCall {
    /// The session, by its address in the process.
    pub session: u64,
    /// Where the bytes are or will be.
    pub buffer: u64,
    /// Where the library says how many there were; 0 where it returns that.
    pub count_at: u64,
    /// When.
    pub time_ns: u64,
    /// 1 where what comes of it is sent: it writes, or shakes hands.
    pub sends: u64,
}

/// A TLS session: key of the `TLS_SESSIONS` map.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TlsKey {
    /// Its address in the process.
    pub session: u64,
    /// Process.
    pub tgid: u32,
    /// Zero.
    pub reserved: u32,
}

/// `CONNECTION` record.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ConnectionRecord {
    /// Kind, length, time.
    pub header: Header,
    /// Who uses it.
    pub thread: Thread,
    /// Its identity.
    pub connection: u64,
    /// Network name space.
    pub namespace: u32,
    /// One of [`dialect`].
    pub dialect: u32,
    /// Bits of [`socket_flag`].
    pub flags: u32,
    /// AF_INET or AF_INET6.
    pub family: u16,
    /// Port of the client.
    pub client_port: u16,
    /// Port of the server.
    pub server_port: u16,
    /// Zero.
    pub reserved: [u16; 3],
    /// Address of the client, the first four bytes for AF_INET.
    pub client: [u8; 16],
    /// Address of the server.
    pub server: [u8; 16],
}

const _: () = assert!(size_of::<ConnectionRecord>() == 48 + 8 + 12 + 6 + 6 + 32);

/// `CLOSED` record.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ClosedRecord {
    /// Kind, length, time.
    pub header: Header,
    /// Which.
    pub connection: u64,
}

/// Bits of [`BytesRecord::flags`].
pub mod bytes_flag {
    /// Sent rather than received.
    pub const SENT: u32 = 1;
    /// Nothing was owed when it was sent.
    pub const SETTLED: u32 = 2;
    /// Requests, and the answers to them, were left out before this.
    pub const SKIPPED: u32 = 4;
    /// The connection is encrypted, and nothing more comes of it.
    pub const ENCRYPTED: u32 = 8;
    /// Bytes go over it in a way that shows no buffer: io_uring, splice.
    pub const HIDDEN: u32 = 16;
}

/// `BYTES` record, without the data behind it: one of [`PIECES`], of which `length` bytes count.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct BytesRecord {
    /// Kind, length, time.
    pub header: Header,
    /// Who sent or received.
    pub thread: Thread,
    /// On which connection.
    pub connection: u64,
    /// Bytes that went this way before.
    pub offset: u64,
    /// Bytes copied.
    pub length: u32,
    /// Bits of [`bytes_flag`].
    pub flags: u32,
}

const _: () = assert!(size_of::<BytesRecord>() == 72);
const _: () = assert!(size_of::<Socket>() == 56);
