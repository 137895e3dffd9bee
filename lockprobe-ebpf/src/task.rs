//! Reading tasks: who they are, which system call they sleep in, and with which arguments.
//!
//! Member offsets are load-time constants, so the verifier sees plain typed loads and the same
//! object runs on every kernel (there is no CO-RE from Rust).

use aya_ebpf::Global;
use aya_ebpf::helpers::generated::{bpf_get_current_task_btf, bpf_task_pt_regs};
use lockprobe_ebpf::wire::{Thread, call, wait_flag};

use crate::file::{member, read};
use crate::maps::*;

/// A task as the kernel hands it to a program: typed, never null.
#[derive(Clone, Copy)]
pub struct Task(*const u8);

/// The user registers a task entered the kernel with.
#[derive(Clone, Copy)]
pub struct Registers(*const u8);

/// The lock call a task is in.
#[derive(Clone, Copy)]
pub struct LockCall {
    /// One of [`call`].
    pub call: u32,
    /// Bits of [`wait_flag`].
    pub flags: u32,
    /// Address waited on; from [`call::KERNEL`] on the first argument, a descriptor or a set.
    pub lock: u64,
    /// The argument of the call that `lock` was at first.
    pub futex: u64,
    /// Value expected there.
    pub value: u32,
}

impl LockCall {
    /// Whether the kernel itself keeps the lock.
    #[inline(always)]
    pub fn is_kernels(self) -> bool {
        self.call >= call::KERNEL
    }
}

const FUTEX_CMD_MASK: u64 = 0x7f;
const FUTEX_PRIVATE: u64 = 0x80;
const FUTEX2_PRIVATE: u64 = 0x80;
const F_SETLKW: u64 = 7;
const F_OFD_SETLKW: u64 = 38;

impl Task {
    /// Wraps a pointer taken from a program's typed arguments.
    #[inline(always)]
    pub fn new(pointer: *const u8) -> Self {
        Self(pointer)
    }

    /// The task running on this processor.
    #[inline(always)]
    pub fn current() -> Self {
        // SAFETY: no arguments; the helper cannot fail.
        Self(unsafe { bpf_get_current_task_btf() } as *const u8)
    }

    #[inline(always)]
    fn load<T: Copy>(self, offset: &Global<u64>) -> T {
        // SAFETY: the verifier checks offset and size against the type of the pointer.
        unsafe { core::ptr::read_volatile(self.0.add(offset.load() as usize).cast::<T>()) }
    }

    /// Thread id on the host.
    #[inline(always)]
    pub fn tid(self) -> u32 {
        self.load(&TASK_PID)
    }

    /// Process id on the host.
    #[inline(always)]
    pub fn tgid(self) -> u32 {
        self.load(&TASK_TGID)
    }

    /// Scheduler state.
    #[inline(always)]
    pub fn state(self) -> u32 {
        self.load(&TASK_STATE)
    }

    /// Processor time used so far, exact when the task has just left or is about to enter.
    #[inline(always)]
    pub fn cpu_ns(self) -> u64 {
        self.load(&TASK_CPU_NS)
    }

    /// How often it has gone to sleep, this time included when it has just left the processor.
    #[inline(always)]
    pub fn switches(self) -> u32 {
        self.load::<u64>(&TASK_SWITCHES) as u32
    }

    /// About when a sleeping task fell asleep, on the scheduler's clock.
    #[inline(always)]
    pub fn exec_start(self) -> u64 {
        self.load(&TASK_EXEC_START)
    }

    /// Whether the scheduler has put it to sleep already, be it still on its way off the processor.
    #[inline(always)]
    pub fn is_blocked(self) -> bool {
        // Its first byte: since Linux 7 there is no more of it, and it never was above 2.
        let on_rq: u8 = self.load(&TASK_ON_RQ);
        on_rq == 0 || (TASK_SCHED_DELAYED.load() != 0 && self.load::<u8>(&TASK_SCHED_DELAYED) != 0)
    }

    /// Whether it is on its way out: past its last signal, about to leave what it still has
    /// (PF_EXITING, include/linux/sched.h).
    #[inline(always)]
    pub fn leaves(self) -> bool {
        self.load::<u32>(&TASK_FLAGS) & 4 != 0
    }

