//! What is printed, for people and for programs.

use std::process::{Command, Stdio};

use lockprobe_tests::probe::{Probe, binary, lockprobe, run};
use lockprobe_tests::program::{compiled, watched};
use lockprobe_tests::records::schema;
use serde_json::{Value, json};

fn scene() -> String {
    compiled("scene").to_str().unwrap().to_owned()
}

#[test]
fn a_file_or_a_pipe_gets_no_escape_bytes() {
    let ended = watched(&["trace"], [&scene(), "brief", "60"]).expect(0);
    assert!(ended.stdout.contains("waiter"), "{}", ended.stdout);
    assert!(!ended.stdout.contains('\x1b'), "{:?}", ended.stdout);
    let file = tempfile::NamedTempFile::new().unwrap();
    watched(&["trace", "--output", file.path().to_str().unwrap()], [&scene(), "brief", "60"])
        .expect(0);
    let written = std::fs::read_to_string(file.path()).unwrap();
    assert!(written.contains("waiter") && !written.contains('\x1b'), "{written:?}");
}

/// What a terminal is shown.
fn on_a_terminal(no_colour: Option<&str>) -> String {
    lockprobe_tests::need_root();
    let line = format!("{} trace -- {} brief 60", binary().display(), scene());
    let mut command = Command::new("script");
    command.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
    command.env("TERM", "xterm-256color").env_remove("NO_COLOR").stdin(Stdio::null());
    if let Some(value) = no_colour {
        command.env("NO_COLOR", value);
    }
    Probe::start(&mut command).wait().expect(0).stdout
}

#[test]
fn a_terminal_gets_colours_unless_it_is_asked_not_to() {
    assert!(on_a_terminal(None).contains("\x1b["));
    assert!(on_a_terminal(Some("")).contains("\x1b["), "an empty NO_COLOR is none");
    assert!(!on_a_terminal(Some("1")).contains('\x1b'));
}

#[test]
fn a_thread_name_does_not_reach_the_terminal_as_it_is() {
    let table = watched(&["trace"], [&scene(), "named", "60"]).expect(0).stdout;
    assert!(table.contains("[2J") && table.contains("red"), "the name is shown:\n{table}");
    assert!(table.chars().all(|c| c == '\n' || !c.is_control()), "{table:?}");
    let records =
        watched(&["trace", "--format", "jsonl"], [&scene(), "named", "60"]).expect(0).records();
    let name = records.acquires()[0]["thread.name"].as_str().unwrap().to_owned();
    assert!(name.contains("[2J") && name.chars().all(|c| !c.is_control()), "{name:?}");
}

#[test]
fn the_table_ends_with_sums_and_losses() {
    let table = watched(&["trace"], [&scene(), "rounds", "2"]).expect(0).stdout;
    for word in ["first", "p50", "p95", "p99", "100", "waiter", "scene"] {
        assert!(table.to_lowercase().contains(word), "no `{word}` in\n{table}");
    }
    assert!(table.contains("Lost: nothing."), "{table}");
}

#[test]
fn the_schema_accepts_what_is_written_and_nothing_else() {
    let records =
        watched(&["trace", "--format", "jsonl"], [&scene(), "brief", "60"]).expect(0).records();
    let kinds: Vec<&str> = records.0.iter().filter_map(|r| r["record"].as_str()).collect();
    for kind in ["process", "acquire", "hold", "summary"] {
        assert!(kinds.contains(&kind), "{kinds:?}");
    }
    type Mutation = (&'static str, fn(&mut Value));
    let mutations: &[Mutation] = &[
        ("an unknown key", |r| r["lock.color"] = json!("red")),
        ("another kind", |r| r["record"] = json!("rumour")),
        ("no kind", |r| drop(r.as_object_mut().unwrap().remove("record"))),
        ("no process", |r| drop(r.as_object_mut().unwrap().remove("process.pid"))),
        ("a time that is text", |r| r["start_time_unix_nano"] = json!("now")),
        ("a negative length", |r| r["lock.wait.duration"] = json!(-1)),
        ("an unknown outcome", |r| r["lock.outcome"] = json!("refused")),
        ("an unknown precision", |r| r["lock.hold.precision"] = json!("roughly")),
        ("a short trace id", |r| r["trace_id"] = json!("abc")),
        ("a name without a letter", |r| r["lock.name"] = json!("")),
        ("losses that are none", |r| r["dropped"] = json!([{ "stage": "a" }])),
    ];
    for (what, mutate) in mutations {
        let refused = records.0.iter().filter(|record| {
            let mut mutated = (*record).clone();
            mutate(&mut mutated);
            mutated != **record && !schema().is_valid(&mutated)
        });
        assert!(refused.count() > 0, "no record is refused with {what}");
    }
    assert!(!schema().is_valid(&json!({})));
}

#[test]
fn the_committed_schema_is_the_printed_one() {
    let printed = run(["generate", "schema"]).expect(0).stdout;
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/schema/records.schema.json");
    let (printed, committed): (Value, Value) = (
        serde_json::from_str(&printed).unwrap(),
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap(),
    );
    assert_eq!(printed, committed, "run `cargo xtask generate`");
}

#[test]
fn every_help_text_has_examples_where_they_help() {
    for subcommand in ["trace", "record", "replay", "demo"] {
        let help = run([subcommand, "--help"]).expect(0).stdout;
        assert!(help.contains("Examples:\n  lockprobe "), "{help}");
    }
    let version = Probe::start(lockprobe(["--version"]).stdin(Stdio::null())).wait().expect(0);
    assert!(version.stdout.starts_with("lockprobe "));
}

#[test]
fn the_doctor_finds_this_machine_fit() {
    let ended = run(["doctor", "--format", "json"]).expect(0);
    let report: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert!(report.is_object(), "{report}");
    run(["doctor"]).expect(0);
}

/// Most of the start is verification. How much that is depends on nothing but the programs and the
/// kernel: 53,000 instructions on Linux 6.18, where there once were 266,000.
#[test]
fn the_verifier_has_little_to_look_at() {
    let ended = run(["doctor", "--format", "json"]).expect(0);
    let report: Value = serde_json::from_str(&ended.stdout).unwrap();
    let found = |check: &Value| {
        let (_, after) = check["found"].as_str()?.split_once("; verified ")?;
        after.split(' ').next()?.parse::<u32>().ok()
    };
    let verified = report["checks"].as_array().unwrap().iter().find_map(found);
    let verified = verified.unwrap_or_else(|| panic!("not told: {report}"));
    assert!((1_000..80_000).contains(&verified), "{report}");
}
