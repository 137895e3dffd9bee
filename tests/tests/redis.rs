//! Clients of Redis, against a real server.

use lockprobe_tests::conversations::Talk;
use lockprobe_tests::servers::{Server, python};

#[test]
fn redis_py_under_tls() {
    let server = Server::redis_tls();
    let talk = Talk::check("redis", &[server.port], |truth| {
        let mut command = python("redis_tls.py");
        command.extend([truth.display().to_string(), server.port.to_string()]);
        command
    });
    // What the very first process says may be over before its library is found: that is said too.
    let blind = talk.records.summary()["blind"].as_array().cloned().unwrap_or_default();
    let holders: Vec<_> = talk.truth.iter().map(|line| &line["pid"]).collect();
    assert!(blind.iter().all(|b| !holders.contains(&&b["process.pid"])), "{blind:?}");
}

#[test]
fn redis_py_with_either_protocol() {
    let server = Server::redis();
    for protocol in ["2", "3"] {
        Talk::check("redis", &[server.port], |truth| {
            let mut command = python("redis_py.py");
            command.extend([truth.display().to_string(), server.port.to_string()]);
            command.push(protocol.to_owned());
            command
        });
    }
}
