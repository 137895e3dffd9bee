//! lockprobe killed at any moment: nothing of it stays, and it starts again at once.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use lockprobe_tests::probe::{Probe, run};
use lockprobe_tests::program::Program;
use lockprobe_tests::until;

/// How often it is killed: LOCKPROBE_KILLS, else a number that takes half a minute.
fn times() -> u32 {
    std::env::var("LOCKPROBE_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(20)
}

/// What is in the kernel, by id: all of it, not only what has a name of lockprobe's, so that what
/// has none is found too.
#[derive(Debug, Default, PartialEq, Eq, PartialOrd, Ord, Clone)]
struct InKernel {
    programs: BTreeSet<(u32, String)>,
    links: BTreeSet<u32>,
    maps: BTreeSet<(u32, String)>,
}

impl InKernel {
    /// Whatever is gone between its id and its name is gone.
    fn now() -> Self {
        lockprobe_tests::need_root();
        let programs = aya::programs::loaded_programs().flatten();
        let maps = aya::maps::loaded_maps().flatten();
        let name = |name: Option<&str>| name.unwrap_or_default().to_owned();
        Self {
            programs: programs.map(|p| (p.id(), name(p.name_as_str()))).collect(),
            links: aya::programs::loaded_links().flatten().map(|link| link.id()).collect(),
            maps: maps.map(|m| (m.id(), name(m.name_as_str()))).collect(),
        }
    }

    /// What is here and was not there, of those things that lockprobe makes, and that nobody has a
    /// descriptor of: the lockprobe of somebody else has.
    fn since(&self, before: &Self, made: &Self) -> Self {
        let names = |set: &BTreeSet<(u32, String)>| -> BTreeSet<String> {
            set.iter().map(|(_, name)| name.clone()).collect()
        };
        let (programs, maps) = (names(&made.programs), names(&made.maps));
        let of = |now: &BTreeSet<(u32, String)>, before: &BTreeSet<_>, named: &BTreeSet<String>| {
            now.difference(before).filter(|(_, name)| named.contains(name)).cloned().collect()
        };
        let mut left = Self {
            programs: of(&self.programs, &before.programs, &programs),
            links: self.links.difference(&before.links).copied().collect(),
            maps: of(&self.maps, &before.maps, &maps),
        };
        if !left.is_empty() {
            left.leave_out(&open());
        }
        left
    }

    /// Those of a process that runs.
    fn by(self, pid: u32) -> Self {
        let open = open_by(Path::new(&format!("/proc/{pid}")));
        let has = |kind: &str, id: u32| open.contains(&(kind.to_owned(), id));
        Self {
            programs: self.programs.into_iter().filter(|(id, _)| has("prog_id", *id)).collect(),
            links: self.links.into_iter().filter(|id| has("link_id", *id)).collect(),
            maps: self.maps.into_iter().filter(|(id, _)| has("map_id", *id)).collect(),
        }
    }

    fn leave_out(&mut self, open: &BTreeSet<(String, u32)>) {
        let is_left = |kind: &str, id: u32| !open.contains(&(kind.to_owned(), id));
        self.programs.retain(|(id, _)| is_left("prog_id", *id));
        self.maps.retain(|(id, _)| is_left("map_id", *id));
        self.links.retain(|id| is_left("link_id", *id));
    }

    fn is_empty(&self) -> bool {
        self.programs.is_empty() && self.links.is_empty() && self.maps.is_empty()
    }
}

/// What processes have descriptors of: kind and id, as /proc/PID/fdinfo has them.
fn open() -> BTreeSet<(String, u32)> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes.flat_map(|process| open_by(&process.path())).collect()
}

fn open_by(process: &Path) -> BTreeSet<(String, u32)> {
    let mut open = BTreeSet::new();
    let descriptors = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    for descriptor in descriptors.map(|entry| entry.path()) {
        let target = fs::read_link(&descriptor).unwrap_or_default();
        if !target.to_string_lossy().starts_with("anon_inode:bpf") {
            continue;
        }
        let told = descriptor.to_string_lossy().replace("/fd/", "/fdinfo/");
        for line in fs::read_to_string(told).unwrap_or_default().lines() {
            if let Some((kind, id)) = line.split_once(':')
                && let Ok(id) = id.trim().parse()
            {
                open.insert((kind.to_owned(), id));
            }
        }
    }
    open
}

/// Files in places where tools leave what is to outlive them.
fn left_files() -> BTreeSet<String> {
    let tracing = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];
    let events = tracing.into_iter().flat_map(|tracing| {
        ["uprobe_events", "kprobe_events"].map(|file| Path::new(tracing).join(file))
    });
    let events = events.flat_map(|file| {
        let text = fs::read_to_string(file).unwrap_or_default();
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    });
    let pinned = fs::read_dir("/sys/fs/bpf").into_iter().flatten().flatten();
    events.chain(pinned.map(|entry| entry.path().display().to_string())).collect()
}

