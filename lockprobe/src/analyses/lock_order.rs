//! Locks taken in a circle: deadlocks that are possible, found without one happening.
//!
//! An edge of the graph is an order: a thread held one lock and asked for another. A circle of
//! orders is a possible deadlock, unless
//!
//! - some lock in it is only ever shared (readers of a read-write lock do not wait for readers),
//! - one and the same thread did all of it (it does not wait for itself),
//! - one further lock was held all around (it keeps the threads apart).

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use petgraph::algo::tarjan_scc;
use petgraph::graphmap::DiGraphMap;

use crate::model::{Inversion, LockId, LockOrder};

/// Most orders kept.
const ORDERS_AT_MOST: usize = 65_536;
/// Most circles reported.
const FINDINGS_AT_MOST: usize = 100;
/// Longest circle told: a longer one says nothing to anyone.
const LONGEST: usize = 16;
/// Most steps taken in search of circles.
const STEPS_AT_MOST: usize = 20_000_000;

/// Collects orders.
#[derive(Default)]
pub struct LockOrders {
    orders: Vec<Arc<LockOrder>>,
    left_out: u64,
}

impl LockOrders {
    /// Adds an order.
    pub fn add(&mut self, order: LockOrder) {
        if self.orders.len() >= ORDERS_AT_MOST {
            self.left_out += 1;
        } else if order.from.id != order.to.id {
            self.orders.push(Arc::new(order));
        }
    }

    /// Orders there was no room for.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// The circles, shortest first, each once.
    pub fn inversions(&self, now: u64) -> Vec<Inversion> {
        let edges = self.in_circles();
        let mut by_from: HashMap<LockId, Vec<usize>> = HashMap::new();
        for (at, edge) in edges.iter().enumerate() {
            by_from.entry(edge.from.id).or_default().push(at);
        }
        let mut seen: BTreeSet<Vec<LockId>> = BTreeSet::new();
        let mut circles = Vec::new();
        let mut steps = STEPS_AT_MOST;
        for start in 0..edges.len() {
            let Some(circle) = circle_from(start, &edges, &by_from, &mut steps) else { continue };
            let orders: Vec<Arc<LockOrder>> =
                circle.into_iter().map(|at| edges[at].clone()).collect();
            let mut key: Vec<LockId> = orders.iter().map(|order| order.from.id).collect();
            key.sort_unstable();
            if is_dangerous(&orders) && seen.insert(key) {
                circles.push(orders);
            }
        }
        circles.sort_by_key(Vec::len);
        circles.truncate(FINDINGS_AT_MOST);
        circles.into_iter().map(|orders| Inversion { found: now, orders }).collect()
    }

    /// The orders whose two locks lie on one circle.
    fn in_circles(&self) -> Vec<Arc<LockOrder>> {
        let mut graph: DiGraphMap<LockId, ()> = DiGraphMap::new();
        for order in &self.orders {
            graph.add_edge(order.from.id, order.to.id, ());
        }
        let mut component = HashMap::new();
        for (number, locks) in tarjan_scc(&graph).into_iter().enumerate() {
            component.extend(locks.into_iter().map(|lock| (lock, number)));
        }
        let together =
            |order: &&Arc<LockOrder>| component.get(&order.from.id) == component.get(&order.to.id);
        self.orders.iter().filter(together).cloned().collect()
    }
}

/// Whether holding a lock as the second order does keeps out who asks for it as the first does.
fn conflict(asks: &LockOrder, holds: &LockOrder) -> bool {
    !(asks.to_shared && holds.from_shared)
}

/// The shortest circle that begins with an order.
fn circle_from(
    start: usize,
    edges: &[Arc<LockOrder>],
    by_from: &HashMap<LockId, Vec<usize>>,
    steps: &mut usize,
) -> Option<Vec<usize>> {
    let mut came_from: HashMap<usize, usize> = HashMap::new();
    let mut queue = VecDeque::from([(start, 1)]);
    while let Some((at, length)) = queue.pop_front() {
        let edge = &edges[at];
        if edge.to.id == edges[start].from.id && conflict(edge, &edges[start]) {
            let mut circle = vec![at];
            while let Some(&before) = circle.last().filter(|&&at| at != start) {
                circle.push(*came_from.get(&before)?);
            }
            circle.reverse();
            return Some(circle);
        }
        if length == LONGEST {
            continue;
        }
        for &next in by_from.get(&edge.to.id).into_iter().flatten() {
            *steps = steps.checked_sub(1)?;
            if next != start && !came_from.contains_key(&next) && conflict(edge, &edges[next]) {
                came_from.insert(next, at);
                queue.push_back((next, length + 1));
            }
        }
    }
    None
}

