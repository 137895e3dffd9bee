//! Processes that have to do with locks, one for each program they run, until they have ended and
//! have been reported once more.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::model::{ProcessFact, ProcessorFact};

/// Most at a time; those of more are counted for the host.
const AT_MOST: usize = 4096;
/// Most processes remembered of which only who they are is known.
const FACTS_AT_MOST: usize = 16_384;
/// What is told of a process after its end has been told by then, nanoseconds.
const TOLD_LATE: u64 = 1_500_000_000;
/// Most processes asked about at a time.
const ASKED_AT_MOST: usize = 512;

/// A program that a process runs; no two have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AgentId(pub u64);

/// One of them.
pub struct Agent {
    /// Its process.
    pub pid: u32,
    /// Who it is, as far as known.
    pub fact: Option<Arc<ProcessFact>>,
    /// When it ended; nothing comes after.
    ended: Option<u64>,
    /// What is told of the process after that is still of this program: there is no other.
    last: bool,
    /// Time waited, nanoseconds.
    pub waited: u64,
    /// Processor time, nanoseconds.
    pub processor: Option<ProcessorFact>,
}

/// All of them.
#[derive(Default)]
pub struct Agents {
    all: BTreeMap<AgentId, Agent>,
    by_pid: HashMap<u32, Vec<AgentId>>,
    facts: HashMap<u32, Arc<ProcessFact>>,
    /// Processes that ended with nothing known of them, when, and who they were.
    gone: BTreeMap<u32, (u64, Option<Arc<ProcessFact>>)>,
    made: u64,
    /// The last that was asked about.
    asked: Option<AgentId>,
    /// Time waited by those there was no room for, nanoseconds.
    pub rest_waited: u64,
}

impl Agents {
    /// Whose something is that was so at this time; `None` when there is no room.
    pub fn of(&mut self, pid: u32, time: u64) -> Option<AgentId> {
        let known = self.by_pid.get(&pid).map(Vec::as_slice).unwrap_or_default();
        // That of a program before comes late, but it comes.
        let mut earlier = known.iter().rev().skip(1).rev();
        if let Some(before) = earlier.find(|id| self.all[*id].ended.is_some_and(|end| time <= end))
        {
            return Some(*before);
        }
        if let Some(id) = known.last() {
            let agent = &self.all[id];
            if agent.last || agent.ended.is_none_or(|end| time <= end) {
                return Some(*id);
            }
        }
        self.make(pid)
    }

    fn make(&mut self, pid: u32) -> Option<AgentId> {
        if self.all.len() >= AT_MOST {
            return None;
        }
        let gone = self.gone.remove(&pid);
        let ended = gone.as_ref().map(|(time, _)| *time);
        let fact = gone.and_then(|(_, fact)| fact).or_else(|| self.facts.get(&pid).cloned());
        self.made += 1;
        let id = AgentId(self.made);
        let (last, waited, processor) = (ended.is_some(), 0, None);
        self.all.insert(id, Agent { pid, fact, ended, last, waited, processor });
        self.by_pid.entry(pid).or_default().push(id);
        Some(id)
    }

    fn open(&mut self, pid: u32) -> Option<&mut Agent> {
        let id = self.by_pid.get(&pid)?.last()?;
        self.all.get_mut(id).filter(|agent| agent.ended.is_none())
    }

    /// Who a process is, or what more is known of it.
    pub fn learn(&mut self, fact: &Arc<ProcessFact>, now: u64) {
        if let Some(agent) = self.open(fact.pid) {
            let other = |known: &Arc<ProcessFact>| known.start_ticks != fact.start_ticks;
            if agent.fact.as_ref().is_some_and(other) {
                // Its end was not told.
                self.began(fact.pid, now);
            } else {
                agent.fact = Some(fact.clone());
            }
        }
        if self.facts.len() >= FACTS_AT_MOST {
            self.facts.clear();
        }
        self.facts.insert(fact.pid, fact.clone());
    }

    /// A process began under this id: what was under it before is another.
    pub fn began(&mut self, pid: u32, now: u64) {
        self.renewed(pid, now);
        for id in self.by_pid.get(&pid).into_iter().flatten() {
            if let Some(agent) = self.all.get_mut(id) {
                agent.last = false;
            }
        }
        self.gone.remove(&pid);
    }

    /// A process runs a new program.
    pub fn renewed(&mut self, pid: u32, time: u64) {
        if let Some(agent) = self.open(pid) {
            agent.ended = Some(time);
        }
        self.facts.remove(&pid);
    }

    /// A process ended.
    pub fn ended(&mut self, pid: u32, time: u64) {
        let fact = self.facts.remove(&pid);
        if let Some(agent) = self.open(pid) {
            (agent.ended, agent.last) = (Some(time), true);
        } else if self.gone.len() < FACTS_AT_MOST {
            self.gone.insert(pid, (time, fact));
        }
    }

    /// Processor time that a process has used by now.
    pub fn used(&mut self, fact: &ProcessorFact, now: u64) {
        let Some(agent) = self.open(fact.pid) else { return };
        let start = agent.fact.as_ref().map_or(fact.start_ticks, |known| known.start_ticks);
        if start == fact.start_ticks && start != 0 {
            // Of a process that has ended and of one that took its id nothing is added.
            agent.processor = Some(*fact);
        } else {
            self.ended(fact.pid, now);
        }
    }

