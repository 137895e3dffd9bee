//! What leaves the pipeline: one record a line, a span or a log entry.

use super::{
    AcquireSpan, AcquisitionSummary, Dialect, Finding, HoldSpan, Holder, Inversion, LockCounts,
    LockDescription, Losses, Metrics, Precision, ProcessFact,
};
use core::net::SocketAddr;
use std::sync::Arc;

/// One record for the sinks.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// A thread waited for a lock.
    Acquire(Arc<AcquireSpan>),
    /// A thread had a lock.
    Hold(Arc<HoldSpan>),
    /// A conclusion.
    Finding(Arc<Finding>),
    /// A deadlock that is possible, though none has happened.
    Inversion(Arc<Inversion>),
    /// A process was seen for the first time, or runs a new program.
    Process(Arc<ProcessFact>),
    /// All numbers at a moment; only where they are asked for.
    Metrics(Arc<Metrics>),
    /// The end.
    Summary(Arc<Summary>),
}

/// Everything about one lock.
#[derive(Clone, Debug, PartialEq)]
pub struct LockSummary {
    /// Which lock.
    pub lock: Arc<LockDescription>,
    /// Process it was seen in first.
    pub pid: u32,
    /// Name of that process.
    pub service: String,
    /// Every wait, however short.
    pub counts: LockCounts,
    /// Whom most of the recorded waits were for, and how many of them.
    pub top_holder: Option<(Holder, u64)>,
    /// Longest hold that is known to have lasted so long, nanoseconds, and whether exactly.
    pub longest_hold: Option<(u64, Precision)>,
    /// Waits that ended without the lock.
    pub abandoned: u64,
    /// Threads waiting when observation ended.
    pub still_waiting: u32,
    /// How many locks these are the sums of: one, unless locks are grouped.
    pub locks: u64,
}

/// A client of a lock server that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blind {
    /// The client.
    pub pid: u32,
    /// Its name.
    pub service: String,
    /// What is spoken.
    pub dialect: Dialect,
    /// The server.
    pub server: SocketAddr,
    /// Why, in a word: `encrypted` by a library that is not known, or `io_uring` and the like.
    pub why: &'static str,
}

/// The end of an observation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// First and last moment observed, CLOCK_MONOTONIC nanoseconds.
    pub start: u64,
    /// Last moment.
    pub end: u64,
    /// The threshold, nanoseconds.
    pub min_wait: u64,
    /// Locks, most total waiting first.
    pub locks: Vec<LockSummary>,
    /// Full mode: acquisitions by lock, most first.
    pub acquisitions: Option<Vec<AcquisitionSummary>>,
    /// Findings.
    pub findings: u64,
    /// Clients of lock servers that cannot be understood.
    pub blind: Vec<Blind>,
    /// What is missing, and why.
    pub losses: Losses,
    /// Records received from the kernel half.
    pub received: u64,
}

impl Summary {
    /// Threads waiting when observation ended.
    pub fn still_waiting(&self) -> u64 {
        self.locks.iter().map(|lock| u64::from(lock.still_waiting)).sum()
    }
}
