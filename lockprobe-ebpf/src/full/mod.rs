//! Full mode: what each thread holds, and what that adds up to for each lock.
//!
//! Everything happens in maps; the ring is told once of each lock and each order of two. A thread's
//! entry is touched only by itself, in its probes and when the scheduler runs it again.
//!
//! In: calls of lock functions, ends of threads, sleepers that run again. Out: map entries.
//! Never: a record an acquisition.

mod held;
mod order;
mod stats;

use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::helpers::generated::{bpf_get_current_pid_tgid, bpf_probe_read_user};
use lockprobe_ebpf::wire::{FullCounter, HELD, Held, Holding, Thread, act, held_flag};

use crate::emit;
use crate::maps::{FULL, FULL_COUNTERS, FULL_NO_HOLDING, FULL_RUNNING, FULL_THREADS};
use crate::tally::add;
use crate::task::Task;
use held::{find, index_of, slot, take_out};
use order::note_orders;
use stats::{ended, stats, unseen};

/// Size of the largest lock object: a read-write lock of glibc.
const LARGEST: u64 = 56;
/// Where glibc keeps the owner of a mutex, and the writer of a read-write lock.
const MUTEX_OWNER: u64 = 8;
const RWLOCK_WRITER: u64 = 24;
/// Where glibc keeps the kind of a mutex; its low two bits: 1 recursive, 2 error-checking.
const MUTEX_KIND: u64 = 16;

const MAY_FAIL: u32 = act::MAY_FAIL as u32;
const SHARED: u32 = act::SHARED as u32;
const RWLOCK: u32 = act::RWLOCK as u32;
const OWNED: u32 = act::OWNED as u32;

/// A call of the thread running here.
#[derive(Clone, Copy)]
pub struct Call {
    /// Process.
    pub tgid: u32,
    /// Thread.
    pub tid: u32,
    /// Address of the lock object.
    pub lock: u64,
    /// Bits of [`act`].
    pub flags: u32,
    /// Where to find the return address.
    pub frame: u64,
}

impl Call {
    /// Of the thread running here.
    #[inline(always)]
    pub fn new(lock: u64, flags: u32, frame: u64) -> Self {
        // SAFETY: no arguments.
        let ids = unsafe { bpf_get_current_pid_tgid() };
        Self { tgid: (ids >> 32) as u32, tid: ids as u32, lock, flags, frame }
    }
}

/// Whether anything is to be counted now.
#[inline(always)]
fn is_running() -> bool {
    // SAFETY: a value of the map, alive for this run of the program.
    FULL_RUNNING.get_ptr(0).is_some_and(|running| unsafe { *running } != 0)
}

/// A thread asks for a lock.
#[inline(always)]
pub fn acquire(call: Call) {
    if !is_running() {
        return;
    }
    let now = emit::now();
    let Some(h) = holding(call) else { return count(FullCounter::ThreadTableFull) };
    // SAFETY: a value of the map, of the thread running here.
    let h = unsafe { &mut *h };
    h.away = 0;
    settle(h, call.tgid);
    let site = read::<u64>(call.frame);
    let depth = h.depth;
    if depth != 0 {
        if let Some(held) = find(h, call.lock) {
            // SAFETY: a member of the value.
            return again(unsafe { &mut *held }, call);
        }
        if call.flags & act::BLOCKS as u32 != 0 {
            note_orders(h, call, site);
        }
    }
    if depth as usize >= HELD {
        return count(FullCounter::TooDeep);
    }
    let mut flags = call.flags;
    if flags & MAY_FAIL != 0 && looks_taken(call.lock, flags) {
        flags |= held_flag::LOOKED_TAKEN;
    }
    // SAFETY: a member of the value.
    let held = unsafe { &mut *slot(h, depth) };
    *held = Held { lock: call.lock, since_ns: now, site, count: 1, flags, again: 0 };
    h.depth = depth + 1;
}

/// A thread lets a lock go.
#[inline(always)]
pub fn release(call: Call) {
    if !is_running() {
        return;
    }
    let now = emit::now();
    let Some(h) = holding(call) else { return count(FullCounter::ThreadTableFull) };
    // SAFETY: a value of the map, of the thread running here.
    let h = unsafe { &mut *h };
    h.away = 0;
    let depth = h.depth;
    if depth == 0 {
        return unseen(call);
    }
    // SAFETY: a member of the value.
    let top = unsafe { &*slot(h, depth - 1) };
    let mut at = depth - 1;
    if top.lock != call.lock {
        settle(h, call.tgid);
        let Some(found) = index_of(h, call.lock) else { return unseen(call) };
        at = found;
    }
    // SAFETY: a member of the value.
    let held = unsafe { &mut *slot(h, at) };
    if held.count > 1 {
        held.count -= 1;
        return;
    }
    ended(call.tgid, held, now);
    if call.flags & act::RETURN_UNSEEN as u32 != 0 {
        // The next thing this thread is seen to do, it does with the mutex taken back.
        held.flags = (held.flags & !held_flag::CONTENDED) | held_flag::START_UNKNOWN;
        held.again = 0;
        h.away = at + 1;
        return;
    }
    take_out(h, at);
}

/// A thread that slept on a futex runs again: if that was for the lock it asked for last, it has
/// it from now on.
#[inline(always)]
pub fn ran(tid: u32, futex: u64, now: u64) {
    if FULL.load() == 0 {
        return;
    }
    let Some(h) = FULL_THREADS.get_ptr_mut(tid) else { return };
    // SAFETY: a value of the map, of a thread that is not running.
    let h = unsafe { &mut *h };
    if h.depth == 0 {
        return;
    }
    // SAFETY: a member of the value.
    let top = unsafe { &mut *slot(h, h.depth - 1) };
    if futex.wrapping_sub(top.lock) < LARGEST {
        top.since_ns = now;
        top.flags |= held_flag::CONTENDED;
    }
}

