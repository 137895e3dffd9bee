//! lockprobe as an ordinary user with the documented capabilities, and with each of them taken away.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lockprobe_tests::probe::{Probe, binary};
use lockprobe_tests::program::compiled;
use lockprobe_tests::records::Records;
use lockprobe_tests::servers::{Server, python};
use serde_json::Value;

/// What docs/security.md and the service files grant.
const DOCUMENTED: [&str; 5] =
    ["bpf", "perfmon", "sys_ptrace", "dac_read_search", "checkpoint_restore"];

/// The program, where an ordinary user finds it.
struct Installed(tempfile::TempDir);

impl Installed {
    fn new() -> Self {
        lockprobe_tests::need_root();
        let directory = tempfile::tempdir().unwrap();
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(directory.path(), open).unwrap();
        std::fs::copy(binary(), directory.path().join("lockprobe")).unwrap();
        Self(directory)
    }

    /// lockprobe as nobody, with these capabilities and no way to others.
    fn with(&self, capabilities: &[&str]) -> Command {
        let set: String = capabilities.iter().map(|c| format!(",+{c}")).collect();
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        for kind in ["inh-caps", "ambient-caps", "bounding-set"] {
            command.arg(format!("--{kind}=-all{set}"));
        }
        command.arg(self.0.path().join("lockprobe")).stdin(Stdio::null());
        command
    }
}

/// What root's processes do that lockprobe is to see, on servers of the test's own.
struct World {
    plain: Server,
    encrypted: Server,
    /// Nobody else may look into it.
    home: tempfile::TempDir,
    scene: PathBuf,
}

/// What was seen of it.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    /// A mutex by its name, with its holder.
    mutex: bool,
    stack: bool,
    file_by_path: bool,
    redis: bool,
    tls: bool,
}

impl World {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let scene = home.path().join("scene");
        std::fs::copy(compiled("scene"), &scene).unwrap();
        Self { plain: Server::redis(), encrypted: Server::redis_tls(), home, scene }
    }

    fn file(&self) -> PathBuf {
        self.home.path().join("locked")
    }

    fn script(&self) -> String {
        let client = |file: &str| {
            let truth = self.home.path().join("truth");
            format!("{} {}", python(file).join(" "), truth.display())
        };
        let (scene, file) = (self.scene.display(), self.file());
        let lines = [
            format!("{scene} brief 80"),
            format!("flock {0} sleep .3 & sleep .1; flock {0} true; wait", file.display()),
            format!("{} {} 2", client("redis_py.py"), self.plain.port),
            // The library is found with the first run; a busy machine may be late for it.
            format!("{0} {1}; {0} {1}", client("redis_tls.py"), self.encrypted.port),
        ];
        lines.join("\n") + "\n"
    }

    /// Runs it all as root below a shell that lockprobe watches.
    fn seen_by(&self, lockprobe: &mut Command) -> Seen {
        let mut shell = Command::new("bash");
        shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut shell = shell.spawn().unwrap();
        lockprobe.args(["trace", "--format", "jsonl", "-p", &shell.id().to_string()]);
        for server in [&self.plain, &self.encrypted] {
            lockprobe.arg("--server").arg(format!("{}=redis", server.port));
        }
        let probe = Probe::start(lockprobe);
        probe.attached();
        shell.stdin.take().unwrap().write_all(self.script().as_bytes()).unwrap();
        assert!(shell.wait().unwrap().success());
        self.seen(&probe.wait().expect(0).records())
    }

    fn seen(&self, records: &Records) -> Seen {
        let all = records.acquires();
        let some = |is_it: &dyn Fn(&Value) -> bool| all.iter().any(|record| is_it(record));
        let served = |server: &Server| {
            some(&|r: &Value| r["server.port"] == server.port && r["lock.system.name"] == "redis")
        };
        let mutex = |r: &Value| r["lock.system.name"] == "pthread";
        let path = self.file().to_str().unwrap().to_owned();
        Seen {
            mutex: some(&|r| mutex(r) && r["lock.holder.tid"].is_u64()),
            stack: some(&|r| mutex(r) && r["code.stacktrace"].is_string()),
            file_by_path: some(&|r| r["lock.name"] == path.as_str()),
            redis: served(&self.plain),
            tls: served(&self.encrypted),
        }
    }
}

