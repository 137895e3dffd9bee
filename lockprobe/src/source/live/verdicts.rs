//! Verdicts on call sites, on their way from the pipeline to the kernel half.
//!
//! They go through the reader thread, which owns the tables: it needs them itself when it looks at
//! threads that slept before we came.

use std::sync::mpsc::{Receiver, Sender, channel};

use lockprobe_ebpf::wire::{SiteKey, verdict};

use super::tables::{ReaderTables, Wire};
use crate::model::{LockKind, SiteClass};

/// The pipeline's end.
pub struct Verdicts(Sender<(SiteKey, Option<u32>)>);

/// The reader's end.
pub struct Inbox(Receiver<(SiteKey, Option<u32>)>);

/// Both ends.
pub fn pair() -> (Verdicts, Inbox) {
    let (sender, receiver) = channel();
    (Verdicts(sender), Inbox(receiver))
}

impl Verdicts {
    /// Tells the kernel half what a call site is.
    pub fn tell(&self, pid: u32, level: u32, ip: u64, class: SiteClass) {
        let value = match class {
            // What nothing is known of may be a lock, and has been looked at.
            SiteClass::Lock(LockKind::PythonParked) => verdict::PARKED,
            SiteClass::Lock(_) | SiteClass::Shared(_) | SiteClass::Unknown => verdict::LOCK,
            SiteClass::Idle => verdict::IDLE,
            SiteClass::ByCaller(offset) => verdict::BY_CALLER | (offset << 8),
        };
        // When the reader has ended there is nobody left to tell.
        let _ = self.0.send((SiteKey { tgid: pid, level, ip }, Some(value)));
    }

    /// Takes a verdict back: the process that had this code is gone.
    pub fn forget(&self, pid: u32, level: u32, ip: u64) {
        let _ = self.0.send((SiteKey { tgid: pid, level, ip }, None));
    }
}

impl Inbox {
    /// Writes what has come to the kernel's table. A verdict that cannot be written costs a few
    /// needless records, nothing else.
    pub fn apply(&self, tables: &mut ReaderTables) {
        while let Ok((key, value)) = self.0.try_recv() {
            let _ = match value {
                Some(value) => tables.sites.insert(Wire(key), value, 0),
                None => tables.sites.remove(&Wire(key)),
            };
        }
    }
}
