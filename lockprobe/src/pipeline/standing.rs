//! The state at one moment: for looks, which no record follows.

use std::collections::BTreeSet;
use std::io;

use super::stacks::Stacks;
use super::{Aside, Pipeline, read};
use crate::analyses::snapshot;
use crate::model::{Fact, Finding, Observation, Record, RemoteHold, Snapshot, ThreadId};
use crate::source::Batch;

/// Most stacks copied in one look.
const STACKS_AT_MOST: usize = 64;

impl Pipeline {
    /// Takes a look whole: everything up to this time is complete. Asks what root holders do,
    /// copies the stacks of those who may be stuck, and concludes.
    pub fn look(&mut self, batch: &Batch, now: u64, out: &mut Vec<Record>) -> io::Result<()> {
        self.take(batch, out)?;
        self.copy_stacks(batch, out)?;
        self.now = self.now.max(now);
        let mut events = Vec::new();
        self.futex.observe(&Observation::Tick(now), &mut events);
        self.kernel_locks.observe(&Observation::Tick(now), &mut events);
        self.push(&mut events);
        self.drain(u64::MAX, out);
        let roots = snapshot::root_holders(self.tracker.table());
        self.ask_about(&roots, out)?;
        let due = self.thread_counts.due_now(self.tracker.table());
        self.count_threads(&due, out)?;
        self.conclude(now, out);
        Ok(())
    }

    /// What holders do, and who their processes are if nobody knows yet.
    pub(super) fn ask_about(
        &mut self,
        holders: &[ThreadId],
        out: &mut Vec<Record>,
    ) -> io::Result<()> {
        for &id in holders {
            let Aside::Live(enricher, _) = &mut self.aside else { break };
            let activity = Fact::Activity(enricher.activity(id));
            let process = match self.processes.contains_key(&id.pid) {
                true => None,
                false => Some(Fact::Process(enricher.process(id.pid, self.futex.image(id.pid)))),
            };
            [Some(activity), process].into_iter().flatten().try_for_each(|f| self.learn(f, out))?;
        }
        Ok(())
    }

    /// Counts the threads of processes that have locks.
    pub(super) fn count_threads(&mut self, pids: &[u32], out: &mut Vec<Record>) -> io::Result<()> {
        for &pid in pids {
            let Aside::Live(enricher, _) = &mut self.aside else { break };
            let fact = Fact::Holder(enricher.holder(pid));
            self.learn(fact, out)?;
        }
        Ok(())
    }

    /// Where those stand whom the look before left in doubt.
    fn copy_stacks(&mut self, batch: &Batch, out: &mut Vec<Record>) -> io::Result<()> {
        let suspects: BTreeSet<ThreadId> =
            self.deadlocks.suspects().chain(self.holders.suspects(self.tracker.table())).collect();
        let mut facts = Vec::new();
        for frame in batch.frames() {
            let Ok(Observation::Waiting(wait)) = read(frame) else { continue };
            let Aside::Live(enricher, _) = &mut self.aside else { break };
            if suspects.contains(&wait.thread.id) && facts.len() < STACKS_AT_MOST {
                facts.extend(Stacks::look_now(&wait, enricher));
            }
        }
        facts.into_iter().try_for_each(|fact| self.learn(fact, out))
    }

    /// Whether a second look would show more.
    pub fn is_undecided(&self) -> bool {
        let table = self.tracker.table();
        self.deadlocks.suspects().chain(self.holders.suspects(table)).next().is_some()
    }

    /// The state of all locks, as of the last time it was settled.
    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = snapshot::snapshot(self.tracker.table(), &self.activities, self.now);
        snapshot.findings = self.standing().into_iter().cloned().collect();
        snapshot.findings.iter_mut().for_each(|finding| self.stacks.attach_to_finding(finding));
        let pids = snapshot.agents.iter().map(|agent| agent.id.pid);
        let named = |pid: u32| Some((pid, self.processes.get(&pid)?.service.clone()));
        snapshot.services = pids.filter_map(named).collect();
        snapshot
    }

    /// The same while observation goes on: servers have been listened to.
    pub fn live_snapshot(&self) -> Snapshot {
        let mut snapshot = self.snapshot();
        let mut holds: Vec<RemoteHold> = self.tracker.held_remotely().cloned().collect();
        holds.sort_unstable_by_key(|hold| (hold.thread.id, hold.since, hold.lock.id));
        for pid in holds.iter().map(|hold| hold.thread.id.pid) {
            if let Some(process) = self.processes.get(&pid) {
                snapshot.services.entry(pid).or_insert_with(|| process.service.clone());
            }
        }
        snapshot.remote = Some(holds);
        snapshot
    }

    /// Findings that go on, the oldest first.
    pub fn standing(&self) -> Vec<&Finding> {
        let mut findings: Vec<&Finding> =
            self.deadlocks.going_on().chain(self.holders.going_on()).collect();
        findings.extend(self.left_behind.going_on());
        findings.extend(self.paused.going_on());
        findings.sort_unstable_by_key(|finding| (finding.formed, finding.id));
        findings
    }

    /// Threads that wait.
    pub fn waiting(&self) -> usize {
        self.tracker.table().waiting_count()
    }
}
