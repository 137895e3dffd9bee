//! Files that are locks by being there: made so that only one can make them, removed to let go.

use super::{Header, Thread};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes of a path that are looked at; longer ones are left out.
pub const PATH_BYTES: usize = 256;
/// System call numbers below this can be followed.
pub const CALLS: u32 = 512;

/// What a system call does to a name: value of the `CALLS` map, packed by [`name_call::pack`].
pub mod name_call {
    /// Makes it, unless it is there.
    pub const MAKE: u32 = 1;
    /// The same, if the flags say so: O_CREAT and O_EXCL.
    pub const OPEN: u32 = 2;
    /// Takes it away.
    pub const REMOVE: u32 = 3;
    /// Gives one away for another, which may have to be new: RENAME_NOREPLACE.
    pub const RENAME: u32 = 4;
    /// Locks an open file in another way.
    pub const LOCK: u32 = 5;
    /// Says that an argument is none.
    pub const NONE: u32 = 0xff;

    /// What it does, which argument is the path, which the directory it starts from, and what is
    /// made ([`super::made`]).
    pub const fn pack(what: u32, path: u32, directory: u32, made: u32) -> u32 {
        what | path << 8 | directory << 16 | made << 24
    }
}

/// What is made.
pub mod made {
    /// A file.
    pub const FILE: u32 = 0;
    /// A directory.
    pub const DIRECTORY: u32 = 1;
    /// Another name of a file, or a symbolic link.
    pub const LINK: u32 = 2;
    /// A file that is locked in another way.
    pub const OTHERWISE: u32 = 3;
}

/// What happened ([`LockFileRecord::event`]).
pub mod lock_file_event {
    /// It was there: refused.
    pub const REFUSED: u32 = 1;
    /// Made, after it had been in somebody's way lately.
    pub const ACQUIRED: u32 = 2;
    /// Taken away, after it had been in somebody's way lately.
    pub const RELEASED: u32 = 3;
    /// Locked in another way at once, so being there says nothing.
    pub const OTHERWISE: u32 = 4;
}

/// Who made a name: value of the `MADE` map.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Maker {
    /// When, CLOCK_MONOTONIC.
    pub time_ns: u64,
    /// Process.
    pub tgid: u32,
    /// Thread; 0 for nobody.
    pub tid: u32,
    /// Its descriptor, for a file; -1.
    pub descriptor: i32,
    /// One of [`made`].
    pub made: u32,
}

/// The name a thread last made or was refused: value of the `LATEST` map.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Latest {
    /// The name as it was spelled.
    pub key: super::FileKey,
    /// The name without its directory.
    pub last: super::FileKey,
    /// When, CLOCK_MONOTONIC.
    pub time_ns: u64,
    /// Descriptor of the file that was made; -1.
    pub descriptor: i32,
    /// Zero.
    pub reserved: u32,
}

/// `LOCK_FILE` record.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct LockFileRecord {
    /// Kind, length, time.
    pub header: Header,
    /// Who did it.
    pub thread: Thread,
    /// Who had made it; for [`lock_file_event::RELEASED`] too.
    pub maker: Maker,
    /// The thread's root directory: device and inode.
    pub root_inode: u64,
    /// The directory a relative path starts from.
    pub base_inode: u64,
    /// Its device.
    pub base_device: u32,
    /// Device of the root.
    pub root_device: u32,
    /// When this thread was first refused, in this run of attempts; 0 where it was not.
    pub refused_ns: u64,
    /// How often since, this time included.
    pub refusals: u32,
    /// One of [`lock_file_event`].
    pub event: u32,
    /// One of [`made`].
    pub made: u32,
    /// Descriptor of the directory the path starts from; -100 for the working directory.
    pub directory: i32,
    /// The path, zero-filled.
    pub path: [u8; PATH_BYTES],
}

const _: () = assert!(size_of::<LockFileRecord>() == 16 + 32 + 24 + 24 + 24 + PATH_BYTES);
