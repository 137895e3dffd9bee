//! Records at any rate, for measuring the ring, the reader and the accounting.

use aya::Ebpf;
use aya::programs::{RawTracePoint, RawTracePointRunOptions, TestRun};

use super::load::explain;
use crate::source::Error;

/// The generator: a program that is never attached, only run on request.
pub struct Synthetic {
    ebpf: Ebpf,
}

impl Synthetic {
    /// Records one run of the program makes.
    pub const BATCH: u64 = 256;

    /// Loads the program and keeps the object alive.
    pub fn prepare(mut ebpf: Ebpf) -> Result<Self, Error> {
        let program = program(&mut ebpf)?;
        program.load().map_err(|e| explain("load the synthetic program", &e))?;
        Ok(Self { ebpf })
    }

    /// Makes [`Synthetic::BATCH`] records.
    pub fn run(&mut self) -> Result<(), Error> {
        let options = RawTracePointRunOptions::default();
        let run = program(&mut self.ebpf)?.test_run(options);
        run.map(drop).map_err(|e| explain("run the synthetic program", &e))
    }
}

fn program(ebpf: &mut Ebpf) -> Result<&mut RawTracePoint, Error> {
    let missing = || Error::Failed("the eBPF object has no synthetic program; rebuild it".into());
    ebpf.program_mut("synthetic").ok_or_else(missing)?.try_into().map_err(|_| missing())
}
