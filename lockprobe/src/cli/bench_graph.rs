//! `lockprobe bench --graph`: the wait-for graph alone.

use std::io::Write;
use std::time::Instant;

use crate::model::ThreadId;
use crate::track::wait_for::{Graph, Needs};

const THREADS: u32 = 10_000;
const EDGES: u32 = 100_000;
const CIRCLES: u32 = 50;
const ROUNDS: usize = 9;

/// Makes a graph and looks for circles in it, several times; prints the median as one JSON object.
pub fn main() -> anyhow::Result<u8> {
    let mut times = Vec::new();
    let mut found = 0;
    for _ in 0..ROUNDS {
        let waits = waits(THREADS, EDGES, CIRCLES);
        let begun = Instant::now();
        found = graph(&waits).cycles().len();
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    let report = serde_json::json!({
        "threads": THREADS, "edges": EDGES, "circles": CIRCLES, "found": found,
        "milliseconds": times[ROUNDS / 2],
    });
    writeln!(std::io::stdout(), "{report}")?;
    Ok(0)
}

/// Who waits for whom.
type Waits = Vec<(ThreadId, Vec<ThreadId>)>;

fn graph(waits: &Waits) -> Graph {
    let mut graph = Graph::default();
    for (waiter, holders) in waits {
        graph.add(*waiter, Needs::All, holders.iter().copied());
    }
    graph
}

/// So many threads in so many groups. All edges lead forwards within a group, but for one from its
/// last thread to its first.
fn waits(threads: u32, edges: u32, circles: u32) -> Waits {
    let id = |tid: u32| ThreadId { pid: 1, tid: tid + 1 };
    let (each, group) = (edges / threads, threads / circles.max(1));
    // Spread by Lehmer's generator (minstd), the same each time.
    let mut state = 1u64;
    let mut random = move |below: u32| {
        state = state * 48_271 % 0x7fff_ffff;
        (state % u64::from(below)) as u32
    };
    let holders = |from: u32| -> Vec<ThreadId> {
        let begin = from / group * group;
        let behind = (begin + group).min(threads) - from - 1;
        match behind {
            0 if circles > 0 => vec![id(begin)],
            0 => Vec::new(),
            _ => {
                let others = (1..each).map(|_| from + 1 + random(behind));
                others.chain([from + 1]).map(id).collect()
            }
        }
    };
    let mut holders = holders;
    (0..threads).map(|from| (id(from), holders(from))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_graph_gives_up_its_circles_and_no_others() {
        let whole = waits(THREADS, EDGES, CIRCLES);
        let edges: usize = whole.iter().map(|(_, holders)| holders.len()).sum();
        assert!(edges > 95_000, "{edges}");
        let circles = graph(&whole).cycles();
        assert_eq!(circles.len(), CIRCLES as usize);
        for circle in &circles {
            let waits_for = |a: &ThreadId, b: &ThreadId| {
                let (_, holders) = whole.iter().find(|(waiter, _)| waiter == a).unwrap();
                holders.contains(b)
            };
            let next = circle.iter().cycle().skip(1);
            assert!(circle.iter().zip(next).all(|(a, b)| waits_for(a, b)));
        }
        assert!(graph(&waits(THREADS, EDGES, 0)).cycles().is_empty());
    }
}
