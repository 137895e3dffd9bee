//! Locks the kernel itself keeps: flock(2), fcntl(2), System V semaphores.
//!
//! Facts (fs/locks.c): a lock of flock(2) and an OFD lock belong to an open file description,
//! which children share after a fork; a POSIX lock to a process. The kernel notes the process that
//! took a lock and nothing of its threads. Whether a wait ended with the lock is told by the attempt that
//! follows it, which the kernel half sees; so are releases, be they by closing the file or by
//! exiting.

mod attempts;
mod by_name;
mod holds;
mod left_behind;
mod lock_files;
mod names;
mod people;
mod polls;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use attempts::{Attempt, Attempts};
use holds::Holds;
use left_behind::LeftBehind;
use lock_files::LockFiles;
use names::Names;
use people::People;
use polls::{Over, Polls};

use crate::model::{
    CountsKey, Fact, FileEvent, FileSeen, Holder, HolderSource, KernelLock, KernelWait, LockCounts,
    LockDescription, LockEvent, LockId, LockKind, Observation, Phase, Precision, ProcessEvent,
    ProcessSeen, Thread, WakeReason, What,
};

/// How long after running again a thread may still be on its way to the lock, nanoseconds.
const GRACE: u64 = 40_000_000;

/// How the holder of a semaphore is known: who used it last need not have it.
const LAST_USER: HolderSource = HolderSource::LastAcquirer;

/// Something outside the kernel half that would help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Want {
    /// What a file is called that a thread names by this descriptor, or else sleeps for.
    Path {
        /// The thread.
        thread: crate::model::ThreadId,
        /// Its descriptor, where known.
        descriptor: Option<u32>,
        /// Device.
        device: u32,
        /// Inode.
        inode: u64,
    },
    /// Where a thread is, or what a directory is called that it has open.
    Directory {
        /// The thread.
        thread: crate::model::ThreadId,
        /// Its descriptor; `None` for its working directory.
        descriptor: Option<u32>,
        /// Device.
        device: u32,
        /// Inode.
        inode: u64,
    },
    /// Where a name is that a thread made or came by, and what lies there.
    LockFile {
        /// The thread.
        thread: crate::model::ThreadId,
        /// Its root directory: device and inode.
        root: (u32, u64),
        /// The directory as it spells it.
        directory: String,
        /// The name in it.
        name: String,
    },
    /// Who a process is that has a lock.
    Holder(u32),
}

/// The backend.
#[derive(Default)]
pub struct Kernel {
    names: Names,
    people: People,
    attempts: Attempts,
    polls: Polls,
    holds: Holds,
    lock_files: LockFiles,
    left_behind: LeftBehind,
}

impl Kernel {
    /// What it would help to know before [`Kernel::observe`] sees this.
    pub fn wants(&mut self, observation: &Observation) -> Option<Want> {
        if let Observation::LockFile(seen) = observation {
            return self.wants_of_name(seen);
        }
        let (thread, lock, descriptor, holders, time) = match observation {
            Observation::KernelWait(w) => {
                (w.thread, &w.lock, None, [w.first_holder, w.holder], w.time)
            }
            Observation::KernelLock(l) => {
                (l.thread, &l.lock, Some(l.descriptor), [None, None], l.time)
            }
            Observation::File(f) if f.event != FileEvent::Released => {
                (f.thread, &f.lock, Some(f.descriptor), [f.holder, None], f.time)
            }
            _ => return None,
        };
        // What is learnt now is as fresh as this.
        self.people.now(time);
        let stranger = holders.into_iter().flatten().find(|&pid| !self.people.knows(pid, time));
        if stranger.is_some() {
            return stranger.map(Want::Holder);
        }
        if let LockId::File { device, inode, .. } = lock.id
            && !self.names.knows(device, inode)
        {
            let thread = thread.id;
            // Who asks again and again may open the file anew for each time; who has it, has it open.
            let holder = holders.into_iter().flatten().next();
            let holder = holder.filter(|_| self.names.looks(device, inode) % 2 == 1);
            return Some(match holder {
                Some(pid) => {
                    let thread = crate::model::ThreadId { pid, tid: pid };
                    Want::Path { thread, descriptor: None, device, inode }
                }
                None => Want::Path { thread, descriptor, device, inode },
            });
        }
        None
    }

    /// Takes one observation; appends what it means.
    pub fn observe(&mut self, observation: &Observation, out: &mut Vec<LockEvent>) {
        match observation {
            Observation::KernelWait(wait) => self.wait(wait, out),
            Observation::KernelLock(seen) => drop(self.names.describe(&seen.lock)),
            Observation::File(seen) => self.file(seen, out),
            Observation::LockFile(seen) => self.lock_file(seen, out),
            Observation::Process(seen) => self.process(seen, out),
            Observation::Fact(Fact::File(fact)) => self.names.learn(fact),
            Observation::Fact(Fact::Holder(fact)) => self.people.learn(fact),
            Observation::Fact(Fact::LockFile(fact)) => {
                self.lock_files.learn(fact, self.people.time());
            }
            Observation::Tick(now) => {
                self.people.now(*now);
                self.settle(now.saturating_sub(GRACE), out);
                let over = self.polls.expire(*now);
                self.tell(over, out);
            }
            _ => {}
        }
    }

