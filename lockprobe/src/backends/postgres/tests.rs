//! Conversations of real clients with PostgreSQL 15, as the kernel half delivers them.

use super::*;
use crate::framing::play::{Script, contract};
use crate::model::Dialect;

/// What clients and servers said, and what is to be made of it.
const TALKS: [(&str, &str); 6] = [
    (include_str!("conversations/psycopg2.txt"), include_str!("conversations/psycopg2.steps")),
    (include_str!("conversations/psycopg3.txt"), include_str!("conversations/psycopg3.steps")),
    (include_str!("conversations/node.txt"), include_str!("conversations/node.steps")),
    (include_str!("conversations/asyncpg.txt"), include_str!("conversations/asyncpg.steps")),
    (include_str!("conversations/pg8000.txt"), include_str!("conversations/pg8000.steps")),
    (include_str!("conversations/rows.txt"), include_str!("conversations/rows.steps")),
];

fn heard(text: &str) -> (String, Ears) {
    let mut backend = Postgres::default();
    let told = Script::new(Dialect::Postgres, text).play(&mut backend);
    (told, backend.ears())
}

/// A message of the protocol, as a line of a conversation has it.
fn message(kind: u8, body: &[u8]) -> String {
    let mut bytes = vec![kind];
    bytes.extend((body.len() as u32 + 4).to_be_bytes());
    bytes.extend(body);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn query(sql: &str) -> String {
    message(b'Q', format!("{sql}\0").as_bytes())
}

/// The answer to a query of one column and row.
fn answer(column: &str, value: &str, status: u8) -> String {
    let mut described = vec![0, 1];
    described.extend(column.as_bytes());
    described.extend([0; 19]);
    let mut row = vec![0, 1, 0, 0, 0, value.len() as u8];
    row.extend(value.as_bytes());
    let parts = [
        message(b'T', &described),
        message(b'D', &row),
        message(b'C', b"SELECT 1\0"),
        message(b'Z', &[status]),
    ];
    parts.concat()
}

fn done(status: u8) -> String {
    [message(b'C', b"OK\0"), message(b'Z', &[status])].concat()
}

/// Acts and locks of a conversation without times and owners.
fn acts(text: &str) -> (Vec<String>, Ears) {
    let (told, ears) = heard(text);
    let act = |line: &str| {
        let line = line.split(" owner=").next().unwrap_or_default();
        let line = line.replace("pg://127.0.0.1:5432/db=?/adv/", "");
        line.splitn(3, ' ').nth(2).unwrap_or_default().to_owned()
    };
    (told.lines().map(act).collect(), ears)
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
        contract::<Postgres>(Dialect::Postgres, text);
    }
}

#[test]
fn rows_and_tables_are_told_of_where_that_is_asked_for() {
    let rules = &Rules { row_locks: true, table_locks: true, ..Rules::default() };
    let told = Script::new(Dialect::Postgres, TALKS[5].0).play(&mut Postgres::with(rules));
    let waited = told.lines().filter(|line| line.contains(" asked ")).count();
    assert_eq!(waited, 2, "{told}");
    assert!(
        told.contains(
            "13.2 10 asked exclusive ever queued pg://127.0.0.1:5432/postgres/rows/jobs/"
        )
    );
    assert!(
        told.contains("114.9 10 acquired exclusive ever pg://127.0.0.1:5432/postgres/table/jobs")
    );
    assert!(told.contains("10.8 10 acquired unknown"), "a claim from a queue");
    assert_eq!(told.matches(" released ").count(), 4, "{told}");
    // Passed on while it goes on, once it is long.
    let text = format!("1 A >! hex:{}\n80 tick\n", query("select 1 from t for update"));
    let told = Script::new(Dialect::Postgres, &text).play(&mut Postgres::with(rules));
    assert_eq!(told.lines().count(), 1, "{told}");
    let text = format!("{text}90 A close\n");
    let told = Script::new(Dialect::Postgres, &text).play(&mut Postgres::with(rules));
    assert!(told.contains("90 10 ended interrupted"), "{told}");
}

