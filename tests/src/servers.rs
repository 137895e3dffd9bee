//! Lock servers, started for a test on ports of their own and ended with it.

use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::{system, unpacked, until};

/// A server that runs. Dropping it ends it.
pub struct Server {
    child: Child,
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    /// Its files.
    pub home: tempfile::TempDir,
}

/// A port nobody listens at.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("bound").port()
}

/// Whether somebody listens at a port.
pub fn listens(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

impl Server {
    /// Starts what `command` makes of a folder and a port, and waits until it listens.
    pub fn start(command: impl Fn(&Path, u16) -> Command) -> Self {
        // Between asking for a free port and listening there another may take it.
        for _ in 0..3 {
            let home = tempfile::tempdir().expect("a temporary directory");
            let port = free_port();
            let log = home.path().join("log");
            let file = std::fs::File::create(&log).expect("a log");
            let mut command = command(home.path(), port);
            command.stdin(Stdio::null()).stdout(file.try_clone().expect("a file")).stderr(file);
            let spawned = command.spawn();
            let child = spawned.unwrap_or_else(|e| panic!("{command:?}: {e}; `cargo xtask setup`"));
            let mut server = Self { child, port, home };
            let up = until(&format!("{command:?} listens"), || {
                let ended = server.child.try_wait().expect("our child").is_some();
                if ended { Some(false) } else { listens(port).then_some(true) }
            });
            if up {
                return server;
            }
            eprintln!("{}", std::fs::read_to_string(log).unwrap_or_default());
        }
        panic!("a server ends as soon as it is started");
    }

    /// redis-server, at `redis.sock` in its folder too.
    pub fn redis() -> Self {
        Self::start(|home, port| {
            let mut command = Command::new("redis-server");
            command.args(["--save", "", "--appendonly", "no", "--bind", "127.0.0.1", "--port"]);
            command.arg(port.to_string()).arg("--dir").arg(home);
            command.arg("--unixsocket").arg(home.join("redis.sock"));
            command
        })
    }

    /// Valkey, of a release of Debian that has it.
    pub fn valkey() -> Self {
        let program = unpacked::program("servers/valkey", "valkey-server");
        Self::start(|home, port| {
            let mut command = Command::new(&program[0]);
            command.args(&program[1..]).args(["--save", "", "--bind", "127.0.0.1", "--port"]);
            command.arg(port.to_string()).arg("--dir").arg(home);
            command
        })
    }

    /// Three of redis-server that are a cluster.
    pub fn redis_cluster() -> [Self; 3] {
        let servers = [(); 3].map(|()| {
            Self::start(|home, port| {
                let mut command = Command::new("redis-server");
                command.args(["--save", "", "--bind", "127.0.0.1", "--cluster-enabled", "yes"]);
                command.args(["--port", &port.to_string()]);
                command.args(["--cluster-port", &free_port().to_string(), "--dir"]).arg(home);
                command
            })
        });
        let mut make = Command::new("redis-cli");
        make.args(["--cluster", "create"]);
        make.args(servers.each_ref().map(|server| format!("127.0.0.1:{}", server.port)));
        run(make.arg("--cluster-yes"));
        for server in &servers {
            until("the cluster is one", || {
                let mut ask = Command::new("redis-cli");
                ask.args(["-p", &server.port.to_string(), "cluster", "info"]);
                let told = ask.output().expect("redis-cli; `cargo xtask setup`").stdout;
                String::from_utf8_lossy(&told).contains("cluster_state:ok").then_some(())
            });
        }
        servers
    }

    /// redis-server that takes encrypted connections only.
    pub fn redis_tls() -> Self {
        Self::start(|home, port| {
            let (key, certificate) = (home.join("key.pem"), home.join("certificate.pem"));
            let mut make = Command::new("openssl");
            make.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]);
            make.args(["-subj", "/CN=localhost", "-keyout"]).arg(&key);
            make.arg("-out").arg(&certificate).stderr(Stdio::null());
            assert!(make.status().is_ok_and(|status| status.success()), "openssl makes no key");
            let mut command = Command::new("redis-server");
            command.args(["--save", "", "--port", "0", "--tls-port", &port.to_string()]);
            command.args(["--bind", "127.0.0.1", "--tls-auth-clients", "no", "--dir"]).arg(home);
            command.arg("--tls-cert-file").arg(&certificate).arg("--tls-key-file").arg(&key);
            command.arg("--tls-ca-cert-file").arg(&certificate);
            command
        })
    }

    /// etcd, of one member, which leads.
    pub fn etcd() -> Self {
        let server = Self::start(|home, port| {
            let url = |port: u16| format!("http://127.0.0.1:{port}");
            let mut command = Command::new("etcd");
            command.arg("--data-dir").arg(home.join("data"));
            command.args(["--listen-client-urls", &url(port), "--advertise-client-urls"]);
            command.args([&url(port), "--listen-peer-urls", &url(free_port())]);
            command
        });
        until("etcd answers", || {
            let mut asked = etcdctl(server.port);
            asked.args(["endpoint", "health"]).stdout(Stdio::null()).stderr(Stdio::null());
            let done = asked.status().expect("etcdctl; `cargo xtask setup`");
            done.success().then_some(())
        });
        server
    }

    /// The stand-in for Consul.
    pub fn consul() -> Self {
        Self::start(|_, port| {
            let mut command = Command::new("/usr/bin/python3");
            let stub = Path::new(env!("CARGO_MANIFEST_DIR")).join("stubs").join("consul.py");
            command.arg(stub).arg(port.to_string());
            command
        })
    }

    /// ZooKeeper, of one server; sessions are of 0.4 s to 4 s.
    pub fn zookeeper() -> Self {
        Self::start(|home, port| {
            let settings = home.join("zoo.cfg");
            let lines = [
                format!("dataDir={}", home.display()),
                format!("clientPort={port}"),
                "clientPortAddress=127.0.0.1\ntickTime=200\nadmin.enableServer=false\n".to_owned(),
            ];
            std::fs::write(&settings, lines.join("\n")).expect("a file of settings");
            let mut command = java();
            command.args(["-cp", &classes(ZOOKEEPER)]);
            command.arg("org.apache.zookeeper.server.quorum.QuorumPeerMain").arg(settings);
            command
        })
    }

    /// PostgreSQL, with a database called `shop`; anybody at this machine is let in.
    pub fn postgres() -> Self {
        Self::start(|home, port| {
            let files = home.join("data");
            let program = |name: &str| unprivileged(home, &postgres_programs().join(name));
            let mut make = program("initdb");
            make.args(["--auth=trust", "--username=postgres", "--no-locale", "--encoding=UTF8"]);
            run(make.arg("--no-sync").arg("-D").arg(&files));
            let mut single = program("postgres");
            single.arg("--single").arg("-D").arg(&files).arg("postgres");
            give(&mut single, "CREATE DATABASE shop\n");
            let mut command = program("postgres");
            command.arg("-D").arg(&files).args(["-h", "127.0.0.1", "-p", &port.to_string()]);
            command.arg("-k").arg(home).args(["-c", "fsync=off"]);
            command
        })
    }

    /// memcached.
    pub fn memcached() -> Self {
        Self::start(|_, port| {
            let mut command = Command::new("memcached");
            command.args(["-u", "nobody", "-m", "16", "-l", "127.0.0.1", "-p"]);
            command.arg(port.to_string());
            command
        })
    }

    /// MariaDB, with a `root` that has no password.
    pub fn mariadb() -> Self {
        Self::start(|home, port| {
            let files = format!("--datadir={}", home.join("data").display());
            let mut make = unprivileged(home, Path::new("/usr/bin/mariadb-install-db"));
            make.args(["--no-defaults", "--skip-test-db", &files]);
            run(make.arg("--auth-root-authentication-method=normal"));
            let mut command = unprivileged(home, Path::new("/usr/sbin/mariadbd"));
            command.args(["--no-defaults", &files, "--bind-address=127.0.0.1"]);
            command.args([&format!("--port={port}"), "--innodb-buffer-pool-size=16M"]);
            command.arg(format!("--socket={}", home.join("socket").display()));
            command.arg("--innodb-lock-wait-timeout=1");
            command
        })
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        system::signal(self.child.id(), libc::SIGTERM);
        let begun = std::time::Instant::now();
        while begun.elapsed() < std::time::Duration::from_secs(5) {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What ZooKeeper's server is made of.
const ZOOKEEPER: &[&str] = &["zookeeper", "zookeeper-jute", "netty-all", "slf4j-api", "slf4j-nop"];
/// What Curator is made of.
pub const CURATOR: &[&str] = &[
    "curator-recipes",
    "curator-framework",
    "curator-client",
    "zookeeper",
    "zookeeper-jute",
    "netty-all",
    "guava",
    "slf4j-api",
    "slf4j-nop",
];

/// A path of classes, of these libraries of Debian's.
pub fn classes(libraries: &[&str]) -> String {
    let jars = libraries.iter().map(|name| format!("/usr/share/java/{name}.jar"));
    jars.collect::<Vec<_>>().join(":")
}

/// Java, that is soon up.
fn java() -> Command {
    let mut command = Command::new("java");
    command.args(["-Xmx128m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]);
    command
}

/// Where Debian has the programs of PostgreSQL.
fn postgres_programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions.map(|entry| entry.path()).max().expect("PostgreSQL; `cargo xtask setup`");
    newest.join("bin")
}

/// A program run by a user who may do little, and whose folder this becomes: databases refuse root.
fn unprivileged(home: &Path, program: &Path) -> Command {
    const NOBODY: u32 = 65534;
    std::os::unix::fs::chown(home, Some(NOBODY), Some(NOBODY)).expect("root");
    let mut command = Command::new(program);
    command.uid(NOBODY).gid(NOBODY).current_dir(home).env("HOME", home);
    command
}

/// Runs a command to its end, which is to be a good one.
fn run(command: &mut Command) {
    give(command, "");
}

/// The same with something to read.
fn give(command: &mut Command, input: &str) {
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(input.as_bytes()).expect("it reads");
    drop(stdin);
    let ended = child.wait_with_output().expect("our child");
    assert!(ended.status.success(), "{command:?}: {}", String::from_utf8_lossy(&ended.stderr));
}

/// etcd's own client.
fn etcdctl(port: u16) -> Command {
    let mut command = Command::new("etcdctl");
    command.env("ETCDCTL_API", "3").args(["--endpoints", &format!("127.0.0.1:{port}")]);
    command
}

fn text(path: PathBuf) -> String {
    std::path::absolute(path).expect("a path").to_str().expect("UTF-8").to_owned()
}

/// A file of `tests/clients`.
pub fn client(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(file)
}

/// Where `cargo xtask setup` leaves clients.
pub fn clients() -> PathBuf {
    crate::probe::target().join("clients")
}

/// A command that runs a Python program of `tests/clients`, in parts.
pub fn python(file: &str) -> Vec<String> {
    let python = clients().join("venv").join("bin").join("python");
    assert!(python.exists(), "{} is not there: run `cargo xtask setup`", python.display());
    vec![text(python), text(client(file))]
}

/// A command that runs a JavaScript program of `tests/clients`, in parts.
pub fn node(file: &str) -> Vec<String> {
    let modules = clients().join("node_modules");
    assert!(modules.exists(), "{} is not there: run `cargo xtask setup`", modules.display());
    vec!["env".into(), format!("NODE_PATH={}", text(modules)), "node".into(), text(client(file))]
}
