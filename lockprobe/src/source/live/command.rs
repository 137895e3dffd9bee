//! Starting a command so that it is watched from its first instruction.
//!
//! lockprobe starts itself with a hidden subcommand that stops, is made a target, and then turns
//! into the command: nothing of the command runs unobserved, and nothing is injected into it.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};

use crate::source::Error;

/// Name of the hidden subcommand.
pub const TRAMPOLINE: &str = "exec-when-told";

/// Exit status when the command is there but cannot be run, as shells have it.
const NOT_EXECUTABLE: i32 = 126;
/// Exit status when there is no such command, as shells have it.
const NOT_FOUND: i32 = 127;

/// A started command.
pub struct Started {
    child: Child,
}

impl Started {
    /// Starts the trampoline and waits until it has stopped.
    pub fn hold(command: &[OsString]) -> Result<Self, Error> {
        let name = command.first().map(|c| c.to_string_lossy().into_owned()).unwrap_or_default();
        let failed = |e: io::Error| Error::Failed(format!("`{name}` cannot be started: {e}"));
        let own = std::env::current_exe().map_err(failed)?;
        let mut trampoline = Command::new(own);
        trampoline.arg(TRAMPOLINE).arg("--").args(command);
        let parent = std::process::id();
        // SAFETY: two system calls and nothing else between fork and exec.
        unsafe { trampoline.pre_exec(move || end_with(parent)) };
        let child = trampoline.spawn();
        let mut started = Self { child: child.map_err(failed)? };
        let mut status = 0;
        // SAFETY: our own child, a valid pointer; WUNTRACED also returns when it stops.
        let got = unsafe { libc::waitpid(started.pid() as i32, &mut status, libc::WUNTRACED) };
        if got == started.pid() as i32 && libc::WIFSTOPPED(status) {
            return Ok(started);
        }
        let _ = started.child.kill();
        Err(Error::Failed(format!("`{name}` cannot be started: its trampoline ended early")))
    }

    /// Process id, the command's own from its first instruction on.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Lets the command run.
    pub fn release(&self) {
        self.signal(libc::SIGCONT);
    }

    /// Sends a signal.
    pub fn signal(&self, signal: i32) {
        // SAFETY: a plain system call on our own child, which is not reaped before `wait`.
        unsafe { libc::kill(self.pid() as i32, signal) };
    }

    /// Waits for the end.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait()
    }

    /// The exit status, if the command has ended.
    pub fn try_wait(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }
}

impl Drop for Started {
    /// A command that was never released would stay stopped for ever.
    fn drop(&mut self) {
        if self.child.try_wait().ok().flatten().is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Exit status as a shell reports it: 128 plus the signal for a killed command.
pub fn shell_status(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|s| 128 + s));
    code.and_then(|c| u8::try_from(c).ok()).unwrap_or(1)
}

/// Has this process killed when its parent ends: a trampoline that nobody tells to go on would stay
/// stopped for ever.
fn end_with(parent: u32) -> io::Result<()> {
    // SAFETY: no pointers.
    let asked = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    if asked != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: no arguments, cannot fail.
    let still_there = unsafe { libc::getppid() } == parent.cast_signed();
    if still_there { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
}

/// The trampoline: stops, and when continued becomes the command. Returns only on failure, with
/// the exit status.
pub fn trampoline(command: &[OsString]) -> i32 {
    let Some((program, arguments)) = command.split_first() else { return NOT_FOUND };
    // SAFETY: stops this process; there is no other thread yet.
    unsafe { libc::raise(libc::SIGSTOP) };
    // The command is the user's own, and goes on without us as it would have without us.
    // SAFETY: no pointers.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, 0) };
    let error = Command::new(program).args(arguments).exec();
    eprintln!("lockprobe: `{}` cannot be run: {error}", OsStr::new(program).display());
    if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { NOT_EXECUTABLE }
}