#[test]
fn a_statement_prepared_before_anyone_listened_is_known_by_its_columns() {
    let talk = TALKS[1].0;
    // From the seventh run on there is only a name.
    let late: Vec<&str> = talk
        .lines()
        .filter(|line| line.starts_with("21.9 A") || line.starts_with("22.0 A"))
        .collect();
    let late = late.join("\n").replace("A >", "A? >!");
    let (acts, ears) = acts(&late);
    assert_eq!(acts, ["asked exclusive ever 7:42:2", "acquired exclusive ever 7:42:2"]);
    assert_eq!(ears, Ears::default());
    assert!(heard(&late).0.lines().all(|line| line.ends_with(" candidate")));
    contract::<Postgres>(Dialect::Postgres, &late);
    // Neither a text nor columns: asyncpg.
    let blind = "35.5 A? >! \"B\\0\\0\\0\\x0e\\0s\\0\\0\\0\\0\\0\\0\\0\\0E\\0\\0\\0\\x09\\0\\0\\0\\0\\x01S\\0\\0\\0\\x04\"\n\
                 35.7 A < \"2\\0\\0\\0\\x04D\\0\\0\\0\\x0b\\0\\x01\\0\\0\\0\\x01\\x01s\\0\\0\\0\\x04Z\\0\\0\\0\\x05I\"";
    let (told, ears) = heard(blind);
    assert_eq!((told.as_str(), ears.unclear), ("", 1));
    // An answer whose request was left out: it tells that something was missed.
    let left_out = format!("1 A <! hex:{}\n", answer("pg_try_advisory_lock", "t", b'I'));
    assert_eq!(heard(&left_out), (String::new(), Ears { unclear: 1, ..Ears::default() }));
}

#[test]
fn an_error_is_heard_behind_what_precedes_rows_of_a_request_that_was_left_out() {
    let described = [b"\0\x01state\0".as_slice(), &[0; 18]].concat();
    let row = message(b'D', b"\0\x01\0\0\0\x011");
    let error = message(b'E', b"SERROR\0C55P03\0Mcanceling\0RProcessInterrupts\0\0");
    let begins = [message(b'1', b""), message(b'2', b""), message(b'T', &described)].concat();
    for text in [
        [message(b'T', &described), error.clone()].concat(),
        [begins.clone(), error.clone()].concat(),
        [begins, row, error.clone(), message(b'Z', b"E")].concat(),
    ] {
        let (acts, ears) = acts(&format!("7 A <! hex:{text}\n"));
        let [asked, ended] = &acts[..] else { panic!("{acts:?}") };
        assert!(asked.starts_with("asked") && ended.starts_with("ended timeout"), "{acts:?}");
        assert_eq!(ears, Ears::default());
    }
}

#[test]
fn what_was_not_captured_is_found_again_when_the_server_is_ready() {
    let take = query("select pg_try_advisory_lock(1)");
    let text = format!(
        "1 A? > hex:{take}\n2 A < hex:{yes}\n3 A > hex:{take}\n4 A < hex:{yes}\n5 A > hex:{take}\n\
         6 A miss < 7\n7 A < hex:{yes}\n8 A > hex:{give}\n9 A < hex:{freed}\n",
        yes = answer("pg_try_advisory_lock", "t", b'I'),
        give = query("select pg_advisory_unlock(1)"),
        freed = answer("pg_advisory_unlock", "t", b'I'),
    );
    let (acts, ears) = acts(&text);
    assert_eq!(
        acts,
        [
            "asked exclusive ever 0:1:1",
            "acquired exclusive ever 0:1:1",
            "asked exclusive ever 0:1:1",
            "ended interrupted 0:1:1",
            "released 0:1:1",
        ]
    );
    assert_eq!(ears, Ears { resumed: 2, ..Ears::default() });
}

const TRACED: &str = "/*traceparent='00-5bd66ef5095369c7b0d1f8f4bd33716a-c532cb4098ac3dd2-01'*/";

#[test]
fn a_comment_tells_the_trace_of_a_lock_call() {
    let sql = format!("select pg_try_advisory_lock(1) {TRACED}");
    let yes = answer("pg_try_advisory_lock", "t", b'I');
    let traced = "traced 5bd66ef5095369c7b0d1f8f4bd33716a c532cb4098ac3dd2 0:1:1";
    let three = ["asked exclusive ever 0:1:1", traced, "acquired exclusive ever 0:1:1"];
    let (told, ears) = acts(&format!("1 A >! hex:{}\n2 A < hex:{yes}\n", query(&sql)));
    assert_eq!((&told[..], ears), (&three.map(str::to_owned)[..], Ears::default()));
    // In parts: what has a name is carried out in other traces too.
    for (name, expected) in [("", &three[..]), ("p", &[three[0], three[2]])] {
        let parts = [
            message(b'P', format!("{name}\0{sql}\0\0\0").as_bytes()),
            message(b'B', format!("\0{name}\0\0\0\0\0\0\0").as_bytes()),
            message(b'E', b"\0\0\0\0\0"),
            message(b'S', b""),
        ];
        let (one, two) = (message(b'1', b""), message(b'2', b""));
        let text = format!("1 A >! hex:{}\n2 A < hex:{one}{two}{yes}\n", parts.concat());
        assert_eq!(acts(&text).0, expected, "{name:?}");
    }
}

