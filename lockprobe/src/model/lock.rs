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
}

impl fmt::Display for LockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Private { pid, image: 0, address } => write!(f, "futex:{pid}:{address:#x}"),
            Self::Private { pid, image, address } => write!(f, "futex:{pid}.{image}:{address:#x}"),
            Self::Shared { device, inode, offset } => {
                write!(f, "futex:dev{device:x}:ino{inode}:{offset:#x}")
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
    /// Behaves like a lock, but nothing says which.
    Unknown,
}

impl LockKind {
    /// Value of `lock.system.name`.
    pub fn system(self) -> &'static str {
        match self {
            Self::PthreadMutex | Self::PthreadRwLock | Self::Semaphore => "pthread",
            Self::RustMutex | Self::RustRwLock | Self::RustOnce => "rust_std",
            Self::LowLevel | Self::PriorityInheritance | Self::Unknown => "futex",
        }
    }

    /// Value of `lock.type`: the kind in one word.
    pub fn name(self) -> &'static str {
        match self {
            Self::PthreadMutex | Self::RustMutex => "mutex",
            Self::LowLevel => "low_level",
            Self::PthreadRwLock | Self::RustRwLock => "rwlock",
            Self::Semaphore => "semaphore",
            Self::PriorityInheritance => "pi_mutex",
            Self::RustOnce => "once",
            Self::Unknown => "unknown",
        }
    }

    /// Every kind, for tables and for reading names back.
    pub const ALL: [Self; 9] = [
        Self::PthreadMutex,
        Self::LowLevel,
        Self::PthreadRwLock,
        Self::Semaphore,
        Self::PriorityInheritance,
        Self::RustMutex,
        Self::RustRwLock,
        Self::RustOnce,
        Self::Unknown,
    ];
}

/// Whether others may hold the lock at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// One holder.
    Exclusive,
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
