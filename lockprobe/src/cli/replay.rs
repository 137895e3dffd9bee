//! `lockprobe replay`.

use super::command::ReplayArgs;
use super::run::{Opened, drive};
use crate::pipeline::{Aside, Pipeline};
use crate::sinks::Pressure;
use crate::source::Source;
use crate::source::recording::Recording;

/// Runs it.
pub fn main(args: &ReplayArgs) -> anyhow::Result<u8> {
    let mut recording = Recording::open(&args.recording)?;
    let mut outputs = Opened::new(&args.output)?;
    let pipeline = Pipeline::new(recording.session().clone(), Aside::Replay, None);
    let pipeline = outputs.shape(pipeline, false).with_rules(args.rules.rules());
    let outlets = outputs.start(recording.session(), Pressure::Wait)?;
    let ended = drive(&mut recording, pipeline, outlets, || true, || {})?;
    Ok(ended.status)
}
