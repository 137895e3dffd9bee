//! JSON lines: one object a record, keys as OpenTelemetry names them.

mod convert;
pub mod findings;
mod full;
mod metrics;
pub mod schema;
pub mod snapshot;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io::Write;
use std::sync::Arc;

use super::Sink;
use crate::model::{Record, Session};

/// Most processes whose names are kept.
const PROCESSES_AT_MOST: usize = 65_536;

/// Writes JSON lines. A complete output ends with the `summary` record.
pub struct JsonLines {
    out: Box<dyn Write + Send>,
    session: Arc<Session>,
    services: HashMap<u32, String>,
}

impl JsonLines {
    /// Writes to `out`, which should be buffered.
    pub fn new(out: Box<dyn Write + Send>, session: Arc<Session>) -> Self {
        Self { out, session, services: HashMap::new() }
    }
}

impl Sink for JsonLines {
    fn name(&self) -> &'static str {
        "jsonl"
    }

    fn write(&mut self, record: &Record) -> anyhow::Result<()> {
        if let Record::Process(process) = record {
            if self.services.len() >= PROCESSES_AT_MOST {
                self.services.clear();
            }
            self.services.insert(process.pid, process.service.clone());
        }
        let object = convert::to_json(record, &self.session, &self.services);
        serde_json::to_writer(&mut self.out, &object)?;
        self.out.write_all(b"\n")?;
        if matches!(record, Record::Finding(_) | Record::Inversion(_) | Record::Summary(_)) {
            self.out.flush()?;
        }
        Ok(())
    }

    fn idle(&mut self) -> anyhow::Result<()> {
        Ok(self.out.flush()?)
    }

    fn finish(&mut self) -> anyhow::Result<()> {
        Ok(self.out.flush()?)
    }
}
