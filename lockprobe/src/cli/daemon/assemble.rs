//! From settings to a running observation: the one place where the rooms are plugged together.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::Sender;
use std::time::Duration;

use anyhow::Context as _;

use super::super::pages::{self, Queues};
use super::surroundings::Surroundings;
use crate::analyses::usage::GroupBy;
use crate::config::Settings;
use crate::enrich::{Agents, Enricher, GivenName, GivenNames, Standings};
use crate::framing::Rules;
use crate::model::{AgentRule, Dialect};
use crate::pipeline::{Aside, AskOwn, Pipeline};
use crate::select::Choice;
use crate::source::Source as _;
use crate::source::live::{Control, Live, Options, Prepared, Servers, Targets};

/// Programs in the kernel, and what makes sense of their records.
pub struct Observation {
    /// The records.
    pub live: Live,
    /// What makes sense of them.
    pub pipeline: Pipeline,
    /// Ends the observation when set.
    pub stop: Arc<AtomicBool>,
    targets: Targets,
    surroundings: Arc<Surroundings>,
    control: Sender<Control>,
    /// Pods changed so often before processes were judged last.
    pods: u64,
}

impl Observation {
    /// Has processes judged anew when more is known of where they run.
    pub fn look_around(&mut self) {
        let pods = self.surroundings.containers.generation();
        if std::mem::replace(&mut self.pods, pods) != pods {
            // A reader that has ended judges nobody.
            let _ = self.control.send(Control::Recheck);
        }
    }

    /// Whom these settings mean, here.
    pub fn targets(&self, settings: &Settings) -> anyhow::Result<Targets> {
        targets(settings, &self.surroundings)
    }

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
    agents: Agents,
    rules: Rules,
    interval: Duration,
    max_series: usize,
    own: AskOwn,
    queues: Queues,
    surroundings: Arc<Surroundings>,
}

/// Has the kernel verify the programs; attaches nothing.
pub fn prepare(settings: &Settings, queues: &Queues) -> anyhow::Result<Ready> {
    let surroundings = Arc::new(Surroundings::new(settings));
    let options = options(settings, &surroundings)?;
    Ok(Ready {
        targets: options.targets.clone(),
        names: names(settings)?,
        agents: agents(settings)?,
        rules: rules(settings),
        interval: Duration::from_nanos(settings.metrics.interval),
        max_series: settings.metrics.max_series,
        own: pages::own_with(queues, settings.own.program_time)?,
        queues: queues.clone(),
        surroundings,
        prepared: Live::prepare(&options)?,
    })
}

impl Ready {
    /// Attaches.
    pub fn attach(self) -> anyhow::Result<Observation> {
        let mut live = self.prepared.attach()?;
        let standings = live.take_standings();
        let standings =
            standings.map(|standings| -> Standings { Box::new(move |id| standings.of_thread(id)) });
        let containers = self.surroundings.containers.clone();
        let enricher = Enricher::new().with_standings(standings);
        let enricher = enricher.with_identity(self.agents, containers);
        let aside = Aside::Live(Box::new(enricher), live.take_verdicts());
        let pipeline = Pipeline::new(live.session().clone(), aside, None)
            .naming(self.names, GroupBy::default())
            .with_rules(self.rules)
            .with_metrics(self.interval, self.max_series, Some(self.own));
        self.queues.add("batches", live.waiting());
        Ok(Observation {
            pipeline,
            stop: live.stop_flag(),
            targets: self.targets,
            control: live.control(),
            pods: self.surroundings.containers.generation(),
            surroundings: self.surroundings,
            live,
        })
    }
}

/// How to observe.
pub fn options(settings: &Settings, around: &Surroundings) -> anyhow::Result<Options> {
    let capture = &settings.capture;
    Ok(Options {
        row_locks: settings.locks.row_locks,
        harvest_every: Some(settings.metrics.interval),
        min_wait: capture.min_wait,
        stack_threshold: capture.stacks.enabled.then_some(capture.stacks.threshold),
        ring_bytes: capture.ring_size,
        targets: targets(settings, around)?,
        lock_files: capture.lock_files,
        servers: servers(settings),
        full: None,
    })
}

/// Whom to watch.
fn targets(settings: &Settings, around: &Surroundings) -> anyhow::Result<Targets> {
    Ok(Targets::chosen(choice(settings)?, Some(around.locator())))
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

/// Which agent processes are.
fn agents(settings: &Settings) -> anyhow::Result<Agents> {
    let rule = |rule: &crate::config::AgentRule| AgentRule {
        selector: rule.which.selector.clone(),
        thread: rule.which.thread.clone(),
        name: rule.name.clone(),
        id: rule.id.clone(),
        version: rule.version.clone(),
    };
    let rules: Vec<AgentRule> = settings.agents.rules.iter().map(rule).collect();
    Agents::new(&rules).map_err(anyhow::Error::msg).context("agents.rules")
}

/// What is said of locks that servers keep, beside what is known anyway.
fn rules(settings: &Settings) -> Rules {
    let locks = &settings.locks;
    let (lock, ignore) = (&locks.lock_patterns, &locks.ignore_patterns);
    Rules::beside(lock, ignore, locks.row_locks, locks.table_locks)
}
