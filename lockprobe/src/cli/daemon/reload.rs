//! SIGHUP: the configuration is read again, and applied as a whole or not at all.

use std::sync::atomic::Ordering;
use std::time::Instant;

use super::super::config::load;
use super::{Daemon, assemble, conclude, drain};
use crate::config::Settings;

/// What came of a reload; the names are values of `lockprobe.config.reloads`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Applied,
    Unchanged,
    Refused,
}

impl Daemon {
    /// Reads the configuration again. On any error everything stays as it was; only where nothing
    /// observes any more there is an error here.
    pub(super) fn reload(&mut self) -> anyhow::Result<()> {
        self.notify.reloading();
        let outcome = match load(&self.args) {
            Err(problems) => {
                for problem in &problems {
                    tracing::error!(place = problem.place.as_str(), "{}", problem.text);
                }
                Outcome::Refused
            }
            Ok(effective) => self.apply(effective.settings)?,
        };
        match outcome {
            Outcome::Applied => self.own.reloads_applied += 1,
            Outcome::Unchanged => self.own.reloads_unchanged += 1,
            Outcome::Refused => self.own.reloads_refused += 1,
        }
        match outcome {
            Outcome::Applied => tracing::info!("the new configuration is in force"),
            Outcome::Unchanged => tracing::info!("the configuration has not changed"),
            Outcome::Refused => {
                tracing::error!("the configuration before stays in force; see above");
            }
        }
        self.notify.ready("observing");
        Ok(())
    }

    fn apply(&mut self, new: Settings) -> anyhow::Result<Outcome> {
        if new == self.settings && !self.outlets.has_lost(&new) {
            return Ok(Outcome::Unchanged);
        }
        let refused = |error: anyhow::Error| {
            tracing::error!("the new configuration cannot be applied: {error:#}");
            Ok(Outcome::Refused)
        };
        // What may fail comes first, and can be thrown away.
        let opened = match self.outlets.open(&self.settings, &new) {
            Ok(opened) => opened,
            Err(error) => return refused(error),
        };
        if let Err(error) = self.change_observation(&new)? {
            return refused(error);
        }
        self.outlets.change(opened, &new)?;
        if self.settings.log != new.log {
            self.log.change(&new.log);
        }
        if self.settings.state != new.state {
            // The lock of the directory first: it may be the same one by another name.
            self.memory = super::Memory::nothing();
            self.memory = super::Memory::open(&new.state.directory);
        }
        self.settings = new;
        Ok(Outcome::Applied)
    }

    /// Has others watched, or locks called differently. The inner error changed nothing.
    fn change_observation(&mut self, new: &Settings) -> anyhow::Result<anyhow::Result<()>> {
        let (targets, names) = match (self.observation.targets(new), assemble::names(new)) {
            (Ok(targets), Ok(names)) => (targets, names),
            (Err(error), _) | (_, Err(error)) => return Ok(Err(error)),
        };
        let steered = !needs_new_start(&self.settings, new)
            && (self.settings.targets == new.targets || self.observation.retarget(&targets));
        if !steered {
            return self.start_anew(new);
        }
        if self.settings.locks.names != new.locks.names {
            self.observation.pipeline.rename(names);
        }
        Ok(Ok(()))
    }

    /// Detaches and attaches. The programs are verified before, which takes longest, while the old
    /// ones go on; if that fails, nothing has changed, which the inner error says.
    fn start_anew(&mut self, new: &Settings) -> anyhow::Result<anyhow::Result<()>> {
        let (settings, queues) = (new.clone(), self.queues.clone());
        let prepare = std::thread::Builder::new()
            .name("lockprobe-load".into())
            .spawn(move || assemble::prepare(&settings, &queues))?;
        while !prepare.is_finished() {
            self.step()?;
        }
        let ready = match prepare.join() {
            Ok(Ok(ready)) => ready,
            Ok(Err(error)) => return Ok(Err(error)),
            Err(_) => {
                return Ok(Err(anyhow::anyhow!("loading crashed, which is a bug in lockprobe")));
            }
        };
        let mut records = Vec::new();
        let begun = Instant::now();
        self.observation.stop.store(true, Ordering::Relaxed);
        drain(&mut self.observation, &mut records)?;
        let (observation, outcome) = match ready.attach() {
            Ok(observation) => (observation, Ok(())),
            // Nothing is attached now: back to what worked, or there is no daemon.
            Err(error) => {
                let before = assemble::prepare(&self.settings, &self.queues)?;
                (before.attach()?, Err(error))
            }
        };
        let mut before = std::mem::replace(&mut self.observation, observation);
        self.own.last_gap = Some(begun.elapsed());
        tracing::info!(
            event.name = "lockprobe.gap",
            milliseconds = begun.elapsed().as_millis() as u64,
            watching = self.observation.whom(),
            "detached and attached again, as the new configuration needs it"
        );
        // The summary is for the end alone.
        conclude(&mut before, &mut records)?;
        self.outlets.offer(&mut records);
        Ok(outcome)
    }
}

/// Whether something has changed that programs or the pipeline are built with.
fn needs_new_start(old: &Settings, new: &Settings) -> bool {
    let built = |s: &Settings| {
        let Settings { capture, agents, locks, kubernetes, metrics, own, .. } = s;
        let locks = crate::config::Locks { names: Vec::new(), ..locks.clone() };
        (capture.clone(), agents.clone(), locks, kubernetes.clone(), metrics.clone(), own.clone())
    };
    built(old) != built(new)
}
