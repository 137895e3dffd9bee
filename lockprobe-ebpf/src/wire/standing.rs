//! Where a thread stands: what the `standing` iterator writes for a thread that is asked about.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The registers a thread entered the kernel with, and what tells whether it has run since.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Standing {
    /// Process id as the host sees it.
    pub tgid: u32,
    /// Thread id as the host sees it.
    pub tid: u32,
    /// 1: off the processor and not waiting for one.
    pub blocked: u32,
    /// Zero.
    pub reserved: u32,
    /// System call number, all ones outside of a call.
    pub call: u64,
    /// Its first argument.
    pub first: u64,
    /// User instruction pointer.
    pub ip: u64,
    /// User stack pointer.
    pub sp: u64,
    /// User frame pointer.
    pub bp: u64,
    /// Processor time used so far, nanoseconds.
    pub cpu_ns: u64,
}

const _: () = assert!(size_of::<Standing>() == 64);
