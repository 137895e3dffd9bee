//! Values on the command line.

use std::time::Duration;

use crate::model::Dialect;

/// Reads a duration as people write it: `500us`, `1.5s`, `2m`.
pub fn duration(text: &str) -> Result<Duration, String> {
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

/// Reads a size of the ring: `4M`, `512K`, a power of two.
pub fn ring_size(text: &str) -> Result<u32, String> {
    let text = text.trim();
    let (number, factor) = match text.strip_suffix(['M', 'm']) {
        Some(number) => (number, 1 << 20),
        None => match text.strip_suffix(['K', 'k']) {
            Some(number) => (number, 1 << 10),
            None => (text, 1),
        },
    };
    let bytes = number.parse::<u32>().ok().and_then(|n| n.checked_mul(factor));
    match bytes {
        Some(bytes) if bytes.is_power_of_two() && (64 << 10..=256 << 20).contains(&bytes) => {
            Ok(bytes)
        }
        _ => Err("it must be a power of two from 64K to 256M, like 4M".to_owned()),
    }
}

/// Reads where a lock server listens: `7001=redis`.
pub fn server(text: &str) -> Result<(u16, Dialect), String> {
    let known = || Dialect::ALL.map(Dialect::name).join(", ");
    let (port, kind) = text.split_once('=').ok_or_else(|| "write it like 7001=redis".to_owned())?;
    let port = port.trim().parse::<u16>().ok().filter(|&port| port != 0);
    let port = port.ok_or_else(|| "the port must be a number from 1 to 65535".to_owned())?;
    let dialect = Dialect::ALL.into_iter().find(|d| d.name() == kind.trim());
    dialect
        .map(|dialect| (port, dialect))
        .ok_or_else(|| format!("`{}` is no lock server lockprobe knows: {}", kind.trim(), known()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_a_port_and_a_kind() {
        assert_eq!(server("7001=redis"), Ok((7001, Dialect::Redis)));
        assert!(server("7001=rediss").unwrap_err().contains("redis, etcd"));
        assert!(server("0=redis").is_err() && server("redis").is_err());
    }

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
        }
    }

    #[test]
    fn what_is_no_duration_is_refused_with_an_example() {
        for text in ["", "5", "ms", "1.2.3s", "-1s", "5 parsecs", "1e3s", "999999999h", "inf s"] {
            let error = duration(text).unwrap_err();
            assert!(error.contains("1.5s"), "{text}: {error}");
        }
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
