//! What a thread was doing when it was looked at.

use super::ThreadId;

/// In a few words, whether a thread can go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Doing {
    /// There is no such thread any more.
    Gone,
    /// On a processor, or about to be.
    Running,
    /// Asleep, and a signal would wake it.
    Sleeping,
    /// Asleep in the kernel, and no signal wakes it: it waits for a disk, for memory, for a child
    /// of vfork.
    DiskSleep,
    /// Stopped by a signal.
    Stopped,
    /// Stopped by a debugger.
    Traced,
    /// Its cgroup is frozen.
    Frozen,
    /// It could not be read.
    Unknown,
}

impl Doing {
    /// Value of `thread.state`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Running => "running",
            Self::Sleeping => "sleeping",
            Self::DiskSleep => "disk_sleep",
            Self::Stopped => "stopped",
            Self::Traced => "traced",
            Self::Frozen => "frozen",
            Self::Unknown => "unknown",
        }
    }

    /// Every state, for reading names back.
    pub const ALL: [Self; 8] = [
        Self::Gone,
        Self::Running,
        Self::Sleeping,
        Self::DiskSleep,
        Self::Stopped,
        Self::Traced,
        Self::Frozen,
        Self::Unknown,
    ];
}

/// One thread, once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Activity {
    /// Who.
    pub id: ThreadId,
    /// When it was looked at, CLOCK_MONOTONIC nanoseconds.
    pub time: u64,
    /// What it did.
    pub doing: Doing,
    /// System call it was in, empty when in none, or unknown.
    pub call: String,
    /// How often it had gone to sleep of its own accord: the same number twice is the same sleep.
    pub switches: u64,
    /// Start of the thread, clock ticks since boot: tells a reused id.
    pub start_ticks: u64,
    /// Its name.
    pub name: String,
}
