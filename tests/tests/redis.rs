//! Clients of Redis, against real servers.

use std::collections::BTreeSet;

use lockprobe_tests::conversations::Talk;
use lockprobe_tests::records::{number, text};
use lockprobe_tests::servers::{Server, node, python};

/// Every attempt, hold and finding of a client, told the file of its truth, the ports and more.
#[track_caller]
fn check(client: &[String], servers: &[&Server], more: &[&str]) -> Talk {
    let ports: Vec<u16> = servers.iter().map(|server| server.port).collect();
    Talk::check("redis", &ports, |truth| {
        let ports = ports.iter().map(u16::to_string);
        let more = more.iter().map(|&word| word.to_owned());
        let truth = [truth.display().to_string()];
        client.iter().cloned().chain(truth).chain(ports).chain(more).collect()
    })
}

/// Three servers that know nothing of each other.
fn masters() -> [Server; 3] {
    [(); 3].map(|()| Server::redis())
}

#[test]
fn redis_py_under_tls() {
    let server = Server::redis_tls();
    let talk = check(&python("redis_tls.py"), &[&server], &[]);
    // What the very first process says may be over before its library is found: that is said too.
    let blind = talk.records.summary()["blind"].as_array().cloned().unwrap_or_default();
    let holders: Vec<_> = talk.truth.iter().map(|line| &line["pid"]).collect();
    assert!(blind.iter().all(|b| !holders.contains(&&b["process.pid"])), "{blind:?}");
}

#[test]
fn redis_py_with_either_protocol() {
    let server = Server::redis();
    for protocol in ["2", "3"] {
        check(&python("redis_py.py"), &[&server], &[protocol]);
    }
}

#[test]
fn redis_py_over_a_unix_socket() {
    let server = Server::redis();
    let path = server.home.path().join("redis.sock");
    let talk = check(&python("redis_py.py"), &[&server], &["3", path.to_str().expect("UTF-8")]);
    // As it would be over TCP: a lock is the same for all clients of this host.
    let known = format!("redis://127.0.0.1:{}/0/", server.port);
    for record in talk.records.of_kind("acquire") {
        assert!(text(record, "lock.id").starts_with(&known), "{record}");
    }
}

#[test]
fn valkey_py_and_commands_that_compare() {
    check(&python("valkey_py.py"), &[&Server::valkey()], &[]);
}

#[test]
fn redis_py_in_a_cluster_whose_keys_move() {
    let servers = Server::redis_cluster();
    let talk = check(&python("redis_cluster.py"), &servers.each_ref(), &[]);
    let clusters: BTreeSet<&str> = talk
        .records
        .of_kind("acquire")
        .map(|r| text(r, "lock.id"))
        .map(|id| id.strip_prefix("redis-cluster://").unwrap_or_else(|| panic!("{id}")))
        .map(|id| id.split('/').next().expect("its name"))
        .collect();
    assert_eq!(clusters.len(), 1, "{clusters:?}");
}

#[test]
fn redis_py_with_asyncio() {
    let server = Server::redis();
    for protocol in ["2", "3"] {
        check(&python("redis_asyncio.py"), &[&server], &[protocol]);
    }
}

#[test]
fn redis_py_in_many_threads_and_over_the_connection_of_a_parent() {
    check(&python("redis_threads.py"), &[&Server::redis()], &[]);
}

#[test]
fn python_redis_lock() {
    check(&python("python_redis_lock.py"), &[&Server::redis()], &[]);
}

#[test]
fn pottery_over_three_masters() {
    check(&python("pottery_redlock.py"), &masters().each_ref(), &[]);
}

#[test]
fn redlock_py_over_three_masters() {
    check(&python("redlockpy.py"), &masters().each_ref(), &[]);
}

#[test]
fn rslock_on_one_server_and_over_three_masters() {
    let client = [env!("CARGO_BIN_EXE_rslock_locks").to_owned()];
    check(&client, &[&Server::redis()], &[]);
    check(&client, &masters().each_ref(), &[]);
}

#[test]
fn portalocker() {
    check(&python("portalocker_redis.py"), &[&Server::redis()], &[]);
}

#[test]
fn node_redlock_over_three_masters() {
    check(&node("node_redlock.js"), &masters().each_ref(), &[]);
}

#[test]
fn redis_semaphore_of_node() {
    check(&node("redis_semaphore.js"), &[&Server::redis()], &[]);
}

#[test]
fn holders_that_die_or_stop_or_never_let_go() {
    let talk = check(&python("redis_ends.py"), &[&Server::redis()], &[]);
    let stale = |r: &&serde_json::Value| r["lock.finding.type"] == "stale_holder";
    for found in talk.records.of_kind("finding").filter(stale) {
        let late = number(found, "time_unix_nano") - number(found, "start_time_unix_nano");
        assert!(late < 1_000_000_000, "{found}");
    }
}

#[test]
fn a_circle_through_a_lock_of_a_server_and_one_of_a_file() {
    let server = Server::redis();
    for kind in ["flock", "posix"] {
        let talk = check(&python("redis_deadlock.py"), &[&server], &[kind]);
        let found: Vec<_> = talk.records.of_kind("finding").collect();
        let states: Vec<_> = found.iter().map(|f| text(f, "lock.finding.state")).collect();
        assert_eq!(states, ["begin", "end"], "{found:#?}");
        let late = number(found[0], "time_unix_nano") - number(found[0], "start_time_unix_nano");
        assert!(late < 1_000_000_000, "{}", found[0]);
        let cycle = found[0]["cycle"].as_array().expect("a circle");
        let mut locks: Vec<_> = cycle.iter().map(|edge| text(edge, "lock.type")).collect();
        locks.sort_unstable();
        assert_eq!(locks, if kind == "flock" { ["file", "lock"] } else { ["lock", "posix"] });
        let holders: Vec<_> = cycle.iter().map(|edge| number(edge, "lock.holder.pid")).collect();
        let waiters: Vec<_> = cycle.iter().map(|edge| number(edge, "process.pid")).collect();
        assert_eq!(waiters, [holders[1], holders[0]]);
    }
}

#[test]
fn a_hundred_thousand_ordinary_commands_are_no_lock() {
    let talk = check(&python("redis_ordinary.py"), &[&Server::redis()], &[]);
    for kind in ["acquire", "hold", "finding"] {
        let told = talk.records.of_kind(kind).filter(|r| r["lock.system.name"] == "redis");
        assert_eq!(told.count(), 0);
    }
    talk.records.expect_complete();
    let skipped = talk.records.summary()["skipped"].as_array().expect("causes");
    let left = skipped.iter().find(|cause| cause["cause"] == "talk_of_no_interest");
    assert!(number(left.expect("counted"), "count") >= 10_000, "{skipped:?}");
}
