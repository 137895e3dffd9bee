//! The kernel half counts every wait, and of the long ones there are spans: what both tell of is
//! counted once.
//!
//! A span gives its lock a credit in the bucket of its length. The kernel's counts, which come
//! later, use the credits up; what is left are the waits nobody has seen: too short to be told, or
//! lost on the way.

use crate::model::{Histogram, LockCounts};

/// A credit given during one series of counts is good for that and the next: by then the wait has
/// been counted.
const GOOD_FOR: u64 = 2;
/// Most credits of one lock, spans of one length together; the oldest go first.
const AT_MOST: usize = 512;

/// Spans of one length, of one lock, of one series.
#[derive(Clone, Copy, Debug)]
struct Credit {
    bucket: u8,
    series: u64,
    count: u64,
    total: u64,
    /// Those that ended without the lock.
    doubtful: u64,
}

/// The credits of one lock.
#[derive(Debug, Default)]
pub struct Credits(Vec<Credit>);

/// Counts, as far as they are not zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// How many, as they are told.
    pub waits: u64,
    /// Bucket, and how many.
    pub buckets: Vec<(u8, u64)>,
    /// Total of all, nanoseconds.
    pub total: u64,
    /// The longest, nanoseconds.
    pub longest: u64,
    /// Those that may have ended without the lock; `None`: all.
    pub doubtful: Option<u64>,
}

impl Counts {
    /// The same in less room.
    pub fn of(counts: &LockCounts) -> Self {
        let buckets = (0u8..).zip(counts.histogram.counts().iter().copied());
        Self {
            waits: counts.waits,
            buckets: buckets.filter(|(_, count)| *count > 0).collect(),
            total: counts.total,
            longest: counts.longest,
            doubtful: counts.doubtful,
        }
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.buckets.iter().fold(0, |sum, (_, count)| count.saturating_add(sum))
    }
}

impl From<Counts> for LockCounts {
    fn from(counts: Counts) -> Self {
        let mut histogram = Histogram::default();
        counts.buckets.iter().for_each(|&(at, count)| histogram.add_at(usize::from(at), count));
        let Counts { waits, total, longest, doubtful, .. } = counts;
        Self { waits, total, longest, histogram, doubtful }
    }
}

impl Credits {
    /// Notes a span.
    pub fn add(&mut self, bucket: usize, nanos: u64, doubtful: bool, series: u64) {
        let Ok(bucket) = u8::try_from(bucket) else { return };
        let same = |credit: &&mut Credit| (credit.bucket, credit.series) == (bucket, series);
        let doubtful = u64::from(doubtful);
        match self.0.iter_mut().find(same) {
            Some(credit) => {
                credit.count += 1;
                credit.total = credit.total.saturating_add(nanos);
                credit.doubtful += doubtful;
            }
            None => {
                if self.0.len() >= AT_MOST {
                    self.0.remove(0);
                }
                self.0.push(Credit { bucket, series, count: 1, total: nanos, doubtful });
            }
        }
    }

    /// What of these counts, told in this series, there are no spans of.
    pub fn settle(&mut self, counts: &Counts, series: u64) -> Counts {
        self.0.retain(|credit| credit.series + GOOD_FOR > series);
        let mut left = counts.clone();
        // A span may end a little later than the wait it is of.
        for later in [0, 1] {
            for (bucket, count) in &mut left.buckets {
                let used = self.use_up(bucket.saturating_add(later), *count);
                *count -= used.count;
                left.total = left.total.saturating_sub(used.total);
                left.doubtful = left.doubtful.map(|n| n.saturating_sub(used.doubtful));
            }
        }
        left.buckets.retain(|(_, count)| *count > 0);
        let count = left.count();
        if count == 0 {
            left.total = 0;
        }
        left.waits = count;
        left.doubtful = left.doubtful.map(|n| n.min(count));
        left
    }

    /// Takes out up to so many of a bucket, the oldest first.
    fn use_up(&mut self, bucket: u8, most: u64) -> Credit {
        let mut used = Credit { bucket, series: 0, count: 0, total: 0, doubtful: 0 };
        for credit in self.0.iter_mut().filter(|credit| credit.bucket == bucket) {
            let take = credit.count.min(most - used.count);
            if take == 0 {
                continue;
            }
            // Of some of many the mean: their lengths differ by less than a bucket.
            let share = u128::from(credit.total) * u128::from(take) / u128::from(credit.count);
            let total = u64::try_from(share).unwrap_or(u64::MAX);
            let doubtful = credit.doubtful.min(take);
            (credit.count, credit.total) = (credit.count - take, credit.total - total);
            credit.doubtful -= doubtful;
            used.count += take;
            used.total = used.total.saturating_add(total);
            used.doubtful += doubtful;
        }
        self.0.retain(|credit| credit.count > 0);
        used
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(buckets: &[(u8, u64)], total: u64, doubtful: u64) -> Counts {
        let waits = buckets.iter().map(|(_, n)| n).sum();
        Counts { waits, buckets: buckets.to_vec(), total, longest: 0, doubtful: Some(doubtful) }
    }

    #[test]
    fn waits_with_spans_are_counted_once() {
        let mut credits = Credits::default();
        credits.add(80, 1_000, false, 1);
        credits.add(80, 1_100, true, 1);
        credits.add(90, 3_000, false, 1);
        let left = credits.settle(&counts(&[(3, 7), (80, 2), (90, 1)], 5_800, 1), 2);
        assert_eq!(left, counts(&[(3, 7)], 700, 0));
        assert!(credits.is_empty());
    }

    #[test]
    fn a_span_that_was_lost_is_among_what_is_left() {
        let mut credits = Credits::default();
        credits.add(80, 1_000, false, 1);
        let left = credits.settle(&counts(&[(80, 3)], 3_300, 1), 2);
        assert_eq!(left, counts(&[(80, 2)], 2_300, 1));
    }

    #[test]
    fn a_span_that_came_before_its_counts_is_known_when_they_come() {
        let mut credits = Credits::default();
        credits.add(80, 1_000, false, 1);
        assert_eq!(credits.settle(&counts(&[(3, 1)], 9, 0), 2), counts(&[(3, 1)], 9, 0));
        credits.add(80, 1_000, false, 2);
        let left = credits.settle(&counts(&[(80, 1)], 1_000, 0), 2);
        assert_eq!(left, counts(&[], 0, 0));
        // By now the first is none: its count would have come.
        assert_eq!(credits.settle(&counts(&[(80, 1)], 1_000, 0), 4), counts(&[(80, 1)], 1_000, 0));
    }

    #[test]
    fn a_span_that_ends_a_little_later_is_the_same_wait() {
        let mut credits = Credits::default();
        credits.add(81, 1_200, false, 1);
        credits.add(80, 1_100, false, 1);
        assert_eq!(credits.settle(&counts(&[(80, 2)], 2_250, 0), 1), counts(&[], 0, 0));
    }
}
