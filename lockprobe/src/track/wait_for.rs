//! The wait-for graph: an edge from every waiting thread to the thread that has what it wants.

use petgraph::algo::tarjan_scc;
use petgraph::graphmap::DiGraphMap;

use super::{LockTable, Ongoing};
use crate::model::ThreadId;

/// Waits whose holder the lock's own memory names, as a graph of threads.
pub fn graph(table: &LockTable) -> DiGraphMap<ThreadId, ()> {
    let mut graph = DiGraphMap::new();
    for wait in table.waiting() {
        if let Some(holder) = certain_holder(wait) {
            graph.add_edge(wait.thread.id, holder, ());
        }
    }
    graph
}

/// The holder of a wait, if it is certain: an inferred one must not make a deadlock.
pub fn certain_holder(wait: &Ongoing) -> Option<ThreadId> {
    let holder = wait.current_holder.as_ref()?;
    (holder.source.is_certain() && holder.id.tid != 0).then_some(holder.id)
}

/// Threads that wait for each other in a circle, each circle once, in the order of waiting.
pub fn cycles(table: &LockTable) -> Vec<Vec<ThreadId>> {
    let graph = graph(table);
    let circular = |component: &Vec<ThreadId>| match component[..] {
        [one] => graph.contains_edge(one, one),
        _ => true,
    };
    let components = tarjan_scc(&graph).into_iter().filter(circular);
    components.map(|component| walk(&graph, &component)).collect()
}

/// Follows the first edge inside a component until a thread comes up again.
fn walk(graph: &DiGraphMap<ThreadId, ()>, component: &[ThreadId]) -> Vec<ThreadId> {
    let Some(&first) = component.iter().min() else { return Vec::new() };
    let mut path = vec![first];
    let mut at = first;
    while path.len() <= component.len() {
        let Some(next) = graph.neighbors(at).find(|n| component.contains(n)) else { break };
        if let Some(start) = path.iter().position(|&seen| seen == next) {
            return path.split_off(start);
        }
        path.push(next);
        at = next;
    }
    path
}
