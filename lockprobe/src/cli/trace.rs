//! `lockprobe trace`, and the live half of `record` and `demo`.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use super::command::{CaptureArgs, TargetArgs, TraceArgs};
use super::run::{Ended, Opened, drive};
use crate::enrich::Enricher;
use crate::model::Session;
use crate::pipeline::{Aside, Pipeline};
use crate::sinks::Pressure;
use crate::source::live::command::{Started, shell_status};
use crate::source::live::{Live, Options, Targets};
use crate::source::recording::Writer;
use crate::source::{Error, Source};

/// Runs it.
pub fn main(args: &TraceArgs) -> anyhow::Result<u8> {
    let outputs = Opened::new(&args.output)?;
    let ended = observe(&args.target, &args.capture, outputs, |_| Ok(None))?;
    Ok(ended.status)
}

/// Interrupts and terminations received; the handlers are installed once.
fn signals() -> anyhow::Result<(Arc<AtomicUsize>, Arc<AtomicUsize>)> {
    let count = |signal| {
        let seen = Arc::new(AtomicUsize::new(0));
        let in_handler = seen.clone();
        // SAFETY: an atomic addition is allowed in a signal handler.
        unsafe {
            signal_hook::low_level::register(signal, move || {
                in_handler.fetch_add(1, Ordering::Relaxed);
            })
        }
        .map(|_| seen)
    };
    Ok((count(signal_hook::consts::SIGINT)?, count(signal_hook::consts::SIGTERM)?))
}

/// Observes live until told to end. `recorder` is made once the session is known.
pub fn observe(
    target: &TargetArgs,
    capture: &CaptureArgs,
    outputs: Opened,
    recorder: impl FnOnce(&Session) -> anyhow::Result<Option<Writer>>,
) -> anyhow::Result<Ended> {
    let mut targets = Targets::new(&target.pid, &target.exe)?;
    if !target.command.is_empty() {
        targets = targets.with_command();
    }
    let min_wait = u64::try_from(capture.min_wait.as_nanos()).unwrap_or(u64::MAX);
    let options = Options { min_wait, ring_bytes: capture.ring_size, targets };
    let (interrupts, terminations) = signals()?;
    let mut live = Live::start(&options)?;
    let recorder = recorder(live.session())?;
    let outlets = outputs.start(live.session(), Pressure::Drop)?;
    let aside = Aside::Live(Box::new(Enricher::new()), live.take_verdicts());
    let pipeline = Pipeline::new(live.session().clone(), aside, recorder);
    let mut child = start_command(target, &live)?;
    let begun = Instant::now();
    let stop = live.stop_flag();
    let mut forwarded = (0, 0);
    let mut status = None;
    let keep_going = || {
        if capture.duration.is_some_and(|limit| begun.elapsed() >= limit) {
            return false;
        }
        let seen = (interrupts.load(Ordering::Relaxed), terminations.load(Ordering::Relaxed));
        let Some(child) = &mut child else { return seen == (0, 0) };
        if let Some(ended) = child.try_wait() {
            status = Some(shell_status(ended));
            return false;
        }
        forward(child, seen, &mut forwarded);
        // A command that ignores one interrupt may; after two, observation ends.
        seen.0 < 2 && seen.1 < 2
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

/// A terminal sends Ctrl-C to the command itself; anyone else's signal is passed on.
fn forward(child: &Started, seen: (usize, usize), forwarded: &mut (usize, usize)) {
    if seen.0 > forwarded.0 && !std::io::stdin().is_terminal() {
        child.signal(libc::SIGINT);
    }
    if seen.1 > forwarded.1 {
        child.signal(libc::SIGTERM);
    }
    *forwarded = seen;
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
