//! Who the threads are that locks name as owners.

use std::collections::HashMap;

use crate::model::{Holder, HolderSource, Thread, ThreadFact, ThreadId};

/// Most threads remembered; beyond it all are forgotten and learnt anew.
const AT_MOST: usize = 65_536;

/// Threads by process and thread id in the process's own PID namespace.
#[derive(Default)]
pub struct People {
    known: HashMap<(u32, u32), (ThreadId, String)>,
    /// Threads that ended, and when: they may have left a lock behind.
    ended: HashMap<(u32, u32), (u64, ThreadId, String)>,
}

impl People {
    /// Notes a thread that a record showed.
    pub fn meet(&mut self, thread: &Thread) {
        self.insert((thread.id.pid, thread.ns_tid), (thread.id, thread.name()));
    }

    /// Notes a thread that lets go what this process waits for in memory that both share.
    pub fn meet_abroad(&mut self, pid: u32, thread: &Thread) {
        // In a namespace of its own, it may have the id of another thread.
        if thread.ns_level == 0 {
            self.insert((pid, thread.ns_tid), (thread.id, thread.name()));
        }
    }

    /// Notes a translation learnt outside.
    pub fn learn(&mut self, fact: &ThreadFact) {
        let id = ThreadId { pid: fact.home, tid: fact.tid };
        self.insert((fact.pid, fact.ns_tid), (id, fact.name.clone()));
    }

    fn insert(&mut self, key: (u32, u32), value: (ThreadId, String)) {
        if self.known.len() >= AT_MOST && !self.known.contains_key(&key) {
            self.known.clear();
        }
        self.known.insert(key, value);
    }

    /// Whether a thread that was there at this time has been met or learnt of.
    pub fn knows(&self, pid: u32, ns_tid: u32, then: u64) -> bool {
        self.known.contains_key(&(pid, ns_tid)) || self.ended_since(pid, ns_tid, then).is_some()
    }

    fn ended_since(&self, pid: u32, ns_tid: u32, then: u64) -> Option<(ThreadId, String)> {
        let (_, id, name) = self.ended.get(&(pid, ns_tid)).filter(|ended| ended.0 >= then)?;
        Some((*id, name.clone()))
    }

    /// The holder that an owner word named at a time; thread id 0 when there is no such thread.
    /// Only of a lock that processes share can it be a thread of another process.
    pub fn holder(&self, pid: u32, ns_tid: u32, shared: bool, then: u64) -> Holder {
        let known = self.known.get(&(pid, ns_tid)).filter(|(id, _)| shared || id.pid == pid);
        let known = self.ended_since(pid, ns_tid, then).or_else(|| known.cloned());
        let nobody = (ThreadId { pid, tid: 0 }, String::new());
        let (id, name) = known.unwrap_or(nobody);
        Holder { id, name, source: HolderSource::OwnerWord, gone: id.tid == 0 }
    }

    /// Forgets ids that no thread had: one may have it by now.
    pub fn forget_the_missing(&mut self) {
        self.known.retain(|_, (id, _)| id.tid != 0);
    }

    /// A process ended or runs a new program.
    pub fn forget(&mut self, pid: u32) {
        self.known.retain(|key, _| key.0 != pid);
        self.ended.retain(|key, _| key.0 != pid);
    }

    /// A thread ended.
    pub fn forget_thread(&mut self, thread: &Thread, time: u64) {
        let key = (thread.id.pid, thread.ns_tid);
        self.known.remove(&key);
        if self.ended.len() >= AT_MOST {
            self.ended.clear();
        }
        self.ended.insert(key, (time, thread.id, thread.name()));
    }
}
