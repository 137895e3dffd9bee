//! `lockprobe run`: the daemon, from its start to its end.

mod assemble;
mod dry_run;
mod gap;
mod log;
mod notify;
mod outlets;
mod reload;
mod signals;
mod surroundings;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;

use super::config::{SettingArgs, load, tell};
use super::pages::Queues;
use super::status::UNDELIVERED;
use crate::config::Settings;
use crate::model::{OwnDaemon, Record, Summary};
use crate::source::Source as _;
use assemble::Observation;
use gap::Memory;
use notify::Notify;
use outlets::Outlets;
use signals::Signals;

/// Examples.
pub const RUN_EXAMPLES: &str = "\
Examples:
  lockprobe run --config /etc/lockprobe/lockprobe.yaml
  lockprobe run --config lockprobe.yaml --dry-run
  lockprobe run --set otlp.endpoint=http://127.0.0.1:4317 --set log.level=debug
SIGHUP has it read the file again; SIGTERM and SIGINT have it end, within ten seconds.";

/// How long the end may take.
const FLUSH: Duration = Duration::from_secs(10);

/// `lockprobe run`.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// Where settings come from.
    #[command(flatten)]
    pub settings: SettingArgs,
    /// Attach nothing: say which processes would be watched, by which selector, and what would be
    /// attached and served
    #[arg(long)]
    pub dry_run: bool,
}

/// Runs it.
pub fn main(args: &RunArgs) -> anyhow::Result<u8> {
    let effective = match load(&args.settings) {
        Ok(effective) => effective,
        Err(problems) => return Ok(tell(&problems)),
    };
    if args.dry_run {
        effective.remarks.iter().for_each(|remark| eprintln!("lockprobe: {remark}"));
        return dry_run::main(&effective.settings, args.settings.config.as_deref());
    }
    // Before anything else: a signal that comes from here on is obeyed.
    let signals = Signals::catch()?;
    let log = log::Handle::start(&effective.settings.log);
    effective.remarks.iter().for_each(|remark| tracing::warn!("{remark}"));
    let file = args.settings.config.as_deref().map(|path| path.display().to_string());
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        config = file.as_deref().unwrap_or("none"),
        pid = std::process::id(),
        "lockprobe begins"
    );
    let run = Daemon::start(args.settings.clone(), effective.settings, signals, log)
        .and_then(Daemon::run);
    run.or_else(|error| {
        // Told as the log tells everything; the status is that of the error.
        tracing::error!("{error:#}");
        let own = error.downcast_ref::<crate::source::Error>();
        Ok(own.map_or(1, crate::source::Error::status))
    })
}

/// The daemon.
struct Daemon {
    /// What the command line says, to be read again.
    args: SettingArgs,
    settings: Settings,
    observation: Observation,
    outlets: Outlets,
    queues: Queues,
    memory: Memory,
    notify: Notify,
    signals: Signals,
    log: log::Handle,
    own: OwnDaemon,
    /// Room for records on their way.
    records: Vec<Record>,
}

impl Daemon {
    fn start(
        args: SettingArgs,
        settings: Settings,
        signals: Signals,
        log: log::Handle,
    ) -> anyhow::Result<Self> {
        let mut memory = Memory::open(&settings.state.directory);
        let own = OwnDaemon { gap: memory.gap(), ..OwnDaemon::default() };
        let notify = Notify::of_environment();
        notify.status("attaching");
        // What cannot be written is found out before anything is attached.
        let opened = outlets::Opened::new(&settings)?;
        let queues = Queues::default();
        let observation = assemble::prepare(&settings, &queues)?.attach()?;
        let outlets = opened.start(observation.live.session(), &settings, &queues)?;
        tracing::info!(
            watching = observation.whom(),
            kernel = observation.live.session().kernel.as_str(),
            "observation begins"
        );
        notify.ready("observing");
        memory.observed();
        let records = Vec::new();
        Ok(Self {
            args,
            settings,
            observation,
            outlets,
            queues,
            memory,
            notify,
            signals,
            log,
            own,
            records,
        })
    }

    /// Observes until told to end.
    fn run(mut self) -> anyhow::Result<u8> {
        loop {
            self.step()?;
            if self.signals.terminated() {
                return self.end();
            }
            if self.signals.hung_up() {
                self.reload()?;
            }
        }
    }

    /// One batch from source to outputs; there is one ten times a second at least.
    fn step(&mut self) -> anyhow::Result<()> {
        let batch = self.observation.live.next()?.context(
            "the thread that reads the kernel's records has ended, which is a bug in lockprobe",
        )?;
        let mut records = std::mem::take(&mut self.records);
        self.observation.pipeline.take(&batch, &mut records)?;
        self.outlets.offer(&mut records);
        self.records = records;
        self.outlets.between(&self.observation.pipeline);
        self.observation.look_around();
        self.outlets.look_after();
        self.notify.alive();
        self.memory.observed();
        Ok(())
    }

    /// Detaches, delivers what is left, within a deadline.
    fn end(mut self) -> anyhow::Result<u8> {
        let deadline = Instant::now() + FLUSH;
        self.notify.stopping();
        tracing::info!("lockprobe ends");
        let mut records = Vec::new();
        self.outlets.last_numbers();
        self.observation.stop.store(true, Ordering::Relaxed);
        drain(&mut self.observation, &mut records)?;
        let summary = conclude(&mut self.observation, &mut records)?;
        self.outlets.offer(&mut records);
        // Detached: what comes now is not seen.
        drop(self.observation.live);
        self.memory.ended();
        let flushed = self.outlets.finish(summary, deadline);
        match flushed {
            true => tracing::info!("everything was delivered"),
            false => tracing::warn!("not everything could be delivered; see above"),
        }
        Ok(if flushed { 0 } else { UNDELIVERED })
    }
}

/// The last batches of an observation that was told to stop. After them nothing is attached.
fn drain(observation: &mut Observation, records: &mut Vec<Record>) -> anyhow::Result<()> {
    while let Some(batch) = observation.live.next()? {
        observation.pipeline.take(&batch, records)?;
    }
    Ok(())
}

/// The last records of it; the summary apart.
fn conclude(
    observation: &mut Observation,
    records: &mut Vec<Record>,
) -> anyhow::Result<Option<Summary>> {
    observation.pipeline.finish(records)?;
    let mut summary = None;
    records.retain(|record| match record {
        Record::Summary(last) => {
            summary = Some(Summary::clone(last));
            false
        }
        _ => true,
    });
    Ok(summary)
}
