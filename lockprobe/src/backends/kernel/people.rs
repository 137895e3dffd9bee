//! Processes that have locks.

use std::collections::HashMap;

use crate::model::{Holder, HolderFact, HolderSource, Thread, ThreadId};

/// Most processes remembered; beyond it all are forgotten and learnt anew.
const AT_MOST: usize = 16_384;
/// How long what is known of a process is believed, nanoseconds: it may end unseen, and begin
/// threads.
const FRESH: u64 = 1_000_000_000;

/// What is known of them.
#[derive(Default)]
pub struct People {
    known: HashMap<u32, (u64, HolderFact)>,
    /// Names of processes as of their latest program, for when they are gone.
    names: HashMap<u32, String>,
    now: u64,
}

impl People {
    /// Notes the time.
    pub fn now(&mut self, now: u64) {
        self.now = self.now.max(now);
    }

    /// The time, as far as it is known.
    pub fn time(&self) -> u64 {
        self.now
    }

    /// Whether a process has been looked up lately.
    pub fn knows(&self, pid: u32, time: u64) -> bool {
        self.known.get(&pid).is_some_and(|(learnt, _)| time.saturating_sub(*learnt) < FRESH)
    }

    /// Notes who a process is.
    pub fn learn(&mut self, fact: &HolderFact) {
        if self.known.len() >= AT_MOST {
            self.known.clear();
        }
        self.known.insert(fact.pid, (self.now, fact.clone()));
    }

    /// A process runs a new program.
    pub fn meet(&mut self, thread: &Thread) {
        if self.names.len() >= AT_MOST {
            self.names.clear();
        }
        self.names.insert(thread.id.pid, thread.name());
    }

    /// A process ended or runs a new program.
    pub fn forget(&mut self, pid: u32) {
        self.known.remove(&pid);
    }

    /// A process as a holder. The kernel tells no threads: only where there is but one is it known.
    pub fn holder(&self, pid: u32) -> Holder {
        let known = self.known.get(&pid).map(|(_, fact)| fact);
        let alone = known.is_some_and(|fact| fact.threads == 1);
        let id = ThreadId { pid, tid: if alone { pid } else { 0 } };
        let gone = known.is_some_and(|fact| fact.threads == 0);
        let name = match gone {
            true => self.names.get(&pid).cloned(),
            false => known.map(|fact| fact.name.clone()),
        };
        let name = name.unwrap_or_default();
        Holder { id, name, source: HolderSource::LockTable, gone }
    }
}
