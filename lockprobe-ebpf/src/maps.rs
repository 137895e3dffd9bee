//! Every map and every load-time constant.

use crate::sleep::Sleeper;
use crate::socket::{Call, SEARCHED};
use crate::user::FRAME_WORDS;
use aya_ebpf::Global;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf};
use lockprobe_ebpf::wire::{
    self, Counter, FileKey, FullCounter, FullStats, Holding, Latest, LockKey, LockStats, Maker,
    Order, OrderKey, PATH_BYTES, PORT_WORDS, Poll, Request, SiteKey, Socket, Taken, TlsCall,
    TlsKey, Wait,
};

/// Records on their way to the agent. 4 MiB hold a second of 18,000 waits a second; the loader
/// may choose another power of two.
#[map]
pub static RING: RingBuf = RingBuf::with_byte_size(4 << 20, 0);

/// One entry a thread that ever slept on a lock, until it exits: 16,384 such threads at a time.
#[map]
pub static WAITS: HashMap<u32, Wait> = HashMap::with_max_entries(16_384, 0);

/// How many threads with an entry in `WAITS` share the low bits of their id: see
/// `filter::may_wait`.
#[map]
pub static WAITERS: Array<u64> = Array::with_max_entries(WAITER_SLOTS, 0);

/// A power of two; 128 KiB.
pub const WAITER_SLOTS: u32 = 16_384;

/// One entry a contended lock, 920 bytes each.
#[map]
pub static LOCKS: HashMap<LockKey, LockStats> = HashMap::with_max_entries(8_192, 0);

/// Verdicts of the agent on call sites; least recently used go first, and are asked for again.
#[map]
pub static SITES: LruHashMap<SiteKey, u32> = LruHashMap::with_max_entries(16_384, 0);

/// When a process last began a new program, while the agent may not have taken out yet what was
/// counted of the one before.
#[map]
pub static EXECS: LruHashMap<u32, u64> = LruHashMap::with_max_entries(4_096, 0);

/// What is said of processes, when not the whole host is watched: see `wire::choice`.
#[map]
pub static TARGETS: HashMap<u32, u32> = HashMap::with_max_entries(16_384, 0);

/// What threads went to sleep for in a lock the kernel keeps; only the latest matters, and what is
/// pushed out is looked up again.
#[map]
pub static REQUESTS: LruHashMap<u32, Request> = LruHashMap::with_max_entries(4_096, 0);

/// Files with a lock that was contended lately, and when: what happens to the locks of all others
/// is not told.
#[map]
pub static CONTENDED: LruHashMap<FileKey, u64> = LruHashMap::with_max_entries(4_096, 0);

/// Which thread of a process with several took a lock of a file last, by file. Only told of when
/// somebody is refused.
#[map]
pub static TAKEN: LruHashMap<FileKey, Taken> = LruHashMap::with_max_entries(4_096, 0);

/// Threads that were refused a lock of a file, and may ask again.
#[map]
pub static POLLS: LruHashMap<u32, Poll> = LruHashMap::with_max_entries(4_096, 0);

/// What system calls do to names, by number; empty unless lock files are followed.
#[map]
pub static CALLS: Array<u32> = Array::with_max_entries(wire::CALLS, 0);

/// Who made a name that only one can make, by name. Names are made for many reasons; those made
/// longest ago go first.
#[map]
pub static MADE: LruHashMap<FileKey, Maker> = LruHashMap::with_max_entries(4_096, 0);

/// The name a thread made or was refused last.
#[map]
pub static LATEST: LruHashMap<u32, Latest> = LruHashMap::with_max_entries(4_096, 0);

/// Room for a path.
#[map]
pub static PATH: PerCpuArray<[u64; PATH_BYTES / 8]> = PerCpuArray::with_max_entries(1, 0);

/// Ports where lock servers listen, a bit a port. Look-ups in arrays are inlined by the kernel, and
/// this one is made at every send and receive of the machine.
#[map]
pub static PORTS: Array<u64> = Array::with_max_entries(PORT_WORDS, 0);

/// What is spoken there, by port.
#[map]
pub static DIALECTS: HashMap<u32, u32> = HashMap::with_max_entries(256, 0);

