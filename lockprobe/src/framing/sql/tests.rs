//! Statements as clients write them, and what is made of them.

use super::*;

fn parse(sql: &str, flavour: Flavour) -> Vec<Statement<String>> {
    let function = |name: &[u8]| {
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        (name.contains("lock")).then_some(name)
    };
    statements(sql.as_bytes(), flavour, &function)
}

/// `name(arguments)@spot` of every call.
fn calls(sql: &str) -> String {
    picture(&parse(sql, Flavour::Postgres))
}

fn picture(statements: &[Statement<String>]) -> String {
    let mut lines = Vec::new();
    for call in statements.iter().flat_map(|statement| &statement.calls) {
        let argument = |argument: &Value| match argument {
            Value::Place(at) => format!("${at}"),
            Value::Expression => format!("{:?}", call.written),
            other => other.written().unwrap(),
        };
        let arguments: Vec<String> = call.arguments.iter().map(argument).collect();
        let spot = match call.spot {
            Spot::Column(at) => at.to_string(),
            Spot::Alone => "alone".into(),
            Spot::Inside => "inside".into(),
        };
        lines.push(format!("{}({})@{spot}", call.function, arguments.join(",")));
    }
    lines.join(" ")
}

#[test]
fn calls_are_found_however_they_are_written() {
    for (sql, expected) in [
        ("select pg_advisory_lock(42)", "pg_advisory_lock(42)@0"),
        ("SELECT PG_ADVISORY_LOCK ( -42 );", "pg_advisory_lock(-42)@0"),
        ("/* a /* b */ */ select -- x\n pg_catalog.\"lock\"(1, -2)", "lock(1,-2)@0"),
        ("select other.lock(1)", ""),
        ("select lock($2::bigint, 7::int)", "lock($2,7)@0"),
        ("select lock((-5)::int8)", "lock(-5)@0"),
        ("select lock('42'), 1, lock(2) as b, lock(3)::text c", "lock('42')@0 lock(2)@2 lock(3)@3"),
        ("select *, lock(1) from t", "lock(1)@inside"),
        ("select a * b, lock(1) from t", "lock(1)@1"),
        ("select lock(1) is not null", "lock(1)@inside"),
        ("select not lock(1)", "lock(1)@inside"),
        ("select case when lock(1) then 1 end", "lock(1)@inside"),
        ("select * from lock(1)", "lock(1)@0"),
        ("select 1 from lock(1)", "lock(1)@alone"),
        ("select 1 from lock(1) where false", "lock(1)@inside"),
        ("select 1 from t where lock(id)", "lock([Text(\"id\")])@inside"),
        ("with l as (select lock(1)) select 1", "lock(1)@inside"),
        ("select 'lock(1)', $$lock(2)$$, $a$lock(3)$a$, \"lock(4)\"", ""),
        ("explain select lock(1)", ""),
        ("create function f() returns int as 'select lock(1)'", ""),
        ("select lock(1); select lock(2)", "lock(1)@0 lock(2)@0"),
        ("select lock(1", ""),
        ("select lock(99999999999999999999)", "lock(100000000000000000000)@0"),
        ("select lock(1::bit(64)::bigint)", "lock([Text(\"1::bit(64)::bigint\")])@0"),
    ] {
        assert_eq!(calls(sql), expected, "{sql}");
    }
}

#[test]
fn mysql_has_its_own_quotes_comments_and_places() {
    for (sql, expected) in [
        ("SELECT GET_LOCK('it''s \\'x\\'', 10)", "get_lock('it's 'x'',10)@0"),
        ("select get_lock(\"a\", 0.5) as `x`", "get_lock('a',0.5)@0"),
        ("# c\nSELECT GET_LOCK(0x6a6f62, -1)", "get_lock('job',-1)@0"),
        ("select get_lock(x'6a', 1)", "get_lock('j',1)@0"),
        (
            "select get_lock(_utf8mb4'a', 1), get_lock(N'b', 1)",
            "get_lock('a',1)@0 get_lock('b',1)@1",
        ),
        ("select ?, get_lock(?, ?)", "get_lock($2,$3)@1"),
        ("DO RELEASE_LOCK('a')", "release_lock('a')@alone"),
        ("select /*!50000 get_lock('a', 1) */", "get_lock('a',1)@0"),
        ("select 1--1, get_lock('a',1)", "get_lock('a',1)@1"),
        ("select if(get_lock('a',1),1,0)", "get_lock('a',1)@inside"),
    ] {
        assert_eq!(picture(&parse(sql, Flavour::Mysql)), expected, "{sql}");
    }
}

