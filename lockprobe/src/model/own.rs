//! What lockprobe itself costs and how full it is, at a moment.

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
