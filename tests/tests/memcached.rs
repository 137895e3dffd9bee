//! Clients of memcached, against a real server.

use lockprobe_tests::conversations::Talk;
use lockprobe_tests::servers::{Server, python};

#[test]
fn pymemcache() {
    let server = Server::memcached();
    Talk::check("memcached", &[server.port], |truth| {
        let mut command = python("pymemcache_py.py");
        command.extend([truth.display().to_string(), server.port.to_string()]);
        command
    });
}
