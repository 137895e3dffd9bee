//! Programs to be watched: the C programs beside this crate, and what they say of themselves.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Mutex, OnceLock, PoisonError};

use serde_json::Value;

use crate::probe::{Ended, Probe};
use crate::{PATIENCE, system};

/// A C program of `tests/programs`, compiled once.
pub fn compiled(name: &str) -> PathBuf {
    c_program(name, &[])
}

/// The same with musl as its C library.
pub fn compiled_with_musl(name: &str) -> PathBuf {
    built(&format!("{name}.c"), "musl-gcc", C_FLAGS)
}

/// The same with musl in it.
pub fn compiled_statically_with_musl(name: &str) -> PathBuf {
    built(&format!("{name}.c"), "musl-gcc", &[C_FLAGS, &["-static"]].concat())
}

/// The same with the C library in it.
pub fn compiled_statically(name: &str) -> PathBuf {
    c_program(name, &["-static"])
}

fn c_program(name: &str, more: &[&str]) -> PathBuf {
    built(&format!("{name}.c"), "cc", &[C_FLAGS, more].concat())
}

const C_FLAGS: &[&str] = &["-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-pthread"];

/// A program of `tests/programs`, built once with this compiler and these flags; of Java, the
/// folder of its classes.
pub fn built(file: &str, compiler: &str, flags: &[&str]) -> PathBuf {
    static DIRECTORY: OnceLock<tempfile::TempDir> = OnceLock::new();
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let directory = DIRECTORY.get_or_init(|| tempfile::tempdir().expect("a temporary directory"));
    // A static is never dropped: the directory is removed when the process ends.
    remove_at_exit(directory.path());
    let stem = file.split('.').next().unwrap_or(file);
    let program = match (compiler, flags.len()) {
        ("cc", _) if flags.contains(&"-static") => directory.path().join(format!("{stem}-static")),
        ("cc", _) => directory.path().join(stem),
        (_, n) => directory.path().join(format!("{stem}-{}-{n}", compiler.replace('+', "x"))),
    };
    if !program.exists() {
        let mut command = Command::new(compiler);
        let output = if compiler == "javac" { "-d" } else { "-o" };
        command.args(flags).arg(output).arg(&program).arg(source(file));
        command.env("GOCACHE", directory.path().join("go"));
        let ended = Probe::start(&mut command).wait();
        assert_eq!(ended.status, 0, "{compiler}: {}", ended.stderr);
    }
    program
}

/// A file of `tests/programs`.
pub fn source(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("programs").join(file)
}

fn remove_at_exit(directory: &Path) {
    static REMOVED: OnceLock<PathBuf> = OnceLock::new();
    extern "C" fn remove() {
        if let Some(directory) = REMOVED.get() {
            let _ = std::fs::remove_dir_all(directory);
        }
    }
    if REMOVED.set(directory.to_owned()).is_ok() {
        system::at_exit(remove);
    }
}

/// Sends a signal to a process of a test's program.
pub fn signal(pid: u64, signal: i32) {
    system::signal(u32::try_from(pid).expect("a process id"), signal);
}

/// A program that talks in JSON lines and obeys bytes on its standard input. Dropping it ends it.
pub struct Program {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<Value>,
}

impl Program {
    /// Starts a C program.
    pub fn start<S: AsRef<OsStr>>(name: &str, arguments: impl IntoIterator<Item = S>) -> Self {
        Self::spawn(Command::new(compiled(name)).args(arguments))
    }

    /// Starts any program.
    pub fn spawn(command: &mut Command) -> Self {
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = spawned.unwrap_or_else(|e| panic!("{command:?}: {e}"));
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
        Self { stdin: child.stdin.take(), child, lines }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it says next.
    pub fn says(&self) -> Value {
        self.lines.recv_timeout(PATIENCE).expect("the program says something")
    }

    /// Tells it to go on.
    pub fn go_on(&mut self) {
        self.tell("");
    }

    /// Tells it this.
    pub fn tell(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("open until told to end");
        stdin.write_all(format!("{line}\n").as_bytes()).expect("the program listens");
    }

    /// Sends a signal.
    pub fn signal(&self, signal: i32) {
        system::signal(self.pid(), signal);
    }

    /// Closes its standard input and waits for its end.
    pub fn end(mut self) {
        drop(self.stdin.take());
        crate::until("the program ends", || self.child.try_wait().expect("our child"));
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if self.child.try_wait().ok().flatten().is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Runs lockprobe with these arguments on a program, from before its start to after its end.
pub fn watched<S: AsRef<OsStr>>(arguments: &[&str], program: impl IntoIterator<Item = S>) -> Ended {
    let mut command = crate::probe::lockprobe(arguments);
    command.arg("--").args(program).stdin(Stdio::null());
    crate::need_root();
    Probe::start(&mut command).wait()
}
