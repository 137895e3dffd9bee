//! `lockprobe deadlocks`.

use std::sync::Arc;
use std::time::Duration;

use super::command::{CaptureArgs, TargetArgs};
use super::look::{DeadlocksArgs, DeadlocksFormat, look};
use super::run::{Opened, StuckForm, open};
use super::status::FOUND;
use super::trace::observe;

/// Waits that a deadlock is not made of: they end by themselves.
const PASSING: Duration = Duration::from_millis(100);
const RING_BYTES: u32 = 4 << 20;

/// Runs it.
pub fn main(args: &DeadlocksArgs) -> anyhow::Result<u8> {
    let found = if args.watch { watch(args)? } else { once(args)? };
    Ok(if found { FOUND } else { 0 })
}

fn form(args: &DeadlocksArgs, colour: bool) -> StuckForm {
    match args.format {
        DeadlocksFormat::Table => StuckForm::Table { colour, watching: args.watch },
        DeadlocksFormat::Json => StuckForm::Json,
    }
}

fn once(args: &DeadlocksArgs) -> anyhow::Result<bool> {
    let (out, colour) = open(args.output.as_deref())?;
    let mut looked = look(&args.target)?;
    let mut sink = form(args, colour).sink(out, Arc::new(looked.session));
    let found = looked.pipeline.standing().iter().any(|finding| finding.kind.is_for_ever());
    looked.pipeline.finish(&mut looked.records)?;
    looked.records.iter().try_for_each(|record| sink.write(record))?;
    sink.finish()?;
    Ok(found)
}

fn watch(args: &DeadlocksArgs) -> anyhow::Result<bool> {
    let (out, colour) = open(args.output.as_deref())?;
    let target = TargetArgs {
        pid: args.target.pid.clone(),
        exe: args.target.exe.clone(),
        command: Vec::new(),
    };
    let capture = CaptureArgs {
        min_wait: PASSING,
        duration: None,
        ring_size: RING_BYTES,
        stack_threshold: PASSING,
        no_stacks: false,
        lock_files: false,
        no_servers: false,
        server: Vec::new(),
        full: false,
        naive_probes: false,
        harvest_every: crate::source::live::HARVEST_EVERY,
    };
    let outputs = Opened::stuck(out, form(args, colour));
    let ended = observe(&target, &capture, outputs, |_| Ok(None))?;
    Ok(ended.seen.findings.iter().any(|finding| finding.kind.is_for_ever()))
}
