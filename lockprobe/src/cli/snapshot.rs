//! `lockprobe snapshot`.

use super::command::{SnapshotArgs, SnapshotFormat};
use super::look::look;
use super::run::open;
use crate::sinks::snapshot::{Form, write};

/// Runs it.
pub fn main(args: &SnapshotArgs) -> anyhow::Result<u8> {
    let (mut out, colour) = open(args.output.as_deref())?;
    let looked = look(&args.target)?;
    let form = match args.format {
        SnapshotFormat::Table => Form::Table(colour),
        SnapshotFormat::Json => Form::Json,
        SnapshotFormat::Dot => Form::Dot,
    };
    write(&mut out, form, &looked.pipeline.snapshot(), &looked.session)?;
    Ok(0)
}
