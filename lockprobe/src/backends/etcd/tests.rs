//! Conversations of real clients with etcd 3.4.23, and what is made of them.

use super::*;
use crate::framing::play::{Script, contract};
use crate::model::Dialect;

/// The steps of a conversation, and what could not be used.
fn play(text: &str) -> (String, Ears) {
    let mut etcd = Etcd::default();
    let picture = Script::new(Dialect::Etcd, text).play(&mut etcd);
    (picture, etcd.ears())
}

macro_rules! conversation {
    ($name:literal) => {
        include_str!(concat!("conversations/", $name, ".txt"))
    };
}

/// What was seen of a client's conversation, line by line.
fn shows(text: &str, expected: &str) {
    let (picture, ears) = play(text);
    let lines = |text: &str| text.lines().map(|l| l.trim().to_owned()).collect::<Vec<_>>();
    let expected: Vec<String> = lines(expected).into_iter().filter(|l| !l.is_empty()).collect();
    assert_eq!(lines(&picture), expected, "\n{picture}");
    assert_eq!(ears, Ears::default());
}

#[test]
fn etcdctl_lock_is_seen_to_wait_hold_and_let_go() {
    shows(
        conversation!("etcdctl_lock"),
        "
         18.2 10 asked exclusive 3000ms queued etcd://48276a8f75b6a87/job42 owner=bf7c
         20.1 10 acquired exclusive 2999ms fence=2 etcd://48276a8f75b6a87/job42 owner=bf7c
         718.3 11 asked exclusive 3000ms queued etcd://48276a8f75b6a87/job42 owner=c038
         718.8 11 refused by=bf7c ahead=1 etcd://48276a8f75b6a87/job42 owner=c038
         1114 12 asked exclusive 3000ms queued etcd://48276a8f75b6a87/job42 owner=7a8c
         1115 12 refused by=bf7c ahead=2 etcd://48276a8f75b6a87/job42 owner=7a8c
         1520.6 10 renewed 3000ms etcd://48276a8f75b6a87/job42 owner=bf7c
         1604.5 12 ended gave_up etcd://48276a8f75b6a87/job42 owner=7a8c
         2522.5 10 renewed 3000ms etcd://48276a8f75b6a87/job42 owner=bf7c
         2523.1 10 released etcd://48276a8f75b6a87/job42 owner=bf7c
         2523.8 11 acquired exclusive 2196ms fence=3 etcd://48276a8f75b6a87/job42 owner=c038
         2721.4 11 renewed 3000ms etcd://48276a8f75b6a87/job42 owner=c038
         2827.2 11 released etcd://48276a8f75b6a87/job42 owner=c038
        ",
    );
}

#[test]
fn a_go_client_stopped_past_its_lease_is_told_when_it_lets_go() {
    shows(
        conversation!("etcdctl_stopped"),
        "
         21.2 10 asked exclusive 2000ms queued etcd://48276a8f75b6a87/jobs/7 owner=8060
         21.9 10 acquired exclusive 1999ms fence=48 etcd://48276a8f75b6a87/jobs/7 owner=8060
         514.5 11 asked exclusive 2000ms queued etcd://48276a8f75b6a87/jobs/7 owner=b489
         515 11 refused by=8060 ahead=1 etcd://48276a8f75b6a87/jobs/7 owner=b489
         2412.7 11 acquired exclusive 1103ms fence=49 etcd://48276a8f75b6a87/jobs/7 owner=b489
         2531.6 11 renewed 2000ms etcd://48276a8f75b6a87/jobs/7 owner=b489
         3532.7 11 renewed 2000ms etcd://48276a8f75b6a87/jobs/7 owner=b489
         4533.6 11 renewed 2000ms etcd://48276a8f75b6a87/jobs/7 owner=b489
         5534.3 11 renewed 2000ms etcd://48276a8f75b6a87/jobs/7 owner=b489
         6418.6 11 released etcd://48276a8f75b6a87/jobs/7 owner=b489
         6524.8 10 release_refused etcd://48276a8f75b6a87/jobs/7 owner=8060
        ",
    );
}

