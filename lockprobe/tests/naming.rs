//! Names that the user gives, and sums of many locks in one line.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

fn replay(recording: &str, arguments: &[&str]) -> Vec<Value> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden").join(recording);
    let mut command = Command::new(env!("CARGO_BIN_EXE_lockprobe"));
    command.arg("replay").arg(golden).args(["--format", "jsonl"]).args(arguments);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn summed(records: &[Value]) -> Vec<Value> {
    let summary = records.iter().find(|r| r["record"] == "summary").unwrap();
    summary["locks"].as_array().unwrap().clone()
}

#[test]
fn a_given_name_is_in_every_record_and_changes_no_identity() {
    let plain = replay("convoy.lprec", &[]);
    let named = replay("convoy.lprec", &["--lock-name", "futex:*=the lock"]);
    assert_eq!(plain.len(), named.len());
    let mut seen = 0;
    for (plain, named) in plain.iter().zip(&named) {
        assert_eq!(plain["lock.id"], named["lock.id"]);
        if !plain["lock.name"].is_null() {
            assert_eq!(named["lock.name"], "the lock");
            seen += 1;
        }
    }
    assert!(seen > 10, "{seen} records with a lock");
    assert!(summed(&named).iter().all(|lock| lock["lock.name"] == "the lock"));
}

#[test]
fn locks_waited_for_by_the_same_code_are_summed_up_in_one_line() {
    let one_by_one = summed(&replay("schedule.lprec", &[]));
    let grouped = summed(&replay("schedule.lprec", &["--group-by", "call-site"]));
    let waits = |locks: &[Value]| locks.iter().map(|l| l["waits"].as_u64().unwrap()).sum::<u64>();
    assert_eq!(waits(&one_by_one), waits(&grouped));
    let of_take = one_by_one.iter().filter(|l| l["code.function.name"] == "take").count() as u64;
    assert!(of_take > 5, "{of_take} locks");
    let row: Vec<_> = grouped.iter().filter(|l| l["code.function.name"] == "take").collect();
    assert_eq!(row.len(), 1, "{row:?}");
    assert_eq!(row[0]["grouped_locks"], of_take);
}

#[test]
fn a_rule_that_is_none_is_refused() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lockprobe"));
    let output = command.args(["replay", "x.lprec", "--lock-name", "nonsense"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("there is no `=` in it"));
}
