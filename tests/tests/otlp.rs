//! Spans for a collector that is there, and for one that is not.

use lockprobe_tests::collector::{Collector, Dead, attribute, spans};
use lockprobe_tests::program::{compiled, watched};
use lockprobe_tests::records::{number, text};

#[test]
fn a_collector_gets_spans_with_links_and_one_resource_a_process() {
    let collector = Collector::start();
    let scene = compiled("scene");
    let line = format!("{0} brief 60 & {0} brief 80; wait", scene.display());
    let arguments = ["trace", "--format", "jsonl", "--otlp", &collector.url];
    let records = watched(&arguments, ["sh", "-c", &line]).expect(0).records();
    records.expect_complete();
    let resources = collector.taken();
    let pids = |r: &lockprobe_tests::collector::ResourceSpans| {
        let resource = r.resource.as_ref().unwrap();
        assert_eq!(attribute(&resource.attributes, "service.name").unwrap(), "scene");
        attribute(&resource.attributes, "process.pid").unwrap()
    };
    let mut processes: Vec<String> = resources.iter().map(pids).collect();
    processes.sort();
    processes.dedup();
    assert_eq!(processes.len(), 2);
    let spans = spans(&resources);
    let named =
        |start: &str| spans.iter().filter(|s| s.name.starts_with(start)).collect::<Vec<_>>();
    let (acquires, holds) = (named("acquire "), named("hold "));
    assert_eq!((acquires.len(), holds.len()), (2, 2), "{spans:#?}");
    for acquire in acquires {
        let blocked_by = acquire.links.iter().find(|link| {
            attribute(&link.attributes, "lock.link.type").as_deref() == Some("blocked_by")
        });
        let blocked_by = blocked_by.expect("a link to the hold that blocked it");
        let hold = holds.iter().find(|h| h.span_id == blocked_by.span_id).expect("that hold");
        assert_eq!(hold.trace_id, blocked_by.trace_id);
        let root = spans.iter().find(|s| s.span_id == acquire.parent_span_id).expect("its root");
        assert!(root.name.starts_with("lock ") && root.trace_id == acquire.trace_id);
        assert_eq!(
            attribute(&acquire.attributes, "lock.id"),
            attribute(&hold.attributes, "lock.id")
        );
    }
}

#[test]
fn a_collector_that_is_away_costs_records_and_nothing_else() {
    let dead = Dead::new();
    let scene = compiled("scene");
    let arguments = ["trace", "--format", "jsonl", "--otlp", &dead.url()];
    // It ends: a span of time within which it must is the harness's patience.
    let ended = watched(&arguments, [scene.to_str().unwrap(), "rounds", "2"]);
    // The command's own status comes first.
    let records = ended.expect(0).records();
    assert_eq!(records.acquires().len(), 100);
    let dropped = records.summary()["dropped"].as_array().unwrap();
    let lost: u64 =
        dropped.iter().filter(|d| text(d, "stage") == "otlp").map(|d| number(d, "count")).sum();
    // Spans are counted: the roots of traces come on top of the records.
    assert!(lost >= (records.acquires().len() + records.holds().len()) as u64, "{lost} lost");
}

#[test]
fn a_trace_that_could_not_be_delivered_has_status_9() {
    let dead = Dead::new();
    let mut program = lockprobe_tests::program::Program::start("scene", ["begin", "60"]);
    let pid = program.pid().to_string();
    let url = dead.url();
    let arguments = ["trace", "--format", "jsonl", "--otlp", &url, "-p", &pid];
    let probe = lockprobe_tests::probe::Probe::lockprobe(arguments);
    probe.attached();
    program.go_on();
    program.end();
    let ended = probe.wait().expect(9);
    assert!(!ended.stderr.is_empty(), "why is said on standard error");
    let records = ended.records();
    assert!(!records.dropped().is_empty());
}

#[test]
fn an_address_that_is_none_is_one_sentence() {
    let ended = lockprobe_tests::probe::run(["trace", "--otlp", "not an address", "--", "true"]);
    assert_ne!(ended.status, 0);
    ended.sentence();
}
