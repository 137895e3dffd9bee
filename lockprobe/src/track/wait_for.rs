//! The wait-for graph: an edge from every waiting thread to each thread it needs something from.
//!
//! A thread waits for one thing at a time. It goes on when *all* whom it waits for have let go (a
//! writer and its readers), or when *any* of them does (a counted semaphore). Threads that nothing
//! can free any more are found by taking out those that something can: what stays is stuck, and
//! the strongly connected parts of it are deadlocks. In a graph of *all* alone that is the same as
//! looking for circles; with *any* in it a circle may be none.
//!
//! A process that has a lock, of which it is not known which thread, stands in the graph too, as
//! thread 0: any of its threads may let go, so it is free unless all of them are stuck.

use std::collections::{BTreeSet, HashMap, VecDeque};

use petgraph::algo::kosaraju_scc;
use petgraph::graph::{DiGraph, NodeIndex};

use super::threads::ThreadCounts;
use super::{LockTable, Ongoing};
use crate::model::{Holder, HolderSource, ThreadId};

/// What has to happen before a thread goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// All of those it waits for let go.
    All,
    /// One of them does.
    Any,
}

/// Threads as small numbers, and whom each waits for.
#[derive(Debug, Default)]
pub struct Graph {
    ids: Vec<ThreadId>,
    numbers: HashMap<ThreadId, u32>,
    needs: Vec<Needs>,
    edges: Vec<(u32, u32)>,
}

impl Graph {
    /// Of the waits whose holders are certain. Who asks again and again may stop any moment.
    pub fn of(table: &LockTable, counts: &ThreadCounts) -> Self {
        let mut graph = Self::default();
        let mut processes = BTreeSet::new();
        for wait in table.waiting().filter(|wait| !wait.polled) {
            if let Some(holder) = certain_holder(wait) {
                graph.add(wait.thread.id, Needs::All, [holder.id]);
                processes.extend((holder.id.tid == 0).then_some(holder.id));
            }
        }
        for process in processes {
            let threads = counts.all_waiting(table, process.pid);
            graph.add(process, Needs::Any, threads.iter().map(|wait| wait.thread.id));
        }
        graph
    }

    /// Adds a wait. Holders that nobody knows are not among them: such a wait may end any moment.
    pub fn add(
        &mut self,
        waiter: ThreadId,
        needs: Needs,
        holders: impl IntoIterator<Item = ThreadId>,
    ) {
        let from = self.number(waiter);
        self.needs[from as usize] = needs;
        for holder in holders {
            let to = self.number(holder);
            self.edges.push((from, to));
        }
    }

    fn number(&mut self, id: ThreadId) -> u32 {
        *self.numbers.entry(id).or_insert_with(|| {
            self.ids.push(id);
            self.needs.push(Needs::All);
            self.ids.len() as u32 - 1
        })
    }

    /// Whether each thread is stuck for good, by number: everyone is until something frees them.
    fn stuck(&self, out: &Lists) -> Vec<bool> {
        let back = Lists::of(self.ids.len(), self.edges.iter().map(|&(from, to)| (to, from)));
        let mut left: Vec<u32> = (0..self.ids.len())
            .map(|at| match self.needs[at] {
                Needs::All => out.of_node(at).len() as u32,
                Needs::Any => u32::from(!out.of_node(at).is_empty()),
            })
            .collect();
        let mut stuck: Vec<bool> = left.iter().map(|&n| n > 0).collect();
        let mut free: Vec<usize> = (0..self.ids.len()).filter(|&at| !stuck[at]).collect();
        while let Some(at) = free.pop() {
            for &waiter in back.of_node(at) {
                let waiter = waiter as usize;
                left[waiter] = left[waiter].saturating_sub(1);
                if stuck[waiter] && left[waiter] == 0 {
                    stuck[waiter] = false;
                    free.push(waiter);
                }
            }
        }
        stuck
    }

    /// Threads that wait for each other in a circle none of them gets out of: one circle, as short
    /// as there is, for each strongly connected part. In the order of waiting, the least first.
    pub fn cycles(&self) -> Vec<Vec<ThreadId>> {
        let out = Lists::of(self.ids.len(), self.edges.iter().copied());
        let stuck = self.stuck(&out);
        let both = |(from, to): &&(u32, u32)| stuck[*from as usize] && stuck[*to as usize];
        let between_stuck = self.edges.iter().filter(both);
        let mut graph: DiGraph<(), ()> = DiGraph::with_capacity(self.ids.len(), 0);
        for _ in &self.ids {
            graph.add_node(());
        }
        graph.extend_with_edges(between_stuck.copied());
        // Kosaraju's, since Tarjan's of this library recurses as deep as the longest chain.
        let mut part = vec![u32::MAX; self.ids.len()];
        let mut firsts = Vec::new();
        for (number, nodes) in kosaraju_scc(&graph).into_iter().enumerate() {
            let nodes: Vec<usize> = nodes.into_iter().map(NodeIndex::index).collect();
            nodes.iter().for_each(|&at| part[at] = number as u32);
            firsts.extend(nodes.into_iter().min_by_key(|&at| self.ids[at]));
        }
        let circles = firsts.into_iter().filter_map(|first| self.circle(&out, &part, first));
        let mut circles: Vec<Vec<ThreadId>> = circles.collect();
        circles.sort_unstable();
        circles
    }

