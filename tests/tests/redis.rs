//! Clients of Redis, against a real server.

use lockprobe_tests::conversations::Talk;
use lockprobe_tests::servers::{Server, python};

#[test]
fn redis_py_with_either_protocol() {
    let server = Server::redis();
    for protocol in ["2", "3"] {
        Talk::check("redis", &[server.port], |truth| {
            let mut command = python("redis_py.py");
            command.extend([truth.display().to_string(), server.port.to_string()]);
            command.push(protocol.to_owned());
            command
        });
    }
}
