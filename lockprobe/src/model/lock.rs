//! Locks: identity, kind and name.

use std::fmt;
use std::sync::Arc;

/// What is contended for. Two threads that wait for the same lock see the same id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LockId {
    /// A futex word in the memory of one process.
    Private {
        /// Process id.
        pid: u32,
        /// How many programs the process had run before: an exec voids every address.
        image: u32,
        /// Address of the word.
        address: u64,
    },
    /// A futex word in memory that processes share.
    Shared {
        /// Device of the mapped file.
        device: u64,
        /// Its inode.
        inode: u64,
        /// Offset of the word in the file.
        offset: u64,
    },
    /// A part of a file, in one of the two tables the kernel keeps of every file.
    File {
        /// Device as the kernel numbers it.
        device: u32,
        /// Inode.
        inode: u64,
        /// fcntl(2)'s table rather than flock(2)'s.
        fcntl: bool,
        /// First byte.
        start: u64,
        /// Last byte; `i64::MAX` for the end of the file, wherever that is.
        end: u64,
    },
    /// A System V semaphore.
    Semaphore {
        /// IPC namespace.
        namespace: u32,
        /// Set.
        set: u32,
        /// Number in the set.
        number: u32,
    },
}

/// Last byte of a lock that reaches to the end of its file.
pub const END_OF_FILE: u64 = i64::MAX as u64;

impl fmt::Display for LockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Private { pid, image: 0, address } => write!(f, "futex:{pid}:{address:#x}"),
            Self::Private { pid, image, address } => write!(f, "futex:{pid}.{image}:{address:#x}"),
            Self::Shared { device, inode, offset } => {
                write!(f, "futex:dev{device:x}:ino{inode}:{offset:#x}")
            }
            Self::File { device, inode, fcntl: false, .. } => {
                write!(f, "flock:dev{device:x}:ino{inode}")
            }
            Self::File { device, inode, start, end, .. } => {
                write!(f, "fcntl:dev{device:x}:ino{inode}:{start}-")?;
                if *end == END_OF_FILE { f.write_str("eof") } else { write!(f, "{end}") }
            }
            Self::Semaphore { namespace, set, number } => {
                write!(f, "sysv:ns{namespace}:set{set}:{number}")
            }
        }
    }
}

/// What kind of lock, as the call site tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LockKind {
    /// POSIX mutex of glibc: the owner's thread id lies beside the lock word.
    PthreadMutex,
    /// glibc's own low-level lock (allocator, standard streams): no owner word.
    LowLevel,
    /// POSIX read-write lock.
    PthreadRwLock,
    /// POSIX semaphore: no owner.
    Semaphore,
    /// Priority-inheritance futex: the owner is the lock word.
    PriorityInheritance,
    /// `std::sync::Mutex` of Rust: no owner.
    RustMutex,
    /// `std::sync::RwLock` of Rust: no owner.
    RustRwLock,
    /// `std::sync::Once` of Rust, and what is built on it.
    RustOnce,
    /// flock(2) on a file: of an open file description.
    Flock,
    /// fcntl(2) on a range of a file: of a process.
    PosixFile,
    /// fcntl(2) on a range of a file: of an open file description.
    OpenFile,
    /// System V semaphore.
    SysvSemaphore,
    /// Behaves like a lock, but nothing says which.
    Unknown,
}

impl Mode {
    /// Value of `lock.mode`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exclusive => "exclusive",
            Self::Shared => "shared",
            Self::Unknown => "unknown",
        }
    }
}

impl LockKind {
    /// Value of `lock.system.name`.
    pub fn system(self) -> &'static str {
        match self {
            Self::PthreadMutex | Self::PthreadRwLock | Self::Semaphore => "pthread",
            Self::RustMutex | Self::RustRwLock | Self::RustOnce => "rust_std",
            Self::LowLevel | Self::PriorityInheritance | Self::Unknown => "futex",
            Self::Flock => "flock",
            Self::PosixFile | Self::OpenFile => "fcntl",
            Self::SysvSemaphore => "sysv_semaphore",
        }
    }

    /// Value of `lock.type`: the kind in one word.
    pub fn name(self) -> &'static str {
        match self {
            Self::PthreadMutex | Self::RustMutex => "mutex",
            Self::LowLevel => "low_level",
            Self::PthreadRwLock | Self::RustRwLock => "rwlock",
            Self::Semaphore | Self::SysvSemaphore => "semaphore",
            Self::Flock => "file",
            Self::PosixFile => "posix",
            Self::OpenFile => "ofd",
            Self::PriorityInheritance => "pi_mutex",
            Self::RustOnce => "once",
            Self::Unknown => "unknown",
        }
    }

    /// Every kind, for tables and for reading names back.
    pub const ALL: [Self; 13] = [
        Self::PthreadMutex,
        Self::LowLevel,
        Self::PthreadRwLock,
        Self::Semaphore,
        Self::PriorityInheritance,
        Self::RustMutex,
        Self::RustRwLock,
        Self::RustOnce,
        Self::Flock,
        Self::PosixFile,
        Self::OpenFile,
        Self::SysvSemaphore,
        Self::Unknown,
    ];
}

/// Whether others may hold the lock at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// One holder.
    Exclusive,
    /// Others may have it too, in the same mode.
    Shared,
    /// Nothing tells.
    Unknown,
}

/// A lock as people read it; shared by all spans on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockDescription {
    /// Which lock.
    pub id: LockId,
    /// What kind.
    pub kind: LockKind,
    /// A symbol, a call site, or the address: never empty.
    pub name: Arc<str>,
    /// Whether the kind is certain (`confirmed`) or guessed from behaviour (`candidate`).
    pub confirmed: bool,
    /// Code that was waiting when the lock was first seen contended.
    pub call_site: Option<super::CallSite>,
}
