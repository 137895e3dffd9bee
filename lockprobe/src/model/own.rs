//! What lockprobe itself costs and how full it is, at a moment.

use std::time::Duration;

/// What the daemon tells of its own life.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnDaemon {
    /// How long nobody observed before this start, where that is known.
    pub gap: Option<Duration>,
    /// How long nothing was attached when a reload last needed a new start.
    pub last_gap: Option<Duration>,
    /// Reloads that were applied.
    pub reloads_applied: u64,
    /// Reloads that changed nothing.
    pub reloads_unchanged: u64,
    /// Reloads of a configuration that was wrong or could not be applied.
    pub reloads_refused: u64,
}

/// lockprobe at a moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OwnState {
    /// Processor time of the process, nanoseconds, since it started.
    pub processor_time: u64,
    /// Resident memory, bytes.
    pub memory: u64,
    /// Programs in the kernel.
    pub programs: Vec<OwnProgram>,
    /// Tables in the kernel: name, entries, limit.
    pub maps: Vec<(String, u64, u64)>,
    /// Probes attached.
    pub probes: u64,
    /// Queues between threads: name, waiting, limit.
    pub queues: Vec<(&'static str, u64, u64)>,
    /// What sinks could not deliver: stage, cause, how many.
    pub lost: Vec<(&'static str, &'static str, u64)>,
}

/// A program in the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnProgram {
    /// Its name.
    pub name: String,
    /// How often it ran; 0 unless the kernel keeps statistics.
    pub runs: u64,
    /// For how long in all, nanoseconds.
    pub time: u64,
}
