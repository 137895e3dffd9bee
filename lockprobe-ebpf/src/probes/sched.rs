//! The scheduler's own view of waiting: falling asleep, being woken, running again.
//!
//! `sched_switch(bool preempt, struct task_struct *prev, struct task_struct *next,
//! unsigned int prev_state)` and `sched_waking(struct task_struct *p)`. Both run with interrupts
//! off on the processor concerned. A task that never waited for a lock costs a call for
//! its registers and a comparison as it goes to sleep, and a look into an array as it is woken and
//! as it runs again.

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::helpers::generated::bpf_probe_read_user;
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use lockprobe_ebpf::wire::{
    Counter, LockKey, LockRecord, STACK_BYTES, Wait, WaitRecord, kind, reason, state, verdict,
    wait_flag,
};

use crate::emit::{self, count};
use crate::filter;
use crate::maps::*;
use crate::tally;
use crate::task::{LockCall, Registers, Task};

const TASK_INTERRUPTIBLE: u64 = 1;
const FRAME_WORDS: usize = 16;

#[btf_tracepoint(function = "sched_switch")]
fn sched_switch(ctx: BtfTracePointContext) -> u32 {
    let prev = Task::new(ctx.arg::<*const u8>(1));
    let prev_state = if SWITCH_HAS_STATE.load() != 0 {
        // SAFETY: the fourth word of the context, there since Linux 5.18.
        unsafe { *ctx.as_ptr().cast::<u64>().add(3) }
    } else {
        prev.state() as u64
    };
    if prev_state & TASK_INTERRUPTIBLE != 0 {
        on_sleep(prev);
    }
    on_run(Task::new(ctx.arg::<*const u8>(2)));
    0
}

#[btf_tracepoint(function = "sched_waking")]
fn sched_waking(ctx: BtfTracePointContext) -> u32 {
    on_wake(Task::new(ctx.arg::<*const u8>(0)));
    0
}

/// A task leaves the processor to sleep.
#[inline(always)]
fn on_sleep(task: Task) {
    let registers = task.registers();
    let Some(call) = registers.lock_call() else { return };
    let tgid = task.tgid();
    if !filter::is_target(tgid) {
        return;
    }
    let ip = registers.get(&REG_IP);
    let sp = registers.get(&REG_SP);
    let mut flags = call.flags;
    let mut caller_offset = 0;
    match filter::verdict_on(tgid, 0, ip) {
        v if v & 0xff == verdict::IDLE => return count(Counter::SkippedIdle),
        v if v & 0xff == verdict::BY_CALLER => {
            caller_offset = (v >> 8) as u64;
            flags |= wait_flag::CALLER_KNOWN;
        }
        _ => {}
    }
    let caller: u64 = read_user(sp + caller_offset).unwrap_or(0);
    if flags & wait_flag::CALLER_KNOWN != 0
        && filter::verdict_on(tgid, 1, caller) & 0xff == verdict::IDLE
    {
        return count(Counter::SkippedIdle);
    }
    let tid = task.tid();
    let at = Place { tgid, tid, ip, sp, caller, flags, hash: frame_hash(registers, sp) };
    record_sleep(task, registers, call, at);
}

/// Where a thread sleeps.
#[derive(Clone, Copy)]
struct Place {
    tgid: u32,
    tid: u32,
    ip: u64,
    sp: u64,
    caller: u64,
    flags: u32,
    hash: u64,
}

