//! Errors as people see them: one line, and an exit status that means something.

use std::process::ExitCode;

use crate::source::Error;

/// Some output could not be delivered; what was lost is counted in the summary.
pub const UNDELIVERED: u8 = 9;

/// The command line, or the configuration, was not understood.
pub const NOT_UNDERSTOOD: u8 = 2;

/// Threads were found that can never go on.
pub const FOUND: u8 = 3;

/// The exit statuses, for the manual page and the help text.
pub const TABLE: &str = "\
0  success
1  an output or a file could not be written, or something else failed
2  the command line or the configuration was not understood
3  `deadlocks` found threads that can never go on
4  not permitted: root or capabilities are missing
5  this kernel is too old or lacks something (see `lockprobe doctor`)
6  the process to watch does not exist, or a pattern is no pattern
7  this lockprobe was built without its eBPF programs
8  the recording cannot be opened, is damaged or of another version
9  records could not be delivered to the collector (counted in the summary); `run`: not all that \
was left could be delivered at the end
With `-- CMD` the status is the command's own, 128 plus the signal that killed it, 126 if it could \
not be run, 127 if there is no such command.";

/// Prints the error and gives its status. A reader that went away (`| head`) is no error.
pub fn report(error: &anyhow::Error) -> ExitCode {
    let broken_pipe = error.chain().any(|cause| {
        let io = cause.downcast_ref::<std::io::Error>();
        let json = cause.downcast_ref::<serde_json::Error>();
        io.is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
            || json.and_then(|e| e.io_error_kind()) == Some(std::io::ErrorKind::BrokenPipe)
    });
    if broken_pipe {
        return ExitCode::SUCCESS;
    }
    eprintln!("lockprobe: {error:#}");
    match error.downcast_ref::<Error>() {
        Some(error) => ExitCode::from(error.status()),
        None => ExitCode::FAILURE,
    }
}
