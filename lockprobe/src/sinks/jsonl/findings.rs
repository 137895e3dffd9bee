//! Deadlocks and orphans alone, as JSON lines.

use std::io::Write;
use std::sync::Arc;

use super::convert::{finding_to_json, look_to_json};
use crate::model::{Record, Session};
use crate::sinks::Sink;

/// Writes findings of threads that can never go on; the last line says how much was looked at.
pub struct StuckLines {
    out: Box<dyn Write + Send>,
    session: Arc<Session>,
    found: u64,
}

impl StuckLines {
    /// Writes to `out`.
    pub fn new(out: Box<dyn Write + Send>, session: Arc<Session>) -> Self {
        Self { out, session, found: 0 }
    }
}

impl Sink for StuckLines {
    fn name(&self) -> &'static str {
        "jsonl"
    }

    fn write(&mut self, record: &Record) -> anyhow::Result<()> {
        let json = match record {
            Record::Finding(finding) if finding.kind.is_for_ever() => {
                self.found += u64::from(finding.ended.is_none());
                finding_to_json(finding, &self.session)
            }
            Record::Summary(summary) => look_to_json(summary, self.found, &self.session),
            _ => return Ok(()),
        };
        writeln!(self.out, "{json}")?;
        Ok(self.out.flush()?)
    }

    fn finish(&mut self) -> anyhow::Result<()> {
        Ok(self.out.flush()?)
    }
}