#[inline(always)]
fn record_sleep(task: Task, registers: Registers, call: LockCall, at: Place) {
    let now = emit::now();
    let old = WAITS.get_ptr_mut(at.tid);
    if let Some(wait) = old {
        // SAFETY: a value of the map; only this thread's own sleeping and waking write it, and
        // the scheduler keeps those apart.
        let wait = unsafe { &mut *wait };
        if is_retry(wait, task, call.lock, at) {
            wait.state = state::SLEEPING;
            wait.sleeps += 1;
            wait.sleep_ns = now;
            wait.reason = reason::UNKNOWN;
            read_words(call.lock, wait);
            take_early_wake(wait, now);
            count(Counter::Retries);
            if wait.flags & wait_flag::SENT != 0 {
                send_wait(kind::RESUME, task, wait, now);
            }
            return;
        }
        begin(wait, call, at, now);
        take_early_wake(wait, now);
    } else {
        let Some(wait) = NEW_WAIT.get_ptr_mut(0) else { return };
        // SAFETY: this processor's slot, interrupts off.
        let wait = unsafe { &mut *wait };
        begin(wait, call, at, now);
        filter::enter(at.tid);
        if WAITS.insert(at.tid, *&*wait, BPF_NOEXIST as u64).is_err() {
            filter::leave(at.tid);
            return count(Counter::DroppedWaitTableFull);
        }
    }
    let key = LockKey { tgid: at.tgid, reserved: 0, lock: call.lock };
    if LOCKS.get_ptr(key).is_none() {
        announce_lock(task, registers, call, at, key, now);
    }
}

/// Whether a sleep goes on with the attempt of the sleep before.
///
/// A loop that tries again leaves every preserved register and its stack as they were, spends
/// next to no processor time, and has not been seen letting the lock go. A signal handler may
/// have run in between, so after one the time does not count.
#[inline(always)]
fn is_retry(wait: &Wait, task: Task, lock: u64, at: Place) -> bool {
    wait.state == state::RUNNING
        && wait.lock == lock
        && wait.ip == at.ip
        && wait.sp == at.sp
        && wait.frame_hash == at.hash
        && (wait.reason == reason::SIGNAL
            || task.cpu_ns().wrapping_sub(wait.run_cpu_ns) < RETRY_CPU_NS.load())
}

#[inline(always)]
fn begin(wait: &mut Wait, call: LockCall, at: Place, now: u64) {
    wait.state = state::SLEEPING;
    wait.flags = at.flags;
    wait.call = call.call;
    wait.sleeps = 1;
    wait.lock = call.lock;
    wait.ip = at.ip;
    wait.caller = at.caller;
    wait.sp = at.sp;
    wait.start_ns = now;
    wait.sleep_ns = now;
    wait.woken_ns = 0;
    wait.run_ns = 0;
    wait.holder_since_ns = 0;
    wait.release_before_ns = 0;
    wait.frame_hash = at.hash;
    wait.value = call.value;
    wait.reason = reason::UNKNOWN;
    wait.bucket = 0;
    wait.counted_ns = 0;
    wait.waker_call = 0;
    read_words(call.lock, wait);
    wait.first_owner = wait.words[2];
}

/// Copies the lock's own memory: for a glibc mutex it says who holds it.
#[inline(always)]
fn read_words(lock: u64, wait: &mut Wait) {
    // SAFETY: the helper checks the user address and writes the size named.
    let failed =
        unsafe { bpf_probe_read_user((&raw mut wait.words).cast(), 24, lock as *const _) != 0 };
    if failed {
        wait.words = [0; 6];
        wait.flags &= !wait_flag::WORDS;
    } else {
        wait.flags |= wait_flag::WORDS;
    }
}

#[inline(always)]
fn read_user(address: u64) -> Option<u64> {
    let mut value = 0u64;
    // SAFETY: the helper checks the user address and writes eight bytes.
    let failed = unsafe { bpf_probe_read_user((&raw mut value).cast(), 8, address as *const _) };
    (failed == 0).then_some(value)
}

