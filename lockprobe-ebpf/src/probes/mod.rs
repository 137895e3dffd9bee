//! Entry points, one file a subject.
//!
//! In: kernel events. Out: map entries and ring records. Never: another probe, the ring directly.

mod file_locks;
mod lock_files;
mod process;
mod pthread;
mod sched;
mod snapshot;
mod socket;
mod standing;
mod synthetic;
mod tls;
