//! Deadlocks and orphans alone: what `lockprobe deadlocks` says.

mod words;

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::Arc;

use anstyle::AnsiColor;

use super::jsonl::convert;
use super::{Sink, duration};
use crate::model::{Finding, Record, Session};

pub use words::{Told, does, tell};

/// Most processes whose names are kept.
const PROCESSES_AT_MOST: usize = 65_536;

/// How it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// For people; in colour or not.
    Table(bool),
    /// One JSON object a line.
    Json,
}

/// Writes those findings nobody gets out of; the last line says how much was looked at.
pub struct Findings {
    out: Box<dyn Write + Send>,
    session: Arc<Session>,
    form: Form,
    services: HashMap<u32, String>,
    found: u64,
    /// Over a time, rather than once.
    watching: bool,
}

impl Findings {
    /// Writes to `out`.
    pub fn new(
        out: Box<dyn Write + Send>,
        session: Arc<Session>,
        form: Form,
        watching: bool,
    ) -> Self {
        Self { out, session, form, services: HashMap::new(), found: 0, watching }
    }

    fn finding(&mut self, finding: &Finding) -> io::Result<()> {
        if !finding.kind.is_for_ever() {
            return Ok(());
        }
        self.found += u64::from(finding.ended.is_none());
        match self.form {
            Form::Json => {
                let json = convert::finding_to_json(finding, &self.session);
                writeln!(self.out, "{json}")?;
            }
            Form::Table(colour) => self.tell(finding, colour)?,
        }
        self.out.flush()
    }

    fn tell(&mut self, finding: &Finding, colour: bool) -> io::Result<()> {
        let process = |pid: u32| match self.services.get(&pid) {
            Some(service) => format!("{service}[{pid}]"),
            None => format!("[{pid}]"),
        };
        let at = |time: u64| match self.watching {
            true => format!(" at {:.3} s", time.saturating_sub(self.session.start) as f64 / 1e9),
            false => String::new(),
        };
        let Told { title, lines } = tell(finding, &process, &at);
        let red = AnsiColor::Red.on_default().bold();
        let title = if colour { format!("{red}{title}{red:#}") } else { title };
        writeln!(self.out, "{title}")?;
        lines.iter().try_for_each(|line| writeln!(self.out, "  {line}"))
    }

    /// Says how much was looked at: so many threads that wait, until then.
    pub fn looked(&mut self, waiting: usize, now: u64) -> io::Result<()> {
        match self.form {
            Form::Json => {
                let json = convert::look_to_json(waiting, self.found, now, &self.session);
                writeln!(self.out, "{json}")?;
            }
            Form::Table(_) if self.watching => {
                let length = duration(now.saturating_sub(self.session.start));
                let found = self.found;
                writeln!(self.out, "Watched for {length}; deadlocks and orphans found: {found}.")?;
            }
            Form::Table(_) if self.found == 0 => {
                let wait = if waiting == 1 { "thread waits" } else { "threads wait" };
                writeln!(self.out, "No deadlock: {waiting} {wait} for a lock.")?;
            }
            Form::Table(_) => {}
        }
        self.out.flush()
    }
}

impl Sink for Findings {
    fn name(&self) -> &'static str {
        "findings"
    }

    fn write(&mut self, record: &Record) -> anyhow::Result<()> {
        match record {
            Record::Process(process) => {
                if self.services.len() >= PROCESSES_AT_MOST {
                    self.services.clear();
                }
                self.services.insert(process.pid, process.service.clone());
            }
            Record::Finding(finding) => self.finding(finding)?,
            Record::Summary(summary) => {
                let waiting = summary.locks.iter().map(|lock| lock.still_waiting as usize).sum();
                self.looked(waiting, summary.end)?;
            }
            // `deadlocks` never runs in full mode.
            Record::Acquire(_) | Record::Hold(_) | Record::Inversion(_) => {}
        }
        Ok(())
    }

    fn finish(&mut self) -> anyhow::Result<()> {
        Ok(self.out.flush()?)
    }
}