fn is_dangerous(orders: &[Arc<LockOrder>]) -> bool {
    let Some(first) = orders.first() else { return false };
    let alone = orders.iter().all(|order| !order.several && order.thread == first.thread);
    let guarded = first.guard.is_some_and(|guard| {
        let outside = orders.iter().all(|order| order.from.id != guard);
        outside && orders.iter().all(|order| order.guard == Some(guard))
    });
    !alone && !guarded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{LockDescription, LockKind, ThreadId};

    fn lock(address: u64) -> Arc<LockDescription> {
        Arc::new(LockDescription {
            id: LockId::Private { pid: 1, image: 0, address },
            kind: LockKind::PthreadMutex,
            name: format!("lock {address}").into(),
            confirmed: true,
            call_site: None,
            address: None,
        })
    }

    fn order(from: u64, to: u64, tid: u32) -> LockOrder {
        LockOrder {
            pid: 1,
            from: lock(from),
            from_shared: false,
            to: lock(to),
            to_shared: false,
            count: 1,
            from_site: None,
            to_site: None,
            guard: None,
            thread: ThreadId { pid: 1, tid },
            several: false,
        }
    }

    /// Addresses of the locks around each circle found.
    fn circles(orders: impl IntoIterator<Item = LockOrder>) -> Vec<Vec<u64>> {
        let mut all = LockOrders::default();
        orders.into_iter().for_each(|order| all.add(order));
        let address = |order: &Arc<LockOrder>| match order.from.id {
            LockId::Private { address, .. } => address,
            _ => 0,
        };
        let circle = |inversion: Inversion| inversion.orders.iter().map(address).collect();
        all.inversions(5).into_iter().map(circle).collect()
    }

    #[test]
    fn two_threads_that_take_two_locks_in_opposite_orders() {
        assert_eq!(circles([order(1, 2, 10), order(2, 1, 11)]), [[1, 2]]);
    }

    #[test]
    fn one_order_is_no_inversion_however_many_threads() {
        let consistent =
            (10..20).flat_map(|tid| [order(1, 2, tid), order(2, 3, tid), order(1, 3, tid)]);
        assert_eq!(circles(consistent), Vec::<Vec<u64>>::new());
    }

    #[test]
    fn a_ring_of_three_is_told_once_and_in_order() {
        assert_eq!(circles([order(1, 2, 10), order(2, 3, 11), order(3, 1, 12)]), [[1, 2, 3]]);
    }

    #[test]
    fn one_thread_alone_does_not_wait_for_itself() {
        assert!(circles([order(1, 2, 10), order(2, 1, 10)]).is_empty());
        let also = LockOrder { several: true, ..order(2, 1, 10) };
        assert_eq!(circles([order(1, 2, 10), also]).len(), 1);
    }

    #[test]
    fn readers_do_not_wait_for_readers() {
        let read = |from, to, tid| LockOrder {
            to_shared: true,
            from_shared: true,
            ..order(from, to, tid)
        };
        assert!(circles([read(1, 2, 10), read(2, 1, 11)]).is_empty());
        // The second asks for lock 1 to write: it waits for the first, which reads it.
        let writes = LockOrder { to_shared: false, ..read(2, 1, 11) };
        assert_eq!(circles([read(1, 2, 10), writes.clone()]).len(), 0, "lock 2 is only read");
        let both = LockOrder { from_shared: false, ..writes };
        assert_eq!(circles([read(1, 2, 10), both]).len(), 1);
    }

    #[test]
    fn a_lock_around_both_keeps_them_apart() {
        let guard = Some(LockId::Private { pid: 1, image: 0, address: 9 });
        let guarded = |from, to, tid| LockOrder { guard, ..order(from, to, tid) };
        assert!(circles([guarded(1, 2, 10), guarded(2, 1, 11)]).is_empty());
        assert_eq!(circles([guarded(1, 2, 10), order(2, 1, 11)]).len(), 1);
    }

    #[test]
    fn separate_circles_are_all_found_and_the_shortest_comes_first() {
        let mut all = vec![order(1, 2, 1), order(2, 3, 2), order(3, 1, 3)];
        all.extend([order(7, 8, 1), order(8, 7, 2), order(3, 7, 5)]);
        assert_eq!(circles(all), [vec![7, 8], vec![1, 2, 3]]);
    }

    #[test]
    fn a_thousand_locks_in_every_order_end_soon() {
        let mut random = 1u64;
        let mut next = || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            random >> 33
        };
        let all = (0..20_000).map(|_| order(next() % 1000, next() % 1000, next() as u32 % 8));
        assert_eq!(circles(all).len(), FINDINGS_AT_MOST);
    }
}
