//! What is accepted, what is refused and in which words, and that all faces of the table agree.

use super::check::leaves;
use super::*;

fn file(text: &str) -> Result<Effective, Vec<String>> {
    bytes(text.as_bytes())
}

fn bytes(bytes: &[u8]) -> Result<Effective, Vec<String>> {
    let sources = Sources { file: Some(("f.yaml", bytes)), ..Sources::default() };
    effective(sources).map_err(|problems| problems.iter().map(ToString::to_string).collect())
}

#[track_caller]
fn wrong(text: &str) -> Vec<String> {
    file(text).expect_err(text)
}

#[test]
fn nothing_said_is_the_defaults() {
    for text in ["", "# a comment\n", "---\n", "capture:\n", "{}", "capture: {min_wait: null}"] {
        let effective = file(text).unwrap();
        assert!(effective.keys.iter().all(|(_, _, origin)| *origin == Origin::Default), "{text}");
        let settings = effective.settings;
        assert_eq!(settings.capture.min_wait, 1_000_000);
        assert_eq!(settings.capture.ring_size, 4 << 20);
        assert!(settings.capture.stacks.enabled && settings.targets.include.is_empty());
        assert_eq!(
            (settings.http.listen.as_str(), settings.otlp.endpoint),
            ("127.0.0.1:9464", None)
        );
    }
}

#[test]
fn every_default_is_a_value_of_its_key() {
    for (path, key) in leaves(KEYS) {
        let default = layers::default(key);
        assert_eq!(default == Value::Nothing, key.default.is_none(), "{path}");
        let Some(text) = key.default else { continue };
        if key.kind.is_scalar() {
            assert_eq!(default.to_yaml().trim_matches('"'), text, "{path}: as people write it");
        }
    }
}

#[test]
fn the_words_of_servers_are_those_of_the_dialects() {
    let known: Vec<&str> = crate::model::Dialect::ALL.iter().map(|d| d.name()).collect();
    assert_eq!(keys::DIALECTS, known);
}

