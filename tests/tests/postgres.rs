//! Clients of PostgreSQL, against a real server.

use std::path::Path;

use lockprobe_tests::conversations::Talk;
use lockprobe_tests::records::text;
use lockprobe_tests::servers::{Server, python};

fn client(file: &str, server: &Server, driver: &str, truth: &Path) -> Vec<String> {
    let mut command = python(file);
    command.extend([truth.display().to_string(), server.port.to_string(), driver.to_owned()]);
    command
}

#[test]
fn advisory_locks() {
    let server = Server::postgres();
    for driver in ["psycopg2", "psycopg"] {
        Talk::check("postgresql", &[server.port], |truth| {
            client("postgres.py", &server, driver, truth)
        });
    }
}

#[test]
fn advisory_locks_over_a_unix_socket() {
    let server = Server::postgres();
    for driver in ["psycopg2", "psycopg"] {
        let talk = Talk::check("postgresql", &[server.port], |truth| {
            let mut command = client("postgres.py", &server, driver, truth);
            command.push(server.home.path().display().to_string());
            command
        });
        let known = format!("pg://127.0.0.1:{}/shop/", server.port);
        for record in talk.records.of_kind("acquire") {
            assert!(text(record, "lock.id").starts_with(&known), "{record}");
        }
    }
}

#[test]
fn rows_and_tables() {
    let server = Server::postgres();
    for driver in ["psycopg2", "psycopg"] {
        let more = ["--row-locks", "--table-locks"];
        let talk = Talk::check_with("postgresql", &[server.port], &more, |truth| {
            client("postgres_rows.py", &server, driver, truth)
        });
        assert_eq!(talk.records.of_kind("finding").count(), 0);
        // Who does not ask for them is not told of those that come to their end.
        let talk = Talk::observe("postgresql", &[server.port], &[], &|truth| {
            client("postgres_rows.py", &server, driver, truth)
        });
        let ended = talk.records.of_kind("acquire").map(|r| text(r, "lock.outcome"));
        assert!(ended.into_iter().all(|outcome| outcome != "acquired"));
    }
}

#[test]
fn a_deadlock() {
    let server = Server::postgres();
    for driver in ["psycopg2", "psycopg"] {
        Talk::check("postgresql", &[server.port], |truth| {
            client("postgres_deadlock.py", &server, driver, truth)
        });
    }
}
