//! Clients of etcd, against a real server.

use std::path::Path;

use lockprobe_tests::conversations::Talk;
use lockprobe_tests::servers::{Server, node, python};

fn with(command: Vec<String>, server: &Server) -> impl Fn(&Path) -> Vec<String> {
    let port = server.port.to_string();
    move |truth| {
        let mut command = command.clone();
        command.extend([truth.display().to_string(), port.clone()]);
        command
    }
}

#[test]
fn python_over_the_gateway_and_over_grpc() {
    let server = Server::etcd();
    Talk::check("etcd", &[server.port], with(python("etcd3gw_py.py"), &server));
    Talk::check("etcd", &[server.port], with(python("etcd3_py.py"), &server));
}

#[test]
fn javascript() {
    let server = Server::etcd();
    Talk::check("etcd", &[server.port], with(node("etcd3_js.js"), &server));
}

#[test]
fn etcdctl() {
    let server = Server::etcd();
    Talk::check("etcd", &[server.port], with(python("etcdctl.py"), &server));
}
