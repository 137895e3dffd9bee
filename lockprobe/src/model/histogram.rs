//! Exponential histogram with eight buckets an octave, the shape the kernel half counts in.

/// Buckets a histogram has.
pub const BUCKETS: usize = 216;
/// OpenTelemetry scale: bucket `i` ends at `2^(10 + (i + 1) / 8)` nanoseconds.
pub const SCALE: u32 = 3;
/// Exponent of the lower end of bucket 0.
pub const MIN_EXPONENT: u32 = 10;

/// Counts by duration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    buckets: Vec<u64>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: vec![0; BUCKETS] }
    }
}

impl Histogram {
    /// From the kernel's counts.
    pub fn from_counts(counts: impl IntoIterator<Item = u64>) -> Self {
        let mut buckets: Vec<u64> = counts.into_iter().take(BUCKETS).collect();
        buckets.resize(BUCKETS, 0);
        Self { buckets }
    }

    /// The bucket a duration in nanoseconds belongs to.
    pub fn bucket_of(nanos: u64) -> usize {
        let octaves = (nanos.max(1) as f64).log2() - f64::from(MIN_EXPONENT);
        let bucket = (octaves * f64::from(1 << SCALE)).ceil() - 1.0;
        (bucket.max(0.0) as usize).min(BUCKETS - 1)
    }

    /// Adds one duration in nanoseconds.
    pub fn add(&mut self, nanos: u64) {
        self.add_at(Self::bucket_of(nanos), 1);
    }

    /// Adds so many to a bucket; to none beyond the last.
    pub fn add_at(&mut self, bucket: usize, count: u64) {
        if let Some(known) = self.buckets.get_mut(bucket) {
            *known = known.saturating_add(count);
        }
    }

    /// All counts, from 1 us upwards.
    pub fn counts(&self) -> &[u64] {
        &self.buckets
    }

    /// Adds another's counts.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine = mine.saturating_add(*theirs);
        }
    }

    /// How many durations were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The duration in nanoseconds below which this share (0 to 1) of all lies, within half a
    /// bucket (4.5 %); `None` when nothing was counted. Never above `longest`, the true maximum.
    pub fn quantile(&self, share: f64, longest: u64) -> Option<u64> {
        let total = self.count();
        if total == 0 {
            return None;
        }
        let rank = (share.clamp(0.0, 1.0) * total as f64).max(1.0);
        let mut seen = 0.0;
        for (i, &count) in self.buckets.iter().enumerate() {
            let here = count as f64;
            if here > 0.0 && seen + here >= rank {
                let inside = (rank - seen) / here;
                let exponent =
                    f64::from(MIN_EXPONENT) + (i as f64 + inside) / f64::from(1 << SCALE);
                return Some((exponent.exp2() as u64).min(longest.max(1)));
            }
            seen += here;
        }
        Some(longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_has_no_quantile() {
        assert_eq!(Histogram::default().quantile(0.5, 7), None);
    }

    #[test]
    fn a_quantile_lies_in_the_bucket_that_reaches_the_rank() {
        let mut counts = vec![0; BUCKETS];
        counts[80] = 99; // ends at 2^(10 + 81/8), about 1.14 ms
        counts[160] = 1; // begins at 2^30, about 1.07 s
        let histogram = Histogram::from_counts(counts);
        let median = histogram.quantile(0.5, u64::MAX).unwrap();
        assert!((1_048_576..1_143_600).contains(&median), "{median}");
        let last = histogram.quantile(1.0, u64::MAX).unwrap();
        assert!((1 << 30..1_171_000_000).contains(&last), "{last}");
        assert_eq!(histogram.quantile(1.0, 1 << 30), Some(1 << 30));
    }

    #[test]
    fn too_many_or_too_few_counts_are_made_to_fit() {
        assert_eq!(Histogram::from_counts(vec![1; 500]).count(), BUCKETS as u64);
        assert_eq!(Histogram::from_counts([3]).count(), 3);
    }
}
