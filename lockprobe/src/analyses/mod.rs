//! What the spans and the table say: one file an analysis, with check, format and summary.
//!
//! In: spans, the lock table for reading. Out: findings, sums. Never: another analysis, a backend,
//! a clock.

pub mod acquisitions;
pub mod deadlock;
pub mod holder;
pub mod left_behind;
pub mod lock_order;
pub mod metrics;
pub mod paused;
pub mod remote;
pub mod snapshot;
pub mod usage;
