//! One thread's attempt at a lock: where it begins, whether it goes on, how a wake-up ends a sleep.

use lockprobe_ebpf::wire::{Wait, reason, state, wait_flag};

use crate::emit;
use crate::filter;
use crate::maps::*;
use crate::tally;
use crate::task::{LockCall, Task};
use crate::user;

/// Where a thread sleeps.
#[derive(Clone, Copy)]
pub struct Place {
    /// Process.
    pub tgid: u32,
    /// Thread.
    pub tid: u32,
    /// Instruction pointer.
    pub ip: u64,
    /// Stack pointer.
    pub sp: u64,
    /// Caller, or the word at the stack top.
    pub caller: u64,
    /// Bits of [`wait_flag`].
    pub flags: u32,
    /// What a retry leaves as it was.
    pub hash: u64,
    /// The agent has not said yet what this place is.
    pub new: bool,
    /// All that decides what it is lies in the part of the stack that `hash` is made of.
    pub near: bool,
}

/// Whether a sleep goes on with the attempt of the sleep before.
///
/// A loop that tries again leaves every preserved register and its stack as they were, sleeps
/// nowhere else, spends next to no processor time, and has not been seen letting the lock go. A
/// signal handler may have run in between, so after one neither sleeps nor time count. Processor
/// time is counted from the choice of the thread, which may be long before it runs; it is never
/// more than the time since.
#[inline(always)]
pub fn is_retry(wait: &Wait, task: Task, lock: u64, at: Place, now: u64) -> bool {
    wait.state == state::RUNNING
        && wait.lock == lock
        && wait.ip == at.ip
        && wait.sp == at.sp
        && wait.frame_hash == at.hash
        && (wait.reason == reason::SIGNAL
            || (task.switches().wrapping_sub(wait.switches) == 1
                && (task.cpu_ns().wrapping_sub(wait.run_cpu_ns) < RETRY_CPU_NS.load()
                    || now.wrapping_sub(wait.run_ns) < RETRY_CPU_NS.load())))
}

/// Begins an attempt.
#[inline(always)]
pub fn begin(wait: &mut Wait, task: Task, call: LockCall, at: Place, now: u64) {
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
    // Asleep it uses none: what it has used now is what it will have used when it runs again.
    wait.run_cpu_ns = task.cpu_ns();
    wait.switches = task.switches();
    wait.told = (!at.new & at.near) as u32;
    wait.holder_since_ns = 0;
    wait.release_before_ns = 0;
    wait.frame_hash = at.hash;
    wait.value = call.value;
    wait.reason = reason::UNKNOWN;
    wait.bucket = 0;
    wait.counted_ns = 0;
    wait.waker_call = 0;
    user::read_lock(call.lock, wait);
    if wait.flags & wait_flag::PARKED != 0 {
        wait.words = [0, 0, 0, 0, call.futex as u32, (call.futex >> 32) as u32];
    }
    wait.first_owner = wait.words[2];
}

/// Ends a sleep: by the task running here, or by an interrupt. A sleeper on its way off the
/// processor is noted only when it leaves it; its wake-up is kept until then.
#[inline(always)]
pub fn wake(wait: &mut Wait, call: LockCall, task: Task) {
    let asleep = wait.state == state::SLEEPING;
    // One that is not blocked yet will not sleep at all: it finds itself woken.
    if !asleep && !task.is_blocked() {
        return;
    }
    let now = emit::now();
    let waker = Task::current();
    wait.waker_call = waker.registers().get(&REG_NR) as u32;
    let private = call.flags & wait_flag::PRIVATE;
    let reason = lockprobe_reason(call.futex, private, task.tgid());
    let mut before = 0;
    if reason == reason::RELEASE {
        before = tally::note_release(task.tgid(), call.lock, now);
    }
    let leaves = asleep && reason != reason::RELEASE && waker.leaves();
    if reason == reason::RELEASE || leaves {
        waker.describe_current(&mut wait.waker);
    }
    if asleep {
        wait.state = state::WOKEN;
        wait.woken_ns = now;
        wait.reason = reason;
        wait.holder_since_ns = 0;
        wait.release_before_ns = before;
        wait.flags &= !(wait_flag::HOLD_EXACT | wait_flag::WAKER_LEAVES);
        wait.flags |= leaves as u32 * wait_flag::WAKER_LEAVES;
    } else {
        wait.early_ns = now;
        wait.early_lock = call.futex;
        wait.early_reason = reason;
        wait.early_release_before_ns = before;
    }
    if reason == reason::RELEASE {
        close_hold(waker, wait, call.lock, asleep);
    }
}

