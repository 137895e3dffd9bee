//! Clients of ZooKeeper, against a real server.

use lockprobe_tests::conversations::Talk;
use lockprobe_tests::program::{built, watched};
use lockprobe_tests::records::number;
use lockprobe_tests::servers::{CURATOR, Server, classes, python};

#[test]
fn kazoo() {
    let server = Server::zookeeper();
    let talk = Talk::check("zookeeper", &[server.port], |truth| {
        let mut command = python("kazoo_py.py");
        command.extend([truth.display().to_string(), server.port.to_string()]);
        command
    });
    let stale = talk.records.of_kind("finding").next().expect("one that lost its session");
    let late = number(stale, "time_unix_nano") - number(stale, "deadline_time_unix_nano");
    assert!(late < 1_000_000_000, "told {late} ns after the end of the session");
}

#[test]
fn curator() {
    let server = Server::zookeeper();
    let built = built("Curator.java", "javac", &["-cp", &classes(CURATOR)]);
    let classes = format!("{}:{}", built.display(), classes(CURATOR));
    Talk::check("zookeeper", &[server.port], |truth| {
        let mut command = python("curator_two.py");
        command.extend([truth.display().to_string(), server.port.to_string(), classes.clone()]);
        command
    });
}

#[test]
fn passwords_stay_where_they_are() {
    let server = Server::zookeeper();
    let home = tempfile::tempdir().expect("a temporary directory");
    let (truth, recording) = (home.path().join("truth"), home.path().join("recording.lprec"));
    let mut command = python("kazoo_py.py");
    command.extend([truth.display().to_string(), server.port.to_string()]);
    let followed = format!("{}=zookeeper", server.port);
    let file = recording.to_str().expect("UTF-8");
    watched(&["record", "--no-stacks", "--server", &followed, "--output", file], command).expect(0);
    let bytes = std::fs::read(&recording).expect("a recording");
    let has = |word: &str| bytes.windows(word.len()).any(|window| window == word.as_bytes());
    assert!(has("/kazoo/jobs") && has("second"), "what is no password is recorded");
    assert!(!has("confidential"), "what a client proves itself by is not");
}