#[test]
fn an_answer_may_come_before_its_request() {
    let text = format!(
        "1 A >! hex:{}\n2 A < hex:{}\n3 A < hex:{}\n4 A > hex:{}\n5 A > hex:{}\n6 A < hex:{}\n",
        query("select 'lock'"),
        answer("?column?", "lock", b'I'),
        answer("pg_try_advisory_lock", "t", b'I'),
        query("select pg_try_advisory_lock(1)"),
        query("select pg_advisory_unlock(1)"),
        answer("pg_advisory_unlock", "t", b'I'),
    );
    let (acts, ears) = acts(&text);
    assert_eq!(
        acts,
        ["asked exclusive ever 0:1:1", "acquired exclusive ever 0:1:1", "released 0:1:1"]
    );
    assert_eq!(ears, Ears::default());
    let lonely = format!(
        "1 A >! hex:{}\n2 A < hex:{}\n3 A < hex:{}\n99 tick\n",
        query("select 'lock'"),
        done(b'I'),
        done(b'I')
    );
    assert!(heard(&lonely).1.unpaired > 0);
}

#[test]
fn sessions_transactions_and_poolers_end_holds() {
    let void = |name: &str, status| answer(name, "", status);
    let mut text = String::new();
    let mut time = 1;
    for (sql, reply) in [
        ("prepare p (bigint) as select pg_advisory_lock($1)", done(b'I')),
        ("execute p(3)", void("pg_advisory_lock", b'I')),
        ("select pg_advisory_unlock_shared(3)", answer("pg_advisory_unlock_shared", "f", b'I')),
        ("discard all", done(b'I')),
        ("begin", done(b'T')),
        ("savepoint a", done(b'T')),
        ("select pg_advisory_xact_lock(4)", void("pg_advisory_xact_lock", b'T')),
        ("release a", done(b'T')),
        ("select pg_advisory_xact_lock_shared(5)", void("x", b'T')),
        ("commit", done(b'I')),
        ("select pg_advisory_lock(6)", void("pg_advisory_lock", b'I')),
        // Another session answers.
        ("select pg_advisory_unlock(6)", answer("pg_advisory_unlock", "f", b'I')),
        ("do $$ begin perform pg_advisory_lock(7); end $$", done(b'I')),
        ("select 1 where pg_try_advisory_lock(8)", answer("?column?", "1", b'I')),
    ] {
        let how = if time == 1 { ">!" } else { ">" };
        text += &format!("{time} A {how} hex:{}\n{} A < hex:{reply}\n", query(sql), time + 1);
        time += 2;
    }
    let (acts, ears) = acts(&text);
    assert_eq!(
        acts,
        [
            "asked exclusive ever queued 0:3:1",
            "acquired exclusive ever 0:3:1",
            "released 0:3:1",
            "asked exclusive ever queued 0:4:1",
            "acquired exclusive ever 0:4:1",
            "asked shared ever queued 0:5:1",
            "acquired shared ever 0:5:1",
            "released 0:4:1",
            "released 0:5:1",
            "asked exclusive ever queued 0:6:1",
            "acquired exclusive ever 0:6:1",
            "release_refused 0:6:1",
        ]
    );
    assert_eq!(ears, Ears { unclear: 2, ..Ears::default() });
    contract::<Postgres>(Dialect::Postgres, &text);
}

#[test]
fn ordinary_statements_say_nothing() {
    let mut text = format!("1 A >! hex:{}\n2 A < hex:{}\n", query("select 'lock'"), done(b'I'));
    for at in 0..500 {
        let sql = format!("update t set lock_version = {at} where name = 'pg_advisory_lock(1)'");
        text += &format!("3 A > hex:{}\n4 A < hex:{}\n", query(&sql), done(b'T'));
    }
    assert_eq!(heard(&text), (String::new(), Ears::default()));
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
    let mut backend = Postgres::with(rules);
    let mut steps = Vec::new();
    for id in 0..300 {
        let connection = Connection {
            id,
            pid: 1,
            dialect: Dialect::Postgres,
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
