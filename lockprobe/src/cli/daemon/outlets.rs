//! Where the daemon's records go: each output by itself, so that one can be replaced, or end,
//! without the others.

use std::fs::File;
use std::io::BufWriter;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::super::pages::{self, Pages, Queues};
use crate::config::Settings;
use crate::model::{Record, Session, Summary};
use crate::pipeline::Pipeline;
use crate::sinks::jsonl::JsonLines;
use crate::sinks::log::Log;
use crate::sinks::otlp::{self, Otlp};
use crate::sinks::{Outlet, Pressure, Sink};

/// Outputs, before the first record.
pub struct Opened {
    jsonl: Option<File>,
    otlp: Option<otlp::Settings>,
    pages: Option<pages::Opened>,
}

/// Outputs.
pub struct Outlets {
    all: Vec<Outlet>,
    pages: Option<Pages>,
    queues: Queues,
    session: Arc<Session>,
    /// How often numbers go to the collector, and when next.
    numbers: (Duration, Instant),
}

impl Opened {
    /// Opens what the settings ask for: what cannot be written is found out here.
    pub fn new(settings: &Settings) -> anyhow::Result<Self> {
        Ok(Self { jsonl: jsonl(settings)?, otlp: otlp(settings)?, pages: pages(settings)? })
    }

    /// Starts them.
    pub fn start(
        self,
        session: &Session,
        settings: &Settings,
        queues: &Queues,
    ) -> anyhow::Result<Outlets> {
        let numbers = (Duration::from_nanos(settings.otlp.metrics_interval), Instant::now());
        let (session, queues) = (Arc::new(session.clone()), queues.clone());
        let mut outlets = Outlets { all: Vec::new(), pages: None, queues, session, numbers };
        outlets.begin(Box::new(Log::new()))?;
        outlets.begin_all(self)?;
        Ok(outlets)
    }
}

fn jsonl(settings: &Settings) -> anyhow::Result<Option<File>> {
    let Some(path) = &settings.jsonl.path else { return Ok(None) };
    let create = |path| File::create(path);
    let file = create(path)
        .with_context(|| format!("{path} cannot be written; set jsonl.path to another file"))?;
    Ok(Some(file))
}

/// How a collector is to be reached. Nothing is sent where nobody says where to.
fn otlp(settings: &Settings) -> anyhow::Result<Option<otlp::Settings>> {
    let Some(said) = collector(settings) else { return Ok(None) };
    // Looked at before anything is attached.
    Otlp::new(&said, Arc::default(), Box::new(|_| {}))?;
    Ok(Some(said))
}

fn collector(settings: &Settings) -> Option<otlp::Settings> {
    let from = &settings.otlp;
    let headers: Vec<_> = from.headers.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
    let file = |path: &Option<String>| path.as_ref().map(PathBuf::from);
    let way = otlp::Way {
        endpoint: from.endpoint.clone(),
        // Without a word the form of the address tells.
        protocol: otlp::Protocol::parse(&from.protocol).filter(|p| *p != otlp::Protocol::Grpc),
        headers: (!headers.is_empty()).then_some(otlp::Headers(headers)),
        gzip: Some(from.compression == "gzip"),
        timeout: Some(Duration::from_nanos(from.timeout)),
        ca_file: file(&from.tls.ca_file),
        cert_file: file(&from.tls.cert_file),
        key_file: file(&from.tls.key_file),
        insecure: None,
    };
    let wanted = [from.traces, from.metrics, from.logs];
    let signals = otlp::Signal::ALL.into_iter().zip(wanted).filter(|(_, wanted)| *wanted);
    let signals: Vec<otlp::Signal> = signals.map(|(signal, _)| signal).collect();
    let layer = otlp::Layer { general: way, ..otlp::Layer::default() };
    let say = |line: &str| tracing::warn!("{line}");
    let said = otlp::Settings::default().sending(&signals).with(layer);
    let said = said.with_environment(&|name| std::env::var(name).ok(), &say);
    let sends = said.has_endpoint() && otlp::Signal::ALL.iter().any(|signal| said.sends(*signal));
    sends.then_some(said)
}

/// The pages over HTTP, if they are wanted.
fn pages(settings: &Settings) -> anyhow::Result<Option<pages::Opened>> {
    let listen = settings.http.listen.as_str();
    if listen == "off" {
        return Ok(None);
    }
    let address = listen.parse().with_context(|| {
        format!("http.listen: {listen} is no address; write it like 127.0.0.1:9464, or off")
    })?;
    Ok(Some(pages::Opened::new(address)?))
}

impl Outlets {
    fn begin(&mut self, sink: Box<dyn Sink>) -> anyhow::Result<()> {
        let outlet = Outlet::start(sink, Pressure::Drop)?;
        self.queues.output(&outlet);
        self.all.push(outlet);
        Ok(())
    }

    fn begin_all(&mut self, opened: Opened) -> anyhow::Result<()> {
        if let Some(settings) = opened.otlp {
            let say = Box::new(|line: &str| tracing::warn!(output = "otlp", "{line}"));
            self.begin(Box::new(Otlp::new(&settings, self.session.clone(), say)?))?;
        }
        if let Some(pages) = opened.pages {
            tracing::info!(address = %pages.address(), "pages are served");
            self.pages = Some(pages.observing(self.session.clone())?);
        }
        if let Some(file) = opened.jsonl {
            let out = Box::new(BufWriter::new(file));
            self.begin(Box::new(JsonLines::new(out, self.session.clone())))?;
        }
        Ok(())
    }

