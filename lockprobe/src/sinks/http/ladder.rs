//! Buckets for Prometheus: a few of the bounds that the kernel counts by, so that counts are exact.

use crate::model::Histogram;
use crate::model::histogram::{MIN_EXPONENT, SCALE};

/// Upper bounds as powers of two of nanoseconds: 4 us to 69 s, an octave apart from 1 ms to 17 s,
/// two below and above. Whole octaves are bounds of the kernel's buckets, which include them.
pub const EXPONENTS: [u32; 20] =
    [12, 14, 16, 18, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 36];

/// The bound in seconds.
pub fn seconds(exponent: u32) -> f64 {
    (1u64 << exponent) as f64 / 1e9
}

/// How many durations are no longer than each bound.
pub fn cumulative(histogram: &Histogram) -> [u64; EXPONENTS.len()] {
    let (mut sum, mut from) = (0u64, 0);
    EXPONENTS.map(|exponent| {
        let to = ((exponent - MIN_EXPONENT) << SCALE) as usize;
        sum = histogram.counts()[from..to].iter().fold(sum, |sum, n| sum.saturating_add(*n));
        from = to;
        sum
    })
}

/// Index of the first bound that is not exceeded; the number of bounds when all are.
pub fn index(nanos: u64) -> usize {
    EXPONENTS.partition_point(|exponent| 1u64 << exponent < nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_counts_from_the_first_bound_it_does_not_exceed() {
        for exponent in EXPONENTS {
            let bound = 1u64 << exponent;
            for nanos in [bound - 1, bound, bound + 1, bound / 2 + 1, bound * 2] {
                let mut histogram = Histogram::default();
                histogram.add(nanos);
                let counts = cumulative(&histogram);
                for (i, exponent) in EXPONENTS.iter().enumerate() {
                    let expected = u64::from(nanos <= 1 << exponent);
                    assert_eq!(counts[i], expected, "{nanos} ns and 2^{exponent}");
                }
                assert_eq!(index(nanos), counts.iter().filter(|n| **n == 0).count());
            }
        }
    }

    #[test]
    fn bounds_read_back_as_they_are_written() {
        assert_eq!(seconds(20).to_string(), "0.001048576");
        for exponent in EXPONENTS {
            let text = seconds(exponent).to_string();
            assert!(!text.contains('e') && text.contains('.'), "{text}");
            assert_eq!((text.parse::<f64>().unwrap() * 1e9).round() as u64, 1 << exponent);
        }
    }
}
