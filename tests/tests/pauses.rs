//! Holders of servers' locks that are stopped, against a real server.

use lockprobe_tests::conversations::Talk;
use lockprobe_tests::records::text;
use lockprobe_tests::servers::{Server, python};

#[test]
fn a_holder_that_nobody_waits_for_is_found_by_the_renewals_it_misses() {
    missed("stopped", "stopped");
}

#[test]
fn so_is_one_that_sleeps_where_no_signal_reaches_it() {
    missed("sleeps", "disk_sleep");
}

fn missed(how: &str, state: &str) {
    let server = Server::redis();
    let talk = Talk::check("redis", &[server.port], |truth| {
        let mut command = python("redis_paused.py");
        command.extend([truth.display().to_string(), server.port.to_string(), how.to_owned()]);
        command
    });
    let findings = talk.records.findings();
    let states: Vec<&str> = findings.iter().map(|f| text(f, "lock.finding.state")).collect();
    assert_eq!(states, ["begin", "end"]);
    assert_eq!(findings[0]["holder"]["thread.state"], state);
    let found = findings[0]["time_unix_nano"].as_u64().expect("a time");
    let over = findings[1]["end_time_unix_nano"].as_u64().expect("a time");
    // It goes on after 1.5 s, in which it was found.
    assert!(found < over, "{findings:?}");
}
