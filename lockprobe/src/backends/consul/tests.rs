//! Conversations of a real client with the stub of `tests/stubs/consul.py`, and hand-made ones.

use super::*;
use crate::framing::play::{Script, contract};
use crate::model::Dialect;

const ALL: [&str; 2] =
    [include_str!("conversations/py_consul.txt"), include_str!("conversations/py_consul_lost.txt")];

fn play(text: &str) -> (String, Ears) {
    let mut consul = Consul::default();
    let picture = Script::new(Dialect::Consul, text).play(&mut consul);
    (picture, consul.ears())
}

/// What was seen of a conversation, line by line.
fn shows(text: &str, expected: &str) {
    let (picture, ears) = play(text);
    let lines = |text: &str| text.lines().map(|l| l.trim().to_owned()).collect::<Vec<_>>();
    let expected: Vec<String> = lines(expected).into_iter().filter(|l| !l.is_empty()).collect();
    assert_eq!(lines(&picture), expected, "\n{picture}");
    assert_eq!(ears, Ears::default());
}

#[test]
fn py_consul_waits_by_a_blocking_query() {
    shows(
        ALL[0],
        "
         316.8 10 asked exclusive 10000ms consul://127.0.0.1:8500/jobs/42/lock owner=c19b
         317.2 10 acquired exclusive 9987ms consul://127.0.0.1:8500/jobs/42/lock owner=c19b
         323.1 11 asked exclusive 10000ms consul://127.0.0.1:8500/jobs/42/lock owner=5bf1
         323.6 11 refused consul://127.0.0.1:8500/jobs/42/lock owner=5bf1
         329.7 11 refused by=c19b consul://127.0.0.1:8500/jobs/42/lock owner=5bf1
         335.5 11 asked exclusive 10000ms queued consul://127.0.0.1:8500/jobs/42/lock owner=5bf1
         628.8 10 renewed 10000ms consul://127.0.0.1:8500/jobs/42/lock owner=c19b
         731.3 10 released consul://127.0.0.1:8500/jobs/42/lock owner=c19b
         733 11 asked exclusive 10000ms consul://127.0.0.1:8500/jobs/42/lock owner=5bf1
         733.4 11 acquired exclusive 9579ms consul://127.0.0.1:8500/jobs/42/lock owner=5bf1
         738.5 11 released consul://127.0.0.1:8500/jobs/42/lock owner=5bf1
        ",
    );
}

#[test]
fn a_session_that_is_not_found_has_lost_its_locks() {
    shows(
        ALL[1],
        "
         852.2 10 asked exclusive 10000ms consul://west/k owner=266f
         852.6 10 acquired exclusive 9996ms consul://west/k owner=266f
         854.7 10 asked exclusive 10000ms consul://127.0.0.1:8500/l owner=c93b
         854.9 10 acquired exclusive 9998ms consul://127.0.0.1:8500/l owner=c93b
         965.4 10 lost session_expired consul://127.0.0.1:8500/l owner=c93b
         975.2 11 removed consul://west/k owner=266f
        ",
    );
}

const OK: &str = "HTTP/1.1 200 OK\\r\\nContent-Length: ";

/// As `api/lock.go` of Consul asks, by its source: flags, and a query that watches over the lock.
fn go(lines: &[(&str, &str)]) -> String {
    let mut script = String::new();
    for (at, (to, line)) in lines.iter().enumerate() {
        let time = 10 * (at + 1);
        let line = match to.split_once(' ') {
            Some((name, "<")) => format!(
                "{time} {name} < \"{OK}{}\\r\\n\\r\\n{line}\"",
                line.replace("\\\"", "'").len()
            ),
            _ => format!("{time} {to} \"{line} HTTP/1.1\\r\\n\\r\\n\""),
        };
        script.push_str(&line);
        script.push('\n');
    }
    script
}

