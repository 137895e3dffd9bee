//! Every name that leaves lockprobe, once.

macro_rules! names {
    ($($(#[doc = $doc:literal])+ $name:ident = $value:literal;)*) => {
        $($(#[doc = $doc])+ pub const $name: &str = $value;)*

        /// Every name with what it means, for the schema and its page.
        pub const ALL: &[(&str, &str)] = &[$(($value, concat!($($doc),+))),*];
    };
}

names! {
    /// Kind of locking system: `pthread`, `musl`, `cxx`, `rust_std`, `parking_lot`, `cpython`, `multiprocessing`, `go`, `java`, `v8`, `futex`, `flock`, `fcntl`, `sysv_semaphore`, `lockfile`, `redis`, `etcd`, `zookeeper`, `postgresql`, `mysql`, `memcached`, `consul`.
    LOCK_SYSTEM_NAME = "lock.system.name";
    /// Kind of lock within the system: `mutex`, `rwlock`, `semaphore`, `low_level`, `pi_mutex`, `once`, `static_init`, `gil`, `parked_mutex`, `runtime_lock`, `monitor`, `park`, `atomics_wait`, `file`, `posix`, `ofd`, `directory`, `lock`, `redlock`, `channel`, `election`, `advisory`, `row`, `table`, `user_lock`, `unknown`.
    LOCK_TYPE = "lock.type";
    /// Name of the lock: a symbol, else the first contended call site, else its address.
    LOCK_NAME = "lock.name";
    /// Identity of the lock: on this host; of a lock that a server keeps, on every host.
    LOCK_ID = "lock.id";
    /// `process` when the identity stands for some lock of the kind in the process: where its threads sleep says no more.
    LOCK_SCOPE = "lock.scope";
    /// `exclusive`, `shared` or `unknown`.
    LOCK_MODE = "lock.mode";
    /// `acquired`, `abandoned`, `refused` when it was asked for but once, or `waiting` when observation ended first.
    LOCK_OUTCOME = "lock.outcome";
    /// `confirmed` when the call site says what the lock is, `candidate` when its behaviour does.
    LOCK_CONFIDENCE = "lock.confidence";
    /// First sleep to running again, seconds.
    LOCK_WAIT_DURATION = "lock.wait.duration";
    /// The start of the wait is an estimate: the thread slept before observation began.
    LOCK_WAIT_START_ESTIMATED = "lock.wait.start_estimated";
    /// Acquired to released, seconds.
    LOCK_HOLD_DURATION = "lock.hold.duration";
    /// `exact`, `lower_bound` or `unknown`.
    LOCK_HOLD_PRECISION = "lock.hold.precision";
    /// `released`, `expired`, `revoked`, `orphaned`, `connection_closed`, or `unknown` when observation ended first.
    LOCK_HOLD_END = "lock.hold.end";
    /// Threads waiting when the wait began, this one included, as far as seen.
    LOCK_QUEUE_DEPTH = "lock.queue.depth";
    /// Threads that waited for a hold to end.
    LOCK_WAITERS = "lock.waiters";
    /// Sleeps of one attempt.
    LOCK_ATTEMPT_COUNT = "lock.attempt.count";
    /// Woken to running, seconds.
    LOCK_WAKE_DELAY = "lock.wake.delay";
    /// Process of the thread that had the lock when the wait began.
    LOCK_HOLDER_PID = "lock.holder.pid";
    /// That thread.
    LOCK_HOLDER_TID = "lock.holder.tid";
    /// Its name.
    LOCK_HOLDER_NAME = "lock.holder.name";
    /// How it is known: `owner_word`, `lock_table` (the kernel's own), `waker` (inferred), `last_acquirer` (inferred), `file_content` (inferred), `conversation` (a server was overheard granting it) or `server` (the server said so).
    LOCK_HOLDER_SOURCE = "lock.holder.source";
    /// Thread that let the lock go to this waiter.
    LOCK_HANDED_OVER_BY_TID = "lock.handed_over_by.tid";
    /// Relation of a span link: `blocked_by` or `handed_over_by`.
    LOCK_LINK_TYPE = "lock.link.type";
    /// What the thread was doing: `running`, `sleeping`, `disk_sleep`, `stopped`, `traced`, `frozen`, `gone`, `unknown`.
    THREAD_STATE = "thread.state";
    /// System call the thread was in.
    THREAD_CALL = "thread.call";
    /// Kind of a finding: `deadlock`, `self_deadlock`, `orphan`, `owner_died`, `holder_stopped`, `holder_frozen`, `holder_in_io`, of servers' locks `stale_holder`, `lease_lost`, `overlap`, `late_release`, `removed_by_other`, `immortal_lock`, `holder_paused`, `thundering_herd`, and `lock_order_inversion`: a deadlock that is possible.
    LOCK_FINDING_TYPE = "lock.finding.type";
    /// Identity of a finding, the same when it begins and when it ends.
    LOCK_FINDING_ID = "lock.finding.id";
    /// `begin` when it is found, `end` when it is over; `moment` for what has no end of its own.
    LOCK_FINDING_STATE = "lock.finding.state";
    /// Why an attempt ended without the lock: `timeout`, `thread_exit`, `interrupted`, `deadlock`, `gave_up`; of servers' locks also `refused`, `error`, `expired`, `revoked`.
    ERROR_TYPE = "error.type";
    /// Process id.
    PROCESS_PID = "process.pid";
    /// File name of the executable.
    PROCESS_EXECUTABLE_NAME = "process.executable.name";
    /// Path of the executable.
    PROCESS_EXECUTABLE_PATH = "process.executable.path";
    /// Command: its first word.
    PROCESS_COMMAND = "process.command";
    /// Name of the service: OTEL_SERVICE_NAME of the process, else script or executable.
    SERVICE_NAME = "service.name";
    /// Identity of the process: its id and start.
    SERVICE_INSTANCE_ID = "service.instance.id";
    /// Kernel thread id.
    THREAD_ID = "thread.id";
    /// Thread name.
    THREAD_NAME = "thread.name";
    /// Function of the call site.
    CODE_FUNCTION_NAME = "code.function.name";
    /// Source file of the call site.
    CODE_FILE_PATH = "code.file.path";
    /// Line of the call site.
    CODE_LINE_NUMBER = "code.line.number";
    /// Stack of the waiting thread: a function a line, the innermost first.
    CODE_STACKTRACE = "code.stacktrace";
    /// Stack, at the same time, of the thread that had the lock.
    LOCK_HOLDER_STACKTRACE = "lock.holder.stacktrace";
    /// What the holder did when the waiter was looked at: `blocked` or `running`.
    LOCK_HOLDER_STATE = "lock.holder.state";
    /// Why a long wait has no stack: `too_late`, `moved_on`, `rate_limited`, `unreadable`.
    LOCK_STACK_MISSING = "lock.stack.missing";
    /// Address of the lock server.
    SERVER_ADDRESS = "server.address";
    /// Its port.
    SERVER_PORT = "server.port";
    /// For how long the lock was asked for or granted, seconds; left out where it is for ever.
    LOCK_LEASE_DURATION = "lock.lease.duration";
    /// The owner: a hash of the nonce, lease or session that proves the lock is its.
    LOCK_OWNER_HASH = "lock.owner.hash";
    /// How often a hold was prolonged.
    LOCK_RENEWAL_COUNT = "lock.renewal.count";
    /// Number of the grant, which grows with each.
    LOCK_FENCING_TOKEN = "lock.fencing.token";
    /// How many were before it in the server's queue.
    LOCK_QUEUE_AHEAD = "lock.queue.ahead";
    /// Who has the lock, in the server's words.
    LOCK_HOLDER_SAID = "lock.holder.said";
    /// Whether a lock was had by another when it was asked for: `true` or `false`; left out where that is not known.
    LOCK_CONTENDED = "lock.contended";
    /// `renewed` or `lost`.
    LOCK_RENEWAL_OUTCOME = "lock.renewal.outcome";
    /// Where processor time was spent: `user` or `system`.
    CPU_MODE = "cpu.mode";
    /// Where in lockprobe: `kernel`, `decode`, a backend, a sink.
    STAGE = "stage";
    /// Why, in a word.
    CAUSE = "cause";
    /// Name of the metric.
    METRIC = "metric";
    /// Name of a program of lockprobe's in the kernel.
    PROGRAM = "program";
    /// Name of a table in the kernel.
    MAP = "map";
    /// Name of a queue between threads of lockprobe.
    QUEUE = "queue";
    /// Name of the host.
    HOST_NAME = "host.name";
    /// `lockprobe`.
    TELEMETRY_DISTRO_NAME = "telemetry.distro.name";
    /// Version of lockprobe.
    TELEMETRY_DISTRO_VERSION = "telemetry.distro.version";
}
