//! A stand-in for a cluster, and lockprobe as a pod of it.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::probe::{Probe, binary, target};
use crate::program::Program;

const TOKEN: &str = "a-token";

/// An API server, and the files of a service account.
pub struct Cluster {
    program: Program,
    port: u64,
    home: tempfile::TempDir,
}

impl Cluster {
    /// Starts it.
    pub fn start() -> Self {
        let home = tempfile::tempdir().expect("a temporary directory");
        let (key, certificate) = (home.path().join("key.pem"), home.path().join("ca.crt"));
        let mut make = Command::new("openssl");
        make.args([
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=k",
        ]);
        // An authority is no server's certificate (RFC 5280, 4.2.1.9).
        make.args(["-addext", "subjectAltName=IP:127.0.0.1", "-addext"]);
        make.args(["basicConstraints=critical,CA:FALSE", "-keyout"]).arg(&key);
        make.arg("-out").arg(&certificate).stderr(Stdio::null());
        assert!(make.status().is_ok_and(|status| status.success()), "openssl makes no key");
        std::fs::write(home.path().join("token"), TOKEN).expect("a file");
        let stub = Path::new(env!("CARGO_MANIFEST_DIR")).join("stubs").join("kubernetes.py");
        let mut command = Command::new("/usr/bin/python3");
        command.arg(stub).arg(certificate).arg(key).arg(TOKEN);
        let program = Program::spawn(&mut command);
        let port = program.says()["port"].as_u64().expect("a port");
        Self { program, port, home }
    }

    /// What it is asked next.
    pub fn asked(&self) -> Value {
        self.program.says()
    }

    /// Tells a change of a pod.
    pub fn tell(&mut self, kind: &str, pod: &Value) {
        self.program.tell(&json!({"type": kind, "object": pod}).to_string());
    }

    /// Starts lockprobe as if it ran in a pod on `node`: with the variables, and with the files of
    /// the account where they are expected, which nobody else sees.
    pub fn lockprobe(&self, node: &str, arguments: &[&str]) -> Probe {
        crate::need_root();
        let account = "/run/secrets/kubernetes.io/serviceaccount";
        let home = self.home.path().display();
        let script = format!(
            "mount -t tmpfs tmpfs /run && mkdir -p {account} && \
             cp {home}/token {home}/ca.crt {account}/ && exec \"$@\""
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-ec", &script, "sh"]);
        command.arg(std::fs::canonicalize(binary()).expect("lockprobe")).args(arguments);
        command.env("KUBERNETES_SERVICE_HOST", "127.0.0.1").env("NODE_NAME", node);
        command.env("KUBERNETES_SERVICE_PORT", self.port.to_string());
        command.env("CARGO_TARGET_DIR", target()).stdin(Stdio::null());
        Probe::start(&mut command)
    }
}
