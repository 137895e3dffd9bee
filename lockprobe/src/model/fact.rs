//! What is learnt outside the kernel half: from /proc, from binaries, from memory maps.
//!
//! Facts travel in recordings beside the records, so that a replay needs neither the machine nor
//! the processes.

use super::{Activity, LockKind, Mode, StackFact};
use std::fmt;
use std::sync::Arc;

/// One fact.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    /// Who a process is.
    Process(ProcessFact),
    /// What a call site is.
    Site(SiteFact),
    /// What a lock is called and where it lies.
    Lock(LockFact),
    /// Which thread a namespaced thread id means.
    Thread(ThreadFact),
    /// What a file is called.
    File(FileFact),
    /// Where a lock file is, and whom it names.
    LockFile(LockFileFact),
    /// Who has a lock that belongs to a process.
    Holder(HolderFact),
    /// What lies at a return address.
    Place(PlaceFact),
    /// What a thread was doing at a moment.
    Activity(Activity),
    /// What a thread's stack showed during a wait.
    Stack(StackFact),
    /// Processor time of a process.
    Processor(ProcessorFact),
}

/// Processor time a process has used since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessorFact {
    /// Process id on this host.
    pub pid: u32,
    /// Start of the process, as in [`ProcessFact::start_ticks`]; 0 when it is not there any more.
    pub start_ticks: u64,
    /// In its own code, nanoseconds.
    pub user: u64,
    /// In the kernel, nanoseconds.
    pub system: u64,
}

/// A process.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProcessFact {
    /// Process id on this host.
    pub pid: u32,
    /// How many programs the process had run before this one while it was watched.
    pub image: u32,
    /// Start of the process, clock ticks since boot (`/proc/PID/stat` field 22): tells a reused id.
    pub start_ticks: u64,
    /// Name for `service.name`: OTEL_SERVICE_NAME of its environment, else script or executable.
    pub service: String,
    /// Path of the executable; empty when it could not be read.
    pub executable: String,
    /// Command line; empty when it could not be read.
    pub command: Vec<String>,
    /// More attributes of the process as a resource: container, Kubernetes, agent, and what its
    /// OTEL_RESOURCE_ATTRIBUTES say. Name and value, each name once.
    pub attributes: Vec<(String, String)>,
    /// Trace context of the environment it was started with: W3C `traceparent`.
    pub trace_parent: Option<String>,
}

/// What a call site is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SiteClass {
    /// Waits here are lock waits.
    Lock(LockKind),
    /// Likewise, by threads that would share the lock.
    Shared(LockKind),
    /// Waits here are no lock waits: condition variable, join, parked or pooled thread.
    Idle,
    /// The frame of the call serves many; the caller decides. Its return address lies this many
    /// bytes above the stack pointer.
    ByCaller(u32),
    /// Nothing tells.
    Unknown,
}

impl SiteClass {
    /// What is waited for here, and how it would be taken.
    pub fn lock(self) -> Option<(LockKind, Mode)> {
        match self {
            Self::Lock(kind) => Some((kind, kind.mode())),
            Self::Shared(kind) => Some((kind, Mode::Shared)),
            Self::Idle | Self::ByCaller(_) | Self::Unknown => None,
        }
    }
}

/// A call site in a process.
#[derive(Clone, Debug, PartialEq)]
pub struct SiteFact {
    /// Process id.
    pub pid: u32,
    /// 0 for the instruction of the call, 1 for its caller's return address.
    pub level: u32,
    /// Address of the instruction.
    pub ip: u64,
    /// What it is.
    pub class: SiteClass,
    /// Function it lies in, where known.
    pub function: Option<Arc<str>>,
}

/// A place in code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallSite {
    /// Function, demangled; empty when unknown.
    pub function: String,
    /// Source file as the debug information has it, and line.
    pub source: Option<(String, u32)>,
    /// Binary the code lies in.
    pub module: String,
    /// Offset of the return address in that binary.
    pub offset: u64,
}

