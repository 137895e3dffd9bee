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
    /// A name of a file that is a lock by being there.
    Name {
        /// Root directory it counts from, mixed.
        root: u64,
        /// Path, mixed.
        path: u64,
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
    /// A lock that a server keeps, the same on every host.
    Remote {
        /// Whose lock.
        kind: LockKind,
        /// Server, name space and name, mixed; the text is in [`LockDescription::address`].
        mixed: u64,
    },
    /// Some lock of this kind in a process: the address slept on is not the lock.
    Process {
        /// Process id.
        pid: u32,
        /// How many programs the process had run before.
        image: u32,
        /// What is known of it.
        kind: LockKind,
    },
}

impl LockId {
    /// None comes before it in the order of identities.
    pub const FIRST: Self = Self::Private { pid: 0, image: 0, address: 0 };

    /// Value of `lock.scope`, where the identity says less than which lock it is.
    pub fn scope(&self) -> Option<&'static str> {
        matches!(self, Self::Process { .. }).then_some("process")
    }
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
            Self::Name { root, path } => write!(f, "lockfile:{root:x}:{path:016x}"),
            Self::Semaphore { namespace, set, number } => {
                write!(f, "sysv:ns{namespace}:set{set}:{number}")
            }
            Self::Remote { kind, mixed } => write!(f, "{}:{mixed:016x}", kind.system()),
            Self::Process { pid, image, kind } => {
                let (system, name) = (kind.system(), kind.name());
                match image {
                    0 => write!(f, "process:{pid}:{system}/{name}"),
                    _ => write!(f, "process:{pid}.{image}:{system}/{name}"),
                }
            }
        }
    }
}

macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $kind:ident = $system:literal, $name:literal;)*) => {
        /// What kind of lock, as the call site tells.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum LockKind {
            $($(#[doc = $doc])+ $kind,)*
        }

        impl LockKind {
            /// Every kind, for tables and for reading names back.
            pub const ALL: &[Self] = &[$(Self::$kind),*];

            /// Value of `lock.system.name`.
            pub fn system(self) -> &'static str {
                match self { $(Self::$kind => $system),* }
            }

            /// Value of `lock.type`: the kind in one word.
            pub fn name(self) -> &'static str {
                match self { $(Self::$kind => $name),* }
            }
        }
    };
}

