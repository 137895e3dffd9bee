//! Who waits behind whom, as trees: a holder, what it holds, who waits for that.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Agent, LockDescription, LockId, Snapshot, ThreadId};

/// Agents by what they wait for.
pub struct Trees<'a> {
    agents: BTreeMap<ThreadId, &'a Agent>,
    /// Waiters of a lock of a holder, those that have waited longest first.
    waiters: BTreeMap<(Option<ThreadId>, LockId), Vec<&'a Agent>>,
    /// Threads of circles: where trees begin that have no root.
    circular: BTreeSet<ThreadId>,
}

/// One line of a tree.
pub enum Line<'a> {
    /// A lock, and how many threads wait for it.
    Lock(&'a LockDescription, usize),
    /// A thread that waits for it.
    Waiter(&'a Agent),
    /// So many more wait for it.
    More(usize),
}

impl<'a> Trees<'a> {
    /// Sorts the agents out.
    pub fn of(snapshot: &'a Snapshot) -> Self {
        let mut waiters: BTreeMap<_, Vec<&Agent>> = BTreeMap::new();
        for agent in &snapshot.agents {
            let Some(wait) = &agent.waits else { continue };
            let holder = wait.holder.as_ref().map(|holder| holder.id);
            waiters.entry((holder, wait.lock.id)).or_default().push(agent);
        }
        let since = |agent: &&Agent| (agent.waits.as_ref().map(|wait| wait.since), agent.id);
        waiters.values_mut().for_each(|of_lock| of_lock.sort_by_key(since));
        let circles = snapshot.findings.iter().filter(|finding| finding.kind.is_circle());
        let circular = circles.flat_map(|f| f.waits.iter().map(|edge| edge.waiter.id)).collect();
        let agents = snapshot.agents.iter().map(|agent| (agent.id, agent)).collect();
        Self { agents, waiters, circular }
    }

    /// Root holders, those that block most first.
    pub fn roots(&self) -> Vec<&'a Agent> {
        let roots = self.agents.values().filter(|agent| agent.is_root());
        let mut roots: Vec<&Agent> = roots.copied().collect();
        roots.sort_by_key(|agent| (std::cmp::Reverse(agent.blocks), agent.id));
        roots
    }

    /// Threads of circles behind which others wait that are not of the circle.
    pub fn circular(&self) -> Vec<&'a Agent> {
        let agents = self.circular.iter().filter_map(|id| self.agents.get(id).copied());
        agents.filter(|agent| !self.below(agent.id).is_empty()).collect()
    }

    /// Locks whose holder nobody knows.
    pub fn of_nobody(&self) -> Vec<(usize, Line<'a>)> {
        let mut lines = Vec::new();
        for ((holder, _), waiters) in &self.waiters {
            if holder.is_none() {
                self.lock(waiters, 1, &mut lines);
            }
        }
        lines
    }

    /// Everything that waits behind a holder: depth and line.
    pub fn below(&self, holder: ThreadId) -> Vec<(usize, Line<'a>)> {
        let mut lines = Vec::new();
        self.descend(holder, 1, &mut lines);
        lines
    }

    fn descend(&self, holder: ThreadId, depth: usize, lines: &mut Vec<(usize, Line<'a>)>) {
        if depth > DEEPEST {
            return;
        }
        let all = (Some(holder), LOWEST)..;
        let its = self.waiters.range(all).take_while(|((of, _), _)| *of == Some(holder));
        for (_, waiters) in its {
            self.lock(waiters, depth, lines);
        }
    }

    /// A lock and its waiters, each with what waits behind it. Threads of circles are told of with
    /// their circle.
    fn lock(&self, waiters: &[&'a Agent], depth: usize, lines: &mut Vec<(usize, Line<'a>)>) {
        let straight = waiters.iter().filter(|agent| !self.circular.contains(&agent.id));
        let straight: Vec<&&Agent> = straight.collect();
        let Some(lock) = straight.first().and_then(|agent| agent.waits.as_ref()) else { return };
        lines.push((depth, Line::Lock(&lock.lock, straight.len())));
        for agent in straight.iter().take(WAITERS_AT_MOST) {
            lines.push((depth + 1, Line::Waiter(agent)));
            self.descend(agent.id, depth + 2, lines);
        }
        let more = straight.len().saturating_sub(WAITERS_AT_MOST);
        if more > 0 {
            lines.push((depth + 1, Line::More(more)));
        }
    }
}

/// Waiters shown of one lock; JSON has them all.
const WAITERS_AT_MOST: usize = 25;
/// How deep trees are shown.
const DEEPEST: usize = 40;
const LOWEST: LockId = LockId::Private { pid: 0, image: 0, address: 0 };