#[test]
fn an_election_is_a_queue_whose_first_place_is_asked_for() {
    shows(
        conversation!("etcdctl_elect"),
        "
         11057.1 10 asked exclusive 60000ms queued etcd://48276a8f75b6a87/boss owner=46c6
         11058.3 10 acquired exclusive 59998ms fence=12 etcd://48276a8f75b6a87/boss owner=46c6
         11555.5 11 asked exclusive 60000ms queued etcd://48276a8f75b6a87/boss owner=5eab
         11556.5 11 refused etcd://48276a8f75b6a87/boss owner=5eab
         12045.4 10 released etcd://48276a8f75b6a87/boss owner=46c6
         12046.8 11 acquired exclusive 59508ms fence=13 etcd://48276a8f75b6a87/boss owner=5eab
         12745.5 11 released etcd://48276a8f75b6a87/boss owner=5eab
        ",
    );
}

#[test]
fn etcd3gw_is_seen_over_the_json_gateway() {
    shows(
        conversation!("etcd3gw"),
        "
         13411.1 10 asked exclusive 5000ms etcd://48276a8f75b6a87//locks/res owner=1a05
         13411.9 10 acquired exclusive 4998ms fence=20 etcd://48276a8f75b6a87//locks/res owner=1a05
         13414.6 11 asked exclusive 5000ms etcd://48276a8f75b6a87//locks/res owner=b708
         13415.3 11 refused by=1a05 etcd://48276a8f75b6a87//locks/res owner=b708
         13416.4 10 renewed 5000ms etcd://48276a8f75b6a87//locks/res owner=1a05
         13519.7 11 asked exclusive 5000ms etcd://48276a8f75b6a87//locks/res owner=cc9b
         13520.5 11 refused by=1a05 etcd://48276a8f75b6a87//locks/res owner=cc9b
         13523.2 10 released etcd://48276a8f75b6a87//locks/res owner=1a05
         13525 11 asked exclusive 5000ms etcd://48276a8f75b6a87//locks/res owner=732
         13525.6 11 acquired exclusive 4998ms fence=22 etcd://48276a8f75b6a87//locks/res owner=732
         13526.8 11 released etcd://48276a8f75b6a87//locks/res owner=732
        ",
    );
}

#[test]
fn etcd3gw_is_told_of_its_lost_lease() {
    shows(
        conversation!("etcd3gw_lost"),
        "
         13631.6 10 asked exclusive 2000ms etcd://48276a8f75b6a87//locks/res owner=a9e4
         13632.4 10 acquired exclusive 1998ms fence=24 etcd://48276a8f75b6a87//locks/res owner=a9e4
         17637 11 asked exclusive 5000ms etcd://48276a8f75b6a87//locks/res owner=95a
         17637.7 11 acquired exclusive 4998ms fence=26 etcd://48276a8f75b6a87//locks/res owner=95a
         17638.7 10 lost expired etcd://48276a8f75b6a87//locks/res owner=a9e4
         17641.1 11 released etcd://48276a8f75b6a87//locks/res owner=95a
        ",
    );
}

#[test]
fn the_lock_service_blocks_until_the_lock_is_had() {
    shows(
        conversation!("gateway_lock"),
        "
         17747 10 asked exclusive 10000ms queued etcd://48276a8f75b6a87/job42 owner=3dda
         17747.6 10 acquired exclusive 9996ms etcd://48276a8f75b6a87/job42 owner=3dda
         17747.9 11 asked exclusive 10000ms queued etcd://48276a8f75b6a87/job42 owner=5a48
         17948.3 12 asked exclusive 10000ms queued etcd://48276a8f75b6a87/job42 owner=d46c
         18148.5 12 ended gave_up etcd://48276a8f75b6a87/job42 owner=d46c
         18350.7 11 acquired exclusive 9395ms etcd://48276a8f75b6a87/job42 owner=5a48
         18350.8 10 released etcd://48276a8f75b6a87/job42 owner=3dda
         18351.7 11 released etcd://48276a8f75b6a87/job42 owner=5a48
        ",
    );
}

