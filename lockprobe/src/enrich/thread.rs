//! Who a thread is, and where it sleeps.

use super::cache::Cache;
use crate::model::{Standing, ThreadFact, ThreadId, thread::printable};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Threads of one process looked at for a translation.
const MOST_THREADS: usize = 16_384;
/// Translations remembered.
const TRANSLATIONS: usize = 8192;

/// Reads a file of `/proc`, at most this much.
pub fn read_bounded(path: impl AsRef<Path>, most: u64) -> Option<Vec<u8>> {
    // These files tell no length: with room from the start, it takes two reads.
    let mut bytes = Vec::with_capacity(most.min(4096) as usize);
    File::open(path).ok()?.take(most).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Name of a thread.
pub fn name(id: ThreadId) -> Option<String> {
    let bytes = read_bounded(format!("/proc/{}/task/{}/comm", id.pid, id.tid), 64)?;
    Some(printable(String::from_utf8_lossy(&bytes).trim_end_matches('\n')))
}

/// The system call a thread sleeps in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sleep {
    /// Its number.
    pub call: u64,
    /// Its first argument.
    pub first: u64,
    /// Stack pointer.
    pub sp: u64,
    /// Instruction pointer.
    pub ip: u64,
}

impl Sleep {
    /// It is a futex call on this address: `futex`, `futex_wait` (Linux 6.7), or a timed one of
    /// them begun again after a signal (`restart_syscall`, which keeps the arguments).
    pub fn on_futex(&self, address: u64) -> bool {
        is_futex(self.call) && self.first == address
    }
}

/// The number is that of a futex call that waits, or of one that was begun again.
pub fn is_futex(call: u64) -> bool {
    const FUTEX: &[u64] =
        if cfg!(target_arch = "aarch64") { &[98, 455, 128] } else { &[202, 455, 219] };
    FUTEX.contains(&call)
}

/// The system call a thread sleeps in; `Some(None)` when it runs or sleeps outside of one.
pub fn sleep(id: ThreadId) -> Option<Option<Sleep>> {
    let bytes = read_bounded(format!("/proc/{}/task/{}/syscall", id.pid, id.tid), 512)?;
    Some(parse_sleep(std::str::from_utf8(&bytes).ok()?))
}

/// "202 0x7f.. (six arguments) sp ip", "-1 sp ip" or "running" (proc(5)).
fn parse_sleep(line: &str) -> Option<Sleep> {
    let mut fields = line.split_ascii_whitespace();
    let call = fields.next()?.parse().ok()?;
    let numbers: Vec<u64> =
        fields.map_while(|f| u64::from_str_radix(f.strip_prefix("0x")?, 16).ok()).collect();
    let [first, _, _, _, _, _, sp, ip] = numbers[..] else {
        return None;
    };
    Some(Sleep { call, first, sp, ip })
}

/// Where a thread stands, as `/proc` tells it: without its frame pointer.
pub fn standing(id: ThreadId) -> Option<Standing> {
    let file = |name| read_bounded(format!("/proc/{}/task/{}/{name}", id.pid, id.tid), 512);
    let text = |bytes| String::from_utf8(bytes).ok();
    let (line, times) = (text(file("syscall")?)?, text(file("schedstat")?)?);
    // First of three numbers: time on a processor (Documentation/scheduler/sched-stats.rst).
    let cpu = times.split_ascii_whitespace().next()?.parse().ok()?;
    let stands =
        |call, first, sp, ip| Standing { blocked: true, call, first, ip, sp, fp: None, cpu };
    let outside = || {
        let mut fields = line.strip_prefix("-1 ")?.split_ascii_whitespace();
        let mut number = || u64::from_str_radix(fields.next()?.strip_prefix("0x")?, 16).ok();
        Some((number()?, number()?))
    };
    Some(match (parse_sleep(&line), outside()) {
        (Some(s), _) => stands(s.call, s.first, s.sp, s.ip),
        (None, Some((sp, ip))) => stands(u64::MAX, 0, sp, ip),
        (None, None) => Standing { blocked: false, ..stands(0, 0, 0, 0) },
    })
}

/// The other threads of a process; none when they are more than this.
pub fn siblings(id: ThreadId, most: usize) -> Vec<ThreadId> {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{}/task", id.pid)) else {
        return Vec::new();
    };
    let tids = tasks.flatten().filter_map(|task| task.file_name().to_str()?.parse().ok());
    let others = tids.filter(|&tid| tid != id.tid).take(most + 1);
    let others: Vec<ThreadId> = others.map(|tid| ThreadId { pid: id.pid, tid }).collect();
    if others.len() > most { Vec::new() } else { others }
}

/// Thread ids of PID namespaces, translated.
pub struct Translator {
    known: Cache<(u32, u32), ThreadId>,
}

impl Translator {
    /// Knows nothing.
    pub fn new() -> Self {
        Self { known: Cache::new(TRANSLATIONS) }
    }

    /// Forgets a process.
    pub fn forget(&mut self, pid: u32) {
        self.known.retain(|(of, _)| *of != pid);
    }

    /// The thread that a process knows by this id, its own or, where both see the same ids as the
    /// host, another's; `tid` 0 when there is none.
    pub fn thread(&mut self, pid: u32, ns_tid: u32) -> ThreadFact {
        let found = self.translate(pid, ns_tid).or_else(|| elsewhere(pid, ns_tid));
        let id = found.unwrap_or(ThreadId { pid, tid: 0 });
        let name = if id.tid == 0 { None } else { name(id) };
        ThreadFact { pid, ns_tid, home: id.pid, tid: id.tid, name: name.unwrap_or_default() }
    }

