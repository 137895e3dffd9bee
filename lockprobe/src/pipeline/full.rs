//! Full mode's way through the pipeline: counts and orders in, sums and findings out.

use std::collections::HashMap;
use std::sync::Arc;

use crate::analyses::acquisitions::Acquisitions;
use crate::analyses::lock_order::LockOrders;
use crate::backends::futex::Futex;
use crate::enrich::GivenNames;
use crate::model::{
    AcquiredSeen, AcquisitionSummary, CallSite, Fact, Inversion, LockDescription, LockKind,
    LockOrder, Losses, Observation, OrderSeen, PlaceFact, ProcessFact,
};

/// Most call sites remembered.
const PLACES_AT_MOST: usize = 65_536;

/// What full mode adds up to.
#[derive(Default)]
pub struct Full {
    acquisitions: Acquisitions,
    orders: LockOrders,
    places: HashMap<(u32, u64), Option<CallSite>>,
    losses: Option<Vec<(&'static str, u64)>>,
}

/// What it would help to know of an observation.
pub enum Wanted {
    /// What this lock is called.
    Lock(AcquiredSeen),
    /// What lies at these return addresses of a process.
    Places(u32, Vec<u64>),
}

impl Full {
    /// What it would help to know before [`Full::observe`] sees this.
    pub fn wants(&self, observation: &Observation, futex: &Futex) -> Option<Wanted> {
        match observation {
            Observation::Acquired(seen) | Observation::Acquisitions { seen, .. }
                if !futex.names(seen.thread.pid, seen.address) =>
            {
                Some(Wanted::Lock(seen.clone()))
            }
            Observation::FirstOrder(order) => {
                let unknown = |ip: &u64| *ip != 0 && !self.places.contains_key(&(order.pid, *ip));
                let sites = [order.from_site, order.to_site].into_iter().filter(unknown);
                Some(Wanted::Places(order.pid, sites.collect()))
            }
            _ => None,
        }
    }

    /// Takes one observation.
    pub fn observe(&mut self, observation: &Observation, futex: &Futex, names: &mut GivenNames) {
        match observation {
            Observation::Acquisitions { seen, counts } => {
                let pid = seen.thread.pid;
                let lock = futex.lock_of_kind(pid, seen.address, seen.kind);
                let lock = names.apply(&lock);
                self.acquisitions.add(lock, pid, counts);
            }
            Observation::Order(order) => {
                // The function called is not known any more: what is known of the lock decides.
                let order = self.named(order, &mut |address| {
                    names.apply(&futex.lock_of_kind(order.pid, address, LockKind::PthreadMutex))
                });
                self.orders.add(order);
            }
            Observation::Fact(Fact::Place(place)) => self.learn(place),
            Observation::FullLosses(losses) => self.losses = Some(losses.clone()),
            _ => {}
        }
    }

    fn learn(&mut self, place: &PlaceFact) {
        if self.places.len() >= PLACES_AT_MOST {
            self.places.clear();
        }
        self.places.insert((place.pid, place.ip), place.call_site.clone());
    }

    fn named(
        &self,
        order: &OrderSeen,
        lock: &mut dyn FnMut(u64) -> Arc<LockDescription>,
    ) -> LockOrder {
        let place = |ip| self.places.get(&(order.pid, ip)).cloned().flatten();
        LockOrder {
            pid: order.pid,
            from: lock(order.from),
            from_shared: order.from_shared,
            to: lock(order.to),
            to_shared: order.to_shared,
            count: order.count,
            from_site: place(order.from_site),
            to_site: place(order.to_site),
            guard: (order.guard != 0).then(|| lock(order.guard).id),
            thread: crate::model::ThreadId { pid: order.pid, tid: order.tid },
            several: order.several,
        }
    }

    /// The circles in the order of locks, once, at the end.
    pub fn inversions(&self, now: u64) -> Vec<Inversion> {
        self.orders.inversions(now)
    }

    /// The sums; nothing when full mode was off.
    pub fn summary(
        &self,
        processes: &HashMap<u32, Arc<ProcessFact>>,
    ) -> Option<Vec<AcquisitionSummary>> {
        self.losses.as_ref()?;
        let service = |pid| processes.get(&pid).map(|p| p.service.clone()).unwrap_or_default();
        let all = self.acquisitions.all().into_iter().map(|a| AcquisitionSummary {
            lock: a.lock.clone(),
            pid: a.pid,
            service: service(a.pid),
            counts: a.counts.clone(),
        });
        Some(all.collect())
    }

    /// Adds what is missing.
    pub fn losses(&self, losses: &mut Losses) {
        let Some(own) = &self.losses else { return };
        losses.dropped.extend(own.iter().map(|&(cause, count)| ("kernel", cause, count)));
        losses.dropped.push(("analyses", "orders_left_out", self.orders.left_out()));
        losses.dropped.push(("analyses", "acquisitions_elsewhere", self.acquisitions.elsewhere()));
    }
}