    /// What it ends with, once it does: as wait(2) has it.
    #[inline(always)]
    pub fn exit_code(self) -> u32 {
        self.load(&TASK_EXIT_CODE)
    }

    /// Whether its process has other threads.
    #[inline(always)]
    pub fn has_siblings(self) -> bool {
        member::<u32>(self.pointer(&TASK_SIGNAL), &SIGNAL_THREADS) > 1
    }

    /// Its `struct files_struct`.
    #[inline(always)]
    pub fn files(self) -> u64 {
        self.pointer(&TASK_FILES)
    }

    /// Inode of its root directory.
    #[inline(always)]
    pub fn root_directory(self) -> u64 {
        let dentry: u64 = member(self.pointer(&TASK_FS), &FS_ROOT);
        member(dentry, &DENTRY_INODE)
    }

    /// Inode of its working directory.
    #[inline(always)]
    pub fn working_directory(self) -> u64 {
        let dentry: u64 = member(self.pointer(&TASK_FS), &FS_PWD);
        member(dentry, &DENTRY_INODE)
    }

    /// Its `struct nsproxy`.
    #[inline(always)]
    pub fn nsproxy(self) -> u64 {
        self.pointer(&TASK_NSPROXY)
    }

    /// The registers it entered the kernel with.
    #[inline(always)]
    pub fn registers(self) -> Registers {
        // SAFETY: the pointer is a task the verifier knows as one.
        Registers(unsafe { bpf_task_pt_regs(self.0 as *mut _) } as *const u8)
    }

    /// Writes ids and name to `out`, which may lie in a map or a ring slot.
    #[inline(always)]
    pub fn describe(self, out: &mut Thread) {
        out.tgid = self.tgid();
        out.tid = self.tid();
        let pid = self.pointer(&TASK_THREAD_PID);
        let level: u32 = member(pid, &PID_LEVEL);
        out.ns_tid = number_of(pid, level, out.tid);
        out.ns_level = level;
        self.copy_name(&mut out.comm);
    }

    /// The same of the task running here, with hardly a call of a helper: a thread that lets a lock
    /// go pays for it.
    #[inline(always)]
    pub fn describe_current(self, out: &mut Thread) {
        out.tgid = self.tgid();
        out.tid = self.tid();
        let inner = lockprobe_inner();
        out.ns_tid = (inner >> 32) as u32;
        out.ns_level = inner as u32;
        self.copy_name(&mut out.comm);
    }

    #[inline(always)]
    fn copy_name(self, out: &mut [u8; 16]) {
        let words: *mut u32 = out.as_mut_ptr().cast();
        let name = TASK_COMM.load() as usize;
        let mut i = 0;
        while i < 4 {
            // SAFETY: the verifier checks offset and size against the type of the pointer; `out` is
            // a member of a `Thread`, which is aligned to four bytes.
            unsafe {
                let word = core::ptr::read_volatile(self.0.add(name + 4 * i).cast::<u32>());
                *words.add(i) = word;
            }
            i += 1;
        }
    }

    /// A member that leads to another structure. Not by a typed load: for each one that the verifier
    /// meets it searches all types of the kernel by name, for a millisecond.
    #[inline(always)]
    fn pointer(self, offset: &Global<u64>) -> u64 {
        member(self.0 as u64, offset)
    }
}

/// Number of a thread in its own namespace, which is so deep; in the host's it is at hand.
#[inline(always)]
fn number_of(pid: u64, level: u32, host: u32) -> u32 {
    if level == 0 {
        return host;
    }
    // Bounded once more: kernels up to 6.9 forget the bounds of a product.
    let slot = (level as u64 & 63) * UPID_SIZE.load() & 0xfff;
    read(pid + PID_NUMBERS.load() + slot)
}

