//! What trace, record, replay and demo have in common: outputs, the loop, the end.

use std::fs::File;
use std::io::{BufWriter, IsTerminal, Write, stdout};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;

use super::command::{Format, OutputArgs};
use super::pages::{self, Pages, Queues, own};
use super::status::UNDELIVERED;
use crate::analyses::metrics::SERIES;
use crate::analyses::usage::GroupBy;
use crate::enrich::GivenNames;
use crate::model::{Finding, Record, Session, Summary};
use crate::pipeline::Pipeline;
use crate::sinks::console::Console;
use crate::sinks::console::findings::StuckTable;
use crate::sinks::folded::Folded;
use crate::sinks::jsonl::JsonLines;
use crate::sinks::jsonl::findings::StuckLines;
use crate::sinks::otlp::{Otlp, Settings};
use crate::sinks::{Outlet, Pressure, Sink};
use crate::source::Source;

/// Where records go. The last outlet shows the summary with what the others lost.
pub struct Outlets {
    remote: Vec<Outlet>,
    pages: Option<Pages>,
    local: Option<Outlet>,
    /// Numbers were asked for by name, and not for the pages alone.
    metrics: bool,
}

/// What is written.
enum Shape {
    Records(Format),
    Stuck(StuckForm),
}

/// How deadlocks and orphans alone are written.
#[derive(Clone, Copy, Debug)]
pub enum StuckForm {
    /// For people.
    Table {
        /// In colour.
        colour: bool,
        /// Over a time, rather than once.
        watching: bool,
    },
    /// One JSON object a line.
    Json,
}

impl StuckForm {
    /// The sink that does.
    pub fn sink(self, out: Box<dyn Write + Send>, session: Arc<Session>) -> Box<dyn Sink> {
        match self {
            Self::Table { colour, watching } => {
                Box::new(StuckTable::new(out, session, colour, watching))
            }
            Self::Json => Box::new(StuckLines::new(out, session)),
        }
    }
}

/// An output that is open, before observation begins: what cannot be written is found out before
/// anything is attached.
pub struct Opened {
    writer: Option<Box<dyn Write + Send>>,
    shape: Shape,
    colour: bool,
    stacks: bool,
    otlp: Option<Settings>,
    pages: Option<pages::Opened>,
    queues: Queues,
    names: GivenNames,
    group_by: GroupBy,
    metrics_interval: Option<Duration>,
}

impl Opened {
    /// Opens the outputs that were asked for.
    pub fn new(args: &OutputArgs) -> anyhow::Result<Self> {
        let (writer, colour) = open(args.output.as_deref())?;
        let otlp = args.otlp.as_deref().map(|url| Settings::of_flag(url, &warn));
        if let Some(settings) = &otlp {
            Otlp::new(settings, Arc::default(), Box::new(warn))?;
        }
        Ok(Self {
            writer: Some(writer),
            shape: Shape::Records(args.format),
            colour,
            stacks: args.stacks,
            otlp,
            pages: None,
            queues: Queues::default(),
            names: args.names(),
            group_by: args.grouping(),
            metrics_interval: args.metrics_interval,
        })
    }

    /// No output at all: the recording is the output.
    pub fn nothing() -> Self {
        Self {
            writer: None,
            shape: Shape::Records(Format::Table),
            colour: false,
            stacks: false,
            otlp: None,
            pages: None,
            queues: Queues::default(),
            names: GivenNames::default(),
            group_by: GroupBy::default(),
            metrics_interval: None,
        }
    }

    /// Also pages over HTTP, which are served from now on.
    pub fn serving(mut self, listen: Option<std::net::SocketAddr>) -> anyhow::Result<Self> {
        self.pages = listen.map(pages::Opened::new).transpose()?;
        if let Some(pages) = &self.pages {
            eprintln!("lockprobe: http://{}/ has metrics and snapshots", pages.address());
        }
        Ok(self)
    }

    /// A console on any writer.
    pub fn console(writer: Box<dyn Write + Send>, colour: bool) -> Self {
        Self { writer: Some(writer), colour, ..Self::nothing() }
    }