/// A thread ends: what it holds still has been acquired.
#[inline(always)]
pub fn exited(tid: u32) {
    let Some(h) = FULL_THREADS.get_ptr_mut(tid) else { return };
    // SAFETY: a value of the map, of the thread running here.
    let h = unsafe { &mut *h };
    let mut i = 0;
    while i < HELD as u32 && i < h.depth {
        // SAFETY: a member of the value.
        let held = unsafe { &*slot(h, i) };
        let flags = held.flags;
        let away = h.away == i + 1;
        let failed = flags & MAY_FAIL != 0 && flags & held_flag::LOOKED_TAKEN != 0;
        if flags & held_flag::UNCERTAIN == 0
            && !away
            && let Some(stats) = stats(h.tgid, held.lock, held.site, flags)
        {
            // SAFETY: members of a value of the map.
            unsafe {
                if failed {
                    add(&raw mut (*stats).refused, 1);
                } else {
                    add(&raw mut (*stats).acquisitions, 1 + held.again);
                }
            }
        }
        i += 1;
    }
    let _ = FULL_THREADS.remove(tid);
}

/// The entry of the thread running here, made when there is none.
#[inline(always)]
fn holding(call: Call) -> Option<*mut Holding> {
    match FULL_THREADS.get_ptr_mut(call.tid) {
        Some(h) => Some(h),
        None => first_holding(call),
    }
}

#[inline(never)]
fn first_holding(call: Call) -> Option<*mut Holding> {
    let nothing = FULL_NO_HOLDING.get_ptr(0)?;
    // SAFETY: a value of the map, never written.
    FULL_THREADS.insert(call.tid, unsafe { &*nothing }, BPF_NOEXIST as u64).ok()?;
    let h = FULL_THREADS.get_ptr_mut(call.tid)?;
    let mut thread = Thread::default();
    Task::current().describe(&mut thread);
    // SAFETY: a value of the map, of the thread running here.
    unsafe {
        (*h).tgid = call.tgid;
        (*h).ns_tid = thread.ns_tid;
    }
    Some(h)
}

/// What became of the last call, if it may have failed: a thread is the only one that writes its
/// own id into a lock, so that between two of its calls the lock says whether it has it.
#[inline(always)]
fn settle(h: &mut Holding, tgid: u32) {
    if h.depth == 0 {
        return;
    }
    let own = h.ns_tid;
    // SAFETY: a member of the value.
    let top = unsafe { &mut *slot(h, h.depth - 1) };
    let flags = top.flags;
    if flags & MAY_FAIL == 0 {
        return;
    }
    let got = if flags & RWLOCK != 0 && flags & SHARED == 0 {
        read::<u32>(top.lock + RWLOCK_WRITER) == own
    } else if flags & OWNED != 0 {
        read::<u32>(top.lock + MUTEX_OWNER) == own
    } else if flags & held_flag::CONTENDED != 0 {
        // A reader that waited may have been let in or have run out of time: nothing says which.
        top.flags = (flags & !MAY_FAIL) | held_flag::UNCERTAIN;
        return;
    } else {
        flags & held_flag::LOOKED_TAKEN == 0
    };
    if got {
        top.flags = flags & !MAY_FAIL;
        return;
    }
    h.depth -= 1;
    if let Some(stats) = stats(tgid, top.lock, top.site, flags) {
        // SAFETY: a member of a value of the map.
        add(unsafe { &raw mut (*stats).refused }, 1);
    }
}

/// A thread asks for a lock it has.
#[inline(always)]
fn again(held: &mut Held, call: Call) {
    let granted = if call.flags & RWLOCK != 0 {
        // glibc refuses a writer that holds the lock in either way, and a reader that writes.
        call.flags & held.flags & SHARED != 0
    } else {
        // A normal mutex never comes back to its owner, so that it does not matter here.
        call.flags & OWNED == 0 || read::<u32>(call.lock + MUTEX_KIND) & 3 == 1
    };
    if granted {
        held.count += 1;
        held.again += 1;
        // Should it be a reader about whom nothing was certain: now it is.
        held.flags &= !held_flag::UNCERTAIN;
    } else if let Some(stats) = stats(call.tgid, call.lock, held.site, call.flags) {
        // SAFETY: a member of a value of the map.
        add(unsafe { &raw mut (*stats).refused }, 1);
    }
}

/// Whether a lock could not be had at once at the time of the call.
#[inline(always)]
fn looks_taken(lock: u64, flags: u32) -> bool {
    let word = read::<u32>(lock);
    match (flags & RWLOCK != 0, flags & SHARED != 0) {
        (false, _) => word != 0,
        // __readers of glibc: bit 0 writers' phase, bit 1 a writer has it, from bit 3 on readers.
        (true, true) => word & 3 == 3,
        (true, false) => word & 2 != 0 || word >> 3 != 0,
    }
}

/// Reads the memory of the process running here; zeros where it cannot be read.
#[inline(always)]
fn read<T: Copy + Default>(address: u64) -> T {
    let mut value = T::default();
    let size = size_of::<T>() as u32;
    // SAFETY: the helper checks the user address and writes the size named, zeros if it fails.
    unsafe { bpf_probe_read_user((&raw mut value).cast(), size, address as *const _) };
    value
}

#[inline(always)]
fn count(counter: FullCounter) {
    if let Some(slot) = FULL_COUNTERS.get_ptr_mut(counter as u32) {
        // A probe can be preempted by another: the addition is atomic.
        add(slot, 1);
    }
}
