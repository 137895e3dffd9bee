//! What is loaded in the kernel.

use std::collections::BTreeSet;

use crate::probe::Probe;

/// Programs of lockprobe's making, by name as the kernel keeps it (15 bytes).
const NAMES: [&str; 12] = [
    "sched_switch",
    "sched_waking",
    "process_fork",
    "process_exec",
    "process_exit",
    "already_waiting",
    "synthetic",
    "already_waitin",
    "full_acquire",
    "full_release",
    "full_exit",
    "full_exec",
];

/// Ids of the loaded eBPF programs that have a name of lockprobe's programs.
pub fn programs() -> BTreeSet<u32> {
    crate::need_root();
    // A program may be gone between its id and its name.
    let loaded = aya::programs::loaded_programs().flatten();
    loaded.filter(|p| p.name_as_str().is_some_and(|n| NAMES.contains(&n))).map(|p| p.id()).collect()
}

/// Waits until nothing is loaded that was not loaded `before`.
pub fn until_only(before: &BTreeSet<u32>) {
    crate::until("no program of a lockprobe that is gone is loaded", || {
        programs().is_subset(before).then_some(())
    });
}

/// The ids of the programs a running lockprobe has loaded, as far as they were not there `before`.
pub fn loaded_since(before: &BTreeSet<u32>, probe: &Probe) -> BTreeSet<u32> {
    probe.attached();
    programs().difference(before).copied().collect()
}
