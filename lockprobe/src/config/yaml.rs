//! A YAML document as a tree that knows where everything was said.

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use super::problem::Problem;

/// Largest file, bytes: a thousand rules, and no program's memory.
pub const FILE_BYTES: u64 = 1 << 20;
/// Deepest nesting; the table of keys goes six deep.
const DEPTH: usize = 24;
/// Most values, those that aliases stand for included.
const NODES: usize = 50_000;

/// Line and column, from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Line.
    pub line: u64,
    /// Column, in characters.
    pub column: u64,
}

/// A value and where it was said.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Where.
    pub at: Place,
    /// What.
    pub what: What,
}

/// What was said.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// Nothing: `null`, or left empty.
    Nothing,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Integer(i128),
    /// A number that is none.
    Real(f64),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// Names, where they were said, and values.
    Map(Vec<(String, Place, Node)>),
}

/// Reads a document. An empty one says nothing.
pub fn read(file: &str, bytes: &[u8]) -> Result<Node, Problem> {
    if bytes.len() as u64 > FILE_BYTES {
        let text = format!(
            "larger than {} KiB, which no configuration is; give another file",
            FILE_BYTES >> 10
        );
        return Err(Problem::new(file, text));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let before = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        let what = "not UTF-8 text from here on; save the file as UTF-8";
        Problem::new(format!("{file}:{line}:{column}"), what)
    })?;
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: DEPTH,
            max_nodes: NODES,
            max_events: 2 * NODES,
            max_aliases: 1_000,
            max_anchors: 1_000,
            max_recorded_anchor_events: 2 * NODES,
            max_recorded_anchor_bytes: 4 * FILE_BYTES as usize,
            max_total_scalar_bytes: 4 * FILE_BYTES as usize,
            max_documents: 1,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 2 * NODES },
        strict_booleans: true,
        with_snippet: false,
    };
    let read = serde_saphyr::from_str_with_options::<Option<Node>>(text, options);
    let nothing = Node { at: Place { line: 1, column: 1 }, what: What::Nothing };
    read.map(|node| node.unwrap_or(nothing)).map_err(|error| problem(file, &error))
}

fn problem(file: &str, error: &serde_saphyr::Error) -> Problem {
    let error = error.without_snippet();
    let place = match error.location() {
        Some(at) if at.line() > 0 => format!("{file}:{}:{}", at.line(), at.column()),
        _ => file.to_owned(),
    };
    let text = error.to_string();
    // The place stands in front already.
    let text = text.split(" at line ").next().unwrap_or(&text).trim_end_matches([':', ',', ' ']);
    let budget = matches!(error, serde_saphyr::Error::Budget { .. });
    let hint = match budget {
        true => "larger than any configuration; leave out what aliases repeat",
        false => "see the example deploy/lockprobe.yaml",
    };
    Problem::new(place, format!("not understood as YAML: {text}; {hint}"))
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<What>::deserialize(deserializer)?;
        let at = spanned.referenced;
        Ok(Self { at: Place { line: at.line(), column: at.column() }, what: spanned.value })
    }
}

impl<'de> Deserialize<'de> for What {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Anything)
    }
}

struct Anything;

impl<'de> Visitor<'de> for Anything {
    type Value = What;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<What, E> {
        Ok(What::Nothing)
    }

    fn visit_none<E>(self) -> Result<What, E> {
        Ok(What::Nothing)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<What, D::Error> {
        What::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<What, E> {
        Ok(What::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<What, E> {
        Ok(What::Integer(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<What, E> {
        Ok(What::Integer(value.into()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<What, E> {
        Ok(What::Integer(value))
    }

    fn visit_u128<E>(self, value: u128) -> Result<What, E> {
        Ok(i128::try_from(value).map_or(What::Real(value as f64), What::Integer))
    }

    fn visit_f64<E>(self, value: f64) -> Result<What, E> {
        Ok(What::Real(value))
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<What, E> {
        Ok(What::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<What, E> {
        Ok(What::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<What, A::Error> {
        let mut list = Vec::new();
        while let Some(node) = seq.next_element::<Node>()? {
            list.push(node);
        }
        Ok(What::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<What, A::Error> {
        let mut entries = Vec::new();
        while let Some((name, node)) = map.next_entry::<Spanned<String>, Node>()? {
            let at = Place { line: name.referenced.line(), column: name.referenced.column() };
            if entries.len() >= NODES {
                return Err(A::Error::custom("too many keys"));
            }
            entries.push((name.value, at, node));
        }
        Ok(What::Map(entries))
    }
}
