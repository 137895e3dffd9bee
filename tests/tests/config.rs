//! The schema of the configuration and the parser agree; needs no root.

use std::io::Write as _;
use std::process::Stdio;

use lockprobe_tests::probe::{Probe, lockprobe};
use serde_json::{Value, json};

fn schema() -> jsonschema::Validator {
    let output = lockprobe(["config", "schema"]).output().expect("lockprobe runs");
    assert!(output.status.success());
    let schema: Value = serde_json::from_slice(&output.stdout).expect("the schema is JSON");
    jsonschema::validator_for(&schema).expect("the schema is a schema")
}

/// What lockprobe says of a document; JSON is YAML.
fn parser(document: &Value) -> (i32, String) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    write!(file, "{document}").unwrap();
    let mut command = lockprobe(["config", "validate"]);
    let ended = Probe::start(command.arg(file.path()).stdin(Stdio::null())).wait();
    (ended.status, ended.stderr)
}

#[test]
fn what_the_schema_takes_and_refuses_the_parser_takes_and_refuses() {
    let schema = schema();
    let good = [
        json!(null),
        json!({}),
        json!({ "capture": null, "locks": { "row_locks": null } }),
        json!({ "capture": { "min_wait": "1.5ms", "ring_size": 65536, "stacks": { "enabled": false } } }),
        json!({ "capture": { "min_wait": 0, "servers": { "ports": { "7001": "redis" } } } }),
        json!({ "targets": { "include": [{ "exe": "a*", "port": 80 }], "exclude": [{ "env": { "A": "*" } }] } }),
        json!({ "agents": { "rules": [{ "match": { "thread": "x" }, "name": "${env:A} b" }] } }),
        json!({ "otlp": { "endpoint": "https://c:4317", "protocol": "http/protobuf", "headers": { "a-b": "c" } } }),
        json!({ "http": { "listen": "[::1]:9464" }, "state": { "directory": "off" } }),
    ];
    for document in good {
        assert!(schema.is_valid(&document), "{document}");
        assert_eq!(parser(&document), (0, String::new()), "{document}");
    }
    let bad = [
        json!([]),
        json!("capture"),
        json!({ "captures": {} }),
        json!({ "capture": { "min_wait": 5 } }),
        json!({ "capture": { "min_wait": "5 parsecs" } }),
        json!({ "capture": { "lock_files": "yes" } }),
        json!({ "capture": { "ring_size": "4G" } }),
        json!({ "capture": { "servers": { "ports": { "redis": "redis" } } } }),
        json!({ "capture": { "servers": { "ports": { "7001": "rediss" } } } }),
        json!({ "targets": { "include": {} } }),
        json!({ "targets": { "include": [{}] } }),
        json!({ "targets": { "include": [{ "port": 0 }] } }),
        json!({ "targets": { "include": [{ "exe": 7 }] } }),
        json!({ "targets": { "include": [{ "exe": "" }] } }),
        json!({ "targets": { "include": [{ "thread": "x" }] } }),
        json!({ "otlp": { "endpoint": "collector:4317" } }),
        json!({ "otlp": { "endpoint": "http://user:pass@c" } }),
        json!({ "otlp": { "headers": { "a b": "c" } } }),
        json!({ "http": { "listen": "localhost" } }),
        json!({ "metrics": { "max_series": 1 } }),
        json!({ "log": { "level": "loud" } }),
        json!({ "state": { "directory": "var" } }),
    ];
    for document in bad {
        assert!(!schema.is_valid(&document), "{document}");
        let (status, said) = parser(&document);
        assert_eq!(status, 2, "{document}");
        assert!(said.starts_with("lockprobe: ") && said.contains(":1:"), "{document}: {said}");
    }
}

#[test]
fn what_is_in_force_is_shown_with_who_said_it_and_without_secrets() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "log: {{level: warn}}\notlp:\n  headers: {{authorization: s3cret}}").unwrap();
    let mut command = lockprobe(["config", "show", "--set", "capture.lock_files=true", "--config"]);
    command.arg(file.path()).env("LOCKPROBE_METRICS_MAX_SERIES", "99");
    let ended = Probe::start(command.stdin(Stdio::null())).wait().expect(0);
    let name = file.path().display();
    for line in [
        "capture.min_wait: 1ms  # default".to_owned(),
        "capture.lock_files: true  # flag".to_owned(),
        "metrics.max_series: 99  # environment: LOCKPROBE_METRICS_MAX_SERIES".to_owned(),
        format!("log.level: warn  # {name}:1"),
        format!("otlp.headers: {{authorization: \"********\"}}  # {name}:3"),
    ] {
        assert!(ended.stdout.lines().any(|shown| shown == line), "{line}\n{}", ended.stdout);
    }
    assert!(!ended.stdout.contains("s3cret"));
}