/// A return address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaceFact {
    /// Process id.
    pub pid: u32,
    /// The address.
    pub ip: u64,
    /// What lies there, if that could be found out.
    pub call_site: Option<CallSite>,
}

impl fmt::Display for CallSite {
    /// `worker.c:42 in process_batch`, as far as it is known.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let function = if self.function.is_empty() { &self.module } else { &self.function };
        match &self.source {
            Some((file, line)) => {
                let file = file.rsplit('/').next().unwrap_or(file);
                write!(f, "{file}:{line} in {function}")
            }
            None => write!(f, "{function}+{:#x}", self.offset),
        }
    }
}

/// A lock's place and name.
#[derive(Clone, Debug, PartialEq)]
pub struct LockFact {
    /// Process id.
    pub pid: u32,
    /// Address in it.
    pub address: u64,
    /// What its first call site says it is; `None` where that says nothing.
    pub kind: Option<LockKind>,
    /// How far the address lies behind the beginning of the lock; the symbol is the
    /// lock's, the place in shared memory the address's.
    pub inner: u64,
    /// Static object it lies in: symbol, and `+0x..` behind it for an inner offset.
    pub symbol: Option<String>,
    /// Device, inode and offset, where the memory is shared between processes.
    pub shared: Option<(u64, u64, u64)>,
    /// Code that was first seen waiting for it.
    pub call_site: Option<CallSite>,
}

/// A thread id of another PID namespace, translated.
#[derive(Clone, Debug, PartialEq)]
pub struct ThreadFact {
    /// Process id on this host.
    pub pid: u32,
    /// Thread id in the process's namespace.
    pub ns_tid: u32,
    /// Process it belongs to: another where processes share a lock.
    pub home: u32,
    /// Thread id on this host; 0 when there is no such thread.
    pub tid: u32,
    /// Its name.
    pub name: String,
}

/// A file with a lock.
#[derive(Clone, Debug, PartialEq)]
pub struct FileFact {
    /// Device, as the kernel numbers it.
    pub device: u32,
    /// Inode.
    pub inode: u64,
    /// Path as the waiter sees it; `None` when it has none any more.
    pub path: Option<String>,
}

/// A process that has a lock.
#[derive(Clone, Debug, PartialEq)]
pub struct HolderFact {
    /// Process id on this host.
    pub pid: u32,
    /// Its name; empty when there is no such process.
    pub name: String,
    /// How many threads it has; 0 when there is no such process.
    pub threads: u32,
}

/// Where a name is that is a lock by being there, and what lies there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LockFileFact {
    /// Root directory of the thread that came by it: device and inode.
    pub root: (u32, u64),
    /// Its directory, from that root, as the thread spells it.
    pub directory: String,
    /// The name in it.
    pub name: String,
    /// Device and inode of the directory, if it could be found.
    pub at: Option<(u64, u64)>,
    /// Path of the directory without links, where its root is ours.
    pub path: Option<String>,
    /// What lies there; `None` for nothing.
    pub found: Option<FoundFile>,
}

/// A lock file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FoundFile {
    /// When it was made, CLOCK_MONOTONIC nanoseconds, 0 for before the machine began; `None` where
    /// the file system does not tell.
    pub made: Option<u64>,
    /// Whom it names.
    pub says: Option<NamedProcess>,
}

/// A process that a lock file names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NamedProcess {
    /// Its id as the file has it.
    pub pid: u32,
    /// Its id on this host; 0 when it is not there.
    pub host_pid: u32,
    /// Its name.
    pub name: String,
    /// How many threads it has.
    pub threads: u32,
    /// Whether it is there.
    pub state: NamedState,
}

/// Whether a process is there that a file names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NamedState {
    /// It is.
    There,
    /// It has ended, and no other can be meant.
    Gone,
    /// It is another's, of another machine, or cannot be told.
    #[default]
    Unknown,
}

impl NamedState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::There, Self::Gone, Self::Unknown];

    /// Its name in recordings.
    pub fn name(self) -> &'static str {
        match self {
            Self::There => "there",
            Self::Gone => "gone",
            Self::Unknown => "unknown",
        }
    }
}
