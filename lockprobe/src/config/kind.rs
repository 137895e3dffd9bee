//! What a key may be set to, and what it is then.

use serde_json::{Value as Json, json};

use super::value::Value;
use super::values;

/// A key of the configuration.
pub struct Key {
    /// Its name within its section.
    pub name: &'static str,
    /// What it may be set to.
    pub kind: Kind,
    /// What it is when nobody sets it, as YAML; nothing for a section, and where nothing is meant.
    pub default: Option<&'static str>,
    /// What it does, sentences for people.
    pub meaning: &'static str,
}

/// What a key may be set to.
pub enum Kind {
    /// More keys.
    Section(&'static [Key]),
    /// Yes or no.
    Bool,
    /// A whole number within these bounds.
    Integer(u64, u64),
    /// A duration within these bounds, nanoseconds.
    Duration(u64, u64),
    /// A power of two within these bounds, bytes.
    Size(u64, u64),
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A text of this form.
    Text(&'static Form),
    /// As many as this, each of this kind.
    List(&'static Kind, usize),
    /// As many as this by name.
    Map(&'static Form, &'static Kind, usize),
    /// A list's element that has keys, at least one of them set.
    Object(&'static [Key]),
}

/// What a text must look like.
pub struct Form {
    /// In the words of a table: `glob`, `URL`.
    pub name: &'static str,
    /// Says what is wrong; never repeats what may be secret.
    pub check: fn(&str) -> Result<(), String>,
    /// For the JSON Schema; what this refuses `check` refuses too.
    pub pattern: Option<&'static str>,
    /// Never shown.
    pub secret: bool,
}

impl Kind {
    /// Whether one variable of the environment can say it.
    pub fn is_scalar(&self) -> bool {
        !matches!(self, Self::Section(_) | Self::List(..) | Self::Map(..) | Self::Object(_))
    }

    /// Whether it must not be shown.
    pub fn is_secret(&self) -> bool {
        match self {
            Self::Text(form) => form.secret,
            Self::List(kind, _) | Self::Map(_, kind, _) => kind.is_secret(),
            _ => false,
        }
    }

    /// What it may be set to, in words.
    pub fn words(&self) -> String {
        match self {
            Self::Section(_) => "section".into(),
            Self::Bool => "`true` or `false`".into(),
            Self::Integer(least, most) => format!("number, {least} to {most}"),
            Self::Duration(least, most) => {
                let (least, most) = (values::duration_text(*least), values::duration_text(*most));
                format!("duration, {least} to {most}")
            }
            Self::Size(least, most) => {
                let (least, most) = (values::size_text(*least), values::size_text(*most));
                format!("size, a power of two, {least} to {most}")
            }
            Self::Choice(words) => {
                words.iter().map(|w| format!("`{w}`")).collect::<Vec<_>>().join(", ")
            }
            Self::Text(form) => form.name.into(),
            Self::List(kind, _) => format!("list of {}", plural(&kind.words())),
            Self::Map(name, kind, _) => format!("{} by {}", plural(&kind.words()), name.name),
            Self::Object(_) => "entry".into(),
        }
    }

    /// A scalar that was written as text.
    pub fn read(&self, text: &str) -> Result<Value, String> {
        match self {
            Self::Bool => match text.trim() {
                "true" => Ok(Value::Bool(true)),
                "false" => Ok(Value::Bool(false)),
                _ => Err(format!("`{text}` is neither `true` nor `false`")),
            },
            Self::Integer(least, most) => match text.trim().parse::<u64>() {
                Ok(n) if (*least..=*most).contains(&n) => Ok(Value::Integer(n)),
                _ => Err(format!("`{text}` is no whole number from {least} to {most}")),
            },
            Self::Duration(least, most) => {
                let found = values::duration(text).map_err(|e| format!("`{text}`: {e}"))?;
                let nanos = u64::try_from(found.as_nanos()).unwrap_or(u64::MAX);
                if !(*least..=*most).contains(&nanos) {
                    let (least, most) =
                        (values::duration_text(*least), values::duration_text(*most));
                    return Err(format!("`{text}` is out of range; {least} to {most} is possible"));
                }
                Ok(Value::Duration(nanos))
            }
            Self::Size(least, most) => match values::size(text) {
                Some(n) if n.is_power_of_two() && (*least..=*most).contains(&n) => {
                    Ok(Value::Size(n))
                }
                _ => {
                    let (least, most) = (values::size_text(*least), values::size_text(*most));
                    Err(format!(
                        "`{text}` is no power of two from {least} to {most}; write it like 4M"
                    ))
                }
            },
            Self::Choice(words) if words.contains(&text) => Ok(Value::Text(text.to_owned())),
            Self::Choice(words) => {
                let meant = super::problem::meant(text, words.iter().copied());
                let meant =
                    meant.map(|word| format!("did you mean `{word}`? ")).unwrap_or_default();
                Err(format!("`{text}` is not possible here; {meant}it is one of {}", self.words()))
            }
            Self::Text(form) => (form.check)(text).map(|()| Value::Text(text.to_owned())),
            Self::Section(_) | Self::List(..) | Self::Map(..) | Self::Object(_) => {
                Err("this cannot be said in one word".into())
            }
        }
    }

    /// Its JSON Schema.
    pub fn schema(&self) -> Json {
        match self {
            Self::Section(keys) => section(keys, false),
            Self::Object(keys) => section(keys, true),
            Self::Bool => json!({ "type": "boolean" }),
            Self::Integer(least, most) => {
                json!({ "type": "integer", "minimum": least, "maximum": most })
            }
            // A number is a duration only where it is zero: all others have a unit.
            Self::Duration(..) => json!({
                "anyOf": [
                    { "type": "string", "pattern": values::DURATION_PATTERN },
                    { "const": 0 },
                ]
            }),
            Self::Size(..) => json!({
                "anyOf": [
                    { "type": "string", "pattern": values::SIZE_PATTERN },
                    { "type": "integer", "minimum": 0 },
                ]
            }),
            Self::Choice(words) => json!({ "enum": words }),
            Self::Text(form) => match form.pattern {
                Some(pattern) => json!({ "type": "string", "pattern": pattern }),
                None => json!({ "type": "string", "minLength": 1 }),
            },
            Self::List(kind, most) => {
                json!({ "type": "array", "items": kind.schema(), "maxItems": most })
            }
            Self::Map(name, kind, most) => json!({
                "type": "object",
                "propertyNames": Kind::Text(name).schema(),
                "additionalProperties": kind.schema(),
                "maxProperties": most,
            }),
        }
    }
}

fn plural(words: &str) -> String {
    match words.split_once(' ') {
        _ if words == "entry" => "entries".into(),
        None if words.ends_with(|c: char| c.is_alphanumeric()) => format!("{words}s"),
        _ => words.into(),
    }
}

/// The schema of a section or entry; everything may be left out, and `null` leaves it out too.
pub fn section(keys: &[Key], entry: bool) -> Json {
    let property = |key: &Key| {
        let mut schema = json!({ "anyOf": [key.kind.schema(), { "type": "null" }] });
        schema["description"] = json!(key.meaning);
        if let Some(default) = key.default {
            // Defaults are words, numbers and empty collections, which YAML writes as JSON does.
            schema["default"] = serde_json::from_str(default).unwrap_or_else(|_| json!(default));
        }
        (key.name.to_owned(), schema)
    };
    let properties: serde_json::Map<String, Json> = keys.iter().map(property).collect();
    let mut schema =
        json!({ "type": "object", "properties": properties, "additionalProperties": false });
    if entry {
        schema["minProperties"] = json!(1);
    }
    schema
}