#[test]
fn an_expression_is_the_same_however_it_is_spaced() {
    let written = |sql: &str| parse(sql, Flavour::Postgres)[0].calls[0].written.clone();
    let one = written("select lock(HASHTEXT( 'Reports' ) )");
    assert_eq!(one, [Written::Text("hashtext('Reports')".into())]);
    assert_eq!(one, written("select lock(/* c */ hashtext('Reports'))"));
    let text = |text: &str| Written::Text(text.into());
    let given = [text("hashtext("), Written::Place(1), text(")")];
    assert_eq!(written("select lock(hashtext($1))"), given);
}

#[test]
fn statements_are_told_by_their_first_words() {
    let heads =
        |sql: &str| parse(sql, Flavour::Postgres).into_iter().map(|s| s.head).collect::<Vec<_>>();
    let name = |name: &str| name.as_bytes().to_vec();
    assert_eq!(heads("BEGIN; commit ; END"), [Head::Begin, Head::Commit, Head::Commit]);
    assert_eq!(heads("rollback to savepoint S"), [Head::RollbackTo(name("s"))]);
    assert_eq!(
        heads("savepoint \"S\"; release s"),
        [Head::Savepoint(name("S")), Head::Release(name("s"))]
    );
    assert_eq!(heads("prepare transaction 'x'"), [Head::Other]);
    assert_eq!(
        heads("execute p(1, 'a')"),
        [Head::Execute(name("p"), vec![Value::Integer(1), Value::Text(name("a"))])]
    );
    assert_eq!(
        heads("deallocate prepare all; deallocate p"),
        [Head::Deallocate(None), Head::Deallocate(Some(name("p")))]
    );
    let prepared = parse("prepare p (bigint) as select lock($1)", Flavour::Postgres);
    assert_eq!(prepared[0].head, Head::Prepare(name("p")));
    assert_eq!(picture(&prepared), "lock($1)@0");
    assert!(parse("do $$ begin perform pg_advisory_lock(1); end $$", Flavour::Postgres)[0].hidden);
}

#[test]
fn locks_of_rows_and_tables_are_read() {
    let locks = |sql: &str| parse(sql, Flavour::Postgres)[0].locks.clone();
    let rows = locks("select id from public.Jobs j where id = 1 for no key update of j nowait");
    let rows = rows.unwrap();
    assert_eq!((rows.table.as_deref(), rows.nowait, rows.shared), (Some("jobs"), true, false));
    let queue = locks("SELECT 1 FROM q LIMIT 1 FOR UPDATE SKIP LOCKED").unwrap();
    assert!(queue.skip && !queue.whole);
    assert!(locks("select * from t lock in share mode").unwrap().shared);
    let table = locks("LOCK TABLE ONLY \"T\" IN ACCESS SHARE MODE").unwrap();
    assert_eq!((table.table.as_deref(), table.whole, table.other), (Some("T"), true, true));
    assert!(!locks("lock t").unwrap().other);
    assert_eq!(locks("select 1 for_update"), None);
    assert_eq!(locks("insert into t values ('for update')"), None);
}

#[test]
fn what_says_nothing_of_locks_is_told_at_a_glance() {
    for sql in ["select 1", "SELECT * FROM t WHERE a = 'b';", "insert into t values (1)", ""] {
        assert!(!is_telling(sql.as_bytes()), "{sql}");
    }
    for sql in ["COMMIT", "select 1; commit", "/*x*/ select 1", "select pg_advisory_LOCK(1)"] {
        assert!(is_telling(sql.as_bytes()), "{sql}");
    }
}

#[test]
fn any_bytes_are_taken() {
    let mut random = 0x9e37_79b9_7f4a_7c15u64;
    let words: [&[u8]; 22] = [
        b"select ",
        b"lock",
        b"(",
        b")",
        b"'",
        b"\"",
        b"$1",
        b"$$",
        b"::",
        b"/*",
        b"*/",
        b"--",
        b"\\",
        b";",
        b",",
        b"-",
        b"0x",
        b"\xff",
        b"for update",
        b"as ",
        b"prepare ",
        b"?",
    ];
    for _ in 0..20_000 {
        let mut sql = Vec::new();
        for _ in 0..12 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            sql.extend_from_slice(words[random as usize % words.len()]);
        }
        for flavour in [Flavour::Postgres, Flavour::Mysql] {
            let function = |name: &[u8]| name.eq_ignore_ascii_case(b"lock").then_some(());
            assert!(statements(&sql, flavour, &function).len() <= 64);
        }
        is_telling(&sql);
    }
    let deep = [b"select lock(".as_slice(), &b"(".repeat(10_000), &b")".repeat(10_000)].concat();
    assert!(statements(&deep, Flavour::Postgres, &|_| Some(())).len() == 1);
}