    /// Deadlocks and orphans alone.
    pub fn stuck(writer: Box<dyn Write + Send>, form: StuckForm) -> Self {
        Self { writer: Some(writer), shape: Shape::Stuck(form), ..Self::nothing() }
    }

    /// Tells a pipeline what locks are to be called, what sums have a line for, and which records
    /// are wanted. What a replay costs is not told: it is another each time.
    pub fn shape(&mut self, pipeline: Pipeline, live: bool) -> Pipeline {
        let pipeline = pipeline.naming(std::mem::take(&mut self.names), self.group_by);
        let served = self.pages.as_ref().map(|_| pages::INTERVAL);
        match self.metrics_interval.or(served) {
            Some(interval) => {
                pipeline.with_metrics(interval, SERIES, live.then(|| own(&self.queues)))
            }
            None => pipeline,
        }
    }

    /// The queues that lockprobe tells of among its own numbers.
    pub fn queues(&self) -> &Queues {
        &self.queues
    }

    /// Starts the sinks.
    pub fn start(self, session: &Session, pressure: Pressure) -> anyhow::Result<Outlets> {
        let session = Arc::new(session.clone());
        let shared = session.clone();
        let mut outlets = Outlets {
            remote: Vec::new(),
            pages: None,
            local: None,
            metrics: self.metrics_interval.is_some(),
        };
        if let Some(writer) = self.writer {
            let session = session.clone();
            let sink: Box<dyn Sink> = match self.shape {
                Shape::Records(Format::Table) => {
                    let console = Console::new(writer, session, self.colour);
                    Box::new(console.with_stacks(self.stacks))
                }
                Shape::Records(Format::Folded) => Box::new(Folded::new(writer)),
                Shape::Records(Format::Jsonl) => Box::new(JsonLines::new(writer, session)),
                Shape::Stuck(form) => form.sink(writer, session),
            };
            outlets.local = Some(Outlet::start(sink, pressure)?);
        }
        if let Some(settings) = self.otlp {
            let sink = Box::new(Otlp::new(&settings, session, Box::new(warn))?);
            outlets.remote.push(Outlet::start(sink, pressure)?);
        }
        for outlet in outlets.remote.iter().chain(&outlets.local) {
            self.queues.output(outlet);
        }
        outlets.pages = self.pages.map(|pages| pages.observing(shared)).transpose()?;
        Ok(outlets)
    }
}

/// One line for people, beside the output.
fn warn(line: &str) {
    eprintln!("lockprobe: {line}");
}

fn is_metrics(record: &Record) -> bool {
    matches!(record, Record::Metrics(_))
}

/// A file, or standard output; and whether to write in colour.
pub fn open(path: Option<&Path>) -> anyhow::Result<(Box<dyn Write + Send>, bool)> {
    Ok(match path {
        Some(path) => (Box::new(create(path)?), false),
        None => {
            let colour = stdout().is_terminal() && colour_wanted();
            (Box::new(BufWriter::new(stdout())), colour)
        }
    })
}

fn create(path: &Path) -> anyhow::Result<BufWriter<File>> {
    let file = File::create(path).with_context(|| {
        format!("{} cannot be written; choose another file with --output", path.display())
    })?;
    Ok(BufWriter::new(file))
}

/// Colour unless NO_COLOR is set or the terminal has none (see no-color.org).
pub fn colour_wanted() -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    !set("NO_COLOR") && std::env::var_os("TERM").is_some_and(|term| term != "dumb")
}

impl Outlets {
    fn offer(&mut self, record: &Record) {
        let local = self.local.as_mut().filter(|_| self.metrics || !is_metrics(record));
        let all = self.remote.iter_mut().chain(local);
        all.for_each(|outlet| outlet.offer(record));
        if let Some(pages) = &mut self.pages {
            pages.offer(record);
        }
    }

    /// To be called between batches.
    fn between(&mut self, pipeline: &Pipeline) {
        if let Some(pages) = &mut self.pages {
            pages.between(pipeline);
        }
    }

    fn failed(&self) -> bool {
        self.remote.iter().chain(&self.local).any(Outlet::failed)
    }