    /// Whose processor time is to be looked up: those who have waited, in turns.
    pub fn next_to_ask(&mut self) -> Vec<u32> {
        let after = self.asked.map_or(0, |id| id.0 + 1);
        let waits = |(_, agent): &(&AgentId, &Agent)| agent.ended.is_none() && agent.waited > 0;
        let turn = self.all.range(AgentId(after)..).chain(self.all.range(..AgentId(after)));
        let turn: Vec<(AgentId, u32)> =
            turn.filter(waits).take(ASKED_AT_MOST).map(|(id, agent)| (*id, agent.pid)).collect();
        self.asked = turn.last().map(|(id, _)| *id);
        turn.into_iter().map(|(_, pid)| pid).collect()
    }

    /// Adds time waited.
    pub fn waited(&mut self, id: Option<AgentId>, nanos: u64) {
        let sum = match id.and_then(|id| self.all.get_mut(&id)) {
            Some(agent) => &mut agent.waited,
            None => &mut self.rest_waited,
        };
        *sum = sum.saturating_add(nanos);
    }

    /// One of them.
    pub fn get(&self, id: AgentId) -> Option<&Agent> {
        self.all.get(&id)
    }

    /// All, in the order they were met.
    pub fn all(&self) -> impl Iterator<Item = (AgentId, &Agent)> {
        self.all.iter().map(|(id, agent)| (*id, agent))
    }

    /// Forgets those of which everything has been told and reported.
    pub fn sweep(&mut self, now: u64) -> Vec<AgentId> {
        let over = |time: u64| time.saturating_add(TOLD_LATE) <= now;
        self.gone.retain(|_, (time, _)| !over(*time));
        let gone = self.all.iter().filter(|(_, agent)| agent.ended.is_some_and(over));
        let gone: Vec<(AgentId, u32)> = gone.map(|(id, agent)| (*id, agent.pid)).collect();
        for (id, pid) in &gone {
            self.all.remove(id);
            if let Some(ids) = self.by_pid.get_mut(pid) {
                ids.retain(|known| known != id);
                if ids.is_empty() {
                    self.by_pid.remove(pid);
                }
            }
        }
        gone.into_iter().map(|(id, _)| id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATER: u64 = 10 * TOLD_LATE;

    fn fact(pid: u32, start_ticks: u64, service: &str) -> Arc<ProcessFact> {
        let service = service.into();
        Arc::new(ProcessFact { pid, start_ticks, service, ..ProcessFact::default() })
    }

    fn service(agents: &Agents, id: AgentId) -> &str {
        agents.get(id).unwrap().fact.as_ref().map_or("", |fact| &fact.service)
    }

    #[test]
    fn what_comes_late_is_of_the_program_that_did_it() {
        let mut agents = Agents::default();
        agents.learn(&fact(7, 1, "shell"), 5);
        let shell = agents.of(7, 10).unwrap();
        agents.renewed(7, 20);
        assert_eq!(agents.of(7, 20), Some(shell));
        agents.learn(&fact(7, 1, "worker"), 25);
        let worker = agents.of(7, 30).unwrap();
        assert_ne!(worker, shell);
        assert_eq!(agents.of(7, 15), Some(shell));
        assert_eq!((service(&agents, shell), service(&agents, worker)), ("shell", "worker"));
        agents.ended(7, 40);
        // The counts are taken out after the end.
        assert_eq!(agents.of(7, 90), Some(worker));
        assert_eq!(agents.sweep(LATER), [shell, worker]);
        assert_ne!(agents.of(7, LATER), Some(worker));
    }

    #[test]
    fn a_process_of_which_only_the_end_was_seen_does_not_stay() {
        let mut agents = Agents::default();
        agents.learn(&fact(7, 1, "short"), 5);
        agents.ended(7, 40);
        let short = agents.of(7, 90).unwrap();
        assert_eq!(service(&agents, short), "short");
        assert_eq!(agents.sweep(90), []);
        assert_eq!(agents.sweep(LATER), [short]);
    }

    #[test]
    fn an_id_that_is_used_again_is_another() {
        let mut agents = Agents::default();
        agents.learn(&fact(7, 1, "first"), 5);
        let first = agents.of(7, 10).unwrap();
        agents.ended(7, 40);
        agents.began(7, 50);
        agents.learn(&fact(7, 2, "second"), 50);
        let second = agents.of(7, 60).unwrap();
        assert_ne!(first, second);
        // Its end was lost, and the next has its id.
        agents.learn(&fact(7, 3, "third"), 70);
        let third = agents.of(7, 80).unwrap();
        assert!(third != second && service(&agents, third) == "third");
        assert_eq!(agents.sweep(LATER), [first, second]);
    }

    #[test]
    fn processes_that_are_not_there_any_more_are_over() {
        let mut agents = Agents::default();
        agents.learn(&fact(7, 1, "a"), 5);
        let id = agents.of(7, 10);
        assert!(agents.next_to_ask().is_empty());
        agents.waited(id, 5);
        assert_eq!(agents.next_to_ask(), [7]);
        let used = ProcessorFact { pid: 7, start_ticks: 1, user: 3, system: 4 };
        agents.used(&used, 20);
        assert_eq!(agents.get(id.unwrap()).unwrap().processor, Some(used));
        agents.used(&ProcessorFact { pid: 7, ..ProcessorFact::default() }, 30);
        assert_eq!(agents.get(id.unwrap()).unwrap().processor, Some(used));
        assert!(agents.next_to_ask().is_empty());
        assert_eq!(agents.sweep(LATER).len(), 1);
    }

    #[test]
    fn there_are_no_more_than_there_is_room_for() {
        let mut agents = Agents::default();
        assert!((0..AT_MOST as u32).all(|pid| agents.of(pid, 1).is_some()));
        assert_eq!(agents.of(1 << 20, 1), None);
        agents.waited(None, 5);
        assert_eq!((agents.rest_waited, agents.all().count()), (5, AT_MOST));
    }
}
