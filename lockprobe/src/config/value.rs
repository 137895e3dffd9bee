//! One setting's value, after it was understood.

use serde_json::json;

use super::values;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Not set.
    Nothing,
    /// Yes or no.
    Bool(bool),
    /// A number.
    Integer(u64),
    /// Nanoseconds.
    Duration(u64),
    /// Bytes.
    Size(u64),
    /// Anything else.
    Text(String),
    /// Several.
    List(Vec<Value>),
    /// Several by name.
    Map(Vec<(String, Value)>),
}

impl Value {
    /// As [`super::Settings`] reads it: durations in nanoseconds, sizes in bytes.
    pub fn to_plain(&self) -> serde_json::Value {
        match self {
            Self::Nothing => serde_json::Value::Null,
            Self::Bool(value) => json!(value),
            Self::Integer(n) | Self::Duration(n) | Self::Size(n) => json!(n),
            Self::Text(text) => json!(text),
            Self::List(list) => list.iter().map(Self::to_plain).collect(),
            Self::Map(map) => {
                map.iter().map(|(name, value)| (name.clone(), value.to_plain())).collect()
            }
        }
    }

    /// As people write it, on one line of YAML.
    pub fn to_yaml(&self) -> String {
        match self {
            Self::Nothing => "null".into(),
            Self::Bool(value) => value.to_string(),
            Self::Integer(n) => n.to_string(),
            Self::Duration(n) => values::duration_text(*n),
            Self::Size(n) => values::size_text(*n),
            Self::Text(text) => quoted(text),
            Self::List(list) => {
                let list: Vec<String> = list.iter().map(Self::to_yaml).collect();
                format!("[{}]", list.join(", "))
            }
            Self::Map(map) => {
                let pair = |(name, value): &(String, Value)| {
                    format!("{}: {}", quoted(name), value.to_yaml())
                };
                format!("{{{}}}", map.iter().map(pair).collect::<Vec<_>>().join(", "))
            }
        }
    }
}

/// A text as YAML: bare where it can be nothing else, else as JSON writes it, which YAML reads.
fn quoted(text: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
    let word = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && text.chars().all(bare)
        && !["true", "false", "null", "yes", "no", "on", "y", "n"].contains(&&*text.to_lowercase());
    if word {
        return text.to_owned();
    }
    // JSON leaves what is past ASCII as it is, also what turns the direction of writing around.
    let json = json!(text).to_string();
    json.chars().fold(String::new(), |mut out, c| {
        match c as u32 {
            n if n < 0x7f || c.is_alphanumeric() => out.push(c),
            n if n > 0xffff => out.push_str(&format!("\\U{n:08x}")),
            n => out.push_str(&format!("\\u{n:04x}")),
        }
        out
    })
}
