//! Conversations of real clients with MariaDB 10.11, as the kernel half delivers them.

use super::*;
use crate::framing::play::{Script, contract};
use crate::model::Dialect;

/// What clients and servers said, and what is to be made of it.
const TALKS: [(&str, &str); 4] = [
    (include_str!("conversations/pymysql.txt"), include_str!("conversations/pymysql.steps")),
    (include_str!("conversations/connector.txt"), include_str!("conversations/connector.steps")),
    (include_str!("conversations/mysql2.txt"), include_str!("conversations/mysql2.steps")),
    (include_str!("conversations/rows.txt"), include_str!("conversations/rows.steps")),
];

fn heard(text: &str) -> (String, Ears) {
    let mut backend = Mysql::default();
    let told = Script::new(Dialect::Mysql, text).play(&mut backend);
    (told, backend.ears())
}

/// A packet, as a line of a conversation has it.
fn packet(number: u8, payload: &[u8]) -> String {
    let mut bytes = vec![payload.len() as u8, (payload.len() >> 8) as u8, 0, number];
    bytes.extend(payload);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn query(sql: &str) -> String {
    packet(0, &[b"\x03".as_slice(), sql.as_bytes()].concat())
}

fn column(name: &str) -> Vec<u8> {
    let mut column = b"\x03def\0\0\0".to_vec();
    column.push(name.len() as u8);
    column.extend(name.as_bytes());
    column.extend(b"\0\x0c\x3f\0\x01\0\0\0\x03\x80\0\0\0\0");
    column
}

/// One column, one row, and no end of the columns: CLIENT_DEPRECATE_EOF.
fn answer(name: &str, value: &[u8]) -> String {
    let row = [&[value.len() as u8], value].concat();
    let end = [0xfe, 0, 0, 2, 0, 0, 0];
    [packet(1, &[1]), packet(2, &column(name)), packet(3, &row), packet(4, &end)].concat()
}

#[test]
fn clients_are_understood() {
    for (text, steps) in TALKS {
        let (told, ears) = heard(text);
        assert_eq!(told, steps);
        assert_eq!(ears, Ears::default());
    }
}

#[test]
fn clients_keep_the_contract() {
    for (text, _) in TALKS {
        contract::<Mysql>(Dialect::Mysql, text);
    }
}

#[test]
fn answers_without_an_end_of_columns_are_understood() {
    let text = format!(
        "1 A >! hex:{}\n2 A < hex:{}\n3 A > hex:{}\n4 A < hex:{}\n5 A > hex:{}\n6 A < hex:{}\n",
        query("SELECT GET_LOCK('a', 3)"),
        answer("x", b"1"),
        // Attributes of a query.
        packet(0, b"\x03\0\x01SELECT GET_LOCK('b', 3)"),
        answer("x", b"0"),
        query("SELECT RELEASE_LOCK('a')"),
        answer("x", b"1"),
    );
    let (told, ears) = heard(&text);
    let acts: Vec<&str> = told.lines().map(|line| line.split(' ').nth(2).unwrap()).collect();
    assert_eq!(acts, ["asked", "acquired", "asked", "ended", "released"]);
    assert!(told.contains("ended timeout mysql://127.0.0.1:3306/ul/b"));
    assert_eq!(ears, Ears::default());
    contract::<Mysql>(Dialect::Mysql, &text);
}

#[test]
fn a_statement_prepared_before_anyone_listened_is_known_by_its_columns() {
    // mysql-connector, from its second run on.
    let late: Vec<&str> = TALKS[1].0.lines().skip(8).take(2).collect();
    let late = late.join("\n").replace("A >", "A? >!");
    let (told, ears) = heard(&late);
    assert_eq!(told.lines().count(), 2, "{late}\n{told}");
    assert!(told.contains("acquired exclusive ever mysql://127.0.0.1:3306/ul/other"), "{told}");
    assert_eq!(ears, Ears::default());
}

#[test]
fn what_was_not_captured_is_found_again_with_the_next_command() {
    let (take, yes) = (query("SELECT GET_LOCK('a', 0)"), answer("x", b"1"));
    let text = format!(
        "1 A? > hex:{take}\n2 A < hex:{yes}\n3 A > hex:{take}\n4 A < hex:{yes}\n5 A > hex:{take}\n\
         6 A miss < 7\n7 A < hex:{yes}\n8 A > hex:{give}\n9 A < hex:{yes}\n",
        give = query("SELECT RELEASE_LOCK('a')"),
    );
    let (told, ears) = heard(&text);
    let acts: Vec<&str> = told.lines().map(|line| line.split(' ').nth(2).unwrap()).collect();
    assert_eq!(acts, ["asked", "acquired", "asked", "ended", "released"]);
    assert_eq!(ears, Ears { resumed: 2, ..Ears::default() });
}

#[test]
fn an_answer_may_come_before_its_command() {
    let text = format!(
        "1 A >! hex:{}\n2 A < hex:{}\n3 A < hex:{}\n4 A > hex:{}\n",
        query("select 'lock'"),
        answer("lock", b"lock"),
        answer("x", b"1"),
        query("SELECT GET_LOCK('a', 0)"),
    );
    let (told, ears) = heard(&text);
    assert_eq!((told.lines().count(), ears), (2, Ears::default()), "{told}");
    let lonely = text.lines().take(3).collect::<Vec<_>>().join("\n");
    assert!(heard(&lonely).1.unpaired > 0);
}

#[test]
fn what_cannot_be_told_is_counted() {
    for (sql, unclear) in [
        ("SELECT IF(GET_LOCK('a', 1), 1, 0)", 1),
        ("DO GET_LOCK('a', 1)", 1),
        ("SELECT GET_LOCK(@name, 1)", 1),
        ("SELECT IS_FREE_LOCK('a')", 0),
        ("UPDATE t SET locked = 'GET_LOCK(1, 1)'", 0),
    ] {
        let text = format!("1 A >! hex:{}\n2 A < hex:{}\n", query(sql), answer("x", b"1"));
        let (told, ears) = heard(&text);
        assert_eq!((told.as_str(), ears.unclear), ("", unclear), "{sql}");
    }
}

#[test]
fn an_error_is_heard_behind_descriptions_whose_request_was_left_out() {
    let end = packet(3, b"\xfe\0\0\0\0");
    let error = packet(4, b"\xff\xb5\x04#HY000Lock wait timeout exceeded; try again");
    let text = [packet(1, &[1]), packet(2, &column("state")), end, error].concat();
    let (told, ears) = heard(&format!("7 A <! hex:{text}\n"));
    let acts: Vec<&str> = told.lines().map(|line| line.split(' ').nth(2).unwrap()).collect();
    assert_eq!((acts.as_slice(), ears), (["asked", "ended"].as_slice(), Ears::default()), "{told}");
    assert!(told.contains("timeout"), "{told}");
}

#[test]
fn rows_are_told_of_where_that_is_asked_for() {
    let rules = &Rules { row_locks: true, ..Rules::default() };
    let mut rest = TALKS[3].0.lines();
    let text: Vec<&str> = rest.by_ref().filter(|line| line.starts_with("1002")).collect();
    let told = Script::new(Dialect::Mysql, &text.join("\n")).play(&mut Mysql::with(rules));
    assert!(told.contains("acquired unknown ever mysql://127.0.0.1:3306/rows/jobs/"), "{told}");
}

#[test]
fn any_bytes_are_taken() {
    use crate::model::{Piece, Thread};

    let address = ([127, 0, 0, 1], 1).into();
    let mut random = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let rules = &Rules { row_locks: true, statement_threshold: 0, ..Rules::default() };
    let mut backend = Mysql::with(rules);
    let mut steps = Vec::new();
    for id in 0..300 {
        let connection = Connection {
            id,
            pid: 1,
            dialect: Dialect::Mysql,
            client: address,
            server: address,
            namespace: 1,
            joined: next() % 2 == 0,
        };
        backend.opened(&connection);
        let lines: Vec<&str> = TALKS.iter().flat_map(|(text, _)| text.lines()).collect();
        for time in 0..60 {
            // Pieces of real conversations in any order, cut anywhere, from either side.
            let line = lines[next() as usize % lines.len()];
            let mut bytes = line.split_once('"').map_or_else(Vec::new, |(_, text)| {
                crate::framing::play::bytes_of(&format!("\"{text}"))
            });
            if next() % 3 == 0 {
                bytes.truncate(next() as usize % (bytes.len() + 1));
            }
            if next() % 4 == 0 && !bytes.is_empty() {
                let at = next() as usize % bytes.len();
                bytes[at] = next() as u8;
            }
            let piece = Piece {
                time,
                thread: Thread::default(),
                sent: if next() % 8 == 0 { next() % 2 == 0 } else { line.contains(" > ") },
                bytes: &bytes,
                missing: if next() % 16 == 0 { next() % 64 } else { 0 },
                settled: next() % 4 == 0,
            };
            backend.piece(&connection, &piece, &mut steps);
            backend.tick(time, &mut steps);
        }
        if next() % 2 == 0 {
            backend.closed(&connection, 60, Thread::default(), &mut steps);
        }
    }
    let ears = backend.ears();
    assert!(!steps.is_empty() && ears.malformed > 0 && ears.resumed > 0);
}
