//! Where the daemon's records go: each output by itself, so that one can be replaced, or end,
//! without the others.

use std::fs::File;
use std::io::BufWriter;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Instant;

use anyhow::Context as _;

use crate::config::Settings;
use crate::model::{Record, Session, Summary};
use crate::sinks::jsonl::JsonLines;
use crate::sinks::log::Log;
use crate::sinks::otlp::Otlp;
use crate::sinks::{Outlet, Pressure, Sink};

/// Outputs, before the first record.
pub struct Opened {
    jsonl: Option<File>,
    otlp: Option<String>,
}

/// Outputs.
pub struct Outlets {
    all: Vec<Outlet>,
    session: Arc<Session>,
}

impl Opened {
    /// Opens what the settings ask for: what cannot be written is found out here.
    pub fn new(settings: &Settings) -> anyhow::Result<Self> {
        Ok(Self { jsonl: jsonl(settings)?, otlp: otlp(settings)? })
    }

    /// Starts them.
    pub fn start(self, session: &Session) -> anyhow::Result<Outlets> {
        let session = Arc::new(session.clone());
        let mut outlets = Outlets { all: Vec::new(), session };
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

fn otlp(settings: &Settings) -> anyhow::Result<Option<String>> {
    let endpoint = settings.otlp.endpoint.clone().filter(|_| settings.otlp.traces);
    if let Some(endpoint) = &endpoint {
        Otlp::new(endpoint, Arc::default())?;
    }
    Ok(endpoint)
}

impl Outlets {
    fn begin(&mut self, sink: Box<dyn Sink>) -> anyhow::Result<()> {
        self.all.push(Outlet::start(sink, Pressure::Drop)?);
        Ok(())
    }

    fn begin_all(&mut self, opened: Opened) -> anyhow::Result<()> {
        if let Some(endpoint) = opened.otlp {
            self.begin(Box::new(Otlp::new(&endpoint, self.session.clone())?))?;
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
            self.all.iter_mut().for_each(|outlet| outlet.offer(&record));
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
        let missing = |name: &str| !self.all.iter().any(|outlet| outlet.name() == name);
        (settings.otlp.endpoint.is_some() && settings.otlp.traces && missing("otlp"))
            || (settings.jsonl.path.is_some() && missing("jsonl"))
    }

    /// Opens the outputs whose settings have changed, and those that have failed.
    pub fn open(&self, old: &Settings, new: &Settings) -> anyhow::Result<Opened> {
        let missing = |name: &str| !self.all.iter().any(|outlet| outlet.name() == name);
        Ok(Opened {
            otlp: if old.otlp != new.otlp || missing("otlp") { otlp(new)? } else { None },
            jsonl: if old.jsonl != new.jsonl || missing("jsonl") { jsonl(new)? } else { None },
        })
    }

    /// Replaces outputs by those opened, and ends those that are not wanted any more.
    pub fn change(&mut self, opened: Opened, new: &Settings) -> anyhow::Result<()> {
        let over = |outlet: &mut Outlet| match outlet.name() {
            "otlp" => opened.otlp.is_some() || new.otlp.endpoint.is_none() || !new.otlp.traces,
            "jsonl" => opened.jsonl.is_some() || new.jsonl.path.is_none(),
            _ => false,
        };
        for mut outlet in self.all.extract_if(.., over) {
            // What it still has to deliver takes a while.
            let end = move || report(outlet.name(), outlet.finish());
            std::thread::Builder::new().name("lockprobe-end".into()).spawn(end)?;
        }
        self.begin_all(opened)
    }

    /// Ends them all; whether everything was delivered by then.
    pub fn finish(self, summary: Option<Summary>, deadline: Instant) -> bool {
        let (sender, ended) = channel();
        let mut waiting = Vec::new();
        let summary = summary.map(|summary| Record::Summary(Arc::new(summary)));
        for mut outlet in self.all {
            let (sender, summary, name) = (sender.clone(), summary.clone(), outlet.name());
            let end = move || {
                if let Some(summary) = summary {
                    outlet.offer(&summary);
                }
                let delivered = report(name, outlet.finish());
                let _ = sender.send((name, delivered));
            };
            match std::thread::Builder::new().name("lockprobe-end".into()).spawn(end) {
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

/// Says what an output lost; whether the end came before it had delivered what it could have.
fn report(name: &str, ended: (anyhow::Result<()>, Vec<(&'static str, u64)>)) -> bool {
    if let Err(error) = &ended.0 {
        tracing::error!(output = name, "the output failed: {error:#}");
    }
    for (cause, count) in ended.1.iter().filter(|(_, count)| *count > 0) {
        tracing::warn!(output = name, cause, count, "records were lost");
    }
    let cut_off = ended.1.iter().any(|(cause, count)| *cause == "shutdown" && *count > 0);
    ended.0.is_ok() && !cut_off
}