    /// Hands records to every output.
    pub fn offer(&mut self, records: &mut Vec<Record>) {
        for record in records.drain(..) {
            let numbers = matches!(record, Record::Metrics(_));
            let due = !numbers || self.numbers_are_due();
            for outlet in &mut self.all {
                match outlet.name() {
                    "otlp" if due => outlet.offer(&record),
                    "otlp" | "jsonl" | "log" if numbers => {}
                    _ => outlet.offer(&record),
                }
            }
            if let Some(pages) = &mut self.pages {
                pages.offer(&record);
            }
        }
    }

    /// Whether it is time for the collector to get numbers.
    fn numbers_are_due(&mut self) -> bool {
        let (every, next) = &mut self.numbers;
        // Numbers are made at an interval of their own, which is never met to the nanosecond.
        let due = Instant::now() + *every / 20 >= *next;
        if due {
            *next = Instant::now() + *every;
        }
        due
    }

    /// The next numbers go to the collector, however soon they come.
    pub fn last_numbers(&mut self) {
        self.numbers.1 = Instant::now();
    }

    /// Answers who asks for a snapshot, between two batches.
    pub fn between(&mut self, pipeline: &Pipeline) {
        if let Some(pages) = &mut self.pages {
            pages.between(pipeline);
        }
    }

    /// Lets go of outputs that failed: a full disk is no reason to stop observing.
    pub fn look_after(&mut self) {
        if !self.all.iter().any(Outlet::failed) {
            return;
        }
        for mut outlet in self.all.extract_if(.., |outlet| outlet.failed()) {
            let name = outlet.name();
            let why = outlet.finish().0.err().map(|error| format!("{error:#}"));
            tracing::error!(
                output = name,
                "the output has ended, and begins again at the next reload: {}",
                why.unwrap_or_default()
            );
        }
    }

    /// Whether an output that is asked for is not there any more.
    pub fn has_lost(&self, settings: &Settings) -> bool {
        (self.lacks("otlp") && collector(settings).is_some())
            || (self.lacks("jsonl") && settings.jsonl.path.is_some())
    }

    fn lacks(&self, name: &str) -> bool {
        !self.all.iter().any(|outlet| outlet.name() == name)
    }

    /// Opens the outputs whose settings have changed, and those that have failed.
    pub fn open(&self, old: &Settings, new: &Settings) -> anyhow::Result<Opened> {
        Ok(Opened {
            otlp: if old.otlp != new.otlp || self.lacks("otlp") { otlp(new)? } else { None },
            jsonl: if old.jsonl != new.jsonl || self.lacks("jsonl") { jsonl(new)? } else { None },
            pages: if old.http != new.http { pages(new)? } else { None },
        })
    }

    /// Replaces outputs by those opened, and ends those that are not wanted any more.
    pub fn change(&mut self, opened: Opened, new: &Settings) -> anyhow::Result<()> {
        let over = |outlet: &mut Outlet| match outlet.name() {
            "otlp" => opened.otlp.is_some() || collector(new).is_none(),
            "jsonl" => opened.jsonl.is_some() || new.jsonl.path.is_none(),
            _ => false,
        };
        for mut outlet in self.all.extract_if(.., over) {
            // What it still has to deliver takes a while.
            let ending = move || end(&mut outlet);
            std::thread::Builder::new().name("lockprobe-end".into()).spawn(ending)?;
        }
        self.numbers.0 = Duration::from_nanos(new.otlp.metrics_interval);
        if (opened.pages.is_some() || new.http.listen == "off")
            && let Some(pages) = self.pages.take()
        {
            end_pages(pages);
        }
        self.begin_all(opened)
    }

    /// Ends them all; whether everything was delivered by then.
    pub fn finish(self, summary: Option<Summary>, deadline: Instant) -> bool {
        if let Some(pages) = self.pages {
            end_pages(pages);
        }
        let (sender, ended) = channel();
        let mut waiting = Vec::new();
        let summary = summary.map(|summary| Record::Summary(Arc::new(summary)));
        for mut outlet in self.all {
            let (sender, summary, name) = (sender.clone(), summary.clone(), outlet.name());
            let ending = move || {
                if let Some(summary) = summary {
                    outlet.offer(&summary);
                }
                let delivered = end(&mut outlet);
                let _ = sender.send((name, delivered));
            };
            match std::thread::Builder::new().name("lockprobe-end".into()).spawn(ending) {
                Ok(_) => waiting.push(name),
                Err(error) => tracing::error!(output = name, "the output cannot be ended: {error}"),
            }
        }
        drop(sender);
        let mut all = true;
        while !waiting.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok((name, delivered)) = ended.recv_timeout(left) else { break };
            waiting.retain(|other| *other != name);
            all &= delivered;
        }
        for name in &waiting {
            tracing::error!(output = name, "the output did not end in time; what it had is lost");
        }
        all && waiting.is_empty()
    }
}

fn end_pages(pages: Pages) {
    match pages.finish() {
        Err(error) => tracing::error!(output = "http", "the pages failed: {error:#}"),
        Ok(lost) => {
            for (cause, count) in lost.into_iter().filter(|(_, count)| *count > 0) {
                tracing::warn!(output = "http", cause, count, "not everything could be shown");
            }
        }
    }
}

/// Ends an output, and says what it lost; whether the end came before it had delivered what it could have.
fn end(outlet: &mut Outlet) -> bool {
    let name = outlet.name();
    let ended = outlet.finish();
    if let Err(error) = &ended.0 {
        tracing::error!(output = name, "the output failed: {error:#}");
    }
    for (cause, count) in outlet.lost().now().into_iter().filter(|(_, count)| *count > 0) {
        tracing::warn!(output = name, cause, count, "records were lost");
    }
    let cut_off = ended.1.iter().any(|(cause, count)| *cause == "shutdown" && *count > 0);
    ended.0.is_ok() && !cut_off
}
