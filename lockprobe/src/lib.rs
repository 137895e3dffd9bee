//! lockprobe: who holds which lock, who waits for it, and since when, in unmodified programs.
//!
//! # One way through the house
//!
//! ```text
//! kernel probes -> ring -> source -> decode (Observation) -> backends (LockEvent)
//!     -> track (LockSpan, lock table, wait-for graph) -> analyses (Finding)
//!     -> records -> sinks
//! ```
//!
//! Data flows one way. Live capture and a recording take the same path, so everything after
//! [`source`] is tested without root and without a kernel. What is learnt on the side, from /proc
//! and binaries ([`enrich`]), enters as facts beside the records and is kept in recordings.
//!
//! | room | in | out |
//! |---|---|---|
//! | `lockprobe_ebpf` | scheduler events | records, counts |
//! | [`source`] | the kernel, files | batches of frames |
//! | [`decode`] | frames | observations |
//! | [`backends`] | observations | lock events |
//! | [`track`] | lock events | spans, the lock table |
//! | [`analyses`] | spans, the table | findings, sums |
//! | [`enrich`] | process ids, addresses | facts |
//! | [`sinks`] | records | bytes |
//! | [`select`] | what is known of a process | whether it is meant |
//! | [`pipeline`] | all of the above | |
//!
//! # A lock wait
//!
//! A lock wait is a task asleep inside a lock system call. The kernel half asks the scheduler, so
//! an uncontended lock and an unrelated system call cost nothing:
//!
//! 1. `sched_switch`, the task leaving: it sleeps in a futex wait. Note when, where, and what lies
//!    at the address: a glibc mutex names its owner there.
//! 2. `sched_waking`: whoever wakes it from inside FUTEX_WAKE on the same address lets the lock go.
//! 3. `sched_switch`, the task coming back: the wait is over, unless it sleeps on at once.
//!
//! Whether a futex is a lock is decided in user space from the call site, once for each; the kernel
//! half is told, and from then on drops the sleeps of condition variables, joins and thread pools.
//!
//! # Retries
//!
//! A thread may sleep many times for one acquisition. It is the same attempt if every preserved
//! register and the top of the stack are as before, the thread slept nowhere else in between, next
//! to no processor time was spent, and it was not seen letting the lock go. A record is sent each time the thread runs again, and
//! one that takes it back when it sleeps on.
//!
//! # Holds
//!
//! Every release that had a waiter is seen. A hold is `exact` when the waiter it ended with slept
//! through all of it and its holder was seen acquiring; a `lower_bound` when it began before anyone
//! waited; `unknown` when the lock changed hands unseen in between.
//!
//! # Full mode
//!
//! Asked for, and for chosen processes only, every acquisition is followed by uprobes, which cost
//! about a microsecond a call where the kernel can emulate the instruction they sit on. So a site
//! is chosen by decoding the function: on the way that every call takes once, with the argument in
//! its register. There are no return probes. What a call that may fail came to is read from the
//! owner word at the thread's next call; when a wait ended is known from the scheduler. Each
//! thread's held locks, the counts of each lock and the orders of two are kept in maps; circles in
//! the order of locks are deadlocks that are possible.

pub mod analyses;
pub mod backends;
pub mod cli;
pub mod decode;
pub mod enrich;
pub mod framing;
pub mod health;
pub mod model;
pub mod pipeline;
pub mod select;
pub mod sinks;
pub mod source;
pub mod track;
