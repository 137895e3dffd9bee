//! A client of Consul, against a stand-in for its server.

use lockprobe_tests::conversations::Talk;
use lockprobe_tests::servers::{Server, python};

#[test]
fn py_consul() {
    let server = Server::consul();
    Talk::check("consul", &[server.port], |truth| {
        let mut command = python("consul_py.py");
        command.extend([truth.display().to_string(), server.port.to_string()]);
        command
    });
}
