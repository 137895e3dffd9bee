//! What a thread does now, from `/proc`.

use super::calls;
use super::thread::{read_bounded, sleep};
use crate::model::{Activity, Doing, ThreadId, thread::printable};
use std::path::PathBuf;

/// Where the hierarchies of control groups are that can freeze, in either version.
pub struct Freezers {
    /// Of version 1: `freezer.state` says.
    old: Option<PathBuf>,
    /// Of version 2: `cgroup.events` says.
    new: Option<PathBuf>,
}

impl Freezers {
    /// Looks for them among the mounts (proc(5), `mountinfo`).
    pub fn find() -> Self {
        let mounts = read_bounded("/proc/self/mountinfo", 1 << 20).unwrap_or_default();
        let mounts = String::from_utf8_lossy(&mounts);
        let place = |is_it: &dyn Fn(&str, &str) -> bool| {
            mounts.lines().find_map(|line| {
                let (before, after) = line.split_once(" - ")?;
                let mut after = after.split(' ');
                let (kind, _, options) = (after.next()?, after.next()?, after.next()?);
                let path = before.split(' ').nth(4)?;
                is_it(kind, options).then(|| PathBuf::from(path))
            })
        };
        let freezes = |options: &str| options.split(',').any(|option| option == "freezer");
        Self {
            old: place(&|kind, options| kind == "cgroup" && freezes(options)),
            new: place(&|kind, _| kind == "cgroup2"),
        }
    }

    /// Whether a thread's group, or one above it, is frozen. A frozen thread looks asleep, or with
    /// version 1 like one that waits for a disk.
    fn hold(&self, id: ThreadId) -> bool {
        let groups = read_bounded(format!("/proc/{}/task/{}/cgroup", id.pid, id.tid), 1 << 16);
        let groups = groups.unwrap_or_default();
        let says = |root: &Option<PathBuf>, group: &str, file: &str, what: &str| {
            let Some(root) = root else { return false };
            let path = root.join(group.trim_start_matches('/')).join(file);
            let text = read_bounded(path, 4096).unwrap_or_default();
            String::from_utf8_lossy(&text).lines().any(|line| line == what)
        };
        String::from_utf8_lossy(&groups).lines().any(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            match (parts.next(), parts.next()) {
                (Some(""), Some(group)) => says(&self.new, group, "cgroup.events", "frozen 1"),
                (Some(of), Some(group)) if of.split(',').any(|of| of == "freezer") => {
                    says(&self.old, group, "freezer.state", "FROZEN")
                }
                _ => false,
            }
        })
    }
}

/// Looks at a thread; `now` is the clock of all records.
pub fn look(id: ThreadId, freezers: &Freezers, now: impl Fn() -> u64) -> Activity {
    let gone = || Activity {
        id,
        time: now(),
        doing: Doing::Gone,
        call: String::new(),
        switches: 0,
        start_ticks: 0,
        name: String::new(),
    };
    let read = |file: &str| read_bounded(format!("/proc/{}/task/{}/{file}", id.pid, id.tid), 8192);
    let (Some(status), Some(stat)) = (read("status"), read("stat")) else { return gone() };
    let status = String::from_utf8_lossy(&status);
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
    let letter = field("State:").and_then(|state| state.trim_start().chars().next());
    let mut doing = doing(letter);
    if doing == Doing::Gone {
        return gone();
    }
    if matches!(doing, Doing::Sleeping | Doing::DiskSleep) && freezers.hold(id) {
        doing = Doing::Frozen;
    }
    let switches = field("voluntary_ctxt_switches:").and_then(|n| n.trim().parse().ok());
    Activity {
        id,
        time: now(),
        doing,
        call: sleep(id).flatten().map(|sleep| calls::name(sleep.call)).unwrap_or_default(),
        switches: switches.unwrap_or(0),
        start_ticks: start_ticks(&String::from_utf8_lossy(&stat)).unwrap_or(0),
        name: field("Name:").map(|name| printable(name.trim_matches('\t'))).unwrap_or_default(),
    }
}

/// The letters of proc(5). A thread that ended and is not reaped yet can do nothing any more.
fn doing(letter: Option<char>) -> Doing {
    match letter {
        Some('R') => Doing::Running,
        Some('S' | 'I') => Doing::Sleeping,
        Some('D') => Doing::DiskSleep,
        Some('T') => Doing::Stopped,
        Some('t') => Doing::Traced,
        Some('Z' | 'X' | 'x') => Doing::Gone,
        _ => Doing::Unknown,
    }
}

/// Field 22 of `stat`; the name in field 2 may have spaces and brackets of its own.
fn start_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn we_run_and_nobody_is_gone() {
        let pid = std::process::id();
        let freezers = Freezers::find();
        let own = look(ThreadId { pid, tid: pid }, &freezers, || 7);
        assert!(matches!(own.doing, Doing::Running | Doing::Sleeping), "{own:?}");
        assert!(own.start_ticks > 0 && !own.name.is_empty() && own.time == 7);
        let nobody = look(ThreadId { pid, tid: 1 << 30 }, &freezers, || 7);
        assert_eq!((nobody.doing, nobody.start_ticks), (Doing::Gone, 0));
    }

    #[test]
    fn a_sleeping_thread_sleeps_in_a_system_call() {
        let (sender, id) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let own = std::fs::read_link("/proc/thread-self").unwrap();
            let tid = own.file_name().unwrap().to_str().unwrap().parse::<u32>().unwrap();
            sender.send(tid).unwrap();
            std::thread::sleep(std::time::Duration::from_secs(60));
        });
        let id = ThreadId { pid: std::process::id(), tid: id.recv().unwrap() };
        let freezers = Freezers::find();
        let asleep = std::iter::repeat_with(|| look(id, &freezers, || 7));
        let asleep = asleep.take(10_000).find(|a| a.doing == Doing::Sleeping).unwrap();
        assert!(asleep.call.ends_with("nanosleep"), "{asleep:?}");
        assert_eq!(look(id, &freezers, || 7).switches, asleep.switches);
    }

    #[test]
    fn a_name_like_a_line_of_stat_leads_nowhere() {
        let stat = "7 (a) S 1 (b) T 1 7 7 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 4711 9 9";
        assert_eq!(start_ticks(stat), Some(4711));
        assert_eq!(start_ticks("7 (a"), None);
    }
}
