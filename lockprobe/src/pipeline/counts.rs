//! The kernel half's counts of locks: they are kept until what is told of the same time has come,
//! names of locks and spans of waits among it.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Pipeline;
use crate::analyses::metrics::Counts;
use crate::model::{
    CountsKey, LockCounts, LockDescription, Observation, ProcessEvent, ProcessSeen,
};

/// By then it has come, nanoseconds.
const SETTLED: u64 = 300_000_000;
/// Most counts kept; the first are settled before their time.
const AT_MOST: usize = 32_768;

/// Of what.
enum Of {
    /// An address in a process, and its first call site.
    Address(u32, u64, (u64, u64)),
    /// A lock the kernel keeps.
    Kernel(CountsKey),
    /// The lock as it was known when the process began another program.
    Lock(u32, Option<Arc<LockDescription>>),
}

struct Told {
    time: u64,
    series: u64,
    of: Of,
    counts: Counts,
}

/// Counts that are kept, in the order they came.
#[derive(Default)]
pub struct Kept {
    told: VecDeque<Told>,
    /// How often all locks have been counted.
    series: u64,
}

impl Pipeline {
    /// Keeps counts; to be asked before anything else takes the observation in.
    pub(super) fn keep_counts(&mut self, observation: &Observation) {
        let (of, counts) = match observation {
            Observation::Counts { pid, address, site, counts } => {
                (Of::Address(*pid, *address, *site), counts)
            }
            Observation::KernelCounts { key, counts } => (Of::Kernel(*key), counts),
            Observation::Losses(_) => {
                self.kept.series += 1;
                return;
            }
            Observation::Process(ProcessSeen {
                thread,
                event: ProcessEvent::Exec | ProcessEvent::Fork(_),
                ..
            }) => return self.name_counts(thread.id.pid),
            _ => return,
        };
        if self.kept.told.len() >= AT_MOST
            && let Some(first) = self.kept.told.pop_front()
        {
            self.settle(first);
        }
        let (time, series, counts) = (self.now, self.kept.series, Counts::of(counts));
        self.kept.told.push_back(Told { time, series, of, counts });
    }

    /// The addresses of a process are about to mean something else.
    fn name_counts(&mut self, of: u32) {
        for told in &mut self.kept.told {
            if let Of::Address(pid, address, site) = told.of
                && pid == of
            {
                told.of = Of::Lock(pid, self.futex.lock_at(pid, address, site));
            }
        }
    }

    /// Settles counts whose time has come; without a time all.
    pub(super) fn settle_counts(&mut self, now: Option<u64>) {
        let due =
            |first: &mut Told| now.is_none_or(|now| first.time.saturating_add(SETTLED) <= now);
        while let Some(first) = self.kept.told.pop_front_if(due) {
            self.settle(first);
        }
    }

    fn settle(&mut self, told: Told) {
        let Told { time, series, of, counts } = told;
        let (lock, pid) = match of {
            Of::Address(pid, address, site) => (self.futex.lock_at(pid, address, site), pid),
            Of::Lock(pid, lock) => (lock, pid),
            // They are counted for all processes together.
            Of::Kernel(key) => (self.kernel_locks.lock_of(key), 0),
        };
        if let (Some(lock), Some(numbers)) = (&lock, Self::numbers(&mut self.metered)) {
            let lock = self.names.apply(lock);
            let pid = Some(pid).filter(|pid| *pid != 0);
            numbers.counted(&lock, pid, counts.clone(), (time, series));
        }
        self.count(lock, pid, &LockCounts::from(counts));
    }
}
