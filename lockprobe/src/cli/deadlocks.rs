//! `lockprobe deadlocks`.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use super::command::{CaptureArgs, DeadlocksArgs, DeadlocksFormat, TargetArgs};
use super::look::{Looked, look};
use super::run::{Opened, open};
use super::status::FOUND;
use super::trace::observe;
use crate::sinks::Sink;
use crate::sinks::findings::{Findings, Form};

/// Waits that a deadlock is not made of: they end by themselves.
const PASSING: Duration = Duration::from_millis(100);
const RING_BYTES: u32 = 4 << 20;

/// Runs it.
pub fn main(args: &DeadlocksArgs) -> anyhow::Result<u8> {
    let (out, colour) = open(args.output.as_deref())?;
    let form = match args.format {
        DeadlocksFormat::Table => Form::Table(colour),
        DeadlocksFormat::Json => Form::Json,
    };
    let found = if args.watch { watch(args, out, form)? } else { once(args, out, form)? };
    Ok(if found { FOUND } else { 0 })
}

fn once(args: &DeadlocksArgs, out: Box<dyn Write + Send>, form: Form) -> anyhow::Result<bool> {
    let Looked { session, pipeline, records, now } = look(&args.target)?;
    let mut sink = Findings::new(out, Arc::new(session), form, false);
    records.iter().try_for_each(|record| sink.write(record))?;
    sink.looked(pipeline.waiting(), now)?;
    Ok(pipeline.standing().iter().any(|finding| finding.kind.is_for_ever()))
}

fn watch(args: &DeadlocksArgs, out: Box<dyn Write + Send>, form: Form) -> anyhow::Result<bool> {
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
        full: false,
        naive_probes: false,
    };
    let ended = observe(&target, &capture, Opened::findings(out, form), |_| Ok(None))?;
    Ok(ended.seen.findings.iter().any(|finding| finding.kind.is_for_ever()))
}
