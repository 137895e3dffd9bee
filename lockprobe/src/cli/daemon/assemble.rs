//! From settings to a running observation: the one place where the rooms are plugged together.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Context as _;

use crate::analyses::usage::GroupBy;
use crate::config::Settings;
use crate::enrich::{Enricher, GivenName, GivenNames, Standings};
use crate::model::Dialect;
use crate::pipeline::{Aside, Pipeline};
use crate::select::Choice;
use crate::source::Source as _;
use crate::source::live::{Live, Options, Prepared, Servers, Targets};

/// Programs in the kernel, and what makes sense of their records.
pub struct Observation {
    /// The records.
    pub live: Live,
    /// What makes sense of them.
    pub pipeline: Pipeline,
    /// Ends the observation when set.
    pub stop: Arc<AtomicBool>,
    targets: Targets,
}

impl Observation {
    /// Who is watched, in a word.
    pub fn whom(&self) -> &'static str {
        if self.targets.is_everything() { "the whole host" } else { "those chosen" }
    }

    /// Watches others from now on, if that goes without a new start; whether it does.
    pub fn retarget(&mut self, targets: &Targets) -> bool {
        if !self.targets.can_become(targets) {
            return false;
        }
        let Some(walked) = self.live.retarget(targets.clone()) else { return false };
        tracing::info!(
            begun = walked.begun.len(),
            ended = walked.ended.len(),
            watched = walked.watched,
            "the choice of processes has changed"
        );
        self.targets = targets.clone();
        true
    }
}

/// Everything but the last step.
pub struct Ready {
    prepared: Prepared,
    targets: Targets,
    names: GivenNames,
}

/// Has the kernel verify the programs; attaches nothing.
pub fn prepare(settings: &Settings) -> anyhow::Result<Ready> {
    let options = options(settings)?;
    let names = names(settings)?;
    Ok(Ready { targets: options.targets.clone(), prepared: Live::prepare(&options)?, names })
}

impl Ready {
    /// Attaches.
    pub fn attach(self) -> anyhow::Result<Observation> {
        let mut live = self.prepared.attach()?;
        let standings = live.take_standings();
        let standings =
            standings.map(|standings| -> Standings { Box::new(move |id| standings.of_thread(id)) });
        let enricher = Enricher::new().with_standings(standings);
        let aside = Aside::Live(Box::new(enricher), live.take_verdicts());
        let pipeline = Pipeline::new(live.session().clone(), aside, None)
            .naming(self.names, GroupBy::default());
        let stop = live.stop_flag();
        Ok(Observation { live, pipeline, stop, targets: self.targets })
    }
}

/// How to observe.
pub fn options(settings: &Settings) -> anyhow::Result<Options> {
    let capture = &settings.capture;
    Ok(Options {
        min_wait: capture.min_wait,
        stack_threshold: capture.stacks.enabled.then_some(capture.stacks.threshold),
        ring_bytes: capture.ring_size,
        targets: targets(settings)?,
        lock_files: capture.lock_files,
        servers: servers(settings),
        full: None,
    })
}

/// Whom to watch.
pub fn targets(settings: &Settings) -> anyhow::Result<Targets> {
    Ok(Targets::chosen(choice(settings)?, None))
}

/// The selectors.
pub fn choice(settings: &Settings) -> anyhow::Result<Choice> {
    // The configuration has been checked by the same code.
    let targets = &settings.targets;
    Choice::new(&targets.include, &targets.exclude).map_err(anyhow::Error::msg).context("targets")
}

fn servers(settings: &Settings) -> Servers {
    let servers = &settings.capture.servers;
    if !servers.enabled {
        return Servers::none();
    }
    let dialect = |name: &str| Dialect::ALL.into_iter().find(|dialect| dialect.name() == name);
    let ports = servers.ports.iter();
    let ports: Vec<_> = ports.filter_map(|(&port, name)| Some((port, dialect(name)?))).collect();
    Servers::default().with(&ports)
}

/// What locks are called.
pub fn names(settings: &Settings) -> anyhow::Result<GivenNames> {
    let rule = |rule: &crate::config::LockName| {
        GivenName::new(&rule.pattern, &rule.name).map_err(anyhow::Error::msg).context("locks.names")
    };
    Ok(GivenNames::new(settings.locks.names.iter().map(rule).collect::<Result<_, _>>()?))
}
