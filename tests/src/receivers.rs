//! Receivers of OTLP that nobody here wrote, started for a test and ended with it.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use serde_json::Value;

use crate::{PATIENCE, servers};

/// Where `cargo xtask setup` leaves receivers.
fn home() -> PathBuf {
    crate::probe::target().join("receivers")
}

/// A program of a receiver's own Python.
fn program(receiver: &str, name: &str) -> PathBuf {
    let path = home().join(receiver).join("bin").join(name);
    let path = std::path::absolute(path).expect("a path");
    assert!(path.exists(), "{} is not there: run `cargo xtask setup`", path.display());
    path
}

/// The official protobufs, behind a server of either protocol. Dropping it ends it.
pub struct Official {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<Value>,
    /// Where it takes gRPC.
    pub grpc: String,
    /// Where it takes HTTP.
    pub http: String,
}

impl Official {
    /// Starts one, and waits until it listens.
    pub fn start() -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("receivers").join("official.py");
        let mut command = Command::new(program("official", "python"));
        command.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{line}: {e}"));
                if sender.send(value).is_err() {
                    return;
                }
            }
        });
        let ports: Value = lines.recv_timeout(PATIENCE).expect("it says where it listens");
        let url = |protocol: &str| format!("http://127.0.0.1:{}", ports[protocol]);
        // A path says that it is HTTP, as the port is not the usual one.
        let (grpc, http) = (url("grpc"), format!("{}/v1/traces", url("http")));
        Self { stdin: child.stdin.take(), child, lines, grpc, http }
    }

    /// Everything it got until now; nothing that was acknowledged comes later.
    pub fn got(&self) -> Vec<Value> {
        // What was acknowledged has been printed; the thread here may be about to read it.
        std::iter::from_fn(|| self.lines.recv_timeout(std::time::Duration::from_secs(1)).ok())
            .collect()
    }
}

impl Drop for Official {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Arize Phoenix, a trace store with a page.
pub struct Phoenix {
    server: servers::Server,
    /// Where it takes gRPC.
    pub grpc: String,
}

impl Phoenix {
    /// Whether it is installed, which it is only where it was asked for.
    pub fn is_installed() -> bool {
        home().join("phoenix").join("bin").join("phoenix").exists()
    }

    /// Starts one with nothing in it, and waits until it listens.
    pub fn start() -> Self {
        let grpc = servers::free_port();
        let server = servers::Server::start(|home, port| {
            let mut command = Command::new(program("phoenix", "phoenix"));
            command.arg("serve");
            command.env("PHOENIX_HOST", "127.0.0.1").env("PHOENIX_PORT", port.to_string());
            command.env("PHOENIX_GRPC_PORT", grpc.to_string());
            command.env("PHOENIX_WORKING_DIR", home).env("HOME", home);
            // It would look for other machines.
            command.env("PHOENIX_TELEMETRY_ENABLED", "false");
            command.env("PHOENIX_ALLOW_EXTERNAL_RESOURCES", "false");
            command
        });
        Self { server, grpc: format!("http://127.0.0.1:{grpc}") }
    }

    /// Where its page is, and where it takes HTTP.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.server.port)
    }

    /// What it answers to a query of its GraphQL interface.
    pub fn asked(&self, query: &str) -> Value {
        let body = serde_json::json!({ "query": query }).to_string();
        let mut command = Command::new("/usr/bin/python3");
        command.args(["-c", ASK, &format!("{}/graphql", self.url()), &body]);
        let output = command.output().expect("python3");
        let text = String::from_utf8_lossy(&output.stdout);
        let failed = || panic!("{text}{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_str(&text).unwrap_or_else(|_| failed())
    }
}

const ASK: &str = "import sys, urllib.request as r; print(r.urlopen(r.Request(sys.argv[1], \
                   sys.argv[2].encode(), {'content-type': 'application/json'})).read().decode())";
