//! Numbers the kernel half keeps.

use super::Histogram;

/// Every wait on one lock, however short.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LockCounts {
    /// Waits.
    pub waits: u64,
    /// Their total, nanoseconds.
    pub total: u64,
    /// The longest, nanoseconds.
    pub longest: u64,
    /// By length.
    pub histogram: Histogram,
    /// How many of them a time-out, a signal or somebody's end put an end to, of which some ended
    /// without the lock; `None` where nobody has looked.
    pub doubtful: Option<u64>,
}

impl LockCounts {
    /// Adds one wait.
    pub fn add(&mut self, waited: u64) {
        self.waits += 1;
        self.total += waited;
        self.longest = self.longest.max(waited);
        self.histogram.add(waited);
    }

    /// Adds another's counts. A recording may say anything, so nothing may overflow.
    pub fn merge(&mut self, other: &Self) {
        self.waits = self.waits.saturating_add(other.waits);
        self.total = self.total.saturating_add(other.total);
        self.longest = self.longest.max(other.longest);
        self.histogram.merge(&other.histogram);
        let sum =
            self.doubtful.zip(other.doubtful).map(|(mine, theirs)| mine.saturating_add(theirs));
        self.doubtful = sum;
    }
}

/// What was not delivered, and why; `stage` and `cause` as `lockprobe.events.dropped` has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Stage, cause, how many. Zeros are kept: a zero that is shown is a statement.
    pub dropped: Vec<(&'static str, &'static str, u64)>,
    /// Left out by choice: cause, how many.
    pub skipped: Vec<(&'static str, u64)>,
    /// Records written by the kernel half.
    pub emitted: u64,
    /// Waits counted by the kernel half, whatever their length.
    pub waits: u64,
}

impl Losses {
    /// All that was dropped.
    pub fn total_dropped(&self) -> u64 {
        self.dropped.iter().fold(0, |sum, (_, _, n)| n.saturating_add(sum))
    }
}