#[test]
fn the_watch_over_a_lock_tells_its_loss_but_not_its_release() {
    let acquire = "PUT /v1/kv/a%2fb?acquire=s1&flags=3304740253564472344&ns=team";
    let watch = "GET /v1/kv/a%2fb?index=7&ns=team";
    let released = go(&[
        ("A >!", acquire),
        ("A <", "true"),
        ("B >!", watch),
        ("A >!", "PUT /v1/kv/a%2fb?release=s1&ns=team"),
        ("B <", "[{\\\"Key\\\":\\\"a/b\\\"}]"),
        ("A <", "true"),
    ]);
    let held = "10 10 asked exclusive ever consul://127.0.0.1:8500/ns=team/a/b owner=e187
         20 10 acquired exclusive ever consul://127.0.0.1:8500/ns=team/a/b owner=e187";
    let lock = "consul://127.0.0.1:8500/ns=team/a/b owner=e187";
    shows(&released, &format!("{held}\n60 10 released {lock}"));
    let other = "[{\\\"Key\\\":\\\"a/b\\\",\\\"Session\\\":\\\"s2\\\"}]";
    let lost = go(&[("A >!", acquire), ("A <", "true"), ("B >!", watch), ("B <", other)]);
    shows(&lost, &format!("{held}\n40 10 lost session_expired {lock}"));
}

#[test]
fn what_was_never_had_is_not_released() {
    let script = go(&[
        ("A >!", "PUT /v1/kv/k?acquire=s1"),
        ("A <", "false"),
        ("A >!", "PUT /v1/kv/k?release=s1"),
        ("A <", "false"),
        ("A >!", "PUT /v1/kv/k?release=s1"),
        ("A <", "false"),
        ("A >!", "GET /v1/kv/k?recurse"),
        ("A <", "[]"),
    ]);
    let lock = "consul://127.0.0.1:8500/k owner=e187";
    shows(
        &script,
        &format!(
            "10 10 asked exclusive ever {lock}\n20 10 refused {lock}\n40 10 ended gave_up {lock}"
        ),
    );
}

#[test]
fn who_waits_is_seen_to_look_again_and_to_leave() {
    let held = "[{\\\"Key\\\":\\\"k\\\",\\\"Session\\\":\\\"s2\\\"}]";
    let mut script = go(&[
        ("A >!", "PUT /v1/kv/k?acquire=s1"),
        ("A <", "false"),
        ("A >!", "GET /v1/kv/k?index=7&wait=1s"),
        ("A <", held),
        ("A >!", "GET /v1/kv/k?index=7&wait=1s"),
    ]);
    script.push_str("60 A close\n");
    let lock = "consul://127.0.0.1:8500/k owner=e187";
    let expected = [
        format!("10 10 asked exclusive ever {lock}"),
        format!("20 10 refused {lock}"),
        format!("30 10 asked exclusive ever queued {lock}"),
        format!("40 10 asked exclusive ever {lock}"),
        format!("40 10 refused by=SAID {lock}"),
        format!("50 10 asked exclusive ever queued {lock}"),
        format!("60 10 ended gave_up {lock}"),
    ];
    let said = format!("{:x}", crate::framing::owner(b"s2").0 & 0xffff);
    let (picture, _) = play(&script);
    assert_eq!(picture.trim_end(), expected.join("\n").replace("SAID", &said));
}

#[test]
fn durations_are_read_as_go_writes_them() {
    let cases = [("10s", 10_000), ("1m30s", 90_000), ("500ms", 500), ("1.5s", 1_500)];
    for (text, milliseconds) in cases {
        assert_eq!(frame::duration(text), Some(milliseconds * 1_000_000), "{text}");
    }
    for text in ["", "0s", "s", "10", "1y", "1e9s"] {
        assert_eq!(frame::duration(text), None, "{text}");
    }
}

#[test]
fn every_conversation_keeps_the_contract() {
    ALL.iter().for_each(|text| contract::<Consul>(Dialect::Consul, text));
}
