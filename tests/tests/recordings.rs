//! What was recorded is what was seen: a replay is held to the same truth.

use lockprobe_tests::collector::{Collector, attribute, spans};
use lockprobe_tests::probe::run;
use lockprobe_tests::program::{compiled, watched};
use lockprobe_tests::records::{Records, text};
use lockprobe_tests::schedule::{Known, Truth};

#[test]
fn a_replay_tells_the_truth_again_and_again() {
    let directory = tempfile::tempdir().unwrap();
    let recording = directory.path().join("schedule.lprec");
    let recording = recording.to_str().unwrap();
    let truth = directory.path().join("truth");
    let schedule = compiled("schedule");
    let program = [schedule.to_str().unwrap(), truth.to_str().unwrap()];
    let mut faults = Vec::new();
    for _ in 0..2 {
        let ended = watched(&["record", "-o", recording], program).expect(0);
        assert!(ended.sentence().contains(" 0 lost"), "{}", ended.stderr);
        let truth = Truth::read(&truth);
        let first = run(["replay", recording, "--format", "jsonl"]).expect(0);
        let second = run(["replay", recording, "--format", "jsonl"]).expect(0);
        assert_eq!(first.stdout, second.stdout);
        faults = truth.faults(&first.records(), Known::ByOwnerWord);
        if faults.is_empty() || !truth.disturbed() {
            break;
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n\n"));
}

/// A trace cannot be had twice, but a recording keeps what a trace saw: a second lockprobe beside
/// the recording one sees the same waits, each with its own clock reading of the same switch.
#[test]
fn a_trace_and_a_replay_of_the_same_program_agree() {
    let directory = tempfile::tempdir().unwrap();
    let recording = directory.path().join("a.lprec");
    let records = directory.path().join("records");
    let scene = compiled("scene");
    let binary = lockprobe_tests::probe::binary();
    let inner = [
        binary.to_str().unwrap(),
        "trace",
        "--format",
        "jsonl",
        "--output",
        records.to_str().unwrap(),
        "--",
        scene.to_str().unwrap(),
        "rounds",
        "2",
        // Whoever watches both reads the executable of the other lockprobe first, which takes a
        // while where it is a debug build; a program that has ended by then has no name.
        "2000",
    ];
    watched(&["record", "-o", recording.to_str().unwrap()], inner).expect(0);
    let traced = Records::of_file(&records);
    let replayed =
        run(["replay", recording.to_str().unwrap(), "--format", "jsonl"]).expect(0).records();
    let essence = |records: &Records| {
        let acquires =
            records.acquires().into_iter().filter(|r| text(r, "service.name") == "scene");
        let keys = [
            "process.pid",
            "thread.id",
            "lock.id",
            "lock.name",
            "lock.outcome",
            "lock.holder.tid",
            "lock.handed_over_by.tid",
            "lock.attempt.count",
            "lock.queue.depth",
        ];
        let essence = |r: &serde_json::Value| keys.map(|key| r[key].clone());
        acquires.map(essence).collect::<Vec<_>>()
    };
    let (traced, replayed) = (essence(&traced), essence(&replayed));
    assert_eq!((traced.len(), replayed.len()), (100, 100));
    let differ: Vec<_> = traced.iter().zip(&replayed).filter(|(t, r)| t != r).collect();
    assert!(differ.is_empty(), "traced and replayed: {differ:#?}");
}

#[test]
fn a_replay_can_be_sent_to_a_collector() {
    let directory = tempfile::tempdir().unwrap();
    let recording = directory.path().join("a.lprec");
    let recording = recording.to_str().unwrap();
    let scene = compiled("scene");
    watched(&["record", "-o", recording], [scene.to_str().unwrap(), "rounds", "2"]).expect(0);
    let collector = Collector::start();
    let ended = run(["replay", recording, "--format", "jsonl", "--otlp", &collector.url]).expect(0);
    let records = ended.records();
    records.expect_complete();
    let resources = collector.taken();
    let spans = spans(&resources);
    let own = spans.iter().filter(|s| !s.name.starts_with("lock "));
    assert_eq!(own.count(), records.acquires().len() + records.holds().len());
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    for record in records.acquires().into_iter().chain(records.holds()) {
        let span = spans.iter().find(|s| hex(&s.span_id) == text(record, "span_id")).unwrap();
        assert_eq!(hex(&span.trace_id), text(record, "trace_id"));
        assert_eq!(record["start_time_unix_nano"], span.start_time_unix_nano);
        assert_eq!(record["end_time_unix_nano"], span.end_time_unix_nano);
        let name = attribute(&span.attributes, "lock.name").unwrap();
        assert_eq!(name, text(record, "lock.name"));
    }
}
