//! lockprobe as a program: started, waited for, ended.

use std::ffi::OsStr;
use std::io::{Read, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::records::Records;
use crate::{PATIENCE, system, until};

/// Where the program is: `LOCKPROBE_BIN`, else what `cargo xtask build` leaves.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("LOCKPROBE_BIN") {
        return path.into();
    }
    let path = target().join("release/lockprobe");
    assert!(path.exists(), "{} is not there: run `cargo xtask build`", path.display());
    path
}

/// Where the build leaves what it makes.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"), PathBuf::from)
}

/// A command that is lockprobe with these arguments.
pub fn lockprobe<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(binary());
    command.args(arguments).env_remove("NO_COLOR").env("TERM", "xterm-256color");
    command
}

/// A process of a test's, with everything it prints. Dropping it ends it.
pub struct Probe {
    child: Child,
    stdout: Option<JoinHandle<Vec<u8>>>,
    stderr: Option<JoinHandle<Vec<u8>>>,
    what: String,
}

/// What is left of a process that ended.
#[derive(Debug)]
pub struct Ended {
    /// Exit status; 128 plus the signal for one that was killed.
    pub status: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// From start to end.
    pub took: Duration,
}

impl Ended {
    /// The records on standard output.
    pub fn records(&self) -> Records {
        Records::read(&self.stdout)
    }

    /// The one sentence on standard error, which is all there is.
    pub fn sentence(&self) -> &str {
        let lines: Vec<&str> = self.stderr.lines().collect();
        let [line] = lines[..] else { panic!("not one line of error: {self:?}") };
        assert!(line.starts_with("lockprobe: "), "{line}");
        assert!(line.chars().all(|c| !c.is_control()), "{line:?}");
        line
    }

    /// Checks the exit status.
    #[track_caller]
    pub fn expect(self, status: i32) -> Self {
        assert_eq!(self.status, status, "{}\n{}", self.stderr, self.stdout);
        self
    }
}

fn drain(mut pipe: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        bytes
    })
}

impl Probe {
    /// Starts a command with its output caught. Standard input is empty unless `command` says.
    pub fn start(command: &mut Command) -> Self {
        let what = format!("{command:?}");
        let spawned = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = spawned.unwrap_or_else(|e| panic!("{what}: {e}"));
        let stdout: ChildStdout = child.stdout.take().expect("piped");
        let stderr: ChildStderr = child.stderr.take().expect("piped");
        Self { child, stdout: Some(drain(stdout)), stderr: Some(drain(stderr)), what }
    }

    /// Starts lockprobe.
    pub fn lockprobe<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Self {
        crate::need_root();
        Self::start(lockprobe(arguments).stdin(Stdio::null()))
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until everything is attached: the thread that reads the ring is started after that.
    pub fn attached(&self) {
        let tasks = format!("/proc/{}/task", self.pid());
        until("lockprobe has attached", || {
            let threads = std::fs::read_dir(&tasks).ok()?.flatten();
            let mut names = threads.map(|t| std::fs::read_to_string(t.path().join("comm")));
            names.any(|n| n.is_ok_and(|n| n.trim() == "lockprobe-ring")).then_some(())
        });
    }

    /// Sends a line to its standard input, where that is a pipe.
    pub fn go_on(&mut self) {
        let stdin = self.child.stdin.as_mut().expect("a pipe");
        stdin.write_all(b"\n").expect("it listens");
    }

    /// Sends a signal.
    pub fn signal(&self, signal: i32) {
        system::signal(self.pid(), signal);
    }

    /// Waits for its end.
    pub fn wait(self) -> Ended {
        self.wait_for(PATIENCE)
    }

    /// Waits for its end, no longer than this.
    pub fn wait_for(mut self, patience: Duration) -> Ended {
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("our child") {
                break status;
            }
            if begun.elapsed() > patience {
                system::signal(self.pid(), libc::SIGKILL);
                let status = self.child.wait().expect("our child");
                let ended = self.collect(status, begun.elapsed());
                panic!("{} hung: {ended:?}", self.what);
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        self.collect(status, begun.elapsed())
    }

    fn collect(&mut self, status: ExitStatus, took: Duration) -> Ended {
        let text = |handle: &mut Option<JoinHandle<Vec<u8>>>| {
            let bytes = handle.take().expect("read once").join().expect("a reader");
            String::from_utf8(bytes).expect("output is UTF-8")
        };
        let status = status.code().or_else(|| status.signal().map(|s| 128 + s));
        Ended {
            status: status.expect("a status"),
            stdout: text(&mut self.stdout),
            stderr: text(&mut self.stderr),
            took,
        }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        if self.child.try_wait().ok().flatten().is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Runs lockprobe to its end.
pub fn run<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Ended {
    Probe::lockprobe(arguments).wait()
}

/// lockprobe writing JSON lines to a file, which is looked at as it grows.
pub struct Watch {
    /// The process.
    pub probe: Probe,
    output: tempfile::NamedTempFile,
}

impl Watch {
    /// Starts lockprobe with these arguments, the subcommand first; its standard input is a pipe.
    pub fn start(arguments: &[&str]) -> Self {
        crate::need_root();
        let output = tempfile::NamedTempFile::new().expect("a temporary file");
        let mut command = lockprobe(&arguments[..1]);
        command.args(["--format", "jsonl", "--output"]).arg(output.path()).args(&arguments[1..]);
        Self { probe: Probe::start(command.stdin(Stdio::piped())), output }
    }

    /// Starts lockprobe with exactly these arguments, and an output file.
    pub fn to_file(arguments: &[&str]) -> Self {
        crate::need_root();
        let output = tempfile::NamedTempFile::new().expect("a temporary file");
        let mut command = lockprobe(arguments);
        command.arg("--output").arg(output.path()).stdin(Stdio::null());
        Self { probe: Probe::start(&mut command), output }
    }

    /// Waits for its end with this status: what it has written, and how it ended.
    pub fn written(self, status: i32) -> (String, Ended) {
        let ended = self.probe.wait().expect(status);
        (std::fs::read_to_string(self.output.path()).expect("the output"), ended)
    }

    /// Starts to watch a process, and waits until it is watched.
    pub fn pid(pid: u32) -> Self {
        let watch = Self::start(&["trace", "-p", &pid.to_string()]);
        watch.probe.attached();
        watch
    }

    /// Waits until this has been written.
    pub fn until(&self, mark: &str) {
        until(&format!("lockprobe has written {mark}"), || {
            let written = std::fs::read_to_string(self.output.path()).expect("the output");
            written.contains(mark).then_some(())
        });
    }

    /// Waits until such a record has been written.
    pub fn until_some(&self, is_it: impl Fn(&Value) -> bool) {
        until("lockprobe has written a certain record", || {
            let written = std::fs::read_to_string(self.output.path()).expect("the output");
            // The last line may be half a line as yet.
            let records = written.lines().filter_map(|line| serde_json::from_str(line).ok());
            records.into_iter().any(|record| is_it(&record)).then_some(())
        });
    }

    /// Waits for its end.
    pub fn records(self) -> Records {
        self.ended().0
    }

    /// Waits for its end, which is a success.
    pub fn ended(self) -> (Records, Ended) {
        let ended = self.probe.wait().expect(0);
        (Records::of_file(self.output.path()), ended)
    }
}
