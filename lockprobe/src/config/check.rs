//! A document held against the table of keys: values, and all that is wrong.

use super::kind::{Form, Key, Kind};
use super::problem::{Problem, meant};
use super::value::Value;
use super::yaml::{Node, Place, What};

/// Most problems told of one document; nobody reads more.
const PROBLEMS: usize = 50;

/// What a document sets: the path of a key, where, to what.
pub type Found = (String, Place, Value);

/// Checks documents that came from one file.
pub struct Check<'a> {
    file: &'a str,
    keys: &'static [Key],
    /// What is set.
    pub found: Vec<Found>,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

impl<'a> Check<'a> {
    /// Nothing yet.
    pub fn new(file: &'a str, keys: &'static [Key]) -> Self {
        Self { file, keys, found: Vec::new(), problems: Vec::new() }
    }

    /// Checks a whole document.
    pub fn document(&mut self, node: &Node) {
        self.section(node, self.keys, "");
    }

    fn wrong(&mut self, at: Place, text: String) {
        if self.problems.len() < PROBLEMS {
            let place = format!("{}:{}:{}", self.file, at.line, at.column);
            self.problems.push(Problem::new(place, text));
        }
    }

    fn section(&mut self, node: &Node, keys: &'static [Key], path: &str) {
        let entries = match &node.what {
            What::Map(entries) => entries,
            What::Nothing => return,
            other => {
                let what = name(path);
                let text = format!("{what} is {}; it has keys: {}", said(other), names(keys));
                return self.wrong(node.at, text);
            }
        };
        for (said, at, value) in entries {
            let inner = if path.is_empty() { said.clone() } else { format!("{path}.{said}") };
            match keys.iter().find(|key| key.name == said) {
                None => self.unknown(*at, said, keys, path),
                Some(Key { kind: Kind::Section(keys), .. }) => self.section(value, keys, &inner),
                Some(key) => {
                    if let Some(read) = self.value(value, &key.kind, &inner) {
                        self.found.push((inner, value.at, read));
                    }
                }
            }
        }
    }

