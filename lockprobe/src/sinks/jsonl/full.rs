//! Full mode as JSON objects.

use serde_json::Value;

use super::convert::{Object, call_site, lock, put, seconds};
use crate::model::names::*;
use crate::model::{AcquisitionSummary, Inversion, LockDescription, LockOrder, Session};

/// Value of `lock.finding.type` of locks taken in a circle.
pub const INVERSION: &str = "lock_order_inversion";

/// Locks taken in a circle.
pub fn inversion(o: &mut Object, found: &Inversion, session: &Session) {
    put(o, "record", "finding");
    put(o, LOCK_FINDING_TYPE, INVERSION);
    put(o, "time_unix_nano", session.unix_nanos(found.found));
    put(o, "orders", found.orders.iter().map(|order| one(order)).collect::<Vec<Value>>());
}

fn one(order: &LockOrder) -> Value {
    let mut o = Object::new();
    put(&mut o, PROCESS_PID, order.pid);
    put(&mut o, THREAD_ID, order.thread.tid);
    put(&mut o, "several_threads", order.several);
    put(&mut o, "count", order.count);
    let side = |description: &LockDescription, shared: bool| {
        let mut side = Object::new();
        lock(&mut side, description);
        // Where this order takes the lock, not where the lock was seen first.
        [CODE_FUNCTION_NAME, CODE_FILE_PATH, CODE_LINE_NUMBER].iter().for_each(|key| {
            side.remove(*key);
        });
        put(&mut side, LOCK_MODE, if shared { "shared" } else { "exclusive" });
        side
    };
    let (mut held, mut asked) =
        (side(&order.from, order.from_shared), side(&order.to, order.to_shared));
    for (side, site) in [(&mut held, &order.from_site), (&mut asked, &order.to_site)] {
        if let Some(site) = site {
            call_site(side, site);
        }
    }
    put(&mut o, "held", held);
    put(&mut o, "asked", asked);
    Value::Object(o)
}

/// Acquisitions of one lock.
pub fn acquisitions(row: &AcquisitionSummary) -> Value {
    let mut o = Object::new();
    lock(&mut o, &row.lock);
    put(&mut o, PROCESS_PID, row.pid);
    put(&mut o, SERVICE_NAME, row.service.as_str());
    let counts = &row.counts;
    put(&mut o, "acquisitions", counts.acquisitions);
    put(&mut o, "contended", counts.contended);
    put(&mut o, "contention_rate", counts.contention_rate());
    put(&mut o, "shared", counts.shared);
    put(&mut o, "refused", counts.refused);
    put(&mut o, "acquired_before", counts.unseen);
    put(&mut o, "holds", counts.holds);
    put(&mut o, "hold_total", seconds(counts.hold_total));
    put(&mut o, "hold_mean", counts.mean_hold().map(seconds));
    for (key, share) in [("hold_p50", 0.5), ("hold_p95", 0.95), ("hold_p99", 0.99)] {
        let quantile = counts.histogram.quantile(share, counts.hold_longest);
        put(&mut o, key, quantile.map(seconds));
    }
    put(&mut o, "hold_max", (counts.holds > 0).then(|| seconds(counts.hold_longest)));
    Value::Object(o)
}
