//! Names and labels as Prometheus wants them, from names as OpenTelemetry has them.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::{Instrument, Point, ProcessFact};

/// Longest value of a label, bytes: names of locks may be paths, and paths may be anything.
const VALUE_AT_MOST: usize = 512;

/// What a series says of the process it is about. Process ids are not among it: they come and go,
/// and each would begin series of its own. A container is named by its pod where there is one.
const OF_AGENT: [&str; 5] = [
    "service.namespace",
    "k8s.namespace.name",
    "k8s.pod.name",
    "k8s.container.name",
    "gen_ai.agent.name",
];
const POD: &str = "k8s.pod.name";
const CONTAINER: &str = "container.id";

/// The name of a family: `lock.wait.duration` in `s` is `lock_wait_duration_seconds`. What is added
/// to it in a sample, `_total` or `_bucket`, is not part of it.
pub fn family(name: &str, unit: &str, instrument: Instrument) -> String {
    let mut name = plain(name);
    if let Some(unit) = self::unit(unit, instrument)
        && !name.ends_with(&format!("_{unit}"))
    {
        name.push('_');
        name.push_str(unit);
    }
    if instrument == Instrument::Counter {
        name.trim_end_matches("_total").to_owned()
    } else {
        name
    }
}

/// A unit of UCUM in words; none for what is in braces, which says what is counted.
pub fn unit(unit: &str, instrument: Instrument) -> Option<&'static str> {
    match unit {
        "s" => Some("seconds"),
        "By" => Some("bytes"),
        "1" if instrument == Instrument::Gauge => Some("ratio"),
        _ => None,
    }
}

/// Letters, digits and underscores, no digit first.
fn plain(name: &str) -> String {
    let clean = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let mut plain: String = name.chars().map(clean).collect();
    if plain.starts_with(|c: char| c.is_ascii_digit()) {
        plain.insert(0, '_');
    }
    plain
}

/// The labels of a point as they stand between the braces, in the order of their names.
pub fn labels(point: &Point) -> Arc<str> {
    let mut labels: BTreeMap<String, &str> = BTreeMap::new();
    if let Some(agent) = &point.agent {
        labels.extend(of_agent(agent).map(|(name, value)| (plain(name), value)));
    }
    // What is said of the point itself counts before what is said of its process.
    labels.extend(point.attributes.iter().map(|(name, value)| (plain(name), &**value)));
    write(labels.iter().map(|(name, value)| (name.as_str(), *value))).into()
}

fn of_agent(agent: &ProcessFact) -> impl Iterator<Item = (&str, &str)> {
    let in_pod = agent.attributes.iter().any(|(name, _)| name == POD);
    let wanted = move |name: &str| OF_AGENT.contains(&name) || name == CONTAINER && !in_pod;
    let more = agent.attributes.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let more = more.filter(move |(name, _)| wanted(name));
    [("service.name", agent.service.as_str())].into_iter().chain(more)
}

/// Labels between the braces.
pub fn write<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut text = String::new();
    // An empty label is the same as none.
    for (name, value) in labels.into_iter().filter(|(_, value)| !value.is_empty()) {
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(name);
        text.push_str("=\"");
        escape(value, &mut text);
        text.push('"');
    }
    text
}

/// A value as it may stand between quotes. Characters that could make a terminal or a page do
/// something, or turn the direction of writing, are replaced: these are names, and anybody may
/// choose one.
fn escape(value: &str, out: &mut String) {
    let end = (0..=VALUE_AT_MOST.min(value.len())).rev().find(|at| value.is_char_boundary(*at));
    let end = end.unwrap_or(0);
    for c in value[..end].chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c if c.is_control() || is_direction(c) => out.push(char::REPLACEMENT_CHARACTER),
            c => out.push(c),
        }
    }
    if end < value.len() {
        out.push('…');
    }
}

fn is_direction(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_their_unit() {
        use Instrument::*;
        for (name, unit, instrument, expected) in [
            ("lock.wait.duration", "s", Histogram, "lock_wait_duration_seconds"),
            ("lock.attempts", "{attempt}", Counter, "lock_attempts"),
            ("lock.agent.wait.time", "s", Counter, "lock_agent_wait_time_seconds"),
            ("lock.waiters", "{waiter}", UpDownCounter, "lock_waiters"),
            ("lockprobe.memory.bytes", "By", Gauge, "lockprobe_memory_bytes"),
            ("a.share", "1", Gauge, "a_share_ratio"),
            ("some_total", "1", Counter, "some"),
            ("9.lives", "", Gauge, "_9_lives"),
        ] {
            assert_eq!(family(name, unit, instrument), expected);
        }
    }

    fn point(agent: Option<ProcessFact>, attributes: &[(&'static str, &str)]) -> Point {
        let attributes = attributes.iter().map(|(n, v)| (*n, Arc::from(*v))).collect();
        let value = crate::model::Value::Integer(1);
        Point { agent: agent.map(Arc::new), attributes, value }
    }

    #[test]
    fn an_agent_is_its_service_and_its_pod_or_container() {
        let some = |list: &[(&str, &str)]| ProcessFact {
            pid: 7,
            service: "api".into(),
            attributes: list.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect(),
            ..ProcessFact::default()
        };
        let container = some(&[("container.id", "c1"), ("process.owner", "root")]);
        assert_eq!(
            &*labels(&point(Some(container), &[("lock.name", "a")])),
            r#"container_id="c1",lock_name="a",service_name="api""#
        );
        let pod =
            some(&[("container.id", "c1"), ("k8s.pod.name", "p"), ("k8s.container.name", "k")]);
        assert_eq!(
            &*labels(&point(Some(pod), &[])),
            r#"k8s_container_name="k",k8s_pod_name="p",service_name="api""#
        );
        let own = point(Some(some(&[])), &[("service.name", "mine"), ("empty", "")]);
        assert_eq!(&*labels(&own), r#"service_name="mine""#);
    }

    #[test]
    fn hostile_values_stay_between_their_quotes() {
        for (value, expected) in [
            ("a\"} 1\nevil 2", r#"a\"} 1\nevil 2"#),
            ("\\", r"\\"),
            ("\x1b[31m\r\t\0\u{9b}", "\u{fffd}[31m\u{fffd}\u{fffd}\u{fffd}\u{fffd}"),
            ("\u{202e}gpj.exe", "\u{fffd}gpj.exe"),
            ("ünï", "ünï"),
        ] {
            assert_eq!(&*labels(&point(None, &[("n", value)])), format!("n=\"{expected}\""));
        }
    }

    #[test]
    fn long_values_are_cut_between_characters() {
        let long = labels(&point(None, &[("n", &"ü".repeat(300))]));
        assert_eq!(&*long, format!("n=\"{}…\"", "ü".repeat(256)));
        let odd = labels(&point(None, &[("n", &format!("x{}", "ü".repeat(300)))]));
        assert_eq!(&*odd, format!("n=\"x{}…\"", "ü".repeat(255)));
    }
}
