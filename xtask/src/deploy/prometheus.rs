//! Alerts and scrape configuration, read and tried by Prometheus' own `promtool`.

use std::collections::BTreeSet;

use anyhow::Result;

use super::read;
use crate::shell;

const RULES: &str = "deploy/prometheus/rules.yml";
const TESTS: &str = "deploy/prometheus/rules.test.yml";
/// Made from the table of all metrics.
const SIGNALS: &str = "docs/signals.md";
/// Names that are not lockprobe's metrics but those of who reads them, or of the endpoint itself.
const OTHERS: &[&str] = &["up", "lockprobe_ready", "lockprobe_start_time_seconds"];

/// Checks rules, their tests and the example of a scrape configuration.
pub fn check() -> Result<Vec<String>> {
    let mut faults = Vec::new();
    for arguments in [
        ["check", "rules", RULES],
        ["test", "rules", TESTS],
        ["check", "config", "deploy/prometheus/scrape.yml"],
    ] {
        let done = shell::output(shell::program("promtool").args(arguments));
        faults.extend(done.err().map(|error| error.to_string()));
    }
    let (rules, tests) = (read(RULES)?, read(TESTS)?);
    for alert in untried(&rules, &tests) {
        faults.push(format!("{TESTS}: nothing makes the alert {alert} fire"));
    }
    let names = metrics(&rules);
    faults.extend(unknown(RULES, &names)?);
    println!("deploy: {} alerts, each seen firing by promtool", alerts(&rules).len());
    Ok(faults)
}

fn alerts(rules: &str) -> BTreeSet<&str> {
    rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect()
}

/// Alerts that no test sees fire.
fn untried<'a>(rules: &'a str, tests: &str) -> Vec<&'a str> {
    let mut fired = BTreeSet::new();
    let mut alert = None;
    for line in tests.lines().map(str::trim) {
        if let Some((_, name)) = line.split_once("alertname: ") {
            alert = Some(name.trim_end_matches('}'));
        }
        if line.starts_with("exp_alerts:") {
            fired.extend(alert);
        }
    }
    alerts(rules).into_iter().filter(|alert| !fired.contains(alert)).collect()
}

/// Names of metrics in a text: what begins like one of lockprobe's, and is followed by what an
/// expression may have behind a name.
pub fn metrics(text: &str) -> BTreeSet<&str> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found = BTreeSet::new();
    let mut rest = text;
    while let Some(start) = rest.find(word) {
        let tail = &rest[start..];
        let end = tail.find(|c| !word(c)).unwrap_or(tail.len());
        let (name, after) = tail.split_at(end);
        let ours = ["lock_", "lockprobe_", "process_"].iter().any(|begin| name.starts_with(begin));
        if ours && after.starts_with(['{', '[']) || OTHERS.contains(&name) {
            found.insert(name);
        }
        rest = after;
    }
    found
}

/// Metrics that are not in the reference of all signals.
pub fn unknown(path: &str, names: &BTreeSet<&str>) -> Result<Vec<String>> {
    let signals = read(SIGNALS)?;
    let known = |name: &str| {
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        OTHERS.contains(&name)
            || [Some(name), family]
                .iter()
                .flatten()
                .any(|name| signals.contains(&format!("`{name}`")))
    };
    let strangers = names.iter().filter(|name| !known(name));
    Ok(strangers.map(|name| format!("{path}: {SIGNALS} has no metric {name}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_told_from_labels() {
        let text = "sum by (lock_name) (rate(lock_wait_duration_seconds_bucket{lock_mode=\"x\"}[5m]))\
                    / lockprobe_ready + process_cpu_time_seconds_total[1m]";
        let expected = [
            "lock_wait_duration_seconds_bucket",
            "lockprobe_ready",
            "process_cpu_time_seconds_total",
        ];
        assert_eq!(metrics(text), expected.into());
    }

    #[test]
    fn an_alert_that_no_test_sees_fire_is_named() {
        let rules = "- alert: A\n  - alert: B\n- alert: C\n";
        let tests = "- {eval_time: 1m, alertname: A}\n- eval_time: 6m\n  alertname: B\n  exp_alerts:\n\
                     - {eval_time: 1m, alertname: C}\n";
        assert_eq!(untried(rules, tests), ["A", "C"]);
    }
}
