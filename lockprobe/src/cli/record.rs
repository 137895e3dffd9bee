//! `lockprobe record`.

use anyhow::Context;

use super::command::RecordArgs;
use super::run::Opened;
use super::trace::observe;
use crate::sinks::duration;
use crate::source::recording::Writer;

/// Runs it.
pub fn main(args: &RecordArgs) -> anyhow::Result<u8> {
    let path = &args.output;
    let cannot = || format!("{} cannot be written; choose another file with -o", path.display());
    // Found out before anything is attached; the writer itself needs the session first.
    Writer::create(path, &Default::default()).with_context(cannot)?;
    let ended = observe(&args.target, &args.capture, Opened::nothing(), |session| {
        Ok(Some(Writer::create(path, session).with_context(cannot)?))
    })?;
    let summary = &ended.summary;
    let length = duration(summary.end.saturating_sub(summary.start));
    eprintln!(
        "lockprobe: recorded {length}, {} records, {} lost, to {}; look at it with `lockprobe replay {}`",
        summary.received,
        summary.losses.total_dropped(),
        path.display(),
        path.display(),
    );
    Ok(ended.status)
}
