//! Control groups that can be frozen, in whichever version this machine has mounted.

use std::fs;
use std::path::PathBuf;

/// A group of its own; dropped, it is thawed and removed.
pub struct Freezer {
    path: PathBuf,
    new: bool,
}

impl Freezer {
    /// One in each hierarchy there is; at least one.
    pub fn all() -> Vec<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
        let mut all = Vec::new();
        for line in mounts.lines() {
            let (before, after) = line.split_once(" - ").expect("as proc(5) has it");
            let new = after.starts_with("cgroup2 ");
            let old = after.starts_with("cgroup ") && after.ends_with(",freezer");
            let Some(at) = before.split(' ').nth(4).filter(|_| new || old) else { continue };
            let path = PathBuf::from(at).join(format!("lockprobe-{}", std::process::id()));
            fs::create_dir(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            all.push(Self { path, new });
        }
        assert!(!all.is_empty(), "no hierarchy of control groups that can freeze is mounted");
        all
    }

    /// Takes a process in.
    pub fn add(&self, pid: u64) {
        fs::write(self.path.join("cgroup.procs"), pid.to_string()).expect("a group to be in");
    }

    /// Freezes all that is in it.
    pub fn freeze(&self) {
        self.set(true);
        let (file, mark) =
            if self.new { ("cgroup.events", "frozen 1") } else { ("freezer.state", "FROZEN") };
        crate::until("the group is frozen", || {
            let text = fs::read_to_string(self.path.join(file)).expect("its state");
            text.lines().any(|line| line == mark).then_some(())
        });
    }

    /// Thaws it.
    pub fn thaw(&self) {
        self.set(false);
    }

    fn set(&self, frozen: bool) {
        let (file, text) = match (self.new, frozen) {
            (true, true) => ("cgroup.freeze", "1"),
            (true, false) => ("cgroup.freeze", "0"),
            (false, true) => ("freezer.state", "FROZEN"),
            (false, false) => ("freezer.state", "THAWED"),
        };
        fs::write(self.path.join(file), text).expect("a group that can be frozen");
    }
}

impl Drop for Freezer {
    fn drop(&mut self) {
        self.thaw();
        // Its processes end a moment after they are killed.
        crate::until("the group is empty", || fs::remove_dir(&self.path).ok());
    }
}
