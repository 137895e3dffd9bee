//! Records that cross the ring, and the values of the maps both halves touch.
//!
//! In: nothing. Out: types. Never: pointers, `std`, anything that allocates.

mod counter;
mod file;
mod full;
mod lock;
mod lock_file;
mod process;
mod socket;
mod standing;
mod wait;

pub use counter::{Counter, dropped};
pub use file::{FileKey, FileRecord, Place, Poll, Request, Taken, class, file_event, mode};
pub use full::{FullCounter, FullLockRecord, FullOrderRecord, FullStats, HELD, Held, Holding};
pub use full::{Order, OrderKey, act, held_flag};
pub use lock::{BUCKETS, HISTOGRAM_MIN_EXPONENT, HISTOGRAM_SCALE, LockKey, LockStats, bucket_of};
pub use lock::{LockRecord, STACK_BYTES, SiteKey, verdict};
pub use lock_file::Latest;
pub use lock_file::{CALLS, LockFileRecord, Maker, PATH_BYTES, lock_file_event, made, name_call};
pub use process::{ProcessRecord, choice, process_event};
pub use socket::{BytesRecord, ClosedRecord, ConnectionRecord, PIECES, PIECES_A_CALL, PORT_WORDS};
pub use socket::{
    SOCKET_BLOCK, Socket, TlsCall, TlsKey, UNIX_LENGTH_WORDS, UNIX_PATH, UNIX_PORT_BITS,
};
pub use socket::{bytes_flag, dialect, socket_flag};
pub use standing::Standing;
pub use wait::{Thread, Wait, WaitRecord, call, reason, state, wait_flag};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Version of everything in this module; a recording carries it, and a reader refuses another.
pub const WIRE_VERSION: u32 = 2;

/// What a record is; the first word of its [`Header`].
pub mod kind {
    /// A wait ended (`WaitRecord`): the thread runs again.
    pub const WAIT: u32 = 1;
    /// The wait before was not the end (`WaitRecord`): the thread sleeps on, same attempt.
    pub const RESUME: u32 = 2;
    /// A wait is still going on (`WaitRecord`), read from the table of waits, not from the ring.
    pub const WAITING: u32 = 3;
    /// A lock was contended for the first time (`LockRecord`), with the top of the waiter's stack.
    pub const LOCK: u32 = 4;
    /// A process or thread began, changed or ended (`ProcessRecord`).
    pub const PROCESS: u32 = 5;
    /// What was added to the counts of one lock (`LockKey` and `LockStats`) since they were last
    /// read, which is every few seconds.
    pub const STATS: u32 = 6;
    /// All counters as of now (one little-endian `u64` each, in `Counter` order); ends a series of
    /// `STATS`.
    pub const COUNTERS: u32 = 7;
    /// The time of a poll (no body): everything earlier has been delivered.
    pub const TICK: u32 = 8;
    /// Something the agent learnt outside the kernel (JSON), kept so that a replay knows it too.
    pub const FACT: u32 = 9;
    /// Something happened to a contended lock of a file (`FileRecord`).
    pub const FILE: u32 = 10;
    /// Something happened to a file that is a lock by being there (`LockFileRecord`).
    pub const LOCK_FILE: u32 = 11;
    /// A client's connection to a lock server was seen for the first time (`ConnectionRecord`).
    pub const CONNECTION: u32 = 12;
    /// Bytes went over it (`BytesRecord`, and the bytes).
    pub const BYTES: u32 = 13;
    /// It was closed (`ClosedRecord`).
    pub const CLOSED: u32 = 14;
    /// Full mode: a lock was acquired for the first time (`FullLockRecord`).
    pub const FULL_LOCK: u32 = 20;
    /// Full mode: a lock was asked for while another was held, for the first time
    /// (`FullOrderRecord`).
    pub const FULL_ORDER: u32 = 21;
    /// Full mode: everything about one lock (`LockKey`, `FullStats`), as of now.
    pub const FULL_STATS: u32 = 22;
    /// Full mode: an order of two locks (`OrderKey`, `Order`), as of now.
    pub const FULL_ORDERS: u32 = 23;
    /// Full mode: its own counters (one little-endian `u64` each, in `FullCounter` order).
    pub const FULL_COUNTERS: u32 = 24;
    /// Full mode: a lock is held that nobody has let go yet (`FullLockRecord`), read from the
    /// table of threads, not from the ring.
    pub const FULL_HELD: u32 = 25;
}

/// What every record begins with.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Header {
    /// One of [`kind`].
    pub kind: u32,
    /// Length of the whole record in bytes, header included.
    pub len: u32,
    /// CLOCK_MONOTONIC, nanoseconds, when the record was made.
    pub time_ns: u64,
}

const _: () = assert!(size_of::<Header>() == 16);
