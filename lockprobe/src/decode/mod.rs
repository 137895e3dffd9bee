//! From the bytes of a frame to an observation.
//!
//! In: frames. Out: observations, or why there is none. Never: a clock, files, network, threads;
//! never an error that stops the pipeline: what cannot be read is counted.

mod frame;
mod full;
mod kernel;
mod talk;

pub use frame::decode;
pub use talk::dialect_of;
