//! The tables of full mode, read when an observation or a process ends.

use std::collections::{BTreeMap, HashSet};

use aya::Ebpf;
use aya::maps::{Array, HashMap, Map, MapData, PerCpuArray};
use lockprobe_ebpf::wire::{
    FullCounter, FullLockRecord, FullStats, HELD, Header, Held, Holding, LockKey, Order, OrderKey,
    Thread, act, held_flag, kind,
};
use zerocopy::{FromZeros, IntoBytes};

use crate::source::live::tables::Wire;
use crate::source::{Batch, Error};

/// Counts by process and address.
type Locks = BTreeMap<(u32, u64), FullStats>;

/// Counts, and what is held.
pub struct FullTables {
    threads: HashMap<MapData, u32, Wire<Holding>>,
    locks: HashMap<MapData, Wire<LockKey>, Wire<FullStats>>,
    orders: HashMap<MapData, Wire<OrderKey>, Wire<Order>>,
    counters: PerCpuArray<MapData, u64>,
    running: Array<MapData, u64>,
    /// Locks told of: process and address.
    told: HashSet<(u32, u64)>,
}

/// Most locks remembered as told of.
const TOLD_AT_MOST: usize = 65_536;

fn taken(ebpf: &mut Ebpf, name: &str) -> Result<Map, Error> {
    ebpf.take_map(name).ok_or_else(|| {
        Error::Failed(format!("the eBPF object has no map {name}; rebuild lockprobe"))
    })
}

fn wrong(error: aya::maps::MapError) -> Error {
    Error::Failed(format!("the eBPF maps of full mode cannot be used: {error}"))
}

impl FullTables {
    /// Takes the maps out of a loaded object.
    pub fn take(ebpf: &mut Ebpf) -> Result<Self, Error> {
        Ok(Self {
            threads: taken(ebpf, "FULL_THREADS")?.try_into().map_err(wrong)?,
            locks: taken(ebpf, "FULL_LOCKS")?.try_into().map_err(wrong)?,
            orders: taken(ebpf, "FULL_ORDERS")?.try_into().map_err(wrong)?,
            counters: taken(ebpf, "FULL_COUNTERS")?.try_into().map_err(wrong)?,
            running: taken(ebpf, "FULL_RUNNING")?.try_into().map_err(wrong)?,
            told: HashSet::new(),
        })
    }

    /// Begins or ends to count, everywhere at once.
    pub fn run(&mut self, counts: bool) -> Result<(), Error> {
        self.running.set(0, u64::from(counts), 0).map_err(wrong)
    }

    /// Tells of locks that are held, once: the ring tells of a lock when it is let go for the first
    /// time, and to name it its process must be there.
    pub fn look(&mut self, now: u64, batch: &mut Batch) {
        for (tid, holding) in self.threads.iter().flatten() {
            let holding = holding.0;
            let depth = (holding.depth as usize).min(HELD);
            for held in &holding.held[..depth] {
                if self.told.len() >= TOLD_AT_MOST {
                    self.told.clear();
                }
                if !self.told.insert((holding.tgid, held.lock)) {
                    continue;
                }
                let thread =
                    Thread { tgid: holding.tgid, tid, ns_tid: holding.ns_tid, ..Thread::default() };
                let len = size_of::<FullLockRecord>() as u32;
                let header = Header { kind: kind::FULL_HELD, len, time_ns: now };
                let flags = u64::from(held.flags) & 0xff;
                let (lock, site) = (held.lock, held.site);
                batch.push(FullLockRecord { header, thread, lock, site, flags }.as_bytes());
            }
        }
    }

    /// Moves what is known of some processes into the batch. Nothing may change it meanwhile.
    pub fn harvest(&mut self, now: u64, batch: &mut Batch, wanted: impl Fn(u32) -> bool) {
        let mut locks = self.take_locks(|key, _| wanted(key.tgid));
        let threads = self.threads.iter().flatten().filter(|(_, h)| wanted(h.0.tgid));
        for (tid, holding) in threads.collect::<Vec<_>>() {
            add_held(&holding.0, &mut locks);
            let _ = self.threads.remove(&tid);
        }
        push(now, batch, locks);
        self.take_orders(now, batch, wanted);
    }

    /// The same for the program that a process ran before this time. Its threads have taken what
    /// they held with them.
    pub fn harvest_before(&mut self, exec: u64, batch: &mut Batch, pid: u32) {
        let locks = self.take_locks(|key, stats| key.tgid == pid && stats.opened_ns < exec);
        push(exec, batch, locks);
        self.take_orders(exec, batch, |tgid| tgid == pid);
    }

    fn take_locks(&mut self, wanted: impl Fn(&LockKey, &FullStats) -> bool) -> Locks {
        let mut locks = Locks::new();
        for key in self.locks.keys().flatten().collect::<Vec<_>>() {
            let Ok(stats) = self.locks.get(&key, 0) else { continue };
            if wanted(&key.0, &stats.0) {
                locks.insert((key.0.tgid, key.0.lock), stats.0);
                let _ = self.locks.remove(&key);
            }
        }
        locks
    }

    fn take_orders(&mut self, now: u64, batch: &mut Batch, wanted: impl Fn(u32) -> bool) {
        let orders = self.orders.iter().flatten().filter(|(key, _)| wanted(key.0.tgid));
        for (key, order) in orders.collect::<Vec<_>>() {
            batch.push_parts(kind::FULL_ORDERS, now, &[key.0.as_bytes(), order.0.as_bytes()]);
            let _ = self.orders.remove(&key);
        }
    }

    /// Forgets all of one process, and every count by cause: lockprobe has measured itself.
    pub fn forget(&mut self, pid: u32) {
        self.harvest(0, &mut Batch::default(), |tgid| tgid == pid);
    }

    /// All counters, summed over the processors; the agent's own last.
    pub fn counters(&self, unfollowed: u64) -> Vec<u64> {
        let of = |i| self.counters.get(&i, 0).map(|slots| slots.iter().sum()).unwrap_or(0);
        let last = FullCounter::ProcessUnfollowed as u32;
        (0..last).map(of).chain([unfollowed]).collect()
    }
}

fn push(now: u64, batch: &mut Batch, locks: Locks) {
    for ((tgid, lock), stats) in locks {
        let key = LockKey { tgid, reserved: 0, lock };
        batch.push_parts(kind::FULL_STATS, now, &[key.as_bytes(), stats.as_bytes()]);
    }
}

/// What a thread holds now has been acquired, as far as that is certain.
fn add_held(holding: &Holding, locks: &mut Locks) {
    let depth = (holding.depth as usize).min(HELD);
    for (at, held) in holding.held[..depth].iter().enumerate() {
        let has = |flag: u32| held.flags & flag != 0;
        if has(held_flag::UNCERTAIN) || holding.away as usize == at + 1 {
            continue;
        }
        let stats = locks.entry((holding.tgid, held.lock)).or_insert_with(|| {
            let mut stats = FullStats::new_zeroed();
            (stats.site, stats.flags) = (held.site, u64::from(held.flags) & 0xff);
            stats
        });
        add(held, stats);
    }
}

fn add(held: &Held, stats: &mut FullStats) {
    let has = |flag: u32| held.flags & flag != 0;
    if has(act::MAY_FAIL as u32) && has(held_flag::LOOKED_TAKEN) {
        stats.refused += 1;
        return;
    }
    stats.acquisitions += 1 + held.again;
    stats.contended += u64::from(has(held_flag::CONTENDED));
    if has(act::SHARED as u32) {
        stats.shared += 1 + held.again;
    }
}
