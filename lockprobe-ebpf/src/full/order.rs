//! The order in which locks are taken.

use aya_ebpf::bindings::BPF_NOEXIST;
use lockprobe_ebpf::wire::{
    Counter, FullCounter, FullOrderRecord, HELD, Held, Holding, Order, OrderKey, held_flag, kind,
};

use super::held::slot;
use super::{Call, SHARED, count};
use crate::emit;
use crate::maps::FULL_ORDERS;
use crate::tally::add;
use crate::task::Task;

/// A thread that holds locks asks for another.
#[inline(always)]
pub fn note_orders(h: &mut Holding, call: Call, site: u64) {
    // SAFETY: a member of the value.
    let outermost = unsafe { (*slot(h, 0)).lock };
    let mut i = 0;
    while i < HELD as u32 && i < h.depth {
        // SAFETY: a member of the value.
        let held = unsafe { &*slot(h, i) };
        if held.flags & held_flag::UNCERTAIN == 0 {
            let guard = if i == 0 { 0 } else { outermost };
            note_order(held, call, site, guard);
        }
        i += 1;
    }
}

#[inline(never)]
fn note_order(held: &Held, call: Call, site: u64, guard: u64) {
    let shared = (held.flags & SHARED) | (call.flags & SHARED) << 1;
    let key = OrderKey { tgid: call.tgid, shared, from: held.lock, to: call.lock };
    if let Some(order) = FULL_ORDERS.get_ptr_mut(key) {
        // SAFETY: a value of the map; what two threads may write here at a time are the same
        // constants.
        unsafe {
            add(&raw mut (*order).count, 1);
            if (*order).guard != guard && (*order).guard != 0 {
                (*order).guard = 0;
            }
            if (*order).tid != call.tid && (*order).several == 0 {
                (*order).several = 1;
            }
        }
        return;
    }
    let order =
        Order { count: 1, from_site: held.site, to_site: site, guard, tid: call.tid, several: 0 };
    if FULL_ORDERS.insert(key, order, BPF_NOEXIST as u64).is_err() {
        return count(FullCounter::OrderTableFull);
    }
    let full = Counter::DroppedLockRingFull;
    let entry = emit::reserve::<FullOrderRecord>(kind::FULL_ORDER, emit::now(), full);
    let Some(mut entry) = entry else { return };
    // SAFETY: the slot is a whole `FullOrderRecord`.
    let record = unsafe { &mut *entry.as_mut_ptr() };
    Task::current().describe(&mut record.thread);
    record.key = key;
    record.from_site = held.site;
    record.to_site = site;
    emit::submit_now(entry);
}