#[test]
fn what_is_set_arrives() {
    let text = r#"
capture:
  min_wait: 500us
  stacks: {threshold: 20 ms}
  ring_size: 65536
  servers:
    ports: {7001: redis, "7002": etcd}
targets:
  include:
    - exe: python3*
      env: {ROLE: "planner-*"}
    - port: 8080
      pod_labels: {app.kubernetes.io/name: x}
  exclude: [{cgroup: /system.slice/*}]
agents:
  rules:
    - match: {command: "worker\\.py", thread: "agent-*"}
      name: ${env:AGENT}
      version: "1.10"
locks: {names: [{pattern: "cache.c:*", name: cache}], lock_patterns: [mine], row_locks: true}
otlp: {endpoint: "https://collector:4318/x", protocol: http/protobuf, headers: {x-key: s3cret}}
http: {listen: off}
log: {level: debug}
"#;
    let settings = file(text).unwrap().settings;
    assert_eq!(settings.capture.min_wait, 500_000);
    assert_eq!(settings.capture.stacks.threshold, 20_000_000);
    assert_eq!(settings.capture.ring_size, 65_536);
    assert_eq!(settings.capture.servers.ports[&7002], "etcd");
    assert_eq!(settings.targets.include[0].env["ROLE"], "planner-*");
    assert_eq!(settings.targets.include[1].port, Some(8080));
    assert_eq!(settings.targets.exclude[0].cgroup.as_deref(), Some("/system.slice/*"));
    let rule = &settings.agents.rules[0];
    assert_eq!(rule.which.thread.as_deref(), Some("agent-*"));
    assert_eq!(rule.which.selector.command.as_deref(), Some("worker\\.py"));
    assert_eq!((rule.version.as_deref(), rule.id.as_deref()), (Some("1.10"), None));
    assert!(settings.locks.row_locks && settings.locks.names[0].name == "cache");
    assert_eq!(settings.otlp.headers["x-key"], "s3cret");
    assert!(!format!("{settings:?}").contains("s3cret"));
    assert_eq!((settings.http.listen.as_str(), settings.log.level.as_str()), ("off", "debug"));
}

#[test]
fn each_thing_that_is_wrong_is_told_where_it_is() {
    #[rustfmt::skip]
    let table = [
        ("capture:\n  minwait: 1ms\n", "f.yaml:2:3: unknown key `minwait` of `capture`; did you mean `min_wait`?"),
        ("min_wait: 1ms\n", "f.yaml:1:1: unknown key `min_wait`; did you mean `capture.min_wait`?"),
        ("frobnicate: 1\n", "f.yaml:1:1: unknown key `frobnicate`; there are `capture`, `targets`,"),
        ("capture:\n  min_wait: 5\n", "f.yaml:2:13: `capture.min_wait`: `5`: no unit; write it like 500us"),
        ("capture:\n  min_wait: 5 parsecs\n", "f.yaml:2:13: `capture.min_wait`: `5 parsecs`: `parsecs` is no unit of time"),
        ("capture: {min_wait: 2h}", "f.yaml:1:21: `capture.min_wait`: `2h` is out of range; 0 to 1h is possible"),
        ("capture: {ring_size: 3M}", "f.yaml:1:22: `capture.ring_size`: `3M` is no power of two from 64K to 256M"),
        ("capture: {lock_files: yes}", "f.yaml:1:23: `capture.lock_files` is a text; it should be: `true` or `false`"),
        ("capture: 7", "f.yaml:1:10: `capture` is a number; it has keys: `min_wait`,"),
        ("[1, 2]", "f.yaml:1:1: the configuration is a list; it has keys: `capture`,"),
        ("metrics: {max_series: 1}", "`1` is no whole number from 10 to 100000"),
        ("metrics: {max_series: many}", "`metrics.max_series` is a text; it should be: number, 10 to 100000"),
        ("otlp: {protocol: grcp}", "f.yaml:1:18: `otlp.protocol`: `grcp` is not possible here; did you mean `grpc`?"),
        ("otlp: {endpoint: collector:4317}", "`collector:4317` has no http:// or https:// in front"),
        ("http: {listen: localhost}", "`localhost` is no address with a port; write it like 127.0.0.1:9464"),
        ("targets: {include: {exe: a}}", "`targets.include` is a section; it should be: list of entries"),
        ("targets: {include: [{}]}", "f.yaml:1:21: `targets.include[0]` says nothing, and would mean everything"),
        ("targets: {include: [{env: {}}]}", "`targets.include[0]` says nothing"),
        ("targets: {include: [{exe: \"[\"}]}", "f.yaml:1:27: `targets.include[0].exe`: `[` is no pattern"),
        ("targets: {exclude: [{port: 70000}]}", "`70000` is no whole number from 1 to 65535"),
        ("targets: {exclude: [{exe: 3.11}]}", "f.yaml:1:27: `targets.exclude[0].exe` is a text; put quotes around it"),
        ("targets: {exclude: [{command: \"(\"}]}", "is no regular expression: unclosed group"),
        ("agents: {rules: [{name: \"${AGENT}\"}]}", "after `${` comes `env:NAME}`"),
        ("capture: {servers: {ports: {0: redis}}}", "`0` is no port"),
        ("capture: {servers: {ports: {7001: rediss}}}", "did you mean `redis`?"),
        ("state: {directory: var}", "`var` is no absolute path"),
        ("log: {level: info}\nlog: {level: warn}\n", "f.yaml:2:1: not understood as YAML: "),
        ("capture: {\n", "f.yaml:1:10: not understood as YAML: unclosed bracket"),
        ("a: *b\n", "f.yaml:1:4: not understood as YAML: "),
        ("a: 1\n---\nb: 2\n", "not understood as YAML: "),
    ];
    for (text, expected) in table {
        let found = wrong(text);
        assert!(found.len() == 1 && found[0].contains(expected), "{text}: {found:#?}");
        assert!(found[0].starts_with("f.yaml:"), "{found:?}");
    }
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let found = wrong("capture:\n  min_wait: 5\n  lock_file: true\nlogs: 1\n");
    let starts = ["f.yaml:2:13: ", "f.yaml:3:3: ", "f.yaml:4:1: "];
    assert!(
        found.len() == 3 && found.iter().zip(starts).all(|(f, s)| f.starts_with(s)),
        "{found:#?}"
    );
    let many = (0..500).map(|n| format!("unknown{n}: 1\n")).collect::<String>();
    assert_eq!(wrong(&many).len(), 50);
}

#[test]
fn secrets_are_not_repeated() {
    for text in [
        "otlp: {endpoint: \"http://user:s3cret@host:1\"}",
        "otlp: {headers: {a: \"s3cret\\u00e9\"}}",
        "otlp: {headers: {a: [s3cret]}}",
    ] {
        let found = wrong(text);
        assert!(!found.concat().contains("s3cret"), "{found:?}");
    }
    let effective = file("otlp: {headers: {authorization: \"Bearer s3cret\"}}").unwrap();
    let shown = show(&effective, Some("f.yaml"));
    assert!(shown.contains("otlp.headers: {authorization: \"********\"}  # f.yaml:1\n"), "{shown}");
    assert!(!shown.contains("s3cret"));
}

#[test]
fn hostile_files_are_one_line_each() {
    let deep = "[".repeat(100_000);
    let mut bomb = String::from("a: &a [x,x,x,x,x,x,x,x,x]\n");
    for n in 1..200 {
        let (name, before) =
            (format!("a{n}"), if n == 1 { "a".into() } else { format!("a{}", n - 1) });
        bomb.push_str(&format!("b{n}: &{name} [{}]\n", vec![format!("*{before}"); 9].join(",")));
    }
    let long = format!("capture: {{min_wait: {}}}", "9".repeat(5000));
    let control = "capture: {\"a\\u001b[31m\\n\": 1}";
    for text in [&deep, &bomb, &long, control] {
        for line in wrong(text) {
            assert!(line.chars().all(|c| !c.is_control()), "{line:?}");
        }
    }
    let found = bytes(b"capture:\n  min_wait: \xff1ms\n").unwrap_err();
    assert_eq!(found, ["f.yaml:2:13: not UTF-8 text from here on; save the file as UTF-8"]);
    let huge = vec![b' '; 2 << 20];
    assert!(bytes(&huge).unwrap_err()[0].contains("larger than 1024 KiB"));
    // Whatever bytes: an answer.
    for n in 0..2_000u32 {
        let text: Vec<u8> = (0..40)
            .map(|i| {
                b"[]{}:,-?&*!|>'\"%@` \n#a1~"
                    [(n.wrapping_mul(2_654_435_761).rotate_left(i) % 24) as usize]
            })
            .collect();
        let _ = bytes(&text);
    }
}

fn environment(pairs: &[(&str, &str)], flags: &[&str]) -> Result<Effective, Vec<Problem>> {
    let environment: Vec<(String, String)> =
        pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
    let flags: Vec<String> = flags.iter().map(|&f| f.to_owned()).collect();
    let text = b"capture: {min_wait: 2ms}\nlog: {level: warn}\nmetrics: {max_series: 77}\n";
    effective(Sources { file: Some(("f", text)), environment: &environment, flags: &flags })
}

#[test]
fn who_comes_later_is_right() {
    let pairs =
        [("LOCKPROBE_CAPTURE_MIN_WAIT", "3ms"), ("LOCKPROBE_LOG_LEVEL", "debug"), ("PATH", "/bin")];
    let flags = ["capture.min_wait=4ms", "targets.exclude=[{exe: bash}, {port: 1}]"];
    let effective = environment(&pairs, &flags).unwrap();
    let of = |path: &str| {
        let found = effective.keys.iter().find(|(other, ..)| other == path).unwrap();
        (found.1.to_yaml(), found.2.clone())
    };
    assert_eq!(of("capture.min_wait"), ("4ms".into(), Origin::Flag));
    assert_eq!(
        of("log.level"),
        ("debug".into(), Origin::Environment("LOCKPROBE_LOG_LEVEL".into()))
    );
    assert_eq!(of("metrics.max_series"), ("77".into(), Origin::File(3)));
    assert_eq!(of("log.format"), ("text".into(), Origin::Default));
    assert_eq!(effective.settings.targets.exclude[1].port, Some(1));
    assert!(effective.remarks.is_empty());
    let shown = show(&effective, Some("f"));
    assert!(shown.contains("capture.min_wait: 4ms  # flag\n"), "{shown}");
    assert!(shown.contains("targets.exclude: [{exe: bash}, {port: 1}]  # flag\n"), "{shown}");
    assert!(shown.contains("log.level: debug  # environment: LOCKPROBE_LOG_LEVEL\n"), "{shown}");
}

#[test]
fn variables_and_flags_are_held_to_the_same_rules() {
    let line = |pairs: &[(&str, &str)], flags: &[&str]| {
        let problems = environment(pairs, flags).unwrap_err();
        assert_eq!(problems.len(), 1);
        problems[0].to_string()
    };
    let found = line(&[("LOCKPROBE_CAPTURE_MIN_WAIT", "soon")], &[]);
    assert!(found.starts_with("LOCKPROBE_CAPTURE_MIN_WAIT: `soon`: no number in it;"), "{found}");
    let found = line(&[], &["capture.minwait=1ms"]);
    assert_eq!(
        found,
        "--set capture.minwait: there is no such key; did you mean `capture.min_wait`?"
    );
    let found = line(&[], &["capture.min_wait"]);
    assert!(found.contains("there is no `=` in it"), "{found}");
    let found = line(&[], &["targets.include=[{ex: a}]"]);
    assert_eq!(
        found,
        "--set targets.include: unknown key `ex` of `targets.include[0]`; did you mean `exe`?"
    );
    assert!(environment(&[("LOCKPROBE_LOG_LEVEL", "")], &[]).is_ok());
    // As Kubernetes makes them of a service called lockprobe.
    let service =
        [("LOCKPROBE_PORT", "tcp://10.0.0.1:9464"), ("LOCKPROBE_SERVICE_HOST", "10.0.0.1")];
    assert!(environment(&service, &[]).unwrap().remarks.is_empty());
    let slip = environment(&[("LOCKPROBE_CAPTURE_MINWAIT", "1ms")], &[]).unwrap();
    assert_eq!(slip.remarks.len(), 1, "{:?}", slip.remarks);
}

#[test]
fn the_example_has_every_key_and_says_the_defaults() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/lockprobe.yaml");
    let example = std::fs::read_to_string(path).unwrap();
    let said = file(&example).unwrap();
    let default = file("").unwrap();
    assert_eq!(said.settings, default.settings);
    // What is optional or a list stands there as a comment: made one, it is right too.
    let all: String = example
        .lines()
        .map(|line| match line.trim_start().strip_prefix("#: ") {
            Some(code) => format!("{}{code}\n", &line[..line.len() - line.trim_start().len()]),
            None => format!("{line}\n"),
        })
        .collect();
    let said = bytes(all.as_bytes()).unwrap_or_else(|e| panic!("{e:#?}"));
    let unsaid: Vec<_> =
        said.keys.iter().filter(|(_, _, origin)| *origin == Origin::Default).collect();
    assert!(unsaid.is_empty(), "{unsaid:#?}");
}

#[test]
fn what_is_shown_is_what_is_read() {
    let text =
        "targets: {include: [{exe: \"a b\", env: {X: \"\\u202e*\"}}]}\njsonl: {path: /tmp/x}";
    let effective = file(text).unwrap();
    let flags: Vec<String> = effective
        .keys
        .iter()
        .filter(|(_, value, _)| *value != Value::Nothing)
        .map(|(path, value, _)| match value {
            Value::Text(text) => format!("{path}={text}"),
            value => format!("{path}={}", value.to_yaml()),
        })
        .collect();
    let again = super::effective(Sources { flags: &flags, ..Sources::default() }).unwrap();
    assert_eq!(again.settings, effective.settings);
    assert!(!show(&effective, None).contains('\u{202e}'));
}