kinds! {
    /// POSIX mutex of glibc: the owner's thread id lies beside the lock word.
    PthreadMutex = "pthread", "mutex";
    /// glibc's own low-level lock (allocator, standard streams): no owner word.
    LowLevel = "futex", "low_level";
    /// POSIX read-write lock of glibc: names the writer that has it.
    PthreadRwLock = "pthread", "rwlock";
    /// POSIX semaphore: no owner.
    Semaphore = "pthread", "semaphore";
    /// `pthread_once` and `call_once`: whoever runs the initialiser has it.
    PthreadOnce = "pthread", "once";
    /// Priority-inheritance futex: the owner is the lock word.
    PriorityInheritance = "futex", "pi_mutex";
    /// Initialisation of a static variable of C++, `__cxa_guard_acquire`.
    StaticInit = "cxx", "static_init";
    /// Mutex of musl: all but the plain kind name their owner.
    MuslMutex = "musl", "mutex";
    /// Read-write lock of musl: no owner.
    MuslRwLock = "musl", "rwlock";
    /// Semaphore of musl: no owner.
    MuslSemaphore = "musl", "semaphore";
    /// `pthread_once` of musl.
    MuslOnce = "musl", "once";
    /// `std::sync::Mutex` of Rust: no owner.
    RustMutex = "rust_std", "mutex";
    /// `std::sync::RwLock` of Rust: no owner.
    RustRwLock = "rust_std", "rwlock";
    /// `std::sync::Once` of Rust, and what is built on it.
    RustOnce = "rust_std", "once";
    /// `parking_lot::Mutex` of Rust: its waiters sleep on words of their own.
    ParkingLotMutex = "parking_lot", "mutex";
    /// `parking_lot::RwLock` of Rust, likewise.
    ParkingLotRwLock = "parking_lot", "rwlock";
    /// `parking_lot::Once` of Rust, likewise.
    ParkingLotOnce = "parking_lot", "once";
    /// The global interpreter lock of CPython.
    PythonGil = "cpython", "gil";
    /// `threading.Lock` of CPython up to 3.13.0, a semaphore.
    PythonLock = "cpython", "mutex";
    /// Locks of newer CPythons (`PyMutex`): their waiters sleep on semaphores of their own.
    PythonParked = "cpython", "parked_mutex";
    /// `multiprocessing.Lock` and its relatives, a semaphore shared by processes.
    Multiprocessing = "multiprocessing", "semaphore";
    /// A lock of Go's run time, `runtime.lock2`; those of programs are not visible.
    GoRuntime = "go", "runtime_lock";
    /// Monitor of a Java object: its waiters sleep on words of their own.
    JavaMonitor = "java", "monitor";
    /// `LockSupport.park`: a lock of `java.util.concurrent`, or an idle thread of a pool.
    JavaPark = "java", "park";
    /// `Atomics.wait` of JavaScript, on a word of the engine's.
    JavaScriptAtomics = "v8", "atomics_wait";
    /// flock(2) on a file: of an open file description.
    Flock = "flock", "file";
    /// fcntl(2) on a range of a file: of a process.
    PosixFile = "fcntl", "posix";
    /// fcntl(2) on a range of a file: of an open file description.
    OpenFile = "fcntl", "ofd";
    /// A file that is a lock by being there.
    LockFile = "lockfile", "file";
    /// A directory that is a lock by being there.
    LockDirectory = "lockfile", "directory";
    /// System V semaphore.
    SysvSemaphore = "sysv_semaphore", "semaphore";
    /// A key of Redis that is there while the lock is held.
    RedisLock = "redis", "lock";
    /// The same on a majority of several servers.
    RedisRedlock = "redis", "redlock";
    /// A set of Redis with a place for each holder.
    RedisSemaphore = "redis", "semaphore";
    /// A channel of Redis that one subscriber has to itself.
    RedisChannel = "redis", "channel";
    /// A key of etcd under a lease.
    EtcdLock = "etcd", "lock";
    /// An ephemeral node of ZooKeeper, the first of its siblings.
    ZooKeeperLock = "zookeeper", "lock";
    /// The same among readers and writers.
    ZooKeeperRwLock = "zookeeper", "rwlock";
    /// The same, held for as long as its process leads.
    ZooKeeperElection = "zookeeper", "election";
    /// A node of ZooKeeper with a child for each of a number of holders.
    ZooKeeperSemaphore = "zookeeper", "semaphore";
    /// A number that sessions of PostgreSQL agree to lock.
    PostgresAdvisory = "postgresql", "advisory";
    /// Rows of PostgreSQL that a transaction locks.
    PostgresRow = "postgresql", "row";
    /// A table of PostgreSQL that a transaction locks.
    PostgresTable = "postgresql", "table";
    /// A name that connections of MySQL or MariaDB agree to lock.
    MysqlUser = "mysql", "user_lock";
    /// Rows of MySQL or MariaDB that a transaction locks.
    MysqlRow = "mysql", "row";
    /// A key of memcached that is there while the lock is held.
    MemcachedLock = "memcached", "lock";
    /// A key of Consul that a session has.
    ConsulLock = "consul", "lock";
    /// Behaves like a lock, but nothing says which.
    Unknown = "futex", "unknown";
}

/// What it says of a thread that it wakes a waiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wakes {
    /// It had the lock and lets it go.
    Owner,
    /// It had the lock, perhaps as one of many, and not necessarily when the wait began.
    Sharer,
    /// It adds to a semaphore: it had it only if that serves as a lock.
    Poster,
    /// Nothing: whoever waits here may wait for something else than a lock.
    Anybody,
}

impl LockKind {
    /// The address slept on is not the lock, and nothing else says which lock it is.
    pub fn hides_identity(self) -> bool {
        matches!(
            self,
            Self::ParkingLotMutex
                | Self::ParkingLotRwLock
                | Self::ParkingLotOnce
                | Self::PythonParked
                | Self::JavaMonitor
                | Self::JavaPark
                | Self::JavaScriptAtomics
        )
    }

    /// What it says of a thread that it wakes a waiter.
    pub fn wakes(self) -> Wakes {
        match self {
            Self::PthreadRwLock | Self::RustRwLock | Self::MuslRwLock | Self::ParkingLotRwLock => {
                Wakes::Sharer
            }
            Self::Semaphore | Self::MuslSemaphore | Self::Multiprocessing => Wakes::Poster,
            Self::JavaPark | Self::JavaScriptAtomics => Wakes::Anybody,
            _ => Wakes::Owner,
        }
    }

    /// How others take the lock while one exclusive attempt waits for it.
    pub fn mode(self) -> Mode {
        match self.wakes() {
            Wakes::Owner | Wakes::Sharer => Mode::Exclusive,
            Wakes::Poster | Wakes::Anybody => Mode::Unknown,
        }
    }

