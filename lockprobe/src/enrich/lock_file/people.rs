//! Which process a number in a file means, and whether it is there.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use crate::enrich::cache::Cache;
use crate::enrich::thread::read_bounded;
use crate::model::ThreadId;

/// Most processes looked through for one; on a machine with more nothing is said to be gone.
const PROCESSES_AT_MOST: usize = 65_536;
/// Clock ticks a second of `/proc/PID/stat`: USER_HZ, the same everywhere.
const TICKS: u64 = 100;
/// A process that began this much after the file was written did not write it.
const LATER: Duration = Duration::from_secs(2);
/// A clock that was set in between may be wrong by more; beyond this it is another process for
/// certain, if the clock says that the file was written since the machine began.
const MUCH_LATER: Duration = Duration::from_secs(60);

/// A process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its id on this host.
    pub pid: u32,
    /// Its name.
    pub name: String,
    /// How many threads it has.
    pub threads: u32,
}

/// What became of a process that a file names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// It is there.
    There(Process),
    /// It is not, nor any that could be meant.
    Gone,
    /// Cannot be said.
    Unknown,
}

/// Bytes read of a table of mounts.
const MOUNTS: u64 = 1 << 20;

/// When and where a file was written.
#[derive(Clone, Copy, Debug)]
pub struct Written {
    /// When.
    pub at: SystemTime,
    /// Device of its directory.
    pub device: u64,
}

/// Processes of PID namespaces.
pub struct Namespaces(Cache<(PathBuf, u32), u32>);

impl Namespaces {
    /// Remembers this many processes at most.
    pub fn new(most: usize) -> Self {
        Self(Cache::new(most))
    }

    /// The process that a thread knows by this id, if it was there when the file was written.
    pub fn named(&mut self, thread: ThreadId, pid: u32, written: &Written) -> Named {
        let Some(namespace) = namespace(thread.pid) else { return Named::Unknown };
        let Some(own) = namespace_of_ours() else { return Named::Unknown };
        let host = if namespace == own { Some(pid) } else { self.translate(namespace, pid) };
        let Some(status) = host.and_then(Status::of).filter(|status| !status.ended) else {
            return if is_meant_elsewhere(thread, pid, written) {
                Named::Unknown
            } else {
                Named::Gone
            };
        };
        let Some(began) = status.began() else { return Named::Unknown };
        if began <= written.at + LATER {
            let Status { pid, name, threads, .. } = status;
            return Named::There(Process { pid, name, threads });
        }
        // Another process has the id by now. Clocks that were set make the same picture.
        let since_boot = boot().is_some_and(|boot| boot < written.at);
        let certain = written.at + MUCH_LATER < began && since_boot;
        match certain && !is_meant_elsewhere(thread, pid, written) {
            true => Named::Gone,
            false => Named::Unknown,
        }
    }

    fn translate(&mut self, namespace: PathBuf, pid: u32) -> Option<u32> {
        let is_it = |host: u32| {
            let of = fs::read_link(format!("/proc/{host}/ns/pid")).ok();
            of.as_ref() == Some(&namespace)
                && Status::of(host).is_some_and(|status| status.ids.last() == Some(&pid))
        };
        let known = self.0.get(&(namespace.clone(), pid)).copied();
        if let Some(host) = known.filter(|&host| is_it(host)) {
            return Some(host);
        }
        let found = processes().into_iter().take(PROCESSES_AT_MOST).find(|&host| is_it(host))?;
        self.0.insert((namespace, pid), found);
        Some(found)
    }
}

/// Whether a name is that of the host a thread runs on; no, if that cannot be said.
pub fn is_host_of(thread: ThreadId, host: &str) -> bool {
    let ours = fs::read_link("/proc/self/ns/uts").ok();
    let its = fs::read_link(format!("/proc/{}/ns/uts", thread.pid)).ok();
    let name = rustix::system::uname();
    ours.is_some() && ours == its && name.nodename().to_str() == Ok(host)
}

fn namespace(pid: u32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/ns/pid")).ok()
}

fn namespace_of_ours() -> Option<PathBuf> {
    fs::read_link("/proc/self/ns/pid").ok()
}

/// Whether a process of any namespace has this number, was there when the file was written and may
/// have come by it: directories are shared between namespaces.
fn is_meant_elsewhere(thread: ThreadId, pid: u32, written: &Written) -> bool {
    let all = processes();
    if all.len() > PROCESSES_AT_MOST {
        return true;
    }
    // Some file systems tell stat(2) another device than they are mounted as.
    let is_told = mounts(thread.pid, written.device);
    let is_it = |status: &Status| {
        let there = !status.ended && status.ids.contains(&pid) && !status.is_kernels;
        let in_time = || status.began().is_none_or(|began| began <= written.at + LATER);
        there && in_time() && (!is_told || mounts(status.pid, written.device))
    };
    all.into_iter().filter_map(Status::of).any(|status| is_it(&status))
}

/// Whether a process has this device among its mounts (proc(5), `mountinfo`, the third field).
fn mounts(pid: u32, device: u64) -> bool {
    let Some(bytes) = read_bounded(format!("/proc/{pid}/mountinfo"), MOUNTS) else { return false };
    let wanted = format!("{}:{}", libc::major(device), libc::minor(device));
    let text = String::from_utf8_lossy(&bytes);
    text.lines().any(|line| line.split(' ').nth(2) == Some(&wanted))
}

fn processes() -> Vec<u32> {
    let Ok(all) = fs::read_dir("/proc") else { return Vec::new() };
    let ids = all.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.take(PROCESSES_AT_MOST + 1).collect()
}

/// When the machine began, by its clock now.
fn boot() -> Option<SystemTime> {
    let up = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let up = Duration::new(up.tv_sec.try_into().ok()?, up.tv_nsec.try_into().ok()?);
    SystemTime::now().checked_sub(up)
}

/// What `/proc` has on a process or a thread.
struct Status {
    pid: u32,
    name: String,
    threads: u32,
    /// Its ids, from the outermost namespace to its own.
    ids: Vec<u32>,
    ended: bool,
    /// A thread of the kernel, which writes no files of its own.
    is_kernels: bool,
}

impl Status {
    fn of(pid: u32) -> Option<Self> {
        let bytes = read_bounded(format!("/proc/{pid}/status"), 8192)?;
        let text = String::from_utf8_lossy(&bytes);
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
        let threads = field("Threads:")?.trim().parse().ok()?;
        let state = field("State:")?.trim_start().chars().next()?;
        let ids = field("NSpid:")?.split_ascii_whitespace();
        let parent = field("PPid:")?.trim();
        Some(Self {
            // A file may name a thread; what holds a lock is its process.
            pid: field("Tgid:")?.trim().parse().ok()?,
            name: field("Name:")?.trim_matches('\t').to_owned(),
            threads,
            ids: ids.map_while(|id| id.parse().ok()).collect(),
            // All of them are children of kthreadd.
            is_kernels: parent == "2" && field("VmSize:").is_none(),
            // Its first thread may end before the others.
            ended: matches!(state, 'Z' | 'X' | 'x') && threads <= 1,
        })
    }

    fn began(&self) -> Option<SystemTime> {
        let bytes = read_bounded(format!("/proc/{}/stat", self.pid), 4096)?;
        let text = String::from_utf8_lossy(&bytes);
        // The name in parentheses may have any characters; the start is the 22nd field.
        let ticks: u64 = text.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()?;
        let since = Duration::from_millis(ticks.checked_mul(1000 / TICKS)?);
        boot()?.checked_add(since)
    }
}