#[test]
fn the_lock_service_says_no_and_lends_a_lease() {
    shows(
        conversation!("gateway_chunked"),
        "
         18454.8 10 asked exclusive ever queued etcd://48276a8f75b6a87/job43 owner=3c55
         18455.4 10 ended error etcd://48276a8f75b6a87/job43 owner=3c55
         18455.7 10 asked exclusive ever queued etcd://48276a8f75b6a87/job43
         18456.4 10 acquired exclusive ever etcd://48276a8f75b6a87/job43 owner=57cc
         18457.1 10 released etcd://48276a8f75b6a87/job43 owner=57cc
        ",
    );
}

#[test]
fn python_etcd3_watches_while_it_waits() {
    shows(
        conversation!("python_etcd3"),
        "
         18497 10 asked exclusive 5000ms etcd://48276a8f75b6a87//locks/res owner=beeb
         18497.4 10 acquired exclusive 4999ms fence=36 etcd://48276a8f75b6a87//locks/res owner=beeb
         18499.2 11 asked exclusive 5000ms etcd://48276a8f75b6a87//locks/res owner=ca8
         18499.6 11 refused by=beeb etcd://48276a8f75b6a87//locks/res owner=ca8
         18500.5 11 asked exclusive 5000ms queued etcd://48276a8f75b6a87//locks/res owner=ca8
         18802.5 11 ended gave_up etcd://48276a8f75b6a87//locks/res owner=ca8
         18802.5 11 asked exclusive 5000ms etcd://48276a8f75b6a87//locks/res owner=8acc
         18802.9 11 refused by=beeb etcd://48276a8f75b6a87//locks/res owner=8acc
         18804.3 11 asked exclusive 5000ms etcd://48276a8f75b6a87//locks/res owner=96f5
         18804.7 11 refused by=beeb etcd://48276a8f75b6a87//locks/res owner=96f5
         18805.1 11 asked exclusive 5000ms queued etcd://48276a8f75b6a87//locks/res owner=96f5
         19305.1 10 renewed 5000ms etcd://48276a8f75b6a87//locks/res owner=beeb
         19507.3 10 released etcd://48276a8f75b6a87//locks/res owner=beeb
         19509.3 11 ended gave_up etcd://48276a8f75b6a87//locks/res owner=96f5
         19509.3 11 asked exclusive 5000ms etcd://48276a8f75b6a87//locks/res owner=f9b8
         19509.6 11 acquired exclusive 4999ms fence=38 etcd://48276a8f75b6a87//locks/res owner=f9b8
         19511.2 11 released etcd://48276a8f75b6a87//locks/res owner=f9b8
        ",
    );
}

#[test]
fn python_etcd3_is_told_of_its_lost_lease() {
    shows(
        conversation!("python_etcd3_lost"),
        "
         19618.4 10 asked exclusive 2000ms etcd://48276a8f75b6a87//locks/res owner=e096
         19618.8 10 acquired exclusive 1998ms fence=40 etcd://48276a8f75b6a87//locks/res owner=e096
         23622.4 11 asked exclusive 5000ms etcd://48276a8f75b6a87//locks/res owner=da9b
         23622.9 11 acquired exclusive 4998ms fence=42 etcd://48276a8f75b6a87//locks/res owner=da9b
         23623.8 10 lost expired etcd://48276a8f75b6a87//locks/res owner=e096
         23625.4 11 released etcd://48276a8f75b6a87//locks/res owner=da9b
        ",
    );
}

