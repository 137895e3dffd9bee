//! Deadlocks and orphans alone, for people.

use std::io::Write;
use std::sync::Arc;

use super::{Console, duration};
use crate::model::{Record, Session, Summary};
use crate::sinks::Sink;

/// Tells of threads that can never go on; the last line says how much was looked at.
pub struct StuckTable {
    console: Console,
    found: u64,
    watching: bool,
}

impl StuckTable {
    /// Writes to `out`; `watching` over a time, rather than once.
    pub fn new(
        out: Box<dyn Write + Send>,
        session: Arc<Session>,
        colour: bool,
        watching: bool,
    ) -> Self {
        let mut console = Console::new(out, session, colour);
        console.at_once = !watching;
        Self { console, found: 0, watching }
    }

    fn ended(&mut self, summary: &Summary) -> std::io::Result<()> {
        let found = self.found;
        let out = &mut self.console.out;
        if self.watching {
            let length = duration(summary.end.saturating_sub(summary.start));
            writeln!(out, "Watched for {length}; deadlocks and orphans found: {found}.")?;
        } else if found == 0 {
            let waiting = summary.still_waiting();
            let wait = if waiting == 1 { "thread waits" } else { "threads wait" };
            writeln!(out, "No deadlock: {waiting} {wait} for a lock.")?;
        }
        Ok(())
    }
}

impl Sink for StuckTable {
    fn name(&self) -> &'static str {
        "console"
    }

    fn write(&mut self, record: &Record) -> anyhow::Result<()> {
        match record {
            Record::Finding(finding) if finding.kind.is_for_ever() => {
                self.found += u64::from(finding.ended.is_none());
                self.console.write(record)?;
                self.console.idle()?;
            }
            Record::Process(_) => self.console.write(record)?,
            Record::Summary(summary) => self.ended(summary)?,
            Record::Acquire(_)
            | Record::Hold(_)
            | Record::Finding(_)
            | Record::Inversion(_)
            | Record::Metrics(_) => {}
        }
        Ok(())
    }

    fn finish(&mut self) -> anyhow::Result<()> {
        self.console.finish()
    }
}
