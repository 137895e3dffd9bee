//! Clients of Consul, against a stand-in for its server.

use lockprobe_tests::conversations::Talk;
use lockprobe_tests::servers::{Server, python};

fn check(file: &str) {
    let server = Server::consul();
    Talk::check("consul", &[server.port], |truth| {
        let mut command = python(file);
        command.extend([truth.display().to_string(), server.port.to_string()]);
        command
    });
}

#[test]
fn py_consul() {
    check("consul_py.py");
}

#[test]
fn ten_that_are_woken_at_once() {
    check("consul_herd.py");
}