/// Connections to lock servers, by address of the kernel's `struct sock`. One pushed out is met
/// again as one that was there before.
#[map]
pub static SOCKETS: LruHashMap<u64, Socket> = LruHashMap::with_max_entries(16_384, 0);

/// The TLS call a thread is in, or was in last.
#[map]
pub static TLS_CALLS: LruHashMap<u32, TlsCall> = LruHashMap::with_max_entries(4_096, 0);

/// TLS sessions of connections to lock servers: what goes over them in the clear.
#[map]
pub static TLS_SESSIONS: LruHashMap<TlsKey, Socket> = LruHashMap::with_max_entries(8_192, 0);

/// The call that is being looked at.
#[map]
pub static CALL: PerCpuArray<Call> = PerCpuArray::with_max_entries(1, 0);

/// The beginning of a statement that is searched.
#[map]
pub static STATEMENT: PerCpuArray<[u64; SEARCHED as usize / 8]> =
    PerCpuArray::with_max_entries(1, 0);

/// Counts by cause.
#[map]
pub static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(Counter::COUNT, 0);

/// Room for the top of a user stack.
#[map]
pub static FRAME: PerCpuArray<[u64; FRAME_WORDS]> = PerCpuArray::with_max_entries(1, 0);

/// Room to build a new `Wait`, which is too large for the 512-byte stack.
#[map]
pub static NEW_WAIT: PerCpuArray<Wait> = PerCpuArray::with_max_entries(1, 0);

/// The thread that is leaving this processor to sleep in a lock call.
#[map]
pub static SLEEPER: PerCpuArray<Sleeper> = PerCpuArray::with_max_entries(1, 0);

/// What the thread that is leaving this processor waits for, in a lock the kernel keeps.
#[map]
pub static NEW_REQUEST: PerCpuArray<Request> = PerCpuArray::with_max_entries(1, 0);

/// The same for the iterator, which may be interrupted by a switch.
#[map]
pub static ITER_WAIT: PerCpuArray<Wait> = PerCpuArray::with_max_entries(1, 0);

/// Room to build a new `LockStats`; stays all zero but for its first fields.
#[map]
pub static NEW_STATS: PerCpuArray<LockStats> = PerCpuArray::with_max_entries(1, 0);

/// Full mode: one entry a thread that acquires locks, 656 bytes each. One entry unless asked for.
#[map]
pub static FULL_THREADS: HashMap<u32, Holding> = HashMap::with_max_entries(16_384, 0);

/// Full mode: one entry a lock acquired, 944 bytes each. One entry unless asked for.
#[map]
pub static FULL_LOCKS: HashMap<LockKey, FullStats> = HashMap::with_max_entries(16_384, 0);

/// Full mode: one entry two locks held one within the other. One entry unless asked for.
#[map]
pub static FULL_ORDERS: HashMap<OrderKey, Order> = HashMap::with_max_entries(16_384, 0);

/// Full mode: 1 while it counts. Probes come and go one by one; counting begins and ends at once.
#[map]
pub static FULL_RUNNING: Array<u64> = Array::with_max_entries(1, 0);

/// Full mode: counts by cause.
#[map]
pub static FULL_COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(FullCounter::COUNT, 0);

/// Zeros to begin a `Holding` with, which is too large for the 512-byte stack; never written.
#[map]
pub static FULL_NO_HOLDING: Array<Holding> = Array::with_max_entries(1, 0);

/// The same for a `FullStats`.
#[map]
pub static FULL_NO_STATS: Array<FullStats> = Array::with_max_entries(1, 0);

