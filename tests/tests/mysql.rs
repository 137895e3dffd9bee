//! Clients of MySQL, against a real MariaDB.

use lockprobe_tests::conversations::Talk;
use lockprobe_tests::servers::{Server, python};

#[test]
fn rows() {
    let server = Server::mariadb();
    let talk = Talk::check_with("mysql", &[server.port], &["--row-locks"], |truth| {
        let mut command = python("pymysql_rows.py");
        command.extend([truth.display().to_string(), server.port.to_string()]);
        command
    });
    assert_eq!(talk.records.of_kind("finding").count(), 0);
}

#[test]
fn pymysql() {
    let server = Server::mariadb();
    Talk::check("mysql", &[server.port], |truth| {
        let mut command = python("pymysql_locks.py");
        command.extend([truth.display().to_string(), server.port.to_string()]);
        command
    });
}
