//! Whom the reader's kernel half watches: as told, and as processes come and go.

use std::fs;
use std::sync::mpsc::Sender;

use lockprobe_ebpf::wire::{LockStats, ProcessRecord, choice, process_event};

use super::{MILLISECOND, Reader};
use crate::source::Batch;
use crate::source::live::Targets;
use crate::source::live::choosing::Walked;
use crate::source::live::load::monotonic;

/// How often all processes are judged anew for what is learnt of them, at most.
const RECHECK_EVERY: u64 = 1000 * MILLISECOND;

/// What the reader is told to do.
pub enum Control {
    /// Watch this process too; answered when it is watched.
    Watch(u32, Sender<()>),
    /// Watch those whom this choice means, and no others.
    Retarget(Box<Targets>, Sender<Walked>),
    /// More is known of where processes run: judge them anew.
    Recheck,
}

impl Reader {
    /// Does what was asked for meanwhile.
    pub(super) fn obey(&mut self) {
        while let Ok(command) = self.inputs.commands.try_recv() {
            match command {
                Control::Watch(pid, done) => {
                    let _ = self.tables.targets.insert(pid, choice::WATCHED, 0);
                    self.alive.insert(pid);
                    self.begun = true;
                    self.acquisitions(|full, ebpf| full.follow(ebpf, pid));
                    let _ = done.send(());
                }
                Control::Retarget(targets, done) => {
                    self.choosing = targets.choosing();
                    self.targets = *targets;
                    let _ = done.send(self.walk());
                }
                Control::Recheck => self.recheck = true,
            }
        }
        let now = monotonic();
        if self.recheck && now >= self.next_recheck {
            self.recheck = false;
            self.next_recheck = now + RECHECK_EVERY;
            self.walk();
        }
    }

    /// Judges all processes anew.
    fn walk(&mut self) -> Walked {
        let Some(choosing) = &self.choosing else { return Walked::default() };
        let walked = choosing.walk(&mut self.tables.targets);
        self.newcomers |= !walked.begun.is_empty();
        // Nothing would tell how a wait goes on that is not watched any more.
        let tasks = walked.ended.iter().flat_map(|pid| fs::read_dir(format!("/proc/{pid}/task")));
        let threads =
            tasks.flatten().flatten().filter_map(|t| t.file_name().to_str()?.parse().ok());
        threads.for_each(|tid: u32| drop(self.tables.waits.remove(&tid)));
        walked
    }

    /// Keeps the set of targets as processes come and go.
    pub(super) fn follow(&mut self, record: &ProcessRecord, before: &mut Batch) {
        let pid = record.thread.tgid;
        match record.event {
            process_event::FORK => {
                self.alive.insert(pid);
                if let Some(choosing) = &mut self.choosing {
                    choosing.forked(record.detail, pid);
                }
                self.acquisitions(|full, ebpf| full.follow(ebpf, pid));
            }
            process_event::LISTENS => {
                let port = u16::try_from(record.detail).unwrap_or(0);
                if let Some(choosing) = &mut self.choosing {
                    self.newcomers |= choosing.listens(pid, port, &mut self.tables.targets);
                }
            }
            process_event::EXEC => {
                let exec = record.header.time_ns;
                let its_own = |tgid: u32| tgid == pid;
                let earlier = |stats: &LockStats| stats.opened_ns < exec;
                self.harvest.take(exec, &mut self.tables, before, Some(&its_own), earlier);
                if let Some(full) = &mut self.tables.full {
                    full.harvest_before(exec, before, pid);
                }
                if let Some(choosing) = &self.choosing {
                    self.newcomers |= choosing.settle(pid, &mut self.tables.targets);
                } else if self.targets.matches(pid) {
                    let _ = self.tables.targets.insert(pid, choice::WATCHED, 0);
                    self.newcomers = true;
                }
                if self.tables.targets.get(&pid, 0).is_ok() {
                    self.acquisitions(|full, ebpf| full.follow(ebpf, pid));
                }
            }
            process_event::EXIT => {
                self.alive.remove(&pid);
                self.gone.insert(pid);
                let _ = self.tables.targets.remove(&pid);
                if let Some(choosing) = &mut self.choosing {
                    choosing.ended(pid);
                }
                self.acquisitions(|full, ebpf| full.forget(ebpf, pid));
            }
            _ => {}
        }
    }
}