    /// Brings out what is still held back: no more observations come.
    pub fn finish(&mut self, out: &mut Vec<LockEvent>) {
        self.settle(u64::MAX, out);
        let over = self.polls.finish();
        self.tell(over, out);
    }

    /// The lock that was counted under a key.
    pub fn lock_of(&self, key: CountsKey) -> Option<Arc<LockDescription>> {
        self.names.of_key(key)
    }

    /// Attempts that did not sleep in the lock, which the kernel half does not count, by lock and
    /// process.
    pub fn polled(&mut self) -> Vec<(Arc<LockDescription>, u32, LockCounts)> {
        let counted = self.polls.counts();
        counted.map(|(lock, pid, n)| (self.names.describe(lock), *pid, n.clone())).collect()
    }

    fn tell(&mut self, over: impl IntoIterator<Item = Over>, out: &mut Vec<LockEvent>) {
        for Over { time, lock, thread, what } in over {
            out.push(self.event(time, &lock, thread, what));
        }
    }

    fn wait(&mut self, wait: &KernelWait, out: &mut Vec<LockEvent>) {
        if wait.phase == Phase::Resumed {
            return self.attempts.resume(wait);
        }
        let attempt = Attempt { wait: wait.clone(), holder: self.first_holder(wait) };
        if let Some(earlier) = self.attempts.note(attempt.clone()) {
            self.ended(&earlier, out);
        }
        if wait.phase == Phase::Ran {
            self.semaphore_released(&attempt, out);
        }
        if wait.phase == Phase::Asleep {
            self.contended(&attempt, out);
            let holder = wait.holder.map(|pid| self.holder(&wait.lock, pid));
            let what = What::StillWaiting { holder };
            out.push(self.event(wait.time, &wait.lock, wait.thread, what));
        }
    }

    fn file(&mut self, seen: &FileSeen, out: &mut Vec<LockEvent>) {
        match seen.event {
            FileEvent::Blocked => {
                if let Some(holder) = self.wanted(seen) {
                    self.attempts.asked(seen, holder);
                }
            }
            FileEvent::Refused | FileEvent::Deadlock => {
                let holder = self.wanted(seen);
                let over = self.polls.refused(seen, holder.clone());
                self.tell(over, out);
                // Who asks again and again waits, as far as anybody can tell.
                if let Some((since, 2..)) = seen.refused
                    && seen.event == FileEvent::Refused
                {
                    let what = What::Polling { since, holder, mode: seen.lock.mode };
                    out.push(self.event(seen.time, &seen.lock, seen.thread, what));
                }
            }
            FileEvent::Acquired => {
                let from = self.holds.let_go_since(&seen.lock, 0);
                if let Some(attempt) = self.attempts.acquired(seen) {
                    self.acquired(&attempt, seen.time, out);
                } else {
                    let over = self.polls.acquired(seen, from);
                    self.tell(over, out);
                }
                self.holds.acquired(seen);
            }
            FileEvent::Taken(since) => self.holds.taken(seen, since),
            FileEvent::Otherwise => {}
            FileEvent::Released => {
                for (lock, what) in self.holds.released(seen) {
                    out.push(self.event(seen.time, &lock, seen.thread, what));
                }
            }
        }
    }

    /// Somebody is in the way: who.
    fn wanted(&mut self, seen: &FileSeen) -> Option<Holder> {
        let holder = self.holder(&seen.lock, seen.holder?);
        if let Some(owner) = seen.holder_owner {
            self.holds.wanted(seen, owner, holder.clone());
        }
        Some(holder)
    }

    fn process(&mut self, seen: &ProcessSeen, out: &mut Vec<LockEvent>) {
        let id = seen.thread.id;
        let ended = match seen.event {
            ProcessEvent::Fork(_) => return,
            ProcessEvent::Exec | ProcessEvent::Exit => {
                self.people.forget(id.pid);
                if seen.event == ProcessEvent::Exec {
                    self.people.meet(&seen.thread);
                } else {
                    self.lock_files.ended.note(id.pid, seen.time, seen.killed);
                }
                self.attempts.end(|other| other.pid == id.pid)
            }
            ProcessEvent::ThreadExit => self.attempts.end(|other| other == id),
        };
        for attempt in ended {
            // Whether it got a lock of a file would have been seen.
            if attempt.wait.ran != 0 && !self.holds.is_followed(&attempt.wait.lock) {
                self.ended(&attempt, out);
                continue;
            }
            self.contended(&attempt, out);
            let KernelWait { lock, thread, sleeps, .. } = attempt.wait;
            let what = What::Abandoned { error: "thread_exit", sleeps };
            out.push(self.event(seen.time, &lock, thread, what));
        }
        let is_gone = |other: crate::model::ThreadId| match seen.event {
            ProcessEvent::ThreadExit => other == id,
            _ => other.pid == id.pid,
        };
        let over = self.polls.end(is_gone);
        self.tell(over, out);
    }

