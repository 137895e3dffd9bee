//! lockprobe: who holds which lock, who waits for it, and since when, in unmodified programs.

pub mod enrich;
pub mod model;
pub mod sinks;
