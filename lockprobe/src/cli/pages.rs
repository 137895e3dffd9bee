//! The pages over HTTP beside the other outputs, fed between two batches.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::health::{Depth, Lost};
use crate::model::{OwnState, Record, Session};
use crate::pipeline::{AskOwn, Pipeline};
use crate::sinks::http::{Asks, Pulse, Settings, Started, start};
use crate::sinks::jsonl::snapshot::write_json;
use crate::sinks::{Outlet, Pressure};
use crate::source::live::Own;

/// How often numbers are taken for the pages, unless told otherwise.
pub const INTERVAL: Duration = Duration::from_secs(5);

/// Queues between threads and what outputs lose, as they come to be.
#[derive(Clone, Default)]
pub struct Queues(Arc<Mutex<Vec<Queue>>>, Arc<Mutex<Vec<Output>>>);

/// An output's name, what those of its name lost before it, and what it loses.
type Output = (&'static str, Vec<(&'static str, u64)>, Lost);

/// Its name, how much is in it, and how much may be.
type Queue = (&'static str, Depth, u64);

impl Queues {
    /// One more, in place of one of this name: how much is in it, and how much may be.
    pub fn add(&self, name: &'static str, (depth, most): (Depth, u64)) {
        let mut queues = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        queues.retain(|queue| queue.0 != name);
        queues.push((name, depth, most));
    }

    /// An output behind a queue, in place of one of its name: what that lost stays lost.
    pub fn output(&self, outlet: &Outlet) {
        self.add(outlet.name(), outlet.waiting());
        let mut outputs = self.1.lock().unwrap_or_else(PoisonError::into_inner);
        let mut before = Vec::new();
        if let Some(at) = outputs.iter().position(|output| output.0 == outlet.name()) {
            let (_, earlier, lost) = outputs.swap_remove(at);
            before = sum(earlier, lost.now());
        }
        outputs.push((outlet.name(), before, outlet.lost()));
    }

    /// What outputs have lost: stage, cause, how many.
    fn lost(&self) -> Vec<(&'static str, &'static str, u64)> {
        let outputs = self.1.lock().unwrap_or_else(PoisonError::into_inner);
        let all = outputs.iter().flat_map(|(name, before, lost)| {
            let all = sum(before.clone(), lost.now()).into_iter();
            all.map(|(cause, count)| (*name, cause, count))
        });
        all.collect()
    }

    fn now(&self) -> Vec<(&'static str, u64, u64)> {
        let queues = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        queues.iter().map(|(name, depth, most)| (*name, depth.now(), *most)).collect()
    }
}

/// Both together, by cause.
fn sum(
    mut all: Vec<(&'static str, u64)>,
    more: Vec<(&'static str, u64)>,
) -> Vec<(&'static str, u64)> {
    for (cause, count) in more {
        match all.iter_mut().find(|(known, _)| *known == cause) {
            Some((_, sum)) => *sum += count,
            None => all.push((cause, count)),
        }
    }
    all
}

/// What tells of lockprobe itself whenever numbers are taken.
pub fn own(queues: &Queues) -> AskOwn {
    telling(Own::new(), queues)
}

fn telling(mut own: Own, queues: &Queues) -> AskOwn {
    let queues = queues.clone();
    Box::new(move || OwnState { queues: queues.now(), lost: queues.lost(), ..own.state() })
}

/// The same, and how long programs of ours run in the kernel, which has it keep statistics.
pub fn own_with(queues: &Queues, program_time: bool) -> anyhow::Result<AskOwn> {
    let own = Own::new();
    let own = if program_time { own.with_program_time()? } else { own };
    Ok(telling(own, queues))
}

/// A server that has begun, before anything is attached.
pub struct Opened(Started);

impl Opened {
    /// Listens there.
    pub fn new(listen: SocketAddr) -> anyhow::Result<Self> {
        let version = env!("CARGO_PKG_VERSION");
        Ok(Self(start(&Settings { listen, version })?))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// Everything is attached.
    pub fn observing(self, session: Arc<Session>) -> std::io::Result<Pages> {
        let Started { sink, asks, pulse, .. } = self.0;
        let outlet = Outlet::start(Box::new(sink), Pressure::Drop)?;
        pulse.observing(&session);
        Ok(Pages { outlet, asks, pulse, session })
    }
}

/// The pages of an observation.
pub struct Pages {
    outlet: Outlet,
    asks: Asks,
    pulse: Pulse,
    session: Arc<Session>,
}

impl Pages {
    /// Hands over what they show; all else would be sent to be thrown away.
    pub fn offer(&mut self, record: &Record) {
        if matches!(record, Record::Metrics(_)) {
            self.outlet.offer(record);
        }
    }

    /// To be called between batches, ten times a second at least: answers who asks, and tells that
    /// the pipeline is alive.
    pub fn between(&mut self, pipeline: &Pipeline) {
        self.pulse.beat();
        let session = &self.session;
        self.asks.answer(|| {
            let (snapshot, session) = (pipeline.live_snapshot(), session.clone());
            Arc::new(move || {
                let mut page = Vec::new();
                // Writing to memory does not fail.
                let _ = write_json(&mut page, &snapshot, &session);
                page
            })
        });
    }

    /// Ends the server: what it could not show, by cause.
    pub fn finish(mut self) -> anyhow::Result<Vec<(&'static str, u64)>> {
        self.pulse.ending();
        let (ended, mut losses) = self.outlet.finish();
        ended?;
        losses.push(("queue_full", self.outlet.dropped()));
        Ok(losses)
    }
}
