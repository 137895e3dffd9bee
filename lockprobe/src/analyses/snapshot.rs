//! The table of locks as a picture of one moment: agents, what they have and want, root holders.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::model::{
    Agent, Holder, HolderSource, LockDescription, LockId, Snapshot, StandingWait, ThreadId,
};
use crate::track::LockTable;
use crate::track::activities::Activities;

/// Takes the picture; findings and names of processes are the caller's to add.
pub fn snapshot(table: &LockTable, activities: &Activities, now: u64) -> Snapshot {
    let mut agents: BTreeMap<ThreadId, Agent> = BTreeMap::new();
    let mut held: BTreeMap<(ThreadId, LockId), Arc<LockDescription>> = BTreeMap::new();
    for wait in table.waiting() {
        let holder = wait.current_holder.clone();
        if let Some(holder) = &holder {
            let is_process = holder.id.tid == 0 && holder.source == HolderSource::LockTable;
            agent(&mut agents, holder.id, &holder.name).is_process = is_process;
            held.insert((holder.id, wait.lock.id), wait.lock.clone());
        }
        let waiter = agent(&mut agents, wait.thread.id, &wait.thread.name());
        let (lock, since, estimated) = (wait.lock.clone(), wait.since, wait.estimated);
        waiter.waits = Some(StandingWait { lock, since, estimated, holder });
    }
    for ((holder, _), lock) in held {
        agents.entry(holder).and_modify(|agent| agent.holds.push(lock));
    }
    for (id, blocks) in blocked(&agents) {
        agents.entry(id).and_modify(|agent| agent.blocks = blocks);
    }
    for agent in agents.values_mut().filter(|agent| agent.is_root()) {
        agent.activity = activities.of(agent.id).map(|seen| seen.activity.clone());
    }
    Snapshot { time: now, agents: agents.into_values().collect(), ..Snapshot::default() }
}

/// Holders that end a chain, whom it is worth asking what they do.
pub fn root_holders(table: &LockTable) -> Vec<ThreadId> {
    let holders = table.waiting().filter_map(|wait| wait.current_holder.as_ref());
    let holders = holders.map(|holder| holder.id).filter(|id| id.tid != 0);
    let roots = holders.filter(|id| table.wait_of(*id).is_none());
    let mut roots: Vec<ThreadId> = roots.collect();
    roots.sort_unstable();
    roots.dedup();
    roots
}

fn agent<'a>(agents: &'a mut BTreeMap<ThreadId, Agent>, id: ThreadId, name: &str) -> &'a mut Agent {
    let fresh = || Agent {
        id,
        name: name.to_owned(),
        is_process: false,
        waits: None,
        holds: Vec::new(),
        activity: None,
        blocks: 0,
    };
    agents.entry(id).or_insert_with(fresh)
}

fn holder_of(agent: &Agent) -> Option<&Holder> {
    agent.waits.as_ref()?.holder.as_ref()
}

/// How many threads wait for each, directly or behind one another: each thread adds what stands
/// behind it to the one before it, the last in a row first. Threads of a circle wait for each
/// other and never come to be last; for them those count that wait for them directly.
fn blocked(agents: &BTreeMap<ThreadId, Agent>) -> HashMap<ThreadId, u32> {
    let mut direct: HashMap<ThreadId, u32> = HashMap::new();
    for holder in agents.values().filter_map(holder_of) {
        *direct.entry(holder.id).or_default() += 1;
    }
    let mut blocks = direct.clone();
    let mut left = direct.clone();
    let last = agents.keys().filter(|id| !direct.contains_key(id));
    let mut last: Vec<ThreadId> = last.copied().collect();
    while let Some(id) = last.pop() {
        let Some(holder) = agents.get(&id).and_then(holder_of) else { continue };
        let behind = blocks.get(&id).copied().unwrap_or(0);
        *blocks.entry(holder.id).or_default() += behind;
        let left = left.entry(holder.id).or_default();
        *left = left.saturating_sub(1);
        if *left == 0 {
            last.push(holder.id);
        }
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Activity, Doing, LockDescription, LockEvent, LockKind, Mode, Thread, What};
    use crate::track::Tracker;

    /// Who waits for which lock of whom.
    fn picture(waits: &[(u32, u64, u32)]) -> Snapshot {
        let mut tracker = Tracker::default();
        let mut activities = Activities::default();
        for &(waiter, address, has) in waits {
            let lock = Arc::new(LockDescription {
                id: LockId::Private { pid: 1, image: 0, address },
                kind: LockKind::PthreadMutex,
                name: format!("lock{address}").into(),
                confirmed: true,
                call_site: None,
                address: None,
            });
            let thread =
                Thread { id: ThreadId { pid: 1, tid: waiter }, ns_tid: waiter, ..<_>::default() };
            let holder = Holder {
                id: ThreadId { pid: 1, tid: has },
                name: String::new(),
                source: HolderSource::OwnerWord,
                gone: false,
            };
            let holder = (has != 99).then_some(holder);
            let what = What::Contended { holder, mode: Mode::Exclusive, estimated: true };
            tracker.apply(LockEvent { time: 5, lock, thread, what }, &mut Vec::new());
        }
        for id in root_holders(tracker.table()) {
            activities.learn(Activity {
                id,
                time: 9,
                doing: Doing::Sleeping,
                call: "nanosleep".into(),
                switches: 1,
                start_ticks: 1,
                name: "h".into(),
            });
        }
        snapshot(tracker.table(), &activities, 10)
    }

    #[test]
    fn a_chain_ends_in_its_root_holder() {
        let picture = picture(&[(2, 7, 1), (3, 8, 2), (4, 8, 2), (5, 7, 1)]);
        let blocks: Vec<(u32, u32)> = picture.agents.iter().map(|a| (a.id.tid, a.blocks)).collect();
        assert_eq!(blocks, [(1, 4), (2, 2), (3, 0), (4, 0), (5, 0)]);
        let roots: Vec<&Agent> = picture.agents.iter().filter(|a| a.is_root()).collect();
        let [root] = roots[..] else { panic!("{roots:?}") };
        assert_eq!(root.holds.iter().map(|l| &*l.name).collect::<Vec<_>>(), ["lock7"]);
        assert_eq!(root.activity.as_ref().map(|a| a.doing), Some(Doing::Sleeping));
        assert!(picture.agents[1].activity.is_none(), "what a waiter does is known");
    }

    #[test]
    fn a_circle_has_no_root() {
        let picture = picture(&[(1, 7, 2), (2, 8, 1), (3, 8, 1), (4, 6, 3)]);
        assert!(!picture.agents.iter().any(Agent::is_root));
        let blocks: Vec<u32> = picture.agents.iter().map(|a| a.blocks).collect();
        assert_eq!(blocks, [3, 1, 1, 0]);
    }

    #[test]
    fn an_unknown_holder_is_nobody() {
        let picture = picture(&[(1, 7, 99)]);
        assert_eq!(picture.agents.len(), 1);
        assert_eq!(picture.agents[0].waits.as_ref().and_then(|w| w.holder.as_ref()), None);
    }
}