#[test]
fn npm_etcd3_lets_go_by_revoking_its_lease() {
    shows(
        conversation!("node_etcd3"),
        "
         23879.7 10 asked exclusive 3000ms etcd://48276a8f75b6a87/res owner=a90c
         23880.4 10 acquired exclusive 2996ms fence=44 etcd://48276a8f75b6a87/res owner=a90c
         23886.2 11 asked exclusive 3000ms etcd://48276a8f75b6a87/res owner=2553
         23886.7 11 refused etcd://48276a8f75b6a87/res owner=2553
         24875.3 10 renewed 3000ms etcd://48276a8f75b6a87/res owner=a90c
         25192.7 10 released etcd://48276a8f75b6a87/res owner=a90c
         25195.8 11 asked exclusive 3000ms etcd://48276a8f75b6a87/res owner=b7d5
         25196.3 11 acquired exclusive 2999ms fence=46 etcd://48276a8f75b6a87/res owner=b7d5
         25249.5 11 released etcd://48276a8f75b6a87/res owner=b7d5
        ",
    );
}

const ALL: &[(&str, &str)] = &[
    ("etcdctl_lock", conversation!("etcdctl_lock")),
    ("etcdctl_stopped", conversation!("etcdctl_stopped")),
    ("etcdctl_elect", conversation!("etcdctl_elect")),
    ("etcdctl_common", conversation!("etcdctl_common")),
    ("etcd3gw", conversation!("etcd3gw")),
    ("etcd3gw_lost", conversation!("etcd3gw_lost")),
    ("gateway_lock", conversation!("gateway_lock")),
    ("gateway_chunked", conversation!("gateway_chunked")),
    ("python_etcd3", conversation!("python_etcd3")),
    ("python_etcd3_lost", conversation!("python_etcd3_lost")),
    ("node_etcd3", conversation!("node_etcd3")),
    ("go_shapes", conversation!("go_shapes")),
];

#[test]
fn a_try_is_refused_a_second_lock_is_the_first_and_another_may_revoke() {
    shows(
        conversation!("go_shapes"),
        "
         638.8 10 asked exclusive 5000ms queued etcd://48276a8f75b6a87//locks/try owner=69a0
         639.3 10 acquired exclusive 4997ms fence=52 etcd://48276a8f75b6a87//locks/try owner=69a0
         756.4 11 asked exclusive 5000ms queued etcd://48276a8f75b6a87//locks/try owner=9dd7
         757.6 11 refused by=69a0 ahead=1 etcd://48276a8f75b6a87//locks/try owner=9dd7
         763.1 11 ended refused etcd://48276a8f75b6a87//locks/try owner=9dd7
         814.3 11 asked exclusive 5000ms queued etcd://48276a8f75b6a87//locks/try owner=9dd7
         815.5 11 refused by=69a0 ahead=1 etcd://48276a8f75b6a87//locks/try owner=9dd7
         895.1 10 lost revoked etcd://48276a8f75b6a87//locks/try owner=69a0
         1076.4 11 ended gave_up etcd://48276a8f75b6a87//locks/try owner=9dd7
        ",
    );
}

#[test]
fn ordinary_use_shows_no_locks() {
    shows(conversation!("etcdctl_common"), "");
}

#[test]
fn every_conversation_keeps_the_contract() {
    for (name, text) in ALL.iter().filter(|(name, _)| *name != "etcdctl_common") {
        println!("{name}");
        contract::<Etcd>(Dialect::Etcd, text);
    }
}

/// The conversation joined after so many pieces of each connection, unless it had but few.
fn late(text: &str, after: usize) -> String {
    let mut seen = std::collections::HashMap::new();
    let mut kept = String::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.splitn(3, ' ');
        let (time, name, rest) =
            (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
        let count = seen.entry(name.to_owned()).or_insert(0);
        *count += 1;
        if *count > after {
            kept.push_str(&format!("{time} {name}? {rest}\n"));
        }
    }
    kept
}

