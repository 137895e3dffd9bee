//! Frames of full mode.

use lockprobe_ebpf::wire::{
    FullCounter, FullLockRecord, FullOrderRecord, FullStats, LockKey, Order, OrderKey, act,
};
use zerocopy::FromBytes;

use crate::model::{
    AcquiredSeen, AcquisitionCounts, Histogram, LockKind, Malformed, Observation, OrderSeen,
    ThreadId,
};

/// The first acquisition of a lock.
pub fn lock(frame: &[u8]) -> Result<Observation, Malformed> {
    let record = FullLockRecord::read_from_bytes(frame).map_err(|_| Malformed::Length)?;
    let thread = ThreadId { pid: record.thread.tgid, tid: record.thread.tid };
    let kind = kind_of(record.flags);
    let seen = AcquiredSeen { thread, address: record.lock, site: record.site, kind };
    Ok(Observation::Acquired(seen))
}

/// The first time that one lock was asked for while another was held.
pub fn order(frame: &[u8]) -> Result<Observation, Malformed> {
    let record = FullOrderRecord::read_from_bytes(frame).map_err(|_| Malformed::Length)?;
    let order = Order {
        count: 1,
        from_site: record.from_site,
        to_site: record.to_site,
        guard: 0,
        tid: record.thread.tid,
        several: 0,
    };
    Ok(Observation::FirstOrder(seen(&record.key, &order)))
}

/// The counts of one lock.
pub fn stats(body: &[u8]) -> Result<Observation, Malformed> {
    let (key, rest) = LockKey::read_from_prefix(body).map_err(|_| Malformed::Length)?;
    let s = FullStats::read_from_bytes(rest).map_err(|_| Malformed::Length)?;
    let counts = AcquisitionCounts {
        acquisitions: s.acquisitions,
        contended: s.contended,
        shared: s.shared,
        refused: s.refused,
        unseen: s.unseen,
        holds: s.holds,
        hold_total: s.hold_sum_ns,
        hold_longest: s.hold_max_ns,
        histogram: Histogram::from_counts(s.buckets.iter().map(|&n| u64::from(n))),
    };
    let thread = ThreadId { pid: key.tgid, tid: 0 };
    let kind = kind_of(s.flags);
    let seen = AcquiredSeen { thread, address: key.lock, site: s.site, kind };
    Ok(Observation::Acquisitions { seen, counts })
}

/// The counts of one order.
pub fn orders(body: &[u8]) -> Result<Observation, Malformed> {
    let (key, rest) = OrderKey::read_from_prefix(body).map_err(|_| Malformed::Length)?;
    let order = Order::read_from_bytes(rest).map_err(|_| Malformed::Length)?;
    Ok(Observation::Order(seen(&key, &order)))
}

/// What full mode lost, by cause.
pub fn counters(body: &[u8]) -> Result<Observation, Malformed> {
    if body.len() != 8 * FullCounter::COUNT as usize {
        return Err(Malformed::Length);
    }
    let values = body.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes));
    Ok(Observation::FullLosses(FullCounter::CAUSES.into_iter().zip(values).collect()))
}

fn seen(key: &OrderKey, order: &Order) -> OrderSeen {
    OrderSeen {
        pid: key.tgid,
        from: key.from,
        from_shared: key.shared & 1 != 0,
        to: key.to,
        to_shared: key.shared & 2 != 0,
        count: order.count,
        from_site: order.from_site,
        to_site: order.to_site,
        guard: order.guard,
        tid: order.tid,
        several: order.several != 0,
    }
}

fn kind_of(flags: u64) -> LockKind {
    if flags & act::RWLOCK == 0 { LockKind::PthreadMutex } else { LockKind::PthreadRwLock }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::{FromZeros, IntoBytes};

    #[test]
    fn counts_come_out_as_they_went_in() {
        let key = LockKey { tgid: 7, reserved: 0, lock: 0x1000 };
        let mut s = FullStats::new_zeroed();
        (s.acquisitions, s.contended, s.refused, s.holds, s.hold_sum_ns) = (9, 2, 1, 8, 80);
        (s.hold_max_ns, s.flags, s.site) = (20, act::RWLOCK, 5);
        s.buckets[3] = 8;
        let body = [key.as_bytes(), s.as_bytes()].concat();
        let Ok(Observation::Acquisitions { seen, counts }) = stats(&body) else { panic!() };
        assert_eq!((seen.thread.pid, seen.address, seen.site), (7, 0x1000, 5));
        assert_eq!(seen.kind, LockKind::PthreadRwLock);
        assert_eq!((counts.acquisitions, counts.contended, counts.refused), (9, 2, 1));
        assert_eq!((counts.mean_hold(), counts.histogram.count()), (Some(10), 8));
        for length in 0..body.len() {
            assert_eq!(stats(&body[..length]), Err(Malformed::Length));
        }
    }

    #[test]
    fn an_order_says_who_held_what_how() {
        let key = OrderKey { tgid: 7, shared: 2, from: 1, to: 2 };
        let order = Order { count: 3, tid: 8, several: 1, guard: 4, ..Order::default() };
        let body = [key.as_bytes(), order.as_bytes()].concat();
        let Ok(Observation::Order(seen)) = orders(&body) else { panic!() };
        assert!(!seen.from_shared && seen.to_shared && seen.several);
        assert_eq!((seen.from, seen.to, seen.count, seen.guard, seen.tid), (1, 2, 3, 4, 8));
        assert_eq!(orders(&body[1..]), Err(Malformed::Length));
        assert_eq!(counters(&body), Err(Malformed::Length));
    }
}