/// Of the task running here: its number in its own namespace, and below how deep that is. The one
/// typed load of a pointer, in a function of its own that the verifier looks at once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lockprobe_inner() -> u64 {
    let task = Task::current();
    let pid: *const u8 = task.load(&TASK_THREAD_PID);
    // SAFETY: the verifier checks offset and size against the type of the pointer; where there is
    // nothing the kernel makes the load zero.
    let level =
        unsafe { core::ptr::read_volatile(pid.add(PID_LEVEL.load() as usize).cast::<u32>()) };
    u64::from(number_of(pid as u64, level, task.tid())) << 32 | u64::from(level)
}

impl Registers {
    /// Wraps a pointer taken from a program's typed arguments.
    #[inline(always)]
    pub fn new(pointer: *const u8) -> Self {
        Self(pointer)
    }

    /// One register by its offset.
    #[inline(always)]
    pub fn get(self, offset: &Global<u64>) -> u64 {
        self.at(offset.load() as usize)
    }

    /// One register by its offset in bytes.
    #[inline(always)]
    pub fn at(self, offset: usize) -> u64 {
        // SAFETY: the verifier checks the offset against `struct pt_regs`.
        unsafe { core::ptr::read_volatile(self.0.add(offset).cast::<u64>()) }
    }

    /// Whether these registers may ask for a lock call: no is certain. One load and comparisons, for
    /// every task that falls asleep.
    #[inline(always)]
    pub fn are_of_lock_call(self) -> bool {
        let nr = self.get(&REG_NR);
        nr == NR_FUTEX.load()
            || nr == NR_FUTEX_WAIT.load()
            || nr == NR_FLOCK.load()
            || nr == NR_FCNTL.load()
            || nr == NR_SEMOP.load()
            || nr == NR_SEMTIMEDOP.load()
    }

    /// The lock call these registers ask for, if they do.
    ///
    /// The one pure decision of lockprobe: a task asleep inside such a call waits for a lock, or
    /// for something that looks like one.
    #[inline(always)]
    pub fn lock_call(self) -> Option<LockCall> {
        let nr = self.get(&REG_NR);
        if nr != NR_FUTEX.load() {
            return self.futex2_call(nr);
        }
        let op = self.get(&REG_ARG1);
        let call = (op & FUTEX_CMD_MASK) + 1;
        if call >= 64 || (call::OPERATIONS >> call) & 1 == 0 {
            return None;
        }
        let flags = flags(op & FUTEX_PRIVATE, self.get(&REG_ARG3));
        let value = self.get(&REG_ARG2) as u32;
        let lock = self.get(&REG_ARG0);
        Some(LockCall { call: call as u32, flags, lock, futex: lock, value })
    }

    #[inline(always)]
    fn futex2_call(self, nr: u64) -> Option<LockCall> {
        if nr != NR_FUTEX_WAIT.load() {
            return self.kernel_call(nr);
        }
        let flags = flags(self.get(&REG_ARG3) & FUTEX2_PRIVATE, self.get(&REG_ARG4));
        let value = self.get(&REG_ARG1) as u32;
        let lock = self.get(&REG_ARG0);
        Some(LockCall { call: call::FUTEX2_WAIT, flags, lock, futex: lock, value })
    }

    #[inline(always)]
    fn kernel_call(self, nr: u64) -> Option<LockCall> {
        let call = if nr == NR_FLOCK.load() {
            call::FLOCK
        } else if nr == NR_FCNTL.load() && matches!(self.get(&REG_ARG1), F_SETLKW | F_OFD_SETLKW) {
            call::FCNTL
        } else if nr == NR_SEMOP.load() || nr == NR_SEMTIMEDOP.load() {
            call::SEMOP
        } else {
            return None;
        };
        let timeout = if nr == NR_SEMTIMEDOP.load() { self.get(&REG_ARG3) } else { 0 };
        let descriptor = self.get(&REG_ARG0) & u32::MAX as u64;
        let flags = flags(0, timeout);
        Some(LockCall { call, flags, lock: descriptor, futex: descriptor, value: 0 })
    }
}

/// Flags of a call, without branches: every branch doubles what the verifier has to follow.
#[inline(always)]
fn flags(private: u64, timeout: u64) -> u32 {
    let is_set = |word: u64| ((word | word.wrapping_neg()) >> 63) as u32;
    is_set(private) * wait_flag::PRIVATE | is_set(timeout) * wait_flag::TIMED
}
