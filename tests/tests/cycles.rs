//! Circles of waits that go through the locks of several servers.

use lockprobe_tests::program::watched;
use lockprobe_tests::records::{Records, nanos, text};
use lockprobe_tests::servers::{Server, python};
use serde_json::Value;

#[test]
fn a_circle_through_postgres_and_redis_is_one_deadlock() {
    let (postgres, redis) = (Server::postgres(), Server::redis());
    let files = tempfile::tempdir().expect("a temporary directory");
    let (truth, output) = (files.path().join("truth"), files.path().join("records"));
    let mut command = python("two_servers.py");
    command.push(truth.display().to_string());
    command.extend([postgres.port, redis.port].map(|port| port.to_string()));
    let servers = [format!("{}=postgresql", postgres.port), format!("{}=redis", redis.port)];
    let mut arguments = vec!["trace", "--format", "jsonl", "--min-wait", "10s", "--no-stacks"];
    arguments.extend(["--output", output.to_str().expect("UTF-8")]);
    servers.iter().for_each(|server| arguments.extend(["--server", server]));
    watched(&arguments, command).expect(0);

    let has = std::fs::read_to_string(&truth).expect("the client wrote its truth");
    let has: Vec<Value> = has.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
    let who = |lock: &str| {
        let line = has.iter().find(|line| lock.ends_with(text(line, "lock")));
        line.unwrap_or_else(|| panic!("nobody has {lock}"))["pid"].clone()
    };
    let records = Records::of_file(&output);
    let [begin, end] = records.findings()[..] else { panic!("{:#?}", records.findings()) };
    for (finding, state) in [(begin, "begin"), (end, "end")] {
        assert_eq!(text(finding, "lock.finding.type"), "deadlock");
        assert_eq!(text(finding, "lock.finding.state"), state);
    }
    assert_eq!(begin["lock.finding.id"], end["lock.finding.id"]);
    let edges = begin["cycle"].as_array().expect("a circle");
    let mut systems: Vec<&str> = edges.iter().map(|edge| text(edge, "lock.system.name")).collect();
    systems.sort_unstable();
    assert_eq!(systems, ["postgresql", "redis"]);
    for edge in edges {
        assert_eq!(edge["lock.holder.pid"], who(text(edge, "lock.id")), "{edge}");
        assert_eq!(edge["process.pid"], who_else(&has, &edge["lock.holder.pid"]), "{edge}");
    }
    // It ended with the wait that was given up, a second and a half after it began.
    let given_up: Vec<&Value> = records
        .acquires()
        .into_iter()
        .filter(|r| r["lock.outcome"] == "abandoned" && r["lock.system.name"] == "redis")
        .collect();
    let [given_up] = given_up[..] else { panic!("{given_up:#?}") };
    let length = nanos(given_up, "lock.wait.duration");
    assert!((1_400_000_000..2_500_000_000).contains(&length), "{given_up}");
    let ended = end["end_time_unix_nano"].as_u64().expect("over");
    let got = records
        .acquires()
        .into_iter()
        .find(|r| r["lock.system.name"] == "postgresql" && r["process.pid"] == who("/lock:stock"));
    let got = got.expect("the other got it")["end_time_unix_nano"].as_u64().expect("a time");
    assert!(ended.abs_diff(got) < 1_000_000_000, "{ended} {got}");
}

/// The other of the two.
fn who_else(has: &[Value], pid: &Value) -> Value {
    let other = has.iter().find(|line| line["pid"] != *pid).expect("two processes");
    other["pid"].clone()
}