    /// How far behind the beginning of the lock its waiters sleep. `value` is what the call
    /// expected there.
    ///
    /// glibc's `struct __pthread_rwlock_arch_t` (x86-64 and aarch64 alike): `__readers`,
    /// `__writers`, `__wrphase_futex`, `__writers_futex`. Readers sleep on the third with 3 or on
    /// the first with a value that has bit 4 in it, writers on the third with 2 or on the fourth
    /// with 3 (nptl/pthread_rwlock_common.c, `PTHREAD_RWLOCK_FUTEX_USED`). Rust: `state`,
    /// `writer_notify` (library/std/src/sys/sync/rwlock/futex.rs). musl's mutex has its type first
    /// (src/internal/pthread_impl.h, `_m_lock`). A condition variable of glibc, which the
    /// interpreter lock waits on, has two words that take turns (`__g_signals`).
    pub fn inner(self, mode: Mode, value: u32, address: u64) -> u64 {
        match (self, mode) {
            (Self::PthreadRwLock, Mode::Shared) if value == 3 => 8,
            (Self::PthreadRwLock, Mode::Exclusive) if value == 2 => 8,
            (Self::PthreadRwLock, Mode::Exclusive) => 12,
            (Self::RustRwLock, Mode::Exclusive) => 4,
            (Self::MuslMutex, _) => 4,
            (Self::PythonGil, _) => address & 7,
            _ => 0,
        }
    }

    /// The owner that the lock's memory names, as a thread id of the process's own PID namespace.
    /// The words are those at the address slept on, which lies `inner` bytes into the lock.
    pub fn owner(self, inner: u64, words: &[u32; 6]) -> Option<u32> {
        let owner = match self {
            Self::PthreadMutex => words[2],
            Self::PriorityInheritance => words[0] & OWNER_BITS,
            // `__cur_writer`, 24 bytes on.
            Self::PthreadRwLock => {
                *words.get(usize::try_from(24u64.checked_sub(inner)? / 4).ok()?)?
            }
            // A plain mutex holds EBUSY instead of its owner.
            Self::MuslMutex if words[0] & OWNER_BITS != 16 => words[0] & OWNER_BITS,
            _ => return None,
        };
        // Zero between locking and noting the owner; a word no thread id fits in is no owner.
        (owner != 0 && owner < 1 << 22).then_some(owner)
    }
}

/// Low bits of a lock word that hold a thread id (`FUTEX_TID_MASK` of linux/futex.h).
const OWNER_BITS: u32 = 0x3fff_ffff;

/// Whether others may hold the lock at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// One holder.
    Exclusive,
    /// Others may hold it too.
    Shared,
    /// Nothing tells.
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
    /// Of a lock that a server keeps: where it is, equal on every host.
    pub address: Option<Arc<str>>,
}

impl LockDescription {
    /// Value of `lock.id`.
    pub fn identity(&self) -> String {
        self.address.as_deref().map_or_else(|| self.id.to_string(), str::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_found_by_any_of_the_words_its_waiters_sleep_on() {
        let table = [
            (LockKind::PthreadRwLock, Mode::Shared, 3, 8),
            (LockKind::PthreadRwLock, Mode::Shared, 0x1f, 0),
            (LockKind::PthreadRwLock, Mode::Exclusive, 2, 8),
            (LockKind::PthreadRwLock, Mode::Exclusive, 3, 12),
            (LockKind::RustRwLock, Mode::Shared, 3, 0),
            (LockKind::RustRwLock, Mode::Exclusive, 3, 4),
            (LockKind::MuslMutex, Mode::Exclusive, 0x8000_0010, 4),
            (LockKind::PthreadMutex, Mode::Exclusive, 2, 0),
            (LockKind::PythonGil, Mode::Exclusive, 0, 4),
        ];
        for (kind, mode, value, inner) in table {
            let address = if kind == LockKind::PythonGil { 0x102c } else { 0x1000 };
            assert_eq!(kind.inner(mode, value, address), inner, "{kind:?} {mode:?} {value}");
        }
    }

    #[test]
    fn owners_are_where_each_kind_has_them() {
        let words = [0x8000_0007, 0, 42, 43, 44, 0];
        assert_eq!(LockKind::PthreadMutex.owner(0, &words), Some(42));
        assert_eq!(LockKind::PriorityInheritance.owner(0, &words), Some(7));
        assert_eq!(LockKind::PthreadRwLock.owner(12, &words), Some(43));
        assert_eq!(LockKind::PthreadRwLock.owner(8, &words), Some(44));
        assert_eq!(LockKind::PthreadRwLock.owner(0, &words), None, "beyond what was read");
        assert_eq!(LockKind::MuslMutex.owner(4, &words), Some(7));
        assert_eq!(LockKind::MuslMutex.owner(4, &[0x8000_0010, 0, 0, 0, 0, 0]), None, "plain");
        assert_eq!(LockKind::Semaphore.owner(0, &words), None);
        assert_eq!(LockKind::PthreadMutex.owner(0, &[2, 0, u32::MAX, 0, 0, 0]), None);
    }

    #[test]
    fn no_two_kinds_have_one_name() {
        let names: std::collections::HashSet<_> =
            LockKind::ALL.iter().map(|k| (k.system(), k.name())).collect();
        assert_eq!(names.len(), LockKind::ALL.len());
    }
}
