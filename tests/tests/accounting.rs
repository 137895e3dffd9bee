//! Whatever is not delivered is accounted for, to the last record.

use lockprobe_tests::probe::run;
use lockprobe_tests::records::{number, text};
use serde_json::Value;

/// Runs synthetic records through everything; returns the report and the sum of kernel drops.
fn bench(arguments: &[&str]) -> (Value, u64) {
    let ended = run(["bench"].iter().chain(arguments)).expect(0);
    let report: Value = serde_json::from_str(&ended.stdout).expect("one JSON object");
    let dropped = report["dropped"].as_array().expect("an array");
    let kernel = dropped.iter().filter(|d| text(d, "stage") == "kernel");
    let lost = kernel.map(|d| number(d, "count")).sum();
    assert_eq!(number(&report, "made"), number(&report, "received") + lost, "{report}");
    assert_eq!(number(&report, "emitted"), number(&report, "received"), "{report}");
    for drop in dropped.iter().filter(|d| text(d, "stage") == "decode") {
        assert_eq!(number(drop, "count"), 0, "{report}");
    }
    (report, lost)
}

#[test]
fn half_a_million_records_a_second_are_accounted_for() {
    let (report, _) = bench(&["--rate", "500000", "--duration", "10s"]);
    // A machine that cannot make as many says so; those made are accounted for all the same.
    assert!(number(&report, "made") > 1_000_000, "{report}");
}

#[test]
fn a_ring_that_overflows_loses_nothing_uncounted() {
    let (report, lost) = bench(&["--rate", "0", "--duration", "2s", "--ring-size", "64K"]);
    assert!(lost > 0, "the ring was to overflow: {report}");
}
