//! Where records go: one file or folder a destination, one thread each.
//!
//! In: records. Out: bytes on a console, in a file, on a connection. Never: another sink, the
//! lock table, a backend. A slow sink loses records, counted; it never slows the pipeline.

use crate::model::Record;

pub mod console;
pub mod folded;
pub mod http;
pub mod jsonl;
pub mod log;
pub mod otlp;
mod outlet;
pub mod snapshot;
mod text;
mod words;

pub use outlet::{Outlet, Pressure};
pub use text::{duration, holder_label, thread_label};
pub use words::{Told, does, tell, tell_inversion, tell_wait};

/// A destination. Runs on a thread of its own.
pub trait Sink: Send {
    /// Name for messages and counters: `console`, `jsonl`, `otlp`.
    fn name(&self) -> &'static str;

    /// Takes one record. An error ends the sink, and with it the run; what a sink can live with
    /// (a collector that is away) it counts itself, see [`Sink::losses`].
    fn write(&mut self, record: &Record) -> anyhow::Result<()>;

    /// Called when no record waits, and at least once a second while they keep coming.
    fn idle(&mut self) -> anyhow::Result<()> {
        Ok(())
    }

    /// No more records come. Writes out what is left, within five seconds.
    fn finish(&mut self) -> anyhow::Result<()>;

    /// What it could not deliver: cause and count, zeros included.
    fn losses(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }
}