    /// The shortest way from a thread back to itself within its part.
    fn circle(&self, out: &Lists, part: &[u32], first: usize) -> Option<Vec<ThreadId>> {
        let mut from: HashMap<usize, usize> = HashMap::new();
        let mut queue = VecDeque::from([first]);
        while let Some(at) = queue.pop_front() {
            for &next in out.of_node(at) {
                let next = next as usize;
                if next == first {
                    let back = std::iter::successors(Some(at), |at| from.get(at).copied());
                    let mut circle: Vec<ThreadId> = back.map(|at| self.ids[at]).collect();
                    circle.reverse();
                    return Some(circle);
                }
                if part[next] == part[first] && !from.contains_key(&next) {
                    from.insert(next, at);
                    queue.push_back(next);
                }
            }
        }
        None
    }
}

/// Lists of numbers in one piece.
struct Lists {
    starts: Vec<u32>,
    items: Vec<u32>,
}

impl Lists {
    fn of(count: usize, pairs: impl Iterator<Item = (u32, u32)> + Clone) -> Self {
        let mut starts = vec![0u32; count + 1];
        pairs.clone().for_each(|(from, _)| starts[from as usize + 1] += 1);
        (0..count).for_each(|at| starts[at + 1] += starts[at]);
        let mut next = starts.clone();
        let mut items = vec![0u32; starts[count] as usize];
        for (from, to) in pairs {
            let place = &mut next[from as usize];
            items[*place as usize] = to;
            *place += 1;
        }
        Self { starts, items }
    }

    fn of_node(&self, at: usize) -> &[u32] {
        &self.items[self.starts[at] as usize..self.starts[at + 1] as usize]
    }
}

/// The holder of a wait, if it is certain and there: an inferred one must not make a deadlock. It is
/// a process, with thread 0, where the kernel keeps the lock and says no more.
pub fn certain_holder(wait: &Ongoing) -> Option<&Holder> {
    let holder = wait.current_holder.as_ref()?;
    let is_process = holder.source == HolderSource::LockTable && !holder.gone;
    (holder.source.is_certain() && (holder.id.tid != 0 || is_process)).then_some(holder)
}

/// Threads that wait for each other in a circle, each circle once, in the order of waiting.
pub fn cycles(table: &LockTable, counts: &ThreadCounts) -> Vec<Vec<ThreadId>> {
    Graph::of(table, counts).cycles()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(tid: u32) -> ThreadId {
        ThreadId { pid: 1, tid }
    }

    fn graph(waits: &[(u32, Needs, &[u32])]) -> Graph {
        let mut graph = Graph::default();
        for (waiter, needs, holders) in waits {
            graph.add(id(*waiter), *needs, holders.iter().map(|&tid| id(tid)));
        }
        graph
    }

    fn cycles(waits: &[(u32, Needs, &[u32])]) -> Vec<Vec<u32>> {
        let tids = |cycle: Vec<ThreadId>| cycle.into_iter().map(|id| id.tid).collect();
        graph(waits).cycles().into_iter().map(tids).collect()
    }

    #[test]
    fn a_circle_is_told_in_the_order_of_waiting() {
        assert_eq!(
            cycles(&[(3, Needs::All, &[1]), (1, Needs::All, &[2]), (2, Needs::All, &[3])]),
            [[1, 2, 3]]
        );
        assert_eq!(cycles(&[(5, Needs::All, &[5])]), [[5]]);
        assert!(cycles(&[(1, Needs::All, &[2]), (2, Needs::All, &[3])]).is_empty());
    }

    #[test]
    fn a_writer_waits_for_all_readers_and_one_that_is_stuck_is_enough() {
        let waits: &[(u32, Needs, &[u32])] = &[(1, Needs::All, &[2, 3, 4]), (3, Needs::All, &[1])];
        assert_eq!(cycles(waits), [[1, 3]]);
    }

    #[test]
    fn one_of_many_that_can_go_on_is_enough_for_a_semaphore() {
        let stuck: &[(u32, Needs, &[u32])] =
            &[(1, Needs::Any, &[2, 3]), (2, Needs::All, &[1]), (3, Needs::All, &[1])];
        assert_eq!(cycles(stuck), [[1, 2]]);
        // The same with thread 3 running: it lets go sooner or later.
        assert!(cycles(&stuck[..2]).is_empty());
        // And with thread 3 waiting for one that runs.
        let waits: &[(u32, Needs, &[u32])] =
            &[(1, Needs::Any, &[2, 3]), (2, Needs::All, &[1]), (3, Needs::All, &[4])];
        assert!(cycles(waits).is_empty());
    }

    #[test]
    fn those_behind_a_circle_are_not_in_it() {
        let waits: &[(u32, Needs, &[u32])] = &[
            (1, Needs::All, &[2]),
            (2, Needs::All, &[1]),
            (3, Needs::All, &[1]),
            (4, Needs::All, &[3]),
            (8, Needs::All, &[9]),
            (9, Needs::All, &[8]),
        ];
        assert_eq!(cycles(waits), [[1, 2], [8, 9]]);
    }

    #[test]
    fn the_shortest_circle_of_a_tangle_stands_for_it() {
        let waits: &[(u32, Needs, &[u32])] =
            &[(1, Needs::All, &[2, 3]), (2, Needs::All, &[3]), (3, Needs::All, &[1])];
        assert_eq!(cycles(waits), [[1, 3]]);
    }

    #[test]
    fn a_chain_as_long_as_the_table_is_walked() {
        let mut graph = Graph::default();
        for tid in 1..20_000 {
            graph.add(id(tid), Needs::All, [id(tid + 1)]);
        }
        assert!(graph.cycles().is_empty());
        graph.add(id(20_000), Needs::All, [id(1)]);
        assert_eq!(graph.cycles().iter().map(Vec::len).collect::<Vec<_>>(), [20_000]);
    }
}
