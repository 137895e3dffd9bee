//! One look at the threads that wait now: nothing is attached, nothing is traced.
//!
//! The kernel walks its tasks once and notes those asleep in a lock call; what they are and what
//! lies in their locks is read from the side. A second look finds the same waits again, if they
//! are the same: a thread that went to sleep once more in between has waited anew.

use std::collections::HashMap;

use aya::Ebpf;
use lockprobe_ebpf::wire::{Wait, WaitRecord};
use zerocopy::IntoBytes;

use super::file_table::FileTable;
use super::load::{self, Programs, monotonic};
use super::standing::Standings;
use super::tables::{self, ReaderTables};
use super::verdicts::{self, Inbox, Verdicts};
use super::{Options, Targets, attach, waits};
use crate::model::Session;
use crate::source::{Batch, Error};

/// The ring is not used.
const RING_BYTES: u32 = 64 << 10;

/// The programs, loaded.
pub struct Look {
    session: Session,
    ebpf: Ebpf,
    tables: ReaderTables,
    verdicts: Option<Verdicts>,
    inbox: Inbox,
    /// How often each waiting thread had gone to sleep when it was first found.
    sleeps: HashMap<u32, u64>,
}

impl Look {
    /// Loads what a look takes.
    pub fn prepare(targets: &Targets) -> Result<Self, Error> {
        let pids = targets.find()?;
        let options = Options {
            min_wait: 0,
            stack_threshold: None,
            ring_bytes: RING_BYTES,
            targets: targets.clone(),
            lock_files: false,
            servers: super::Servers::none(),
            full: None,
            harvest_every: None,
        };
        let mut ebpf = load::load(&options, !targets.is_everything(), Programs::Iterator)?;
        let mut tables = tables::take(&mut ebpf, false)?;
        for &pid in &pids {
            let _ = tables.targets.insert(pid, 1, 0);
        }
        let (verdicts, inbox) = verdicts::pair();
        let session = load::session(&options)?;
        let sleeps = HashMap::new();
        Ok(Self { session, ebpf, tables, verdicts: Some(verdicts), inbox, sleeps })
    }

    /// The circumstances.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// The way to say what call sites are; there is one.
    pub fn take_verdicts(&mut self) -> Option<Verdicts> {
        self.verdicts.take()
    }

    /// The way to ask where threads stand; there is one.
    pub fn take_standings(&mut self) -> Option<Standings> {
        Standings::of(&mut self.ebpf)
    }

    /// Looks: every thread that waits, as `WAITING` records, and when that was.
    pub fn take(&mut self) -> Result<(Batch, u64), Error> {
        self.inbox.apply(&mut self.tables);
        attach::iterate(&mut self.ebpf)?;
        let now = monotonic();
        let mut batch = Batch::default();
        let found: Vec<(u32, Wait)> =
            self.tables.waits.iter().flatten().map(|(tid, wait)| (tid, wait.0)).collect();
        let mut files = FileTable::default();
        for (tid, wait) in found {
            match self.same_sleep(&mut files, tid, wait, now) {
                Some(record) => batch.push(record.as_bytes()),
                None => self.forget(tid),
            }
        }
        Ok((batch, now))
    }

    /// The wait of a thread, if it is still the one that was found first. Its sleeps are counted
    /// before the first reading of its lock and after every later one: where the numbers agree,
    /// it slept through all of them.
    fn same_sleep(
        &mut self,
        files: &mut FileTable,
        tid: u32,
        wait: Wait,
        now: u64,
    ) -> Option<WaitRecord> {
        let before = self.sleeps.get(&tid).copied();
        if before.is_none() {
            self.sleeps.insert(tid, waits::sleeps(tid)?);
        }
        let record = waits::standing(&self.tables, files, tid, wait, now)?;
        let same = before.is_none_or(|before| waits::sleeps(tid) == Some(before));
        same.then_some(record)
    }

    fn forget(&mut self, tid: u32) {
        self.sleeps.remove(&tid);
        let _ = self.tables.waits.remove(&tid);
    }
}
