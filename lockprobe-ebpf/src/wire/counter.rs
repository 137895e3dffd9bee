//! What the kernel half counts: one slot a cause, summed over the processors.

/// Index into the per-processor `COUNTERS` array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Counter {
    /// Waits that ended, whatever their length.
    Waits = 0,
    /// Sleeps that turned out to be the same attempt going on.
    Retries = 1,
    /// Records written to the ring.
    Emitted = 2,
    /// Waits shorter than the minimum wait: counted in the histograms, not sent.
    SkippedShort = 3,
    /// Sleeps at a call site known to be no lock (condition variable, join, idle pool thread).
    SkippedIdle = 4,
    /// Wait records that found the ring full.
    DroppedWaitRingFull = 5,
    /// Lock records that found the ring full.
    DroppedLockRingFull = 6,
    /// Process records that found the ring full.
    DroppedProcessRingFull = 7,
    /// Sleeps not followed because the table of waits was full or busy.
    DroppedWaitTableFull = 8,
    /// Waits counted under no lock of their own because the table of locks was full.
    DroppedLockTableFull = 9,
    /// Waits whose wake-up was not seen (it raced with falling asleep): the waker is unknown.
    WakerUnseen = 10,
    /// Targets not followed because the table of targets was full.
    DroppedTargetTableFull = 11,
    /// File records that found the ring full.
    DroppedFileRingFull = 12,
    /// System calls not looked at for lock files, since the processor was looking at another; the
    /// kernel counts them, and the agent fills this in when tracing ends.
    CallsUnseen = 13,
    /// Records of conversations that found the ring full.
    DroppedTalkRingFull = 14,
    /// Bytes of conversations that were sent or received in a way that shows no buffer (io_uring,
    /// splice), or more than are copied of one call.
    BytesUnseen = 15,
    /// Calls on connections to lock servers that were left out as of no interest.
    SkippedTalk = 16,
}

impl Counter {
    /// How many counters there are.
    pub const COUNT: u32 = 17;
}

/// Names of the causes that mean something was not delivered, in the order they are shown.
pub mod dropped {
    use super::Counter;

    /// Cause as users read it, and its counter.
    pub const CAUSES: [(&str, Counter); 8] = [
        ("ring_full_wait", Counter::DroppedWaitRingFull),
        ("ring_full_lock", Counter::DroppedLockRingFull),
        ("ring_full_process", Counter::DroppedProcessRingFull),
        ("ring_full_file", Counter::DroppedFileRingFull),
        ("ring_full_talk", Counter::DroppedTalkRingFull),
        ("wait_table_full", Counter::DroppedWaitTableFull),
        ("lock_table_full", Counter::DroppedLockTableFull),
        ("target_table_full", Counter::DroppedTargetTableFull),
    ];
}
