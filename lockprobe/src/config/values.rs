//! Durations and sizes as people write them.

use std::time::Duration;

const UNITS: [(&str, f64); 8] = [
    ("ns", 1.0),
    ("us", 1e3),
    ("µs", 1e3),
    ("ms", 1e6),
    ("s", 1e9),
    ("m", 60e9),
    ("min", 60e9),
    ("h", 3600e9),
];

/// What a duration looks like, for the JSON Schema: what [`duration`] takes.
pub const DURATION_PATTERN: &str =
    r"^\s*(0|[0-9]*\.?[0-9]+\s*(ns|us|µs|ms|s|m|min|h)|[0-9]+\.\s*(ns|us|µs|ms|s|m|min|h))\s*$";
/// What a size looks like, for the JSON Schema: what [`size`] takes.
pub const SIZE_PATTERN: &str = r"^\s*[0-9]+[KkMm]?\s*$";

/// Reads a duration as people write it: `500us`, `1.5s`, `2m`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let unit_at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let example = "write it like 500us, 10ms or 1.5s";
    let value: f64 = number.parse().map_err(|_| format!("no number in it; {example}"))?;
    let unit = unit.trim();
    if unit.is_empty() {
        return Err(format!("no unit; {example}"));
    }
    let size = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, size)| *size);
    let size = size.ok_or_else(|| format!("`{unit}` is no unit of time; {example}"))?;
    let nanos = value * size;
    // A hundred years: anything above is a slip of the keyboard.
    if nanos > 3.2e18 {
        return Err(format!("longer than a hundred years; {example}"));
    }
    Ok(Duration::from_nanos(nanos.round() as u64))
}

/// Reads a number of bytes: `4M`, `512K`, `65536`.
pub fn size(text: &str) -> Option<u64> {
    let text = text.trim();
    let (number, factor) = match text.strip_suffix(['M', 'm']) {
        Some(number) => (number, 1 << 20),
        None => match text.strip_suffix(['K', 'k']) {
            Some(number) => (number, 1 << 10),
            None => (text, 1),
        },
    };
    let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    if digits { number.parse::<u64>().ok()?.checked_mul(factor) } else { None }
}

/// Reads a size of the ring: a power of two.
pub fn ring_size(text: &str) -> Result<u32, String> {
    let bytes = size(text).and_then(|bytes| u32::try_from(bytes).ok());
    match bytes {
        Some(bytes) if bytes.is_power_of_two() && (64 << 10..=256 << 20).contains(&bytes) => {
            Ok(bytes)
        }
        _ => Err("it must be a power of two from 64K to 256M, like 4M".to_owned()),
    }
}

/// A duration in the largest unit in which it is a whole number.
pub fn duration_text(nanos: u64) -> String {
    let units = [
        ("h", 3_600_000_000_000),
        ("m", 60_000_000_000),
        ("s", 1_000_000_000),
        ("ms", 1_000_000),
        ("us", 1_000),
    ];
    let whole = units.iter().find(|(_, size)| nanos > 0 && nanos.is_multiple_of(*size));
    match whole {
        Some((unit, size)) => format!("{}{unit}", nanos / size),
        None if nanos == 0 => "0".into(),
        None => format!("{nanos}ns"),
    }
}

/// A size in the largest unit in which it is a whole number.
pub fn size_text(bytes: u64) -> String {
    match bytes {
        n if n > 0 && n.is_multiple_of(1 << 20) => format!("{}M", n >> 20),
        n if n > 0 && n.is_multiple_of(1 << 10) => format!("{}K", n >> 10),
        n => n.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_people_write_them() {
        let cases = [
            ("500us", 500_000),
            ("1.5s", 1_500_000_000),
            ("1ms", 1_000_000),
            ("10 ms", 10_000_000),
            ("2m", 120_000_000_000),
            ("7ns", 7),
            ("3µs", 3_000),
            ("0", 0),
            ("0.5h", 1_800_000_000_000),
        ];
        for (text, nanos) in cases {
            assert_eq!(duration(text), Ok(Duration::from_nanos(nanos)), "{text}");
            assert_eq!(duration(&duration_text(nanos)), Ok(Duration::from_nanos(nanos)));
        }
        assert_eq!(duration_text(1_500_000_000), "1500ms");
    }

    #[test]
    fn what_is_no_duration_is_refused_with_an_example() {
        for text in ["", "5", "ms", "1.2.3s", "-1s", "5 parsecs", "1e3s", "999999999h", "inf s"] {
            let error = duration(text).unwrap_err();
            assert!(error.contains("1.5s"), "{text}: {error}");
        }
    }

    #[test]
    fn the_schema_takes_the_durations_and_sizes_that_are_taken() {
        let pattern = regex::Regex::new(DURATION_PATTERN).unwrap();
        for text in ["500us", "1.5s", ".5s", "5.s", "10 ms", "0", "3µs", " 7ns "] {
            assert!(duration(text).is_ok() && pattern.is_match(text), "{text}");
        }
        for text in ["", "5", "ms", "1.2.3s", "-1s", "5 parsecs", "1e3s", "s5", ".s"] {
            assert!(duration(text).is_err() && !pattern.is_match(text), "{text}");
        }
        let pattern = regex::Regex::new(SIZE_PATTERN).unwrap();
        for (text, bytes) in [
            ("4M", Some(4 << 20)),
            ("512k", Some(512 << 10)),
            ("7", Some(7)),
            ("M", None),
            ("-1", None),
            ("+1", None),
            ("1G", None),
        ] {
            assert_eq!(size(text), bytes, "{text}");
            assert_eq!(pattern.is_match(text), bytes.is_some(), "{text}");
        }
        assert_eq!(
            (size_text(4 << 20), size_text(1536), size_text(7)),
            ("4M".into(), "1536".into(), "7".into())
        );
    }

    #[test]
    fn ring_sizes() {
        assert_eq!(ring_size("4M"), Ok(4 << 20));
        assert_eq!(ring_size("512K"), Ok(512 << 10));
        for text in ["3M", "1K", "5000M", "x", ""] {
            assert!(ring_size(text).is_err(), "{text}");
        }
    }
}