#[test]
fn what_is_seen_after_joining_late_was_seen_from_the_beginning_too() {
    // A lock that is taken a second time tells late listeners when that was, not when it was had.
    for (name, text) in ALL.iter().filter(|(name, _)| *name != "go_shapes") {
        let (whole, _) = play(text);
        // Without what only the beginning tells: leases, and what depends on them.
        let told = |picture: &str| {
            let line = |line: &str| {
                let mut words: Vec<&str> = line.split(' ').collect();
                words.retain(|w| !w.ends_with("ms") && *w != "ever");
                words.join(" ")
            };
            picture.lines().map(line).collect::<Vec<_>>()
        };
        let whole = told(&whole);
        for after in [1, 2, 3, 5, 8, 13] {
            let (picture, _) = play(&late(text, after));
            for line in told(&picture) {
                let at_endpoint = line.replace("127.0.0.1:2379", "48276a8f75b6a87");
                assert!(whole.contains(&at_endpoint), "{name} after {after}: {line}");
            }
        }
    }
}

#[test]
fn most_of_a_go_clients_locks_are_seen_after_joining_late() {
    let (picture, _) = play(&late(conversation!("etcdctl_lock"), 4));
    for step in ["10 asked", "10 acquired", "11 refused", "11 acquired", "10 released"] {
        assert!(picture.contains(step), "{step}:\n{picture}");
    }
}

#[test]
fn a_hold_from_before_is_told_without_an_attempt() {
    let (picture, _) = play(&late(conversation!("go_shapes"), 13));
    let first = picture.lines().next().unwrap();
    assert!(first.contains(" 10 acquired exclusive ever fence=52 "), "{picture}");
}

#[test]
fn that_the_server_owes_nothing_changes_nothing_for_frames() {
    for name in ["etcdctl_lock", "python_etcd3", "node_etcd3"] {
        let text = ALL.iter().find(|(n, _)| *n == name).unwrap().1;
        assert_eq!(play(&text.replace(" > ", " >! ")), play(text), "{name}");
    }
}

#[test]
fn missing_bytes_are_searched_after_and_counted() {
    let text = conversation!("etcdctl_lock");
    let marked: String = text
        .lines()
        .map(|line| match line.starts_with("719.0 B2@11 > ") {
            true => format!("719.0 B2@11 miss > 100\n{line}\n"),
            false => format!("{line}\n"),
        })
        .collect();
    let (picture, ears) = play(&marked);
    assert_eq!(ears.resumed, 1, "{picture}");
    assert!(picture.contains("2523.1 10 released"), "{picture}");
    assert!(picture.contains("2827.2 11 released"), "{picture}");
}

#[test]
fn an_answer_may_be_heard_a_little_before_its_request() {
    let text = conversation!("etcdctl_lock");
    let (whole, _) = play(text);
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let answer = lines.iter().position(|line| line.starts_with("20.1 A1@10 <")).unwrap();
    let request = lines.iter().position(|line| line.starts_with("18.2 A1@10 >")).unwrap();
    // Other frames went the same ways in between, which keep their order.
    let order: Vec<usize> = (request..answer).filter(|i| lines[*i].contains(" > ")).collect();
    let moved: Vec<String> = order.iter().map(|i| lines[*i].clone()).collect();
    order.iter().rev().for_each(|i| drop(lines.remove(*i)));
    let at = lines.iter().position(|line| line.starts_with("20.1 A1@10 <")).unwrap() + 1;
    lines.splice(at..at, moved);
    assert_eq!(play(&lines.join("\n")).0, whole);
}

/// Pseudo-random numbers.
fn random(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    }
}

