//! Numbers and names as people read them.

use crate::model::ThreadId;

/// A duration in nanoseconds with three figures and a unit: `1.23 ms`.
pub fn duration(nanos: u64) -> String {
    const UNITS: [(u64, &str); 4] =
        [(1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "us"), (1, "ns")];
    let (size, unit) = UNITS.into_iter().find(|(size, _)| nanos >= *size).unwrap_or((1, "ns"));
    if size == 1 {
        return format!("{nanos} ns");
    }
    let value = nanos as f64 / size as f64;
    let decimals = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    format!("{value:.decimals$} {unit}")
}

/// A thread by name and id; by id alone when the name is not known.
pub fn thread_label(name: &str, id: ThreadId) -> String {
    match (name, id.tid) {
        (_, 0) => "(ended thread)".to_owned(),
        ("", tid) => tid.to_string(),
        (name, tid) => format!("{name}/{tid}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_three_figures() {
        let cases = [
            (0, "0 ns"),
            (999, "999 ns"),
            (1_000, "1.00 us"),
            (12_345, "12.3 us"),
            (999_999, "1000 us"),
            (1_234_567, "1.23 ms"),
            (205_000_000, "205 ms"),
            (61_000_000_000, "61.0 s"),
        ];
        for (nanos, text) in cases {
            assert_eq!(duration(nanos), text);
        }
    }
}
