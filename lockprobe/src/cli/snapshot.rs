//! `lockprobe snapshot`.

use std::io::Write;

use super::look::{SnapshotArgs, SnapshotFormat, look};
use super::run::open;
use crate::sinks::jsonl::snapshot::write_json;
use crate::sinks::snapshot::{write_dot, write_table};

/// Runs it.
pub fn main(args: &SnapshotArgs) -> anyhow::Result<u8> {
    let (mut out, colour) = open(args.output.as_deref())?;
    let looked = look(&args.target)?;
    let (snapshot, session) = (looked.pipeline.snapshot(), &looked.session);
    match args.format {
        SnapshotFormat::Table => write_table(&mut out, &snapshot, session, colour)?,
        SnapshotFormat::Json => write_json(&mut out, &snapshot, session)?,
        SnapshotFormat::Dot => write_dot(&mut out, &snapshot)?,
    }
    out.flush()?;
    Ok(0)
}
