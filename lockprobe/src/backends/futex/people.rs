//! Who the threads are that locks name as owners.

use std::collections::HashMap;

use crate::model::{Holder, HolderSource, Thread, ThreadFact, ThreadId};

/// Most threads remembered; beyond it all are forgotten and learnt anew.
const AT_MOST: usize = 65_536;

/// Threads by process and thread id in the process's own PID namespace.
#[derive(Default)]
pub struct People {
    known: HashMap<(u32, u32), (u32, String)>,
}

impl People {
    /// Notes a thread that a record showed.
    pub fn meet(&mut self, thread: &Thread) {
        self.insert((thread.id.pid, thread.ns_tid), (thread.id.tid, thread.name()));
    }

    /// Notes a translation learnt outside.
    pub fn learn(&mut self, fact: &ThreadFact) {
        self.insert((fact.pid, fact.ns_tid), (fact.tid, fact.name.clone()));
    }

    fn insert(&mut self, key: (u32, u32), value: (u32, String)) {
        if self.known.len() >= AT_MOST && !self.known.contains_key(&key) {
            self.known.clear();
        }
        self.known.insert(key, value);
    }

    /// Whether a thread has been met or learnt of.
    pub fn knows(&self, pid: u32, ns_tid: u32) -> bool {
        self.known.contains_key(&(pid, ns_tid))
    }

    /// The holder that an owner word names; thread id 0 when there is no such thread.
    pub fn holder(&self, pid: u32, ns_tid: u32) -> Holder {
        let (tid, name) = self.known.get(&(pid, ns_tid)).cloned().unwrap_or_default();
        Holder { id: ThreadId { pid, tid }, name, source: HolderSource::OwnerWord }
    }

    /// Forgets ids that no thread had: one may have it by now.
    pub fn forget_the_missing(&mut self) {
        self.known.retain(|_, (tid, _)| *tid != 0);
    }

    /// A process ended or runs a new program.
    pub fn forget(&mut self, pid: u32) {
        self.known.retain(|key, _| key.0 != pid);
    }

    /// A thread ended.
    pub fn forget_thread(&mut self, thread: &Thread) {
        self.known.remove(&(thread.id.pid, thread.ns_tid));
    }
}
