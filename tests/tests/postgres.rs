//! Clients of PostgreSQL, against a real server.

use std::path::Path;

use lockprobe_tests::conversations::Talk;
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
fn a_deadlock() {
    let server = Server::postgres();
    for driver in ["psycopg2", "psycopg"] {
        Talk::check("postgresql", &[server.port], |truth| {
            client("postgres_deadlock.py", &server, driver, truth)
        });
    }
}
