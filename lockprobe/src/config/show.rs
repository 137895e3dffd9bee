//! The settings in force, each with who set it.

use super::check::leaves;
use super::keys::KEYS;
use super::layers::{Effective, Origin};
use super::value::Value;

/// Instead of what must not be shown.
const MASKED: &str = "********";

/// One line a key, YAML by itself: the path, the value, and who set it. Secrets are masked.
pub fn show(effective: &Effective, file: Option<&str>) -> String {
    let secret = |path: &str| {
        leaves(KEYS).into_iter().any(|(other, key)| other == path && key.kind.is_secret())
    };
    let file: String = file.unwrap_or_default().chars().flat_map(char::escape_debug).collect();
    let lines = effective.keys.iter().map(|(path, value, origin)| {
        let shown = if secret(path) { masked(value) } else { value.clone() };
        let origin = match origin {
            Origin::Default => "default".into(),
            Origin::File(line) => format!("{file}:{line}"),
            Origin::Environment(name) => format!("environment: {name}"),
            Origin::Flag => "flag".into(),
        };
        format!("{path}: {}  # {origin}\n", shown.to_yaml())
    });
    lines.collect()
}

fn masked(value: &Value) -> Value {
    match value {
        Value::Map(map) => {
            Value::Map(map.iter().map(|(name, value)| (name.clone(), masked(value))).collect())
        }
        Value::List(list) => Value::List(list.iter().map(masked).collect()),
        Value::Nothing => Value::Nothing,
        _ => Value::Text(MASKED.into()),
    }
}
