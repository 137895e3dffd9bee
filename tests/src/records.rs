//! What lockprobe said: JSON lines, taken apart.

use std::path::Path;
use std::sync::OnceLock;

use serde_json::Value;

use crate::probe::lockprobe;

/// The records of one run, each held to the schema.
#[derive(Debug)]
pub struct Records(pub Vec<Value>);

/// The published schema, as `lockprobe generate schema` prints it.
pub fn schema() -> &'static jsonschema::Validator {
    static SCHEMA: OnceLock<jsonschema::Validator> = OnceLock::new();
    SCHEMA.get_or_init(|| {
        let output = lockprobe(["generate", "schema"]).output().expect("lockprobe runs");
        assert!(output.status.success());
        let schema: Value = serde_json::from_slice(&output.stdout).expect("the schema is JSON");
        jsonschema::validator_for(&schema).expect("the schema is a schema")
    })
}

/// A number of a record, as an integer.
#[track_caller]
pub fn number(record: &Value, key: &str) -> u64 {
    record[key].as_u64().unwrap_or_else(|| panic!("no {key} in {record}"))
}

/// A text of a record.
#[track_caller]
pub fn text<'a>(record: &'a Value, key: &str) -> &'a str {
    record[key].as_str().unwrap_or_else(|| panic!("no {key} in {record}"))
}

/// Seconds of a record as nanoseconds.
#[track_caller]
pub fn nanos(record: &Value, key: &str) -> u64 {
    let seconds = record[key].as_f64().unwrap_or_else(|| panic!("no {key} in {record}"));
    (seconds * 1e9).round() as u64
}

impl Records {
    /// Reads a whole output: every line is a record of the schema, the last is the summary.
    #[track_caller]
    pub fn read(text: &str) -> Self {
        let lines = text.lines().map(|line| {
            serde_json::from_str(line).unwrap_or_else(|e| panic!("`{line}` is no JSON: {e}"))
        });
        let records: Vec<Value> = lines.collect();
        for record in &records {
            if let Err(error) = schema().validate(record) {
                panic!("the schema refuses {record}: {error}");
            }
        }
        let summaries = records.iter().filter(|r| r["record"] == "summary").count();
        assert_eq!(summaries, 1, "one summary ends a complete output:\n{text}");
        assert_eq!(records.last().expect("not empty")["record"], "summary");
        Self(records)
    }

    /// Reads a file.
    #[track_caller]
    pub fn of_file(path: &Path) -> Self {
        Self::read(&std::fs::read_to_string(path).expect("the output file is there"))
    }

    /// All of one kind.
    pub fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.0.iter().filter(move |r| r["record"] == kind)
    }

    /// All acquire records.
    pub fn acquires(&self) -> Vec<&Value> {
        self.of_kind("acquire").collect()
    }

    /// All hold records.
    pub fn holds(&self) -> Vec<&Value> {
        self.of_kind("hold").collect()
    }

    /// All findings.
    pub fn findings(&self) -> Vec<&Value> {
        self.of_kind("finding").collect()
    }

    /// The summary.
    pub fn summary(&self) -> &Value {
        &self.0[self.0.len() - 1]
    }

    /// Everything that was dropped anywhere: cause and how many, where not zero.
    pub fn dropped(&self) -> Vec<(String, u64)> {
        let dropped = self.summary()["dropped"].as_array().expect("an array");
        let entries = dropped.iter().map(|d| (text(d, "cause").to_owned(), number(d, "count")));
        entries.filter(|(_, count)| *count > 0).collect()
    }

    /// Fails unless all that happened was delivered.
    #[track_caller]
    pub fn expect_complete(&self) {
        assert_eq!(self.dropped(), []);
    }

    /// The one acquire record of a thread.
    #[track_caller]
    pub fn acquire_of(&self, tid: u64) -> &Value {
        let all: Vec<_> = self.acquires().into_iter().filter(|r| r["thread.id"] == tid).collect();
        let [one] = all[..] else { panic!("not one wait of thread {tid}: {self:#?}") };
        one
    }
}