/// Mixes what a retry cannot change.
#[inline(always)]
fn frame_hash(registers: Registers, sp: u64) -> u64 {
    let mut words = [0u64; FRAME_WORDS];
    // SAFETY: as above, 128 bytes.
    unsafe { bpf_probe_read_user((&raw mut words).cast(), 8 * FRAME_WORDS as u32, sp as *const _) };
    let base = REG_SAVED.load() as usize;
    let mut hash = 0x9e37_79b9_7f4a_7c15u64;
    let mut i = 0;
    while i < 6 {
        hash = (hash ^ registers.at(base + 8 * i)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        i += 1;
    }
    let mut i = 0;
    while i < FRAME_WORDS {
        hash = (hash.rotate_left(5) ^ words[i]).wrapping_mul(0xff51_afd7_ed55_8ccd);
        i += 1;
    }
    hash
}

/// A sleeping task is about to be woken, by the task running here or by an interrupt.
#[inline(always)]
fn on_wake(task: Task) {
    if !filter::may_have_waited(task.tid()) {
        return;
    }
    let Some(call) = task.registers().lock_call() else { return };
    let Some(wait) = WAITS.get_ptr_mut(task.tid()) else { return };
    // SAFETY: a value of the map; wakers are serialised by the sleeper's scheduler lock.
    let wait = unsafe { &mut *wait };
    let asleep = wait.state == state::SLEEPING;
    // A sleeper on its way off the processor is noted only when it leaves it. One that is not
    // blocked yet will not sleep at all: it finds itself woken.
    if !asleep && !task.is_blocked() {
        return;
    }
    let now = emit::now();
    let waker = Task::current();
    let registers = waker.registers();
    let nr = registers.get(&REG_NR);
    wait.waker_call = nr as u32;
    let reason = reason_of(nr, registers, call, waker, task);
    let mut before = 0;
    if reason == reason::RELEASE {
        waker.describe(&mut wait.waker);
        before = tally::note_release(task.tgid(), call.lock, now);
    }
    if asleep {
        wait.state = state::WOKEN;
        wait.woken_ns = now;
        wait.reason = reason;
        wait.holder_since_ns = 0;
        wait.release_before_ns = before;
        wait.flags &= !wait_flag::HOLD_EXACT;
    } else {
        wait.early_ns = now;
        wait.early_lock = call.lock;
        wait.early_reason = reason;
        wait.early_release_before_ns = before;
    }
    if reason == reason::RELEASE {
        close_hold(wait, call.lock, asleep);
    }
}

/// A sleep whose wake-up came while the sleeper was still leaving the processor.
#[inline(always)]
fn take_early_wake(wait: &mut Wait, now: u64) {
    if wait.early_ns != 0 && wait.early_lock == wait.lock {
        wait.state = state::WOKEN;
        wait.woken_ns = now;
        wait.reason = wait.early_reason;
        wait.release_before_ns = wait.early_release_before_ns;
    }
    wait.early_ns = 0;
}

#[inline(always)]
fn reason_of(nr: u64, registers: Registers, call: LockCall, waker: Task, task: Task) -> u32 {
    if nr == NR_FUTEX.load() {
        let op = registers.get(&REG_ARG1) & 0x7f;
        // WAKE, REQUEUE, CMP_REQUEUE, WAKE_OP, UNLOCK_PI, WAKE_BITSET, CMP_REQUEUE_PI
        let wakes = matches!(op, 1 | 3 | 4 | 5 | 7 | 10 | 12);
        // The processor may be in an interrupt that came in the middle of another futex call, so
        // the address must agree; shared futexes may be mapped elsewhere in the waker.
        let shared = call.flags & wait_flag::PRIVATE == 0;
        let same = waker.tgid() == task.tgid() && registers.get(&REG_ARG0) == call.lock;
        return if wakes && (same || shared) { reason::RELEASE } else { reason::OTHER };
    }
    if nr == NR_FUTEX_WAKE.load() || nr == NR_FUTEX_REQUEUE.load() {
        return reason::RELEASE;
    }
    if nr == NR_EXIT.load() || nr == NR_EXIT_GROUP.load() {
        return reason::EXIT;
    }
    let signals = nr == NR_KILL.load()
        || nr == NR_TKILL.load()
        || nr == NR_TGKILL.load()
        || nr == NR_SIGQUEUE.load()
        || nr == NR_TGSIGQUEUE.load()
        || nr == NR_PIDFD_SIGNAL.load();
    if signals { reason::SIGNAL } else { reason::OTHER }
}

/// The waker lets the lock go: its own attempt is over, and where the sleeper slept through all
/// of the hold, the hold is known from end to end.
///
/// Had the waker let go in between, that would have woken a sleeper, and its attempt would have
/// been marked over then, or the lock's latest release been put after it where the waker was not
/// seen. A hold that began before this thread slept is no such proof.
#[inline(always)]
fn close_hold(wait: &mut Wait, lock: u64, slept: bool) {
    let Some(own) = WAITS.get_ptr_mut(wait.waker.tid) else { return };
    // SAFETY: a value of the map; the waker is the task running here.
    let own = unsafe { &mut *own };
    if own.state != state::RUNNING || own.lock != lock {
        return;
    }
    own.state = state::OVER;
    if !slept {
        return;
    }
    wait.holder_since_ns = own.run_ns;
    if wait.sleep_ns <= own.run_ns && wait.release_before_ns <= own.run_ns {
        wait.flags |= wait_flag::HOLD_EXACT;
    }
}

/// A task is about to run.
#[inline(always)]
fn on_run(task: Task) {
    if !filter::may_have_waited(task.tid()) || task.registers().lock_call().is_none() {
        return;
    }
    let Some(wait) = WAITS.get_ptr_mut(task.tid()) else { return };
    // SAFETY: a value of the map; the task is not running anywhere else.
    let wait = unsafe { &mut *wait };
    let now = emit::now();
    if wait.state == state::SLEEPING {
        // The wake-up came between leaving the processor and our noting it.
        wait.woken_ns = now;
        wait.reason = reason::UNKNOWN;
        // Somebody may have let the lock go: nobody's hold is known to reach further back.
        tally::note_release(task.tgid(), wait.lock, now);
        count(Counter::WakerUnseen);
    } else if wait.state != state::WOKEN {
        return;
    }
    wait.state = state::RUNNING;
    wait.run_ns = now;
    wait.run_cpu_ns = task.cpu_ns();
    let elapsed = now.wrapping_sub(wait.start_ns);
    tally::count_attempt(task.tgid(), wait, elapsed);
    if elapsed < MIN_WAIT_NS.load() {
        return count(Counter::SkippedShort);
    }
    send_wait(kind::WAIT, task, wait, now);
}

#[inline(always)]
fn send_wait(kind: u32, task: Task, wait: &mut Wait, now: u64) {
    let Some(mut entry) = emit::reserve::<WaitRecord>(kind, now, Counter::DroppedWaitRingFull)
    else {
        return;
    };
    wait.flags |= wait_flag::SENT;
    // SAFETY: the slot is a whole `WaitRecord`.
    let record = unsafe { &mut *entry.as_mut_ptr() };
    task.describe(&mut record.thread);
    record.wait = *wait;
    emit::submit(entry);
}

/// The first contention of a lock: what is needed to tell what it is and what it is called.
#[inline(always)]
fn announce_lock(
    task: Task,
    registers: Registers,
    call: LockCall,
    at: Place,
    key: LockKey,
    now: u64,
) {
    tally::open(key, at.ip, at.caller);
    let full = Counter::DroppedLockRingFull;
    let Some(mut entry) = emit::reserve::<LockRecord>(kind::LOCK, now, full) else { return };
    // SAFETY: the slot is a whole `LockRecord`.
    let record = unsafe { &mut *entry.as_mut_ptr() };
    task.describe(&mut record.thread);
    record.lock = call.lock;
    record.ip = at.ip;
    record.sp = at.sp;
    record.bp = registers.get(&REG_BP);
    record.caller = at.caller;
    record.call = call.call;
    record.flags = at.flags;
    record.value = call.value;
    // SAFETY: the helper checks the user address and writes within the slot.
    unsafe {
        let words = (&raw mut record.words).cast();
        if bpf_probe_read_user(words, 24, call.lock as *const _) == 0 {
            record.flags |= wait_flag::WORDS;
        }
        let stack = (&raw mut record.stack).cast();
        // Near the end of the stack's mapping a whole copy fails: take what there is.
        record.stack_len = if bpf_probe_read_user(stack, STACK_BYTES as u32, at.sp as *const _) == 0
        {
            STACK_BYTES as u32
        } else if bpf_probe_read_user(stack, 256, at.sp as *const _) == 0 {
            256
        } else if bpf_probe_read_user(stack, 64, at.sp as *const _) == 0 {
            64
        } else {
            0
        };
    }
    emit::submit(entry);
}
