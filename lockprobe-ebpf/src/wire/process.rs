//! Beginnings, changes and ends of processes and threads.

use super::{Header, Thread};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What happened ([`ProcessRecord::event`]).
pub mod process_event {
    /// A new process (not a thread).
    pub const FORK: u32 = 1;
    /// A process runs a new program: every address known of it is void.
    pub const EXEC: u32 = 2;
    /// A process ended.
    pub const EXIT: u32 = 3;
    /// A thread that had waited on a lock ended; its process goes on.
    pub const THREAD_EXIT: u32 = 4;
    /// A process listens at a TCP port; only told where processes are chosen by that.
    pub const LISTENS: u32 = 5;
}

/// Which processes are watched (`ONLY_TARGETS`), and what `TARGETS` says of one.
pub mod choice {
    /// All.
    pub const ALL: u64 = 0;
    /// Those of which `TARGETS` says [`WATCHED`].
    pub const LISTED: u64 = 1;
    /// All but those of which it says [`LEFT_OUT`].
    pub const ALL_BUT: u64 = 2;
    /// Watched.
    pub const WATCHED: u32 = 1;
    /// Not watched.
    pub const LEFT_OUT: u32 = 2;
}

/// `PROCESS` record.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ProcessRecord {
    /// Kind, length, time.
    pub header: Header,
    /// Whom it happened to.
    pub thread: Thread,
    /// One of [`process_event`].
    pub event: u32,
    /// For a fork, the process that forked; for an exit, what the process ended with, as wait(2)
    /// has it; for one that listens, the port.
    pub detail: u32,
}

const _: () = assert!(size_of::<ProcessRecord>() == 56);
