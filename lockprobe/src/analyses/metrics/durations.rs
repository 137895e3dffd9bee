//! Durations of one series, with the slowest span of each range.

use std::sync::Arc;

use crate::model::histogram::BUCKETS;
use crate::model::{Durations, Exemplar, Histogram};

/// Buckets a range has: three octaves, so that there are nine ranges.
const RANGE: usize = 24;
const _: () = assert!(BUCKETS.is_multiple_of(RANGE) && BUCKETS / RANGE <= 16);

/// What a series knows. What was handed out is shared until it is added to.
#[derive(Default)]
pub struct Spread {
    durations: Arc<Durations>,
    /// Exemplars of this interval, a bit a range, and which interval that is.
    fresh: (u16, u64),
}

impl Spread {
    /// Adds one, with the span that shows it.
    pub fn add(&mut self, nanos: u64, exemplar: Option<Exemplar>, interval: u64) {
        let bucket = Histogram::bucket_of(nanos);
        let durations = Arc::make_mut(&mut self.durations);
        durations.histogram.add_at(bucket, 1);
        durations.count = durations.count.saturating_add(1);
        durations.total = durations.total.saturating_add(nanos);
        durations.longest = durations.longest.max(nanos);
        let Some(exemplar) = exemplar else { return };
        if self.fresh.1 != interval {
            self.fresh = (0, interval);
        }
        let range = bucket / RANGE;
        let bit = 1 << range;
        let known = &mut durations.exemplars;
        let place = known.binary_search_by_key(&range, |e| Histogram::bucket_of(e.value) / RANGE);
        match place {
            Ok(at) if self.fresh.0 & bit != 0 && known[at].value >= exemplar.value => return,
            Ok(at) => known[at] = exemplar,
            Err(at) => known.insert(at, exemplar),
        }
        self.fresh.0 |= bit;
    }

    /// Adds many whose spans nobody has seen: bucket and how many, and their total.
    pub fn add_many(&mut self, buckets: &[(u8, u64)], total: u64, longest: u64) {
        let durations = Arc::make_mut(&mut self.durations);
        for &(bucket, count) in buckets {
            durations.histogram.add_at(usize::from(bucket), count);
            durations.count = durations.count.saturating_add(count);
        }
        durations.total = durations.total.saturating_add(total);
        durations.longest = durations.longest.max(longest);
    }

    /// As a point has them.
    pub fn shared(&self) -> Arc<Durations> {
        self.durations.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SpanId;

    fn add(spread: &mut Spread, nanos: u64, interval: u64) {
        let span = SpanId { trace: 1, span: nanos };
        spread.add(nanos, Some(Exemplar { value: nanos, time: interval, span }), interval);
    }

    fn shown(spread: &Spread) -> Vec<u64> {
        spread.shared().exemplars.iter().map(|e| e.value).collect()
    }

    #[test]
    fn the_slowest_of_each_range_and_interval_is_shown() {
        let mut spread = Spread::default();
        for nanos in [2_000_000, 5_000, 9_000_000_000, 3_000_000, 1_200_000] {
            add(&mut spread, nanos, 1);
        }
        assert_eq!(shown(&spread), [5_000, 3_000_000, 9_000_000_000]);
        // What is older than the interval makes room for less.
        add(&mut spread, 1_500_000, 2);
        add(&mut spread, 1_400_000, 2);
        assert_eq!(shown(&spread), [5_000, 1_500_000, 9_000_000_000]);
        assert_eq!(spread.shared().count, 7);
        for nanos in (0..60).map(|bit| 1u64 << bit) {
            add(&mut spread, nanos, 3);
        }
        assert_eq!(shown(&spread).len(), 9);
    }

    #[test]
    fn what_was_handed_out_does_not_change() {
        let mut spread = Spread::default();
        add(&mut spread, 2_000, 1);
        let before = spread.shared();
        assert!(Arc::ptr_eq(&before, &spread.shared()), "nothing is copied for nothing");
        spread.add_many(&[(0, 5), (3, 2)], 9_000, 1_500);
        assert_eq!((before.count, spread.shared().count), (1, 8));
        assert_eq!((spread.shared().total, spread.shared().longest), (11_000, 2_000));
        assert_eq!(spread.shared().histogram.count(), 8);
    }
}