macro_rules! constants {
    ($($(#[$doc:meta])* $name:ident = $value:expr;)*) => {$(
        $(#[$doc])*
        #[unsafe(no_mangle)]
        pub static $name: Global<u64> = Global::new($value);
    )*};
}

constants! {
    /// Waits shorter than this do not cross the ring, nanoseconds.
    MIN_WAIT_NS = 1_000_000;
    /// Which processes are watched: see `wire::choice`.
    ONLY_TARGETS = 0;
    /// The agent itself, which is never observed.
    SELF_TGID = 0;
    /// A wake-up later than this much processor time ago belongs to an earlier attempt.
    RETRY_CPU_NS = 100_000;
    /// 1: `sched_switch` has the previous state as its fourth argument (Linux 5.18).
    SWITCH_HAS_STATE = 1;
    /// 1: send forks, execs and exits.
    SEND_PROCESSES = 1;
    /// 1: acquisitions are followed too.
    FULL = 0;
    /// 1: statements that lock rows by their words matter, too.
    ROW_LOCKS = 0;

    /// System call numbers of the machine.
    NR_FUTEX = 202;
    /// futex_wait(2).
    NR_FUTEX_WAIT = 455;
    /// futex_wake(2).
    NR_FUTEX_WAKE = 454;
    /// futex_requeue(2).
    NR_FUTEX_REQUEUE = 456;
    /// flock(2).
    NR_FLOCK = 73;
    /// fcntl(2).
    NR_FCNTL = 72;
    /// semop(2).
    NR_SEMOP = 65;
    /// semtimedop(2).
    NR_SEMTIMEDOP = 220;
    /// semctl(2).
    NR_SEMCTL = 66;
    /// exit(2).
    NR_EXIT = 60;
    /// exit_group(2).
    NR_EXIT_GROUP = 231;
    /// kill(2).
    NR_KILL = 62;
    /// tkill(2).
    NR_TKILL = 200;
    /// tgkill(2).
    NR_TGKILL = 234;
    /// rt_sigqueueinfo(2).
    NR_SIGQUEUE = 129;
    /// rt_tgsigqueueinfo(2).
    NR_TGSIGQUEUE = 297;
    /// pidfd_send_signal(2).
    NR_PIDFD_SIGNAL = 424;

    /// Offsets into `struct pt_regs`: the system call number, its arguments, and the user's
    /// instruction, stack and frame pointers.
    REG_NR = 120;
    /// First argument.
    REG_ARG0 = 112;
    /// Second argument.
    REG_ARG1 = 104;
    /// Third argument.
    REG_ARG2 = 96;
    /// Fourth argument.
    REG_ARG3 = 56;
    /// Fifth argument.
    REG_ARG4 = 72;
    /// Instruction pointer.
    REG_IP = 128;
    /// Stack pointer.
    REG_SP = 152;
    /// Frame pointer.
    REG_BP = 32;
    /// First of six registers in a row that a callee preserves.
    REG_SAVED = 0;

    /// Offsets into `struct task_struct`, from the kernel's BTF.
    TASK_PID = 0;
    /// Thread group id.
    TASK_TGID = 0;
    /// Name.
    TASK_COMM = 0;
    /// State, read where `sched_switch` does not hand it over, and by the iterator.
    TASK_STATE = 0;
    /// `struct pid` of the thread.
    TASK_THREAD_PID = 0;
    /// `se.sum_exec_runtime`.
    TASK_CPU_NS = 0;
    /// `nvcsw`: how often the task has gone to sleep.
    TASK_SWITCHES = 0;
    /// `se.exec_start`: about when a sleeping task fell asleep.
    TASK_EXEC_START = 0;
    /// `on_rq`: whether the scheduler has the task among the runnable ones.
    TASK_ON_RQ = 0;
    /// `se.sched_delayed` (Linux 6.12): asleep, though still counted as runnable; 0 where absent.
    TASK_SCHED_DELAYED = 0;
    /// `flags`.
    TASK_FLAGS = 0;
    /// `exit_code`.
    TASK_EXIT_CODE = 0;
    /// `signal`, what the threads of a process share.
    TASK_SIGNAL = 0;
    /// `nr_threads` in `struct signal_struct`.
    SIGNAL_THREADS = 0;
    /// `level` in `struct pid`.
    PID_LEVEL = 0;
    /// `numbers` in `struct pid`.
    PID_NUMBERS = 0;
    /// Size of `struct upid`, whose first member is the number.
    UPID_SIZE = 16;

    /// `files` in `struct task_struct`, and the way on to the inode of a descriptor.
    TASK_FILES = 0;
    /// `fdt` in `struct files_struct`.
    FILES_FDT = 0;
    /// `max_fds` in `struct fdtable`.
    FDT_MAX = 0;
    /// `fd` in `struct fdtable`.
    FDT_FD = 0;
    /// `f_inode` in `struct file`.
    FILE_INODE = 0;
    /// `i_ino` in `struct inode`.
    INODE_NUMBER = 0;
    /// `i_sb` in `struct inode`.
    INODE_SB = 0;
    /// `i_flctx` in `struct inode`.
    INODE_LOCKS = 0;
    /// `s_dev` in `struct super_block`.
    SB_DEVICE = 0;
    /// Lists of locks in `struct file_lock_context`.
    LOCKS_FLOCK = 0;
    /// The other list.
    LOCKS_POSIX = 0;
    /// Members of `struct file_lock`: the lock a waiting one waits for.
    FL_BLOCKER = 0;
    /// Its place in the list of its inode.
    FL_LIST = 0;
    /// Owner.
    FL_OWNER = 0;
    /// Flags.
    FL_FLAGS = 0;
    /// Mode.
    FL_TYPE = 0;
    /// Process that took it.
    FL_PID = 0;
    /// First byte.
    FL_START = 0;
    /// Last byte.
    FL_END = 0;
    /// `fs` in `struct task_struct`, and the way on to directories.
    TASK_FS = 0;
    /// `root.dentry` in `struct fs_struct`.
    FS_ROOT = 0;
    /// `pwd.dentry` in it.
    FS_PWD = 0;
    /// `d_inode` in `struct dentry`.
    DENTRY_INODE = 0;
    /// Members of `struct sock_common`, with which a `struct sock` begins: the address family.
    SK_FAMILY = 16;
    /// Addresses of IPv6.
    SK_V6_SERVER = 0;
    /// The client's own.
    SK_V6_CLIENT = 0;
    /// `sk_type` in `struct sock`.
    SK_TYPE = 0;
    /// `sk_socket` in it, and the way on to the number of its inode.
    SK_SOCKET = 0;
    /// `vfs_inode.i_ino` in `struct socket_alloc`.
    SOCKET_INODE = 0;
    /// `peer` in `struct unix_sock`.
    UNIX_PEER = 0;
    /// `addr` in it.
    UNIX_ADDRESS = 0;
    /// `len` in `struct unix_address`.
    UNIX_LENGTH = 0;
    /// `name` in it, behind the address family.
    UNIX_PATH_AT = 0;
    /// `skc_net`, and the way on to its number.
    SK_NET = 0;
    /// `ns.inum` in `struct net`.
    NET_INUM = 0;
    /// read(2) and its relatives: the buffer is the second argument.
    NR_READ = 0;
    /// write(2).
    NR_WRITE = 1;
    /// sendto(2).
    NR_SENDTO = 44;
    /// recvfrom(2).
    NR_RECVFROM = 45;
    /// readv(2): the second argument is a list of buffers.
    NR_READV = 19;
    /// writev(2).
    NR_WRITEV = 20;
    /// sendmsg(2): the second argument leads to such a list.
    NR_SENDMSG = 46;
    /// recvmsg(2).
    NR_RECVMSG = 47;
    /// `nsproxy` in `struct task_struct`, and the way on to a semaphore.
    TASK_NSPROXY = 0;
    /// `ipc_ns` in `struct nsproxy`.
    NSPROXY_IPC = 0;
    /// `ns.inum` in `struct ipc_namespace`.
    IPC_INUM = 0;
    /// Root of the tree of sets in it: `ids[0].ipcs_idr.idr_rt.xa_head`.
    IPC_SEMAPHORES = 0;
    /// `id` in `struct kern_ipc_perm`, with which a set begins.
    IPC_ID = 0;
    /// Members of `struct xa_node`.
    NODE_SHIFT = 0;
    /// The places.
    NODE_SLOTS = 0;
    /// `sems` in `struct sem_array`.
    SET_SEMAPHORES = 0;
    /// Size of `struct sem`.
    SEMAPHORE_SIZE = 64;
    /// Its value.
    SEMAPHORE_VALUE = 0;
    /// Who used it last.
    SEMAPHORE_PID = 0;
    /// Mixed into owners, which are addresses of the kernel.
    OWNER_SALT = 0;
}
