//! `lockprobe run` with a configuration, its log, and what it saw so far.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::probe::lockprobe;
use crate::program::{Program, compiled};
use crate::records::Records;
use crate::{system, until};

/// A daemon. Dropping it ends it.
pub struct Daemon {
    directory: tempfile::TempDir,
    child: Child,
}

/// What is left of one.
pub struct Over {
    /// Exit status; 128 plus the signal for one that was killed.
    pub status: i32,
    /// Its log.
    pub log: String,
    /// The directory of its configuration, its records and its state.
    pub directory: tempfile::TempDir,
}

impl Over {
    /// All it saw.
    pub fn records(&self) -> Records {
        Records::of_file(&self.directory.path().join("records.jsonl"))
    }
}

/// What is the same in all tests: records in a file, nothing else.
fn configuration(directory: &Path, more: &str) -> String {
    let directory = directory.display();
    format!(
        "jsonl: {{path: {directory}/records.jsonl}}\nhttp: {{listen: \"off\"}}\n\
         state: {{directory: {directory}/state}}\n{more}"
    )
}

impl Daemon {
    /// Starts one with this in its configuration, and waits until it observes.
    pub fn start(configuration: &str) -> Self {
        Self::start_in(tempfile::tempdir().expect("a directory"), configuration, |_| {})
    }

    /// The same in a directory where one was before, with changes to the command.
    pub fn start_in(
        directory: tempfile::TempDir,
        more: &str,
        change: impl FnOnce(&mut Command),
    ) -> Self {
        crate::need_root();
        let daemon = Self::spawn(directory, more, change);
        daemon.until_logged("observation begins", 1);
        daemon
    }

    fn spawn(directory: tempfile::TempDir, more: &str, change: impl FnOnce(&mut Command)) -> Self {
        let file = directory.path().join("lockprobe.yaml");
        std::fs::write(&file, configuration(directory.path(), more)).expect("a file");
        let log = std::fs::File::create(directory.path().join("log")).expect("a file");
        let mut command = lockprobe(["run", "--config"]);
        command.arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        change(&mut command);
        let child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
        Self { directory, child }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its directory.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).expect("the log")
    }

    /// Waits until this stands in the log as often as this.
    #[track_caller]
    pub fn until_logged(&self, what: &str, times: usize) {
        let log = || std::fs::read_to_string(self.directory.path().join("log")).expect("the log");
        let is = || (log().matches(what).count() >= times).then_some(());
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| until(what, is)));
        assert!(found.is_ok(), "`{what}` was not logged {times} times:\n{}", log());
    }

    /// Changes its configuration to this, and tells it.
    pub fn reconfigure(&self, more: &str) {
        self.reconfigure_to(configuration(self.directory.path(), more).as_bytes());
    }

    /// Changes its configuration to exactly this, and tells it.
    pub fn reconfigure_to(&self, bytes: &[u8]) {
        std::fs::write(self.directory.path().join("lockprobe.yaml"), bytes).expect("a file");
        self.signal(libc::SIGHUP);
    }

    /// Sends a signal.
    pub fn signal(&self, signal: i32) {
        system::signal(self.pid(), signal);
    }

    /// The records so far; the last line may be half a line as yet.
    pub fn records(&self) -> Vec<Value> {
        let path = self.directory.path().join("records.jsonl");
        let written = std::fs::read_to_string(path).unwrap_or_default();
        written.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// How many waits of a process it has seen.
    pub fn waits_of(&self, pid: u64) -> usize {
        let is = |r: &&Value| r["record"] == "acquire" && r["process.pid"] == pid;
        self.records().iter().filter(is).count()
    }

    /// Waits until it has seen so many waits of a process.
    #[track_caller]
    pub fn until_waits(&self, pid: u64, number: usize) {
        let log = self.log();
        let seen = || (self.waits_of(pid) >= number).then_some(());
        let found =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| until("a wait", seen)));
        assert!(found.is_ok(), "no {number} waits of {pid}: {:#?}\n{log}", self.records());
    }

    /// Has it end.
    pub fn end(self) -> Over {
        self.signal(libc::SIGTERM);
        self.over()
    }

    /// Waits for its end.
    pub fn over(mut self) -> Over {
        use std::os::unix::process::ExitStatusExt as _;
        let ended = until("the daemon ends", || self.child.try_wait().expect("our child"));
        let status = ended.code().or_else(|| ended.signal().map(|s| 128 + s)).expect("a status");
        let log = self.log();
        let directory = tempfile::tempdir().expect("a directory");
        let directory = std::mem::replace(&mut self.directory, directory);
        Over { status, log, directory }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.child.try_wait().ok().flatten().is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Programs that do as they are told (`tests/programs/service.c`), each under a name of its own.
pub struct Services(tempfile::TempDir);

impl Default for Services {
    fn default() -> Self {
        Self::new()
    }
}

impl Services {
    /// None yet.
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    /// The path of the program of that name.
    pub fn path(&self, name: &str) -> PathBuf {
        let path = self.0.path().join(name);
        if !path.exists() {
            std::fs::copy(compiled("service"), &path).expect("a copy");
        }
        path
    }

    /// Starts it.
    pub fn start(&self, name: &str) -> Program {
        Program::spawn(&mut Command::new(self.path(name)))
    }

    /// Has one contend, itself or in a child: the process that did.
    pub fn contend(service: &mut Program, how: &str) -> u64 {
        service.tell(how);
        service.says()["pid"].as_u64().expect("a process id")
    }
}
