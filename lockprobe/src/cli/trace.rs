//! `lockprobe trace`, and the live half of `record` and `demo`.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::command::{CaptureArgs, TargetArgs, TraceArgs};
use super::run::{Ended, Opened, drive};
use crate::enrich::{Agents, Containers, Enricher, Kubernetes, PodWatch, Pods, Standings};
use crate::model::Session;
use crate::pipeline::{Aside, Pipeline};
use crate::sinks::Pressure;
use crate::source::live::command::{Started, shell_status};
use crate::source::live::{Acquisitions, Live, Options, Servers, Targets};
use crate::source::recording::Writer;
use crate::source::{Error, Source};

/// Runs it.
pub fn main(args: &TraceArgs) -> anyhow::Result<u8> {
    let outputs = Opened::new(&args.output)?.serving(args.http)?;
    let ended = observe(&args.target, &args.capture, outputs, |_| Ok(None))?;
    Ok(ended.status)
}

/// How long full mode watches unless told otherwise, and at most.
const FULL_FOR: Duration = Duration::from_secs(10);
const FULL_AT_MOST: Duration = Duration::from_secs(600);

/// Interrupts and terminations received.
#[derive(Default)]
struct Signals {
    interrupt: Arc<AtomicBool>,
    terminate: Arc<AtomicBool>,
    interrupts: usize,
    terminations: usize,
}

impl Signals {
    fn catch() -> std::io::Result<Self> {
        let signals = Self::default();
        signal_hook::flag::register(signal_hook::consts::SIGINT, signals.interrupt.clone())?;
        signal_hook::flag::register(signal_hook::consts::SIGTERM, signals.terminate.clone())?;
        Ok(signals)
    }

    /// Counts what came since the last call; passes it on to the command, if there is one.
    fn poll(&mut self, child: Option<&Started>) {
        if self.interrupt.swap(false, Ordering::Relaxed) {
            self.interrupts += 1;
            // A terminal sends Ctrl-C to the command itself; anyone else's is passed on.
            if let Some(child) = child.filter(|_| !std::io::stdin().is_terminal()) {
                child.signal(libc::SIGINT);
            }
        }
        if self.terminate.swap(false, Ordering::Relaxed) {
            self.terminations += 1;
            if let Some(child) = child {
                child.signal(libc::SIGTERM);
            }
        }
    }
}

/// Observes live until told to end. `recorder` is made once the session is known.
pub fn observe(
    target: &TargetArgs,
    capture: &CaptureArgs,
    mut outputs: Opened,
    recorder: impl FnOnce(&Session) -> anyhow::Result<Option<Writer>>,
) -> anyhow::Result<Ended> {
    let rules = capture.rules.rules();
    let duration = capture.duration.or(capture.full.then_some(FULL_FOR));
    let options = options(target, capture, rules.row_locks)?;
    let mut signals = Signals::catch()?;
    let mut live = Live::start(&options)?;
    if let Some(cost) = live.full_cost() {
        eprintln!("lockprobe: full mode costs {cost}");
    }
    let recorder = recorder(live.session())?;
    let standings = live.take_standings();
    let standings =
        standings.map(|standings| -> Standings { Box::new(move |id| standings.of_thread(id)) });
    let (containers, _pods) = containers();
    let enricher = Enricher::new().with_standings(standings);
    let enricher = enricher.with_identity(Agents::default(), containers);
    let aside = Aside::Live(Box::new(enricher), live.take_verdicts());
    outputs.queues().add("batches", live.waiting());
    let pipeline = outputs.shape(Pipeline::new(live.session().clone(), aside, recorder), true);
    let pipeline = pipeline.with_rules(rules);
    let outlets = outputs.start(live.session(), Pressure::Drop)?;
    let mut child = start_command(target, &live)?;
    let begun = Instant::now();
    let stop = live.stop_flag();
    let mut status = None;
    let keep_going = || {
        if duration.is_some_and(|limit| begun.elapsed() >= limit) {
            return false;
        }
        signals.poll(child.as_ref());
        let Some(child) = &mut child else {
            return signals.interrupts + signals.terminations == 0;
        };
        if let Some(ended) = child.try_wait() {
            status = Some(shell_status(ended));
            return false;
        }
        // A command that ignores one interrupt may; after two, observation ends.
        signals.interrupts < 2 && signals.terminations < 2
    };
    let mut ended =
        drive(&mut live, pipeline, outlets, keep_going, || stop.store(true, Ordering::Relaxed))?;
    drop(live);
    if let Some(mut child) = child {
        ended.status = match status {
            Some(status) => status,
            None => shell_status(child.wait().map_err(|e| Error::Failed(e.to_string()))?),
        };
    }
    Ok(ended)
}

/// What the kernel half is asked for.
fn options(target: &TargetArgs, capture: &CaptureArgs, row_locks: bool) -> anyhow::Result<Options> {
    let mut targets = Targets::new(&target.pid, &target.exe)?;
    if !target.command.is_empty() {
        targets = targets.with_command();
    }
    let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    Ok(Options {
        min_wait: nanoseconds(capture.min_wait),
        stack_threshold: (!capture.no_stacks).then(|| nanoseconds(capture.stack_threshold)),
        ring_bytes: capture.ring_size,
        targets,
        lock_files: capture.lock_files,
        servers: match capture.no_servers {
            true => Servers::none(),
            false => Servers::default().with(&capture.server),
        },
        row_locks,
        full: full_mode(target, capture),
        harvest_every: u64::try_from(capture.harvest_every.as_nanos()).ok(),
    })
}

/// Who runs where. Pods are asked for only inside a cluster: elsewhere nobody expects it.
fn containers() -> (Arc<Containers>, Option<PodWatch>) {
    let pods = Arc::<Pods>::default();
    let settings = Kubernetes::default().with_environment(|name| std::env::var(name).ok());
    let say = |sentence: &str| eprintln!("lockprobe: {sentence}");
    let watch = settings.is_inside().then(|| PodWatch::start(settings, pods.clone(), say).ok());
    (Arc::new(Containers::new(pods)), watch.flatten())
}

/// What full mode is asked to do. It changes the processes it watches, so it never watches the
/// whole host, nor for ever.
fn full_mode(target: &TargetArgs, capture: &CaptureArgs) -> Option<Acquisitions> {
    if !capture.full {
        return None;
    }
    let refuse = |what: &str| {
        let kind = clap::error::ErrorKind::ValueValidation;
        super::definition().error(kind, what).exit()
    };
    if target.pid.is_empty() && target.exe.is_empty() && target.command.is_empty() {
        refuse(
            "--full needs to know whom to watch: name processes with -p or --exe, or give a command",
        );
    }
    if capture.duration.is_some_and(|limit| limit > FULL_AT_MOST) {
        refuse("--full watches for 10 min at most; choose a shorter --duration");
    }
    Some(Acquisitions { naive: capture.naive_probes })
}

fn start_command(target: &TargetArgs, live: &Live) -> Result<Option<Started>, Error> {
    if target.command.is_empty() {
        return Ok(None);
    }
    let child = Started::hold(&target.command)?;
    live.add_target(child.pid());
    child.release();
    Ok(Some(child))
}
