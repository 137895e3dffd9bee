//! The state at one moment: for looks, which no record follows.

use std::io;

use super::{Aside, Pipeline};
use crate::analyses::snapshot;
use crate::model::{Fact, Finding, Observation, Record, Snapshot};

impl Pipeline {
    /// Takes everything up to this time as complete, asks what root holders do, and concludes.
    pub fn settle(&mut self, now: u64, out: &mut Vec<Record>) -> io::Result<()> {
        self.now = self.now.max(now);
        let mut events = Vec::new();
        self.futex.observe(&Observation::Tick(now), &mut events);
        events.into_iter().for_each(|event| self.order.push(event));
        self.drain(u64::MAX, out);
        let holders = snapshot::root_holders(self.tracker.table());
        for id in holders {
            let Aside::Live(enricher, _) = &mut self.aside else { break };
            let activity = enricher.activity(id);
            self.learn(Fact::Activity(activity), out)?;
        }
        self.conclude(now, out);
        Ok(())
    }

    /// Whether a second look would show more.
    pub fn is_undecided(&self) -> bool {
        self.deadlocks.suspects_any() || self.holders.suspects_any()
    }

    /// The state of all locks, as of the last time it was settled.
    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = snapshot::snapshot(self.tracker.table(), &self.activities, self.now);
        snapshot.findings = self.standing().into_iter().cloned().collect();
        let pids = snapshot.agents.iter().map(|agent| agent.id.pid);
        let named = |pid: u32| Some((pid, self.processes.get(&pid)?.service.clone()));
        snapshot.services = pids.filter_map(named).collect();
        snapshot
    }

    /// Findings that go on, the oldest first.
    pub fn standing(&self) -> Vec<&Finding> {
        let mut findings: Vec<&Finding> =
            self.deadlocks.going_on().chain(self.holders.going_on()).collect();
        findings.sort_unstable_by_key(|finding| (finding.formed, finding.id));
        findings
    }

    /// Threads that wait.
    pub fn waiting(&self) -> usize {
        self.tracker.table().waiting_count()
    }
}