    fn unknown(&mut self, at: Place, said: &str, keys: &'static [Key], path: &str) {
        let near = meant(said, keys.iter().map(|key| key.name)).map(str::to_owned);
        let elsewhere =
            || paths(self.keys).into_iter().find(|p| p.rsplit('.').next() == Some(said));
        let hint = match near.or_else(elsewhere) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("there are {}", names(keys)),
        };
        let whose = if path.is_empty() { String::new() } else { format!(" of `{path}`") };
        self.wrong(at, format!("unknown key `{said}`{whose}; {hint}"));
    }

    /// A value of a key, unless it is wrong or not set.
    fn value(&mut self, node: &Node, kind: &'static Kind, path: &str) -> Option<Value> {
        match (kind, &node.what) {
            (_, What::Nothing) => None,
            (Kind::List(kind, most), What::List(list)) => {
                self.list(node.at, list, kind, *most, path)
            }
            (Kind::Map(form, kind, most), What::Map(entries)) => {
                self.map(node.at, entries, (form, kind), *most, path)
            }
            (Kind::Object(keys), What::Map(entries)) => self.object(node.at, entries, keys, path),
            (Kind::Bool, What::Bool(value)) => Some(Value::Bool(*value)),
            (Kind::Integer(..) | Kind::Size(..), What::Integer(n)) => {
                self.read(node.at, kind, &n.to_string(), path)
            }
            (Kind::Duration(..), What::Integer(n)) => {
                self.read(node.at, kind, &n.to_string(), path)
            }
            (Kind::Duration(..), What::Real(n)) => self.read(node.at, kind, &n.to_string(), path),
            (
                Kind::Size(..) | Kind::Duration(..) | Kind::Text(_) | Kind::Choice(_),
                What::Text(text),
            ) => self.read(node.at, kind, text, path),
            (Kind::Text(_), What::Integer(_) | What::Real(_) | What::Bool(_)) => {
                let text = format!("`{path}` is a text; put quotes around it");
                self.wrong(node.at, text);
                None
            }
            (_, other) => {
                let text = format!("`{path}` is {}; it should be: {}", said(other), kind.words());
                self.wrong(node.at, text);
                None
            }
        }
    }

    fn read(&mut self, at: Place, kind: &Kind, text: &str, path: &str) -> Option<Value> {
        match kind.read(text) {
            Ok(value) => Some(value),
            Err(error) => {
                self.wrong(at, format!("`{path}`: {error}"));
                None
            }
        }
    }

    fn list(
        &mut self,
        at: Place,
        list: &[Node],
        kind: &'static Kind,
        most: usize,
        path: &str,
    ) -> Option<Value> {
        if list.len() > most {
            self.wrong(
                at,
                format!("`{path}` has {} entries; {most} is the most there may be", list.len()),
            );
            return None;
        }
        let mut values = Vec::new();
        for (n, node) in list.iter().enumerate() {
            if node.what == What::Nothing {
                self.wrong(node.at, format!("`{path}` has an empty entry; leave it out"));
            }
            values.extend(self.value(node, kind, &format!("{path}[{n}]")));
        }
        Some(Value::List(values))
    }

    fn map(
        &mut self,
        at: Place,
        entries: &[(String, Place, Node)],
        (form, kind): (&'static Form, &'static Kind),
        most: usize,
        path: &str,
    ) -> Option<Value> {
        if entries.len() > most {
            self.wrong(
                at,
                format!("`{path}` has {} entries; {most} is the most there may be", entries.len()),
            );
            return None;
        }
        let mut values = Vec::new();
        for (said, at, node) in entries {
            if let Err(error) = (form.check)(said) {
                self.wrong(*at, format!("`{path}`: {error}"));
                continue;
            }
            let inner = format!("{path}.{said}");
            if node.what == What::Nothing {
                self.wrong(node.at, format!("`{inner}` has no value; leave it out"));
            }
            values.extend(self.value(node, kind, &inner).map(|value| (said.clone(), value)));
        }
        Some(Value::Map(values))
    }

    fn object(
        &mut self,
        at: Place,
        entries: &[(String, Place, Node)],
        keys: &'static [Key],
        path: &str,
    ) -> Option<Value> {
        let mut values = Vec::new();
        let before = self.problems.len();
        for (said, at, node) in entries {
            let Some(key) = keys.iter().find(|key| key.name == said) else {
                self.unknown(*at, said, keys, path);
                continue;
            };
            let value = self.value(node, &key.kind, &format!("{path}.{said}"));
            values.extend(value.map(|value| (said.clone(), value)));
        }
        let is_nothing = |value: &Value| match value {
            Value::Map(map) => map.is_empty(),
            _ => false,
        };
        if values.iter().all(|(_, value)| is_nothing(value)) && self.problems.len() == before {
            self.wrong(
                at,
                format!(
                    "`{path}` says nothing, and would mean everything; it has keys: {}",
                    names(keys)
                ),
            );
            return None;
        }
        Some(Value::Map(values))
    }
}

fn name(path: &str) -> String {
    if path.is_empty() { "the configuration".into() } else { format!("`{path}`") }
}

fn names(keys: &[Key]) -> String {
    keys.iter().map(|key| format!("`{}`", key.name)).collect::<Vec<_>>().join(", ")
}

fn said(what: &What) -> &'static str {
    match what {
        What::Nothing => "empty",
        What::Bool(_) => "`true` or `false`",
        What::Integer(_) | What::Real(_) => "a number",
        What::Text(_) => "a text",
        What::List(_) => "a list",
        What::Map(_) => "a section",
    }
}

/// The paths of all keys.
pub fn paths(keys: &'static [Key]) -> Vec<String> {
    leaves(keys).into_iter().map(|(path, _)| path).collect()
}

/// All keys that are no sections, by path.
pub fn leaves(keys: &'static [Key]) -> Vec<(String, &'static Key)> {
    let mut found = Vec::new();
    for key in keys {
        match &key.kind {
            Kind::Section(inner) => found.extend(
                leaves(inner)
                    .into_iter()
                    .map(|(path, leaf)| (format!("{}.{path}", key.name), leaf)),
            ),
            _ => found.push((key.name.to_owned(), key)),
        }
    }
    found
}
