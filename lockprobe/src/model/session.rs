//! The circumstances of an observation.

/// What is the same for every record of one run or one recording.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Session {
    /// Add to CLOCK_MONOTONIC nanoseconds to get UNIX time.
    pub wall_offset: i128,
    /// When observation began, CLOCK_MONOTONIC nanoseconds.
    pub start: u64,
    /// The threshold, nanoseconds.
    pub min_wait: u64,
    /// Stacks are taken of waits from this length on, nanoseconds; of none without.
    pub stack_threshold: Option<u64>,
    /// Name of the host.
    pub host: String,
    /// Kernel release.
    pub kernel: String,
    /// Version of lockprobe that made it.
    pub version: String,
}

impl Session {
    /// UNIX time in nanoseconds of a CLOCK_MONOTONIC time.
    pub fn unix_nanos(&self, monotonic: u64) -> u64 {
        u64::try_from(i128::from(monotonic) + self.wall_offset).unwrap_or(0)
    }
}
