//! Containers of podman: a root file system of a program and its libraries, ended with the test.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

use crate::probe::{Ended, Probe, binary};
use crate::program::Program;
use crate::until;

/// A root file system with one program, as `/contained`, and the libraries it is linked with.
pub struct Root(tempfile::TempDir);

impl Root {
    /// Puts it together.
    pub fn with(program: &Path) -> Self {
        let home = tempfile::tempdir().expect("a temporary directory");
        let root = home.path();
        std::fs::set_permissions(root, PermissionsExt::from_mode(0o755)).expect("our own");
        for folder in ["dev", "etc", "proc", "run", "sys", "tmp"] {
            std::fs::create_dir(root.join(folder)).expect("a new folder");
        }
        std::fs::copy(program, root.join("contained")).expect("the program");
        for library in libraries(program) {
            let to = root.join(library.strip_prefix("/").expect("an absolute path"));
            std::fs::create_dir_all(to.parent().expect("a folder")).expect("a new folder");
            std::fs::copy(&library, to).expect("a library");
        }
        Self(home)
    }
}

/// What `ldd` says that a program is linked with; nothing of one that is linked statically.
fn libraries(program: &Path) -> Vec<PathBuf> {
    let said = Command::new("ldd").arg(program).output().expect("ldd");
    let said = String::from_utf8(said.stdout).expect("UTF-8");
    let paths =
        said.lines().filter_map(|line| line.split_whitespace().find(|w| w.starts_with('/')));
    paths.map(PathBuf::from).collect()
}

/// A container that runs. Dropping it ends it.
pub struct Container {
    /// Its program.
    pub program: Program,
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: String,
    /// Process id of its program on the host.
    pub pid: u64,
}

impl Container {
    /// Starts the program of a root file system, over which an overlay lies, with PID, mount and
    /// network namespaces of its own; `options` are podman's.
    pub fn start(root: &Root, options: &[&str], arguments: &[&str]) -> Self {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let name = format!("lockprobe-{}-{number}", std::process::id());
        let mut command = podman(&["run", "--interactive", "--rm", "--name", &name]);
        // crun refuses machines with control groups of both versions; limits may not be raised where
        // the right to is missing.
        command.args(["--runtime", "runc", "--ulimit", "nofile=1024:1024"]);
        command.args(["--ulimit", "nproc=1024:1024"]).args(options);
        command.arg("--rootfs").arg(format!("{}:O", root.0.path().display()));
        command.arg("/contained").args(arguments).stderr(Stdio::inherit());
        let program = Program::spawn(&mut command);
        let said = program.says();
        assert_eq!(said["did"], "start", "{said}");
        let about = inspect(&name);
        let id = about["Id"].as_str().expect("an id").to_owned();
        let pid = about["State"]["Pid"].as_u64().expect("a process");
        Self { program, name, id, pid }
    }

    /// Has its program do something, and what that says of it.
    pub fn does(&mut self, what: &str) -> Value {
        self.program.tell(what);
        let said = self.program.says();
        assert_eq!(said["did"], what.split(' ').next().unwrap_or_default(), "{said}");
        said
    }

    /// The id on the host of a thread that has this id in the container.
    pub fn thread(&self, inside: &Value) -> u64 {
        let inside = inside.to_string();
        let tasks = format!("/proc/{}/task", self.pid);
        let is_it = |tid: &str| {
            let status = std::fs::read_to_string(format!("{tasks}/{tid}/status")).ok()?;
            let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
            (ids.split_whitespace().last() == Some(&inside)).then(|| tid.parse().ok())?
        };
        let all = std::fs::read_dir(&tasks).expect("its threads").flatten();
        let found = all.into_iter().find_map(|task| is_it(task.file_name().to_str()?));
        found.unwrap_or_else(|| panic!("no thread {inside} in {tasks}"))
    }

    /// Lets its program end.
    pub fn end(mut self) {
        self.program.close();
        until("the container is gone", || {
            (!podman(&["container", "exists", &self.name]).status().ok()?.success()).then_some(())
        });
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let mut remove = podman(&["rm", "--force", "--ignore", "--time", "0", &self.name]);
        let _ = remove.stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}

/// lockprobe in a container, as a DaemonSet has it: with the host's processes, privileged here since
/// what it needs differs between machines, and in a control group namespace of its own.
pub struct Contained {
    name: String,
    probe: Probe,
    _root: Root,
}

impl Contained {
    /// Starts it with these arguments, and waits until everything is attached.
    pub fn lockprobe(arguments: &[&str]) -> Self {
        crate::need_root();
        let root = Root::with(&binary());
        let name = format!("lockprobe-{}-itself", std::process::id());
        let mut command = podman(&["run", "--rm", "--name", &name, "--privileged"]);
        command.args(["--pid", "host", "--cgroupns", "private", "--network", "none"]);
        command.args(["--runtime", "runc", "--ulimit", "nofile=1024:1024"]);
        command.args(["--ulimit", "nproc=1024:1024", "--volume", "/sys:/sys", "--rootfs"]);
        command.arg(format!("{}:O", root.0.path().display())).arg("/contained").args(arguments);
        let probe = Probe::start(command.stdin(Stdio::null()));
        until("lockprobe has attached", || {
            let pid = inspect(&name)["State"]["Pid"].as_u64().filter(|pid| *pid != 0)?;
            let threads = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten();
            let mut names = threads.map(|t| std::fs::read_to_string(t.path().join("comm")));
            names.any(|n| n.is_ok_and(|n| n.trim() == "lockprobe-ring")).then_some(())
        });
        Self { name, probe, _root: root }
    }

    /// Waits for its end.
    pub fn wait(self) -> Ended {
        let name = self.name;
        let ended = self.probe.wait();
        let _ = podman(&["rm", "--force", "--ignore", &name]).output();
        ended
    }
}

/// Address of the host in the network of podman's containers.
pub fn host_address() -> String {
    let said = podman(&["network", "inspect", "podman"]).output();
    let said = said.expect("podman; `cargo xtask setup` installs it");
    let about: Value = serde_json::from_slice(&said.stdout).expect("JSON");
    about[0]["subnets"][0]["gateway"].as_str().expect("an address").to_owned()
}

fn inspect(name: &str) -> Value {
    let said = podman(&["inspect", name]).output().expect("podman");
    let said: Value = serde_json::from_slice(&said.stdout).expect("JSON");
    said[0].clone()
}

fn podman(arguments: &[&str]) -> Command {
    let mut command = Command::new("podman");
    command.args(arguments);
    command
}
