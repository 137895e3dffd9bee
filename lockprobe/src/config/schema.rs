//! The configuration file as a JSON Schema, for editors and charts.

use serde_json::{Value, json};

use super::keys::KEYS;
use super::kind;

/// The schema. What it refuses lockprobe refuses; lockprobe also knows what patterns mean, and
/// which numbers are too large.
pub fn schema() -> Value {
    let mut schema = kind::section(KEYS, false);
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("lockprobe configuration");
    // An empty file is a configuration too.
    schema["type"] = json!(["object", "null"]);
    schema
}
