//! The console: a line a wait as it ends, then the sums.

pub mod findings;
mod full;
mod stacks;
mod summary;

use std::collections::HashMap;
use std::io::Write;
use std::sync::Arc;

use anstyle::{AnsiColor, Style};

use super::{Sink, Told, duration, holder_label, tell, thread_label};
use crate::model::{
    AcquireSpan, Finding, HoldSpan, Holder, LockDescription, Outcome, Record, Session,
};

const PROCESSES_AT_MOST: usize = 65_536;
const HEADER: &str = "    TIME  PROCESS               THREAD                 WAIT        LOCK                                     HELD BY";

/// Writes for people.
pub struct Console {
    out: Box<dyn Write + Send>,
    session: Arc<Session>,
    colour: bool,
    services: HashMap<u32, String>,
    header_shown: bool,
    stacks: bool,
    /// Everything is seen at one moment: there is no time to tell.
    at_once: bool,
}

/// Text cut to a width, with an ellipsis where something is missing.
fn fit(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(width.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

/// The same for names: paths tell most at their end, everything else at its beginning.
fn fit_end(text: &str, width: usize) -> String {
    let length = text.chars().count();
    if length <= width || !text.contains("::") {
        return fit(text, width);
    }
    let tail: String = text.chars().skip(length - (width - 1)).collect();
    format!("…{tail}")
}

/// A lock by its name; one that a server keeps by its address, of which the end tells most.
fn shown(lock: &LockDescription, width: usize) -> String {
    let Some(address) = lock.address.as_deref() else { return fit_end(&lock.name, width) };
    let length = address.chars().count();
    if length <= width {
        return address.to_owned();
    }
    let tail: String = address.chars().skip(length - (width - 1)).collect();
    format!("…{tail}")
}

impl Console {
    /// Writes to `out`, in colour or not.
    pub fn new(out: Box<dyn Write + Send>, session: Arc<Session>, colour: bool) -> Self {
        Self {
            out,
            session,
            colour,
            services: HashMap::new(),
            header_shown: false,
            stacks: false,
            at_once: false,
        }
    }

    /// Shows the stacks of long waits below them, or does not.
    pub fn with_stacks(self, stacks: bool) -> Self {
        Self { stacks, ..self }
    }

    fn paint(&self, style: Style, text: &str) -> String {
        if self.colour { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    fn process(&self, pid: u32) -> String {
        match self.services.get(&pid) {
            Some(service) => format!("{service}[{pid}]"),
            None => format!("[{pid}]"),
        }
    }

    /// What is known of the holder, in words that say how certain it is.
    fn held_by(&self, holder: Option<&Holder>) -> String {
        match holder {
            None => "unknown".to_owned(),
            Some(h) => {
                let label = holder_label(h, |pid| self.process(pid));
                let guess = if h.source.is_certain() { "" } else { " (inferred)" };
                label + guess
            }
        }
    }

    fn since_start(&self, time: u64) -> f64 {
        (time as f64 - self.session.start as f64) / 1e9
    }

    fn acquire(&mut self, span: &AcquireSpan) -> std::io::Result<()> {
        self.header()?;
        let wait = duration(span.end - span.start);
        let wait = if span.start_estimated { format!("~{wait}") } else { wait };
        let time = self.since_start(span.end);
        let process = fit(&self.process(span.thread.id.pid), 20);
        let thread = fit(&thread_label(&span.thread.name(), span.thread.id), 21);
        let lock = shown(&span.lock, 39);
        let remark = match (span.outcome, span.error) {
            (Outcome::Acquired, _) => String::new(),
            (Outcome::Abandoned, error) => format!("  gave up: {}", error.unwrap_or("unknown")),
            (Outcome::Refused, _) => "  refused".to_owned(),
            (Outcome::Waiting, _) => "  still waiting".to_owned(),
        };
        let remark = self.paint(AnsiColor::Red.on_default(), &remark);
        let wait = self.paint(AnsiColor::Yellow.on_default(), &format!("{wait:<10}"));
        let held = self.held_by(span.holder.as_ref());
        writeln!(
            self.out,
            "{time:>8.3}  {process:<20}  {thread:<21}  {wait}  {lock:<39}  {held}{remark}"
        )?;
        match &span.stacks {
            Some(stacks) if self.stacks => self.stacks(span, stacks),
            _ => Ok(()),
        }
    }

    fn header(&mut self) -> std::io::Result<()> {
        if self.header_shown {
            return Ok(());
        }
        self.header_shown = true;
        let header = self.paint(Style::new().bold(), HEADER);
        writeln!(self.out, "{header}")
    }

    fn hold(&mut self, span: &HoldSpan) -> std::io::Result<()> {
        self.header()?;
        let time = self.since_start(span.end);
        let process = fit(&self.process(span.holder.id.pid), 20);
        let thread = fit(&thread_label(&span.holder.name, span.holder.id), 21);
        // Without the space it fits the column.
        let held = duration(span.end - span.start).replace(' ', "");
        let held = format!("{:<10}", format!("held {held}"));
        let lock = shown(&span.lock, 39);
        let renewals = span.remote.as_ref().map_or(0, |remote| remote.renewals);
        let renewed = if renewals > 0 { format!(", {renewals}x renewed") } else { String::new() };
        let end = span.ended.name().replace('_', " ");
        writeln!(
            self.out,
            "{time:>8.3}  {process:<20}  {thread:<21}  {held}  {lock:<39}  {end}{renewed}"
        )
    }

    fn finding(&mut self, finding: &Finding) -> std::io::Result<()> {
        let at = |time: u64| match self.at_once {
            true => String::new(),
            false => format!(" at {:.3} s", self.since_start(time)),
        };
        let Told { title, lines } = tell(finding, &|pid| self.process(pid), &at);
        let title = self.paint(AnsiColor::Red.on_default().bold(), &title);
        writeln!(self.out, "{title}")?;
        lines.iter().try_for_each(|line| writeln!(self.out, "  {line}"))
    }
}

impl Sink for Console {
    fn name(&self) -> &'static str {
        "console"
    }

    fn write(&mut self, record: &Record) -> anyhow::Result<()> {
        match record {
            Record::Process(process) => {
                if self.services.len() >= PROCESSES_AT_MOST {
                    self.services.clear();
                }
                self.services.insert(process.pid, process.service.clone());
            }
            Record::Acquire(span) => self.acquire(span)?,
            // A hold shows in the waits it caused and in the sums; of one that a server grants its end
            // is half of what there is to see.
            Record::Hold(span) if span.remote.is_some() => self.hold(span)?,
            Record::Hold(_) | Record::Metrics(_) => {}
            Record::Finding(finding) => self.finding(finding)?,
            Record::Inversion(inversion) => self.inversion(inversion)?,
            Record::Summary(summary) => self.summary(summary)?,
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
