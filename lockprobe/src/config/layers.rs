//! Defaults, then the file, then the environment, then flags: who said what last.

use std::collections::BTreeMap;

use super::check::{Check, leaves};
use super::keys::KEYS;
use super::kind::{Key, Kind};
use super::problem::{Problem, meant};
use super::settings::Settings;
use super::value::Value;
use super::yaml;

/// What the names of variables begin with.
pub const PREFIX: &str = "LOCKPROBE_";

/// Who set a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody.
    Default,
    /// The file, at this line.
    File(u64),
    /// This variable.
    Environment(String),
    /// A flag.
    Flag,
}

/// What is said where.
#[derive(Clone, Copy, Default)]
pub struct Sources<'a> {
    /// Name of the file, and what is in it.
    pub file: Option<(&'a str, &'a [u8])>,
    /// Variables.
    pub environment: &'a [(String, String)],
    /// `KEY=VALUE` as flags have it.
    pub flags: &'a [String],
}

/// All keys with what they are.
#[derive(Clone, Debug)]
pub struct Effective {
    /// Every key by its path, in the order of the table.
    pub keys: Vec<(String, Value, Origin)>,
    /// The same, typed.
    pub settings: Settings,
    /// What looks like a slip but need not be one.
    pub remarks: Vec<String>,
}

type Layers = BTreeMap<String, (Value, Origin)>;

/// Puts together what was said; or all that is wrong with it.
pub fn effective(sources: Sources<'_>) -> Result<Effective, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut set: Layers = BTreeMap::new();
    if let Some((name, bytes)) = sources.file {
        file(name, bytes, &mut set, &mut problems);
    }
    let remarks = environment(sources.environment, &mut set, &mut problems);
    flags(sources.flags, &mut set, &mut problems);
    if !problems.is_empty() {
        return Err(problems);
    }
    let key = |(path, key): (String, &'static Key)| {
        let default = || (default(key), Origin::Default);
        let (value, origin) = set.remove(&path).unwrap_or_else(default);
        (path, value, origin)
    };
    let keys: Vec<_> = leaves(KEYS).into_iter().map(key).collect();
    let settings = settings(&keys).map_err(|error| {
        vec![Problem::new("configuration", format!("{error}; this is a bug in lockprobe"))]
    })?;
    Ok(Effective { keys, settings, remarks })
}

fn file(name: &str, bytes: &[u8], set: &mut Layers, problems: &mut Vec<Problem>) {
    let node = match yaml::read(name, bytes) {
        Ok(node) => node,
        Err(problem) => return problems.push(problem),
    };
    let mut check = Check::new(name, KEYS);
    check.document(&node);
    problems.append(&mut check.problems);
    let found = check.found.into_iter();
    set.extend(found.map(|(path, at, value)| (path, (value, Origin::File(at.line)))));
}

/// The variable of a key that one word can say.
pub fn variable(path: &str) -> String {
    format!("{PREFIX}{}", path.to_uppercase().replace('.', "_"))
}

fn environment(
    variables: &[(String, String)],
    set: &mut Layers,
    problems: &mut Vec<Problem>,
) -> Vec<String> {
    let scalars = leaves(KEYS).into_iter().filter(|(_, key)| key.kind.is_scalar());
    let known: BTreeMap<String, (String, &'static Key)> =
        scalars.map(|(path, key)| (variable(&path), (path, key))).collect();
    let mut remarks = Vec::new();
    for (name, text) in variables.iter().filter(|(name, _)| name.starts_with(PREFIX)) {
        let Some((path, key)) = known.get(name) else {
            // No error: Kubernetes makes variables of the names of services.
            if let Some(near) = meant(name, known.keys().map(String::as_str)) {
                remarks.push(format!(
                    "the variable {name} says nothing to lockprobe; did you mean {near}?"
                ));
            }
            continue;
        };
        // Set to nothing is not set, as the specification of OpenTelemetry has it.
        if text.is_empty() {
            continue;
        }
        match key.kind.read(text) {
            Ok(value) => drop(set.insert(path.clone(), (value, Origin::Environment(name.clone())))),
            Err(error) => problems.push(Problem::new(name.clone(), error)),
        }
    }
    remarks
}

fn flags(flags: &[String], set: &mut Layers, problems: &mut Vec<Problem>) {
    let known = leaves(KEYS);
    for flag in flags {
        let Some((path, text)) = flag.split_once('=') else {
            problems.push(Problem::new(
                format!("--set {flag}"),
                "there is no `=` in it; write it like capture.min_wait=5ms",
            ));
            continue;
        };
        let path = path.trim();
        let place = format!("--set {path}");
        let Some((_, key)) = known.iter().find(|(name, _)| name == path) else {
            let near = meant(path, known.iter().map(|(name, _)| name.as_str()));
            let hint = near.map_or("`lockprobe config show` lists them".into(), |near| {
                format!("did you mean `{near}`?")
            });
            problems.push(Problem::new(place, format!("there is no such key; {hint}")));
            continue;
        };
        let value = match key.kind.is_scalar() {
            true => key.kind.read(text).map_err(|error| vec![Problem::new(&place, error)]),
            false => in_yaml(&place, path, text),
        };
        match value {
            Ok(value) => drop(set.insert(path.to_owned(), (value, Origin::Flag))),
            Err(found) => problems.extend(found),
        }
    }
}

/// A list or a map on one line, as a file would say it.
fn in_yaml(place: &str, path: &str, text: &str) -> Result<Value, Vec<Problem>> {
    let parts: Vec<&str> = path.split('.').collect();
    let open = parts.iter().map(|part| format!("{{{part}: ")).collect::<String>();
    let document = format!("{open}{text}{}", "}".repeat(parts.len()));
    let node = yaml::read(place, document.as_bytes()).map_err(|problem| vec![problem])?;
    let mut check = Check::new(place, KEYS);
    check.document(&node);
    // Where in a line that nobody wrote says nothing.
    let at_flag = |problem: Problem| Problem::new(place, problem.text);
    if !check.problems.is_empty() {
        return Err(check.problems.into_iter().map(at_flag).collect());
    }
    match &mut check.found[..] {
        [(found, _, value)] if found == path => Ok(std::mem::replace(value, Value::Nothing)),
        _ => Err(vec![Problem::new(place, "not one value; write it as a file would")]),
    }
}

/// What a key is when nobody sets it; a test reads them all.
pub fn default(key: &Key) -> Value {
    match (&key.kind, key.default) {
        (_, None) => Value::Nothing,
        (Kind::List(..), Some(_)) => Value::List(Vec::new()),
        (Kind::Map(..), Some(_)) => Value::Map(Vec::new()),
        (kind, Some(text)) => kind.read(text).unwrap_or(Value::Nothing),
    }
}

fn settings(keys: &[(String, Value, Origin)]) -> Result<Settings, serde_json::Error> {
    let mut root = serde_json::json!({});
    for (path, value, _) in keys {
        let pointer = path.split('.');
        let mut at = &mut root;
        for part in pointer {
            if at.is_null() {
                *at = serde_json::json!({});
            }
            at = &mut at[part];
        }
        *at = value.to_plain();
    }
    serde_json::from_value(root)
}
