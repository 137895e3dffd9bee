//! Clients of MySQL, against a real MariaDB.

use lockprobe_tests::conversations::Talk;
use lockprobe_tests::servers::{Server, python};

#[test]
fn pymysql() {
    let server = Server::mariadb();
    Talk::check("mysql", &[server.port], |truth| {
        let mut command = python("pymysql_locks.py");
        command.extend([truth.display().to_string(), server.port.to_string()]);
        command
    });
}