#[test]
fn bytes_that_mean_nothing_do_no_harm() {
    let mut next = random(0x9e37_79b9_7f4a_7c15);
    let words: [&[u8]; 8] = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x00\x00\x08\x06\x00\x00\x00\x00\x00",
        b"\x00\x00\x20\x00\x01\x00\x00\x00\x01\x00\x00\x00\x00\x1b\x0a\x04",
        b"\x00\x00\x18\x01\x04\x00\x00\x00\x03\x83\x86E\x8f",
        b"POST /v3/kv/txn HTTP/1.1\r\nContent-Length: 4\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"{\"header\":{\"cluster_id\":\"7\"},",
        b"5\r\n",
    ];
    for _ in 0..2_000 {
        let joined = if next().is_multiple_of(2) { "?" } else { "" };
        let mut script = String::new();
        for time in 0..next() % 12 {
            let way = [">!", ">", "<", "<"][next() as usize % 4];
            let mut bytes = words[next() as usize % words.len()].to_vec();
            bytes.extend((0..next() % 40).map(|_| next() as u8));
            if next().is_multiple_of(16) {
                script.push_str(&format!("{time} A{joined} miss {} 9\n", &way[..1]));
            }
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            script.push_str(&format!("{time} A{joined} {way} hex:{hex}\n"));
        }
        play(&script);
    }
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut etcd = Etcd::default();
    let mut steps = Vec::new();
    let mut body = String::new();
    for at in 0..6_000u64 {
        let connection = Connection {
            id: at,
            pid: 1,
            dialect: Dialect::Etcd,
            client: ([127, 0, 0, 1], 1).into(),
            server: ([10, 0, (at >> 8) as u8, at as u8], 2379).into(),
            namespace: 1,
            joined: false,
        };
        etcd.opened(&connection);
        body.clear();
        let lock = format!("{{\"name\":\"YQ==\",\"lease\":\"{}\"}}", at + 1);
        let length = lock.len();
        body.push_str(&format!("POST /v3/lock/lock HTTP/1.1\r\nContent-Length: {length}\r\n\r\n"));
        body.push_str(&lock);
        let (thread, bytes) = (Thread::default(), body.as_bytes());
        let piece = Piece { time: at, thread, sent: true, bytes, missing: 0, settled: true };
        etcd.piece(&connection, &piece, &mut steps);
    }
    assert!(etcd.ears().evicted >= 6_000 - 4_096);
    assert!(etcd.connections.len() <= CONNECTIONS_AT_MOST);
}

#[test]
fn numbers_at_their_ends_do_no_harm() {
    let most = i64::MAX;
    let ask = |path: &str, body: String| {
        let length = body.len();
        let head = format!("POST /v3/{path} HTTP/1.1\r\nContent-Length: {length}\r\n\r\n{body}");
        head.bytes().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let answer = |body: String| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        head.bytes().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let header = format!("\"header\":{{\"cluster_id\":\"{}\",\"revision\":\"{most}\"}}", u64::MAX);
    let grant = answer(format!("{{{header},\"ID\":\"{most}\",\"TTL\":\"{most}\"}}"));
    let key = "YS83ZmZmZmZmZmZmZmZmZmZm";
    let txn = format!(
        "{{\"compare\":[{{\"key\":\"{key}\",\"target\":\"CREATE\"}}],\"success\":[{{\"request_put\":\
         {{\"key\":\"{key}\",\"lease\":\"{most}\"}}}},{{\"request_range\":{{\"key\":\"YS8=\",\
         \"range_end\":\"YTA=\"}}}}]}}"
    );
    let parts = format!(
        "{{{header},\"succeeded\":true,\"responses\":[{{}},{{\"response_range\":{{\"count\":\"{}\",\
         \"kvs\":[{{\"key\":\"YS8x\",\"create_revision\":\"1\"}}]}}}}]}}",
        i64::MIN
    );
    let range = format!("{{\"key\":\"YS8=\",\"max_create_revision\":\"{most}\"}}");
    let script = format!(
        "1 A >! hex:{}\n2 A < hex:{grant}\n3 A >! hex:{}\n4 A < hex:{}\n5 A >! hex:{}\n6 A < hex:{}\n",
        ask("lease/grant", "{\"TTL\":1}".into()),
        ask("kv/txn", txn),
        answer(parts),
        ask("kv/range", range),
        answer(format!("{{{header}}}")),
    );
    let (picture, _) = play(&script);
    assert!(
        picture.contains(" refused ") && picture.contains("etcd://ffffffffffffffff/a"),
        "{picture}"
    );
}
