//! The Grafana dashboard: its expressions read by Prometheus, its panels where they can be seen.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{prometheus, read};
use crate::shell;

const PATH: &str = "deploy/grafana/lockprobe.json";
/// Columns of Grafana's grid.
const COLUMNS: u64 = 24;
/// What Grafana puts in the place of its variables.
const VARIABLES: &[(&str, &str)] =
    &[("$__rate_interval", "2m"), ("$__interval", "1m"), ("$__range", "1h")];

/// Checks it; its expressions go into a file of rules, which is what `promtool` reads.
pub fn check(folder: &Path) -> Result<Vec<String>> {
    let dashboard: Value = serde_json::from_str(&read(PATH)?).context(PATH)?;
    let mut faults = layout(&dashboard);
    let variables = variables(&dashboard);
    let mut rules = "groups: [{name: dashboard, rules: [\n".to_owned();
    let expressions = expressions(&dashboard);
    for (at, expression) in expressions.iter().enumerate() {
        let mut expression = expression.clone();
        for (name, value) in VARIABLES {
            expression = expression.replace(name, value);
        }
        for name in &variables {
            expression = expression.replace(&format!("${name}"), "x");
        }
        if expression.contains('$') {
            faults.push(format!("{PATH}: an unknown variable in `{expression}`"));
        }
        // A string of JSON is one of YAML.
        let _ = writeln!(rules, "{{record: 'panel:{at}', expr: {}}},", Value::from(expression));
    }
    rules.push_str("]}]\n");
    let file = folder.join("dashboard-rules.yml");
    fs::write(&file, rules)?;
    let mut promtool = shell::program("promtool");
    let done = shell::output(promtool.args(["check", "rules", "--lint=none"]).arg(&file));
    faults.extend(done.err().map(|error| error.to_string()));
    let names: BTreeSet<&str> = expressions.iter().flat_map(|e| prometheus::metrics(e)).collect();
    faults.extend(prometheus::unknown(PATH, &names)?);
    println!("deploy: {} expressions of the dashboard can be read", expressions.len());
    Ok(faults)
}

fn panels(dashboard: &Value) -> impl Iterator<Item = &Value> {
    dashboard["panels"].as_array().into_iter().flatten()
}

fn expressions(dashboard: &Value) -> Vec<String> {
    let targets =
        panels(dashboard).flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    targets.filter_map(|target| target["expr"].as_str()).map(str::to_owned).collect()
}

/// Names of the dashboard's own variables, the longest first: one may begin like another.
fn variables(dashboard: &Value) -> Vec<String> {
    let list = dashboard["templating"]["list"].as_array().into_iter().flatten();
    let mut names: Vec<String> =
        list.filter_map(|variable| variable["name"].as_str()).map(str::to_owned).collect();
    names.sort_by_key(|name| std::cmp::Reverse(name.len()));
    names
}

/// No two panels in one place or of one number, none outside, each with something to show.
fn layout(dashboard: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    let (mut numbers, mut taken) = (BTreeSet::new(), BTreeSet::new());
    for panel in panels(dashboard) {
        let title = panel["title"].as_str().unwrap_or_default();
        let at = |key: &str| panel["gridPos"][key].as_u64().unwrap_or(0);
        let (x, y, w, h) = (at("x"), at("y"), at("w"), at("h"));
        let cells = (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y)));
        let taken_twice = cells.filter(|cell| !taken.insert(*cell)).count();
        if w == 0 || h == 0 || x + w > COLUMNS || taken_twice > 0 {
            faults.push(format!("{PATH}: the panel `{title}` is over another or outside"));
        }
        if title.is_empty() || !numbers.insert(panel["id"].as_u64()) {
            faults.push(format!("{PATH}: the panel `{title}` needs a title and an id of its own"));
        }
        let targets = panel["targets"].as_array().map_or(0, Vec::len);
        if panel["type"] != "row" && targets == 0 {
            faults.push(format!("{PATH}: the panel `{title}` shows nothing"));
        }
        let sources =
            panel["targets"].as_array().into_iter().flatten().map(|t| &t["datasource"]["uid"]);
        if sources.into_iter().any(|uid| uid != "${datasource}") {
            faults.push(format!("{PATH}: the panel `{title}` has a data source of its own"));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn panel(id: u64, x: u64, w: u64) -> Value {
        let target = json!({ "expr": "up", "datasource": { "uid": "${datasource}" } });
        json!({ "id": id, "title": "t", "type": "stat", "targets": [target],
                "gridPos": { "x": x, "y": 0, "w": w, "h": 2 } })
    }

    #[test]
    fn panels_are_where_they_can_be_seen() {
        let faults = |panels: &[Value]| layout(&json!({ "panels": panels })).len();
        assert_eq!(faults(&[panel(1, 0, 12), panel(2, 12, 12)]), 0);
        assert_eq!(faults(&[panel(1, 0, 12), panel(2, 11, 12)]), 1);
        assert_eq!(faults(&[panel(1, 0, 12), panel(1, 12, 12)]), 1);
        assert_eq!(faults(&[panel(1, 13, 12)]), 1);
    }
}
