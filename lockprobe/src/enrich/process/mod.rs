//! Who a process is by itself: executable, command, what its environment says.

mod command;
mod environment;
pub mod host;
pub mod resource;
mod runtime;

pub use environment::{Environment, Wanted};

use std::os::unix::fs::MetadataExt;

use super::thread::{name, read_bounded};
use crate::model::{ThreadId, names, thread::printable};

/// Bounds of a command line.
const LONGEST_COMMAND: u64 = 4096;
const MOST_ARGUMENTS: usize = 64;

/// Names that a process cannot give itself, since lockprobe does, or that are not let out; with a
/// dot at the end, all that begin so. A service's own instance is no process's: those that were
/// forked share it.
pub const RESERVED: &[&str] = &[
    names::SERVICE_INSTANCE_ID,
    names::HOST_NAME,
    "process.pid",
    "process.parent_pid",
    "process.command",
    "process.command_line",
    "process.command_args",
    "process.executable.",
    "telemetry.",
    "lock.",
    "lockprobe.",
    "thread.",
];

/// Variables that are asked for in every environment.
pub const VARIABLES: &[&str] = &[SERVICE, ATTRIBUTES, TRACE_PARENT];
const SERVICE: &str = "OTEL_SERVICE_NAME";
const ATTRIBUTES: &str = "OTEL_RESOURCE_ATTRIBUTES";
const TRACE_PARENT: &str = "TRACEPARENT";

/// A process, as `/proc` tells; what cannot be read stays empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Process {
    /// Process id on this host.
    pub pid: u32,
    /// Start, clock ticks since boot.
    pub start_ticks: u64,
    /// Path of the executable.
    pub executable: String,
    /// Command line.
    pub command: Vec<String>,
    /// Script or executable: its name if nobody gives another.
    pub own_name: String,
    /// `process.runtime.name`.
    pub runtime: Option<&'static str>,
    /// The variables that were asked for.
    pub environment: Environment,
}

impl Process {
    /// Looks at a process.
    pub fn of(pid: u32, wanted: &Wanted) -> Self {
        let executable = executable(pid).unwrap_or_default();
        let command = command(pid).unwrap_or_default();
        let own_name = command::service(&executable, &command)
            .or_else(|| name(ThreadId { pid, tid: pid }))
            .unwrap_or_default();
        let runtime = runtime::name(pid, &executable);
        let start_ticks = start_ticks(pid).unwrap_or(0);
        let environment = Environment::of(pid, wanted);
        Self { pid, start_ticks, executable, command, own_name, runtime, environment }
    }

    /// The service as the process names it, and the other attributes it claims.
    pub fn claims(&self) -> (Option<String>, Vec<(String, String)>) {
        let text = self.environment.get(ATTRIBUTES).unwrap_or_default();
        let mut attributes = resource::attributes(text);
        let at = attributes.iter().position(|(name, _)| name == names::SERVICE_NAME);
        let claimed = at.map(|at| attributes.remove(at).1);
        // The variable of its own comes first, as in the SDKs.
        let named = self.environment.get(SERVICE).and_then(resource::value);
        (named.or(claimed), attributes)
    }

    /// The trace context it was started with.
    pub fn trace_parent(&self) -> Option<String> {
        self.environment.get(TRACE_PARENT).and_then(resource::trace_parent)
    }
}

/// Device and inode of the executable: an exec changes them, unless the process runs the same program again.
pub type Program = (u64, u64);

/// The program a process runs.
pub fn program(pid: u32) -> Option<Program> {
    let file = std::fs::metadata(format!("/proc/{pid}/exe")).ok()?;
    Some((file.dev(), file.ino()))
}

fn start_ticks(pid: u32) -> Option<u64> {
    let stat = procfs::process::Process::new(i32::try_from(pid).ok()?).ok()?.stat().ok()?;
    Some(stat.starttime)
}

fn executable(pid: u32) -> Option<String> {
    let path = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let path = path.to_string_lossy();
    Some(printable(path.strip_suffix(" (deleted)").unwrap_or(&path)))
}

fn command(pid: u32) -> Option<Vec<String>> {
    let bytes = read_bounded(format!("/proc/{pid}/cmdline"), LONGEST_COMMAND)?;
    let bytes = bytes.strip_suffix(b"\0").unwrap_or(&bytes);
    if bytes.is_empty() {
        return None;
    }
    let arguments = bytes.split(|&b| b == 0).take(MOST_ARGUMENTS);
    Some(arguments.map(|a| printable(&String::from_utf8_lossy(a))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted() -> Wanted {
        Wanted::new(VARIABLES.iter().copied())
    }

    #[test]
    fn the_own_process_is_known() {
        let process = Process::of(std::process::id(), &wanted());
        assert!(process.start_ticks > 0);
        assert!(process.executable.contains("lockprobe"), "{process:?}");
        assert!(!process.own_name.is_empty() && !process.command.is_empty());
        let nobody = Process::of(u32::MAX, &wanted());
        assert_eq!(nobody, Process { pid: u32::MAX, ..Process::default() });
    }

    #[test]
    fn the_environment_names_the_service() {
        let mut child = std::process::Command::new("sleep")
            .arg("30")
            .env("OTEL_SERVICE_NAME", "shop\u{7}")
            .env("OTEL_RESOURCE_ATTRIBUTES", "service.name=other,service.version=1%2C2")
            .env("TRACEPARENT", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
            .spawn()
            .unwrap();
        // Until exec is complete the environment is ours, or none.
        let look = |_| {
            std::thread::sleep(std::time::Duration::from_millis(5));
            Process::of(child.id(), &wanted())
        };
        let got = (0..1000).map(look).find(|got| got.claims().0.is_some());
        child.kill().unwrap();
        child.wait().unwrap();
        let got = got.unwrap();
        let (service, attributes) = got.claims();
        assert_eq!(service.as_deref(), Some("shop\u{fffd}"));
        assert_eq!(attributes, [("service.version".to_owned(), "1,2".to_owned())]);
        assert!(got.trace_parent().is_some_and(|context| context.ends_with("-01")));
    }

    #[test]
    fn the_own_variable_counts_before_the_attributes() {
        let of = |pairs: [(&str, &str); 2]| {
            Process { environment: Environment::from(pairs), ..Process::default() }.claims()
        };
        let (named, others) = of([(SERVICE, " a "), (ATTRIBUTES, "service.name=b,x=1")]);
        assert_eq!((named.as_deref(), others.len()), (Some("a"), 1));
        let (named, others) = of([(SERVICE, " "), (ATTRIBUTES, "x=1,service.name=b")]);
        assert_eq!((named.as_deref(), others.len()), (Some("b"), 1));
        assert_eq!(of([("X", ""), ("Y", "")]), (None, Vec::new()));
    }
}