    fn translate(&mut self, pid: u32, ns_tid: u32) -> Option<ThreadId> {
        if ns_tid == 0 {
            return None;
        }
        // The same id outside and inside is the rule; ids are used again, so what is remembered is
        // looked at again.
        let same = ThreadId { pid, tid: ns_tid };
        let remembered = self.known.get(&(pid, ns_tid)).copied().unwrap_or(same);
        if own_id(pid, remembered.tid) == Some(ns_tid) {
            return Some(remembered);
        }
        if own_id(pid, pid).is_some_and(|own| own == pid) {
            return None; // no namespace of its own: there is no other id to find
        }
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?;
        for task in tasks.flatten().take(MOST_THREADS) {
            let Some(tid) = task.file_name().to_str().and_then(|t| t.parse().ok()) else {
                continue;
            };
            if own_id(pid, tid) == Some(ns_tid) {
                let id = ThreadId { pid, tid };
                self.known.insert((pid, ns_tid), id);
                return Some(id);
            }
        }
        None
    }
}

/// A thread of another process in the host's PID namespace, as this process is.
fn elsewhere(pid: u32, tid: u32) -> Option<ThreadId> {
    let outside = |pid: u32, tid: u32| {
        let status = read_bounded(format!("/proc/{pid}/task/{tid}/status"), 8192)?;
        let status = String::from_utf8_lossy(&status).into_owned();
        let line = status.lines().find_map(|l| l.strip_prefix("NSpid:"))?;
        (line.split_ascii_whitespace().count() == 1).then_some(())
    };
    outside(pid, pid)?;
    // /proc/TID is there for every thread, though only processes are listed.
    let status = read_bounded(format!("/proc/{tid}/status"), 8192)?;
    let status = String::from_utf8_lossy(&status);
    let line = status.lines().find_map(|l| l.strip_prefix("Tgid:"))?;
    let home = line.trim().parse().ok()?;
    outside(home, tid)?;
    Some(ThreadId { pid: home, tid })
}

/// The id a thread has in its own PID namespace.
pub fn own_id(pid: u32, tid: u32) -> Option<u32> {
    let bytes = read_bounded(format!("/proc/{pid}/task/{tid}/status"), 8192)?;
    innermost(&String::from_utf8_lossy(&bytes))
}

fn innermost(status: &str) -> Option<u32> {
    let line = status.lines().find_map(|l| l.strip_prefix("NSpid:"))?;
    line.split_ascii_whitespace().next_back()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleeps_are_read() {
        let line = "202 0x7ffd10 0x80 0x2 0x0 0x0 0x0 0x7ffd00 0x7f0129\n";
        let sleep = parse_sleep(line).unwrap();
        assert_eq!(sleep, Sleep { call: 202, first: 0x7f_fd10, sp: 0x7f_fd00, ip: 0x7f_0129 });
        assert!(sleep.on_futex(0x7f_fd10) || cfg!(target_arch = "aarch64"));
        assert!(!sleep.on_futex(0x7f_fd14));
        assert!(!Sleep { call: 1, ..sleep }.on_futex(0x7f_fd10));
        assert_eq!(parse_sleep("running\n"), None);
        assert_eq!(parse_sleep("-1 0x7ffd00 0x7f0129\n"), None);
        assert_eq!(parse_sleep(""), None);
    }

    #[test]
    fn the_innermost_id_counts() {
        assert_eq!(innermost("Name:\ta\nNSpid:\t4711\t12\t7\nx"), Some(7));
        assert_eq!(innermost("Name:\ta\n"), None);
    }

    #[test]
    fn own_threads_translate() {
        let pid = std::process::id();
        let mut translator = Translator::new();
        let fact = translator.thread(pid, own_id(pid, pid).unwrap());
        assert_eq!((fact.pid, fact.tid), (pid, pid));
        assert!(!fact.name.is_empty());
        let parent = std::os::unix::process::parent_id();
        if own_id(pid, pid) == Some(pid) && own_id(parent, parent) == Some(parent) {
            let other = translator.thread(pid, parent);
            assert_eq!((other.home, other.tid), (parent, parent));
        }
        assert_eq!(translator.thread(pid, 1 << 30).tid, 0);
        assert_eq!(translator.thread(pid, 0).tid, 0);
    }

    #[test]
    fn a_thread_that_sleeps_stands_and_one_that_runs_does_not() {
        let (tell, tid) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            tell.send(own_tid()).unwrap();
            loop {
                std::thread::park();
            }
        });
        let (pid, tid) = (std::process::id(), tid.recv().unwrap());
        let id = ThreadId { pid, tid };
        let asleep = || standing(id).filter(|s| s.blocked);
        let seen = std::iter::repeat_with(asleep).find_map(|s| s).unwrap();
        assert!(seen.sp != 0 && seen.ip != 0 && seen.fp.is_none());
        let (tell, running) = std::sync::mpsc::channel();
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        std::thread::spawn(move || {
            tell.send(own_tid()).unwrap();
            while stopped.try_recv() != Err(std::sync::mpsc::TryRecvError::Disconnected) {}
        });
        let running = ThreadId { pid, tid: running.recv().unwrap() };
        let runs = || standing(running).filter(|s| !s.blocked);
        assert!(std::iter::repeat_with(runs).take(10_000).any(|s| s.is_some()));
        drop(stop);
        let own = ThreadId { pid, tid: own_tid() };
        assert_eq!(standing(ThreadId { pid, tid: u32::MAX }), None);
        assert!(siblings(own, 100_000).contains(&id) && !siblings(own, 100_000).contains(&own));
        assert!(siblings(own, 0).is_empty());
    }

    fn own_tid() -> u32 {
        let link = std::fs::read_link("/proc/thread-self").unwrap();
        link.file_name().unwrap().to_str().unwrap().parse().unwrap()
    }
}