/// Name, verdict and text of each check, and the exit status.
fn doctor(lockprobe: &mut Command) -> (Vec<[String; 3]>, i32) {
    let ended = Probe::start(lockprobe.args(["doctor", "--format", "json"])).wait();
    let report: Value = serde_json::from_str(&ended.stdout).unwrap();
    let text = |check: &Value, key: &str| check[key].as_str().unwrap().to_owned();
    let check = |check: &Value| ["name", "verdict", "found"].map(|key| text(check, key));
    (report["checks"].as_array().unwrap().iter().map(check).collect(), ended.status)
}

fn verdict<'a>(checks: &'a [[String; 3]], name: &str) -> &'a str {
    &checks.iter().find(|check| check[0] == name).expect(name)[1]
}

#[test]
fn the_documented_capabilities_are_enough_and_each_one_is_needed() {
    let (installed, world) = (Installed::new(), World::new());
    let everything = Seen { mutex: true, stack: true, file_by_path: true, redis: true, tls: true };
    assert_eq!(world.seen_by(&mut installed.with(&DOCUMENTED)), everything);
    let (checks, status) = doctor(&mut installed.with(&DOCUMENTED));
    assert_eq!(status, 0, "{checks:?}");
    let lacking: Vec<_> = checks.iter().filter(|c| !["good", "off"].contains(&&*c[1])).collect();
    assert!(lacking.is_empty(), "{lacking:?}");

    for taken in DOCUMENTED {
        let rest: Vec<&str> = DOCUMENTED.into_iter().filter(|c| *c != taken).collect();
        let (checks, status) = doctor(&mut installed.with(&rest));
        let name = format!("CAP_{} is missing", taken.to_uppercase());
        let named =
            checks.iter().any(|c| ["bad", "limited"].contains(&&*c[1]) && c[2].contains(&name));
        assert!(named, "without {taken}: {checks:?}");
        if ["bpf", "perfmon"].contains(&taken) {
            assert_eq!(status, 4, "without {taken}: {checks:?}");
            let ended = Probe::start(installed.with(&rest).args(["trace", "--", "true"])).wait();
            assert!(ended.expect(4).sentence().contains(&name));
            continue;
        }
        assert_eq!(status, 0, "without {taken}: {checks:?}");
        // What doctor says is what happens.
        let good = |name: &str| verdict(&checks, name) == "good";
        let promised = Seen {
            stack: good("stacks"),
            file_by_path: good("files of others"),
            tls: good("encrypted clients"),
            ..everything
        };
        assert_eq!(world.seen_by(&mut installed.with(&rest)), promised, "without {taken}");
    }
}

#[test]
fn other_commands_need_no_root_either() {
    let installed = Installed::new();
    for arguments in [&["snapshot"][..], &["deadlocks"], &["trace", "--duration", "100ms"]] {
        let ended = Probe::start(installed.with(&DOCUMENTED).args(arguments)).wait();
        // A machine of others may have a deadlock.
        assert!([0, 3].contains(&ended.status), "{arguments:?}: {ended:?}");
    }
}

#[test]
fn full_mode_and_program_time_are_off_where_the_kernel_wants_more() {
    let installed = Installed::new();
    let (checks, _) = doctor(&mut installed.with(&DOCUMENTED));
    assert_eq!(verdict(&checks, "program time"), "off");
    let scene = compiled("scene");
    let arguments = [Path::new("trace"), Path::new("--full"), Path::new("-p")];
    let program = lockprobe_tests::program::Program::start("scene", ["blocked"]);
    program.says();
    let mut command = installed.with(&DOCUMENTED);
    command.args(arguments).arg(program.pid().to_string()).args(["--for", "200ms"]);
    let ended = Probe::start(&mut command).wait();
    match verdict(&checks, "full mode") {
        "good" => assert_eq!(ended.status, 0, "{ended:?}"),
        _ => assert!(ended.expect(4).stderr.contains("doctor"), "{}", scene.display()),
    }
}