    /// Everything that ran again before this time and did not go back to sleep has decided.
    fn settle(&mut self, before: u64, out: &mut Vec<LockEvent>) {
        for attempt in self.attempts.settled(before) {
            self.ended(&attempt, out);
        }
    }

    /// An attempt nobody saw succeed. For a lock of a file that says it did not, if the kernel half
    /// sees attempts at it at all; for the others the wake-up decides.
    fn ended(&mut self, attempt: &Attempt, out: &mut Vec<LockEvent>) {
        let wait = &attempt.wait;
        let error = match wait.reason {
            _ if self.holds.is_followed(&wait.lock) => "interrupted",
            WakeReason::Signal | WakeReason::Exit | WakeReason::ThreadExit => "interrupted",
            WakeReason::Other if wait.timed => "timeout",
            _ => return self.acquired(attempt, wait.ran, out),
        };
        self.contended(attempt, out);
        let what = What::Abandoned { error, sleeps: wait.sleeps };
        out.push(self.event(wait.ran, &wait.lock, wait.thread, what));
    }

    fn acquired(&mut self, attempt: &Attempt, time: u64, out: &mut Vec<LockEvent>) {
        let wait = &attempt.wait;
        self.contended(attempt, out);
        let wake_delay = (wait.woken != 0).then(|| wait.ran.saturating_sub(wait.woken));
        let from = self.let_go_by(wait);
        let what = What::Acquired { from, wake_delay, sleeps: wait.sleeps };
        out.push(self.event(time, &wait.lock, wait.thread, what));
    }

    fn contended(&mut self, attempt: &Attempt, out: &mut Vec<LockEvent>) {
        let Attempt { wait, holder } = attempt;
        let (holder, estimated) = (holder.clone(), wait.preexisting);
        let what = What::Contended { holder, estimated, mode: wait.lock.mode };
        out.push(self.event(wait.start, &wait.lock, wait.thread, what));
    }

    /// Who had a lock when a wait for it began.
    fn first_holder(&self, wait: &KernelWait) -> Option<Holder> {
        let pid = wait.first_holder?;
        let known = self.attempts.in_the_way(wait, pid);
        let waker = wait.waker.filter(|waker| waker.id.pid == pid);
        let waker =
            waker.map(|w| Holder { id: w.id, name: w.name(), source: LAST_USER, gone: false });
        Some(known.or(waker).unwrap_or_else(|| self.holder(&wait.lock, pid)))
    }

    /// Who let go of what a thread waited for.
    fn let_go_by(&self, wait: &KernelWait) -> Option<Holder> {
        let waker = wait.waker.map(|waker| {
            let (id, name) = (waker.id, waker.name());
            Holder { id, name, source: HolderSource::Waker, gone: false }
        });
        waker.or_else(|| self.holds.let_go_since(&wait.lock, wait.start))
    }

    /// The process that used a semaphore last, when it lets go: it had it at least since the thread
    /// slept.
    fn semaphore_released(&mut self, attempt: &Attempt, out: &mut Vec<LockEvent>) {
        let wait = &attempt.wait;
        let Some(waker) = wait.waker.filter(|w| Some(w.id.pid) == wait.first_holder) else {
            return;
        };
        let Some(holder) = self.let_go_by(wait) else { return };
        self.contended(attempt, out);
        let (since, precision) = (wait.slept, Precision::LowerBound);
        let what = What::Released { holder, since, not_before: 0, precision };
        out.push(self.event(wait.woken, &wait.lock, waker, what));
    }

    /// The holder a process is: the thread that was seen taking it, else its only thread.
    fn holder(&self, lock: &KernelLock, pid: u32) -> Holder {
        if let Some(known) = self.holds.taken_by(lock, pid) {
            return known;
        }
        let process = self.people.holder(pid);
        match lock.kind {
            LockKind::SysvSemaphore | LockKind::LockFile | LockKind::LockDirectory => {
                Holder { source: LAST_USER, ..process }
            }
            _ => process,
        }
    }

    fn event(&mut self, time: u64, lock: &KernelLock, thread: Thread, what: What) -> LockEvent {
        LockEvent { time, lock: self.names.describe(lock), thread, what }
    }
}
