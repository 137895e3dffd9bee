//! Callers of waits that began before the kernel half knew where in the frame to look for them.

use std::collections::HashMap;

use crate::model::{LockSeen, ThreadId, WaitSeen};

/// Most threads remembered; beyond it all are forgotten.
const AT_MOST: usize = 16_384;

/// The caller of a frame that serves many.
struct Frame {
    ip: u64,
    sp: u64,
    caller: u64,
}

/// First contentions, whose stacks were sent along.
#[derive(Default)]
pub struct Callers {
    frames: HashMap<ThreadId, Frame>,
}

impl Callers {
    /// Notes a first contention whose caller is this.
    pub fn note(&mut self, seen: &LockSeen, caller: u64) {
        if self.frames.len() >= AT_MOST {
            self.frames.clear();
        }
        self.frames.insert(seen.thread.id, Frame { ip: seen.ip, sp: seen.sp, caller });
    }

    /// The caller of a wait at the same place as that thread's first contention.
    pub fn of(&self, wait: &WaitSeen) -> Option<u64> {
        let frame = self.frames.get(&wait.thread.id)?;
        let same = !wait.caller_known && (frame.ip, frame.sp) == (wait.ip, wait.sp);
        same.then_some(frame.caller)
    }

    /// A process ended or runs a new program.
    pub fn forget(&mut self, pid: u32) {
        self.frames.retain(|id, _| id.pid != pid);
    }

    /// A thread ended.
    pub fn forget_thread(&mut self, id: ThreadId) {
        self.frames.remove(&id);
    }
}