    /// Ends the remote outputs first, so that the summary tells what they lost.
    fn finish(mut self, summary: Option<Summary>) -> anyhow::Result<bool> {
        let mut losses = Vec::new();
        for outlet in &mut self.remote {
            let (result, lost) = outlet.finish();
            result?;
            losses.push((outlet.name(), "queue_full", outlet.dropped()));
            losses.extend(lost.into_iter().map(|(cause, count)| (outlet.name(), cause, count)));
        }
        let undelivered = losses.iter().any(|(_, _, count)| *count > 0);
        if let Some(pages) = self.pages {
            let lost = pages.finish()?;
            losses.extend(lost.into_iter().map(|(cause, count)| ("http", cause, count)));
        }
        if let Some(outlet) = &mut self.local {
            losses.push((outlet.name(), "queue_full", outlet.dropped()));
            if let Some(mut summary) = summary {
                merge(&mut summary, losses);
                outlet.offer(&Record::Summary(Arc::new(summary)));
            }
            outlet.finish().0?;
        }
        Ok(undelivered)
    }
}

fn merge(summary: &mut Summary, losses: Vec<(&'static str, &'static str, u64)>) {
    for (stage, cause, count) in losses {
        let known = summary.losses.dropped.iter_mut().find(|d| (d.0, d.1) == (stage, cause));
        match known {
            Some(entry) => entry.2 += count,
            None => summary.losses.dropped.push((stage, cause, count)),
        }
    }
}

/// What the records said, kept for those who compare it with the truth.
#[derive(Default)]
pub struct Tally {
    /// Waits by name of the lock, nanoseconds; no more than [`TALLY_AT_MOST`].
    pub waits: Vec<(Arc<str>, u64)>,
    /// Findings, no more than as many.
    pub findings: Vec<Arc<Finding>>,
    /// How many spans there were, of waits and of holds.
    pub spans: u64,
}

const TALLY_AT_MOST: usize = 10_000;

impl Tally {
    fn add(&mut self, record: &Record) {
        self.spans += u64::from(matches!(record, Record::Acquire(_) | Record::Hold(_)));
        match record {
            Record::Acquire(span) if self.waits.len() < TALLY_AT_MOST => {
                self.waits.push((span.lock.name.clone(), span.end - span.start));
            }
            Record::Finding(finding) if self.findings.len() < TALLY_AT_MOST => {
                self.findings.push(finding.clone());
            }
            _ => {}
        }
    }
}

/// How a run ended.
pub struct Ended {
    /// Exit status, where no command has one of its own.
    pub status: u8,
    /// The sums.
    pub summary: Summary,
    /// The first records one by one.
    pub seen: Tally,
}

/// Moves everything from the source to the outlets. `keep_going` is asked after every batch, ten
/// times a second at least; once it says no, `stop` is called and what is left is still delivered.
pub fn drive(
    source: &mut dyn Source,
    mut pipeline: Pipeline,
    mut outlets: Outlets,
    mut keep_going: impl FnMut() -> bool,
    stop: impl Fn(),
) -> anyhow::Result<Ended> {
    let mut records = Vec::new();
    let mut seen = Tally::default();
    let mut stopped = false;
    while let Some(batch) = source.next()? {
        pipeline.take(&batch, &mut records).context("the recording cannot be written")?;
        for record in records.drain(..) {
            seen.add(&record);
            outlets.offer(&record);
        }
        outlets.between(&pipeline);
        if !stopped && (!keep_going() || outlets.failed()) {
            stopped = true;
            stop();
        }
    }
    pipeline.finish(&mut records).context("the recording cannot be written")?;
    let mut summary = None;
    for record in records {
        match record {
            Record::Summary(last) => summary = Some(Summary::clone(&last)),
            record => {
                seen.add(&record);
                outlets.offer(&record);
            }
        }
    }
    let undelivered = outlets.finish(summary.clone())?;
    let status = if undelivered { UNDELIVERED } else { 0 };
    Ok(Ended { status, summary: summary.unwrap_or_default(), seen })
}
