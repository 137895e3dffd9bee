//! Processor time of processes.

use crate::model::ProcessorFact;

/// What a process has used of the processor; of one that is not there nothing, and no start.
pub fn fact(pid: u32) -> ProcessorFact {
    let none = ProcessorFact { pid, ..ProcessorFact::default() };
    let stat = i32::try_from(pid).ok().and_then(|pid| procfs::process::Process::new(pid).ok());
    let Some(stat) = stat.and_then(|process| process.stat().ok()) else { return none };
    let nanos =
        |ticks: u64| ticks.saturating_mul(1_000_000_000) / procfs::ticks_per_second().max(1);
    let (user, system) = (nanos(stat.utime), nanos(stat.stime));
    ProcessorFact { pid, start_ticks: stat.starttime, user, system }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn we_have_used_some_and_nobody_none() {
        let pid = std::process::id();
        let before = fact(pid);
        assert!(before.start_ticks > 0);
        let begun = std::time::Instant::now();
        while fact(pid).user + fact(pid).system <= before.user + before.system {
            assert!(begun.elapsed().as_secs() < 20, "{before:?}");
        }
        assert_eq!(fact(u32::MAX), ProcessorFact { pid: u32::MAX, ..ProcessorFact::default() });
    }
}