/// Whether the kernel keeps statistics of programs: it does while anybody has them kept.
fn statistics_are_kept() -> bool {
    let flag = fs::read_to_string("/proc/sys/kernel/bpf_stats_enabled").unwrap_or_default();
    flag.trim() == "1"
}

/// Processes that this one had started and that wait for it, stopped.
fn stopped(pids: &[u32]) -> Vec<u32> {
    let is_stopped = |pid: &&u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status.contains("State:\tT")
    };
    pids.iter().filter(is_stopped).copied().collect()
}

/// Processes with this one as their parent.
fn children(parent: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_whitespace().flat_map(str::parse).collect::<Vec<_>>())
        .collect()
}

/// Moments that differ from run to run, and are told when one is to blame.
struct Moments(u64);

impl Moments {
    fn new() -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let seed = now.as_nanos() as u64 | 1;
        eprintln!("seed {seed}");
        Self(seed)
    }

    /// No longer than this.
    fn next(&mut self, most: Duration) -> Duration {
        // xorshift64
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        Duration::from_nanos(self.0 % most.as_nanos() as u64)
    }
}

#[test]
fn whenever_it_is_killed_nothing_stays() {
    let program = Program::start("scene", ["blocked"]);
    program.says();
    let pid = program.pid().to_string();
    let arguments = ["trace", "-p", &pid, "--lock-files", "--http", "127.0.0.1:0"];
    let (before, files, statistics) = (InKernel::now(), left_files(), statistics_are_kept());
    // How long a start takes here, and what there is to be found when it has started.
    let begun = Instant::now();
    let probe = Probe::lockprobe(arguments);
    probe.attached();
    let start = begun.elapsed();
    let made = InKernel::now().by(probe.pid());
    assert!(made.programs.len() > 5 && made.maps.len() > 10 && made.links.len() > 5, "{made:?}");
    probe.signal(libc::SIGKILL);
    probe.wait().expect(137);

    let mut moments = Moments::new();
    for round in 0..times() {
        let probe = Probe::lockprobe(arguments);
        let after = moments.next(start * 3 / 2);
        std::thread::sleep(after);
        let young = children(probe.pid());
        probe.signal(libc::SIGKILL);
        probe.wait().expect(137);
        // The kernel frees programs and tables a moment after the last descriptor is closed.
        until(&format!("all of lockprobe killed after {after:?} is gone ({round})"), || {
            InKernel::now().since(&before, &made).is_empty().then_some(())
        });
        assert_eq!(left_files(), files, "killed after {after:?}");
        assert_eq!(statistics_are_kept(), statistics, "killed after {after:?}");
        let orphans: Vec<u32> =
            young.into_iter().filter(|pid| Path::new(&format!("/proc/{pid}")).exists()).collect();
        assert_eq!(orphans, [0u32; 0], "killed after {after:?}");
    }
    // And the next one works as if nothing had been.
    let ended = run(["trace", "--format", "jsonl", "-p", &pid, "--duration", "300ms"]).expect(0);
    let waiting = ended.records();
    assert_eq!(waiting.acquires().len(), 1, "the wait that began before is seen");
}

#[test]
fn killed_before_its_command_runs_it_leaves_no_stopped_process() {
    let begun = Instant::now();
    run(["trace", "--", "true"]).expect(0);
    let (whole, mut moments) = (begun.elapsed(), Moments::new());
    for _ in 0..times() {
        let probe = Probe::lockprobe(["trace", "--", "sleep", "0.01"]);
        let deadline = Instant::now() + moments.next(whole * 5 / 4);
        let mut young = Vec::new();
        while Instant::now() < deadline {
            young.extend(children(probe.pid()));
        }
        probe.signal(libc::SIGKILL);
        probe.wait();
        until("no process is left that waits to become the command", || {
            stopped(&young).is_empty().then_some(())
        });
    }
}

#[test]
fn a_command_outlives_a_lockprobe_that_is_killed_only_as_itself() {
    // It is the user's own, as under any tool that starts a command: it goes on, and is not a
    // copy of lockprobe that waits to become it.
    // It keeps nothing of ours open, and ends by itself should this test end early.
    let line = "exec sleep 60 >/dev/null 2>&1";
    let probe = Probe::lockprobe(["trace", "--", "sh", "-c", line]);
    let child = until("the command runs", || {
        let children = children(probe.pid());
        let is_it = |pid: &u32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).starts_with("sleep\0")
        };
        children.into_iter().find(is_it)
    });
    probe.signal(libc::SIGKILL);
    probe.wait().expect(137);
    let state = fs::read_to_string(format!("/proc/{child}/status")).unwrap();
    lockprobe_tests::program::signal(u64::from(child), libc::SIGKILL);
    assert!(state.contains("Name:\tsleep") && !state.contains("State:\tT"), "{state}");
}