/// Why the task running here wakes one that sleeps on this address: a function of its own for the
/// verifier, which looks at it once, and at what follows for one reason instead of four.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lockprobe_reason(futex: u64, private: u32, tgid: u32) -> u32 {
    reason_of(futex, private != 0, tgid, Task::current())
}

/// A sleep whose wake-up came while the sleeper was still leaving the processor.
#[inline(always)]
pub fn take_early_wake(wait: &mut Wait, now: u64) {
    if wait.early_ns != 0 && wait.early_lock == wait.futex() {
        wait.state = state::WOKEN;
        wait.woken_ns = now;
        wait.reason = wait.early_reason;
        wait.release_before_ns = wait.early_release_before_ns;
    }
    wait.early_ns = 0;
}

#[inline(always)]
fn reason_of(futex: u64, private: bool, tgid: u32, waker: Task) -> u32 {
    let registers = waker.registers();
    let nr = registers.get(&REG_NR);
    let same = waker.tgid() == tgid;
    if nr == NR_FUTEX.load() {
        let op = registers.get(&REG_ARG1) & 0x7f;
        // WAKE, REQUEUE, CMP_REQUEUE, WAKE_OP, UNLOCK_PI, WAKE_BITSET, CMP_REQUEUE_PI
        let wakes = matches!(op, 1 | 3 | 4 | 5 | 7 | 10 | 12);
        // The processor may be in an interrupt that came in the middle of another futex call, so
        // the address must agree; shared futexes may be mapped elsewhere in the waker.
        let agrees = !private || (same && registers.get(&REG_ARG0) == futex);
        return if wakes && agrees { reason::RELEASE } else { reason::OTHER };
    }
    if nr == NR_FUTEX_WAKE.load() || nr == NR_FUTEX_REQUEUE.load() {
        return reason::RELEASE;
    }
    if nr == NR_EXIT.load() || nr == NR_EXIT_GROUP.load() {
        // Timers go off in the middle of whoever ends just then: only a
        // thread of its own process, or one that shares the lock, can have let this one on.
        return if same || !private { reason::EXIT } else { reason::OTHER };
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
fn close_hold(waker: Task, wait: &mut Wait, lock: u64, slept: bool) {
    if !filter::may_wait(waker.tid()) {
        return;
    }
    let since = lockprobe_lets_go(lock);
    if since == 0 || !slept {
        return;
    }
    wait.holder_since_ns = since;
    if wait.sleep_ns <= since && wait.release_before_ns <= since {
        wait.flags |= wait_flag::HOLD_EXACT;
    }
}

/// The task running here lets a lock go that it may have waited for: its attempt is over. Returns
/// when it got the lock, 0 where it did not wait for it. A function of its own for the verifier.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lockprobe_lets_go(lock: u64) -> u64 {
    let task = Task::current();
    let Some(own) = WAITS.get_ptr_mut(task.tid()) else { return 0 };
    // SAFETY: a value of the map, of the task running here.
    let own = unsafe { &mut *own };
    if own.state == state::WOKEN && own.lock == lock {
        tally::ran_unseen(task, own);
    }
    if own.state != state::RUNNING || own.lock != lock {
        return 0;
    }
    own.state = state::OVER;
    own.run_ns
}
