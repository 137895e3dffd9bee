//! The contract between the eBPF programs and the agent: records, map keys and values, counters.
//!
//! Everything here is fixed-width integers without padding, so that both halves (and a recording
//! made on another machine) agree on every byte. There are no `bool`, `enum` or `Option` fields:
//! what arrives from a ring or a file is data, and any bit pattern must be a valid value of it.

#![no_std]

pub mod wire;
