//! The pages over HTTP beside the other outputs, fed between two batches.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::health::Depth;
use crate::model::{OwnState, Record, Session};
use crate::pipeline::{AskOwn, Pipeline};
use crate::sinks::http::{Asks, Pulse, Settings, Started, start};
use crate::sinks::jsonl::snapshot::write_json;
use crate::sinks::{Outlet, Pressure};
use crate::source::live::Own;

/// How often numbers are taken for the pages, unless told otherwise.
pub const INTERVAL: Duration = Duration::from_secs(5);

/// Queues between threads, as they come to be.
#[derive(Clone, Default)]
pub struct Queues(Arc<Mutex<Vec<Queue>>>);

/// Its name, how much is in it, and how much may be.
type Queue = (&'static str, Depth, u64);

impl Queues {
    /// One more, in place of one of this name: how much is in it, and how much may be.
    pub fn add(&self, name: &'static str, (depth, most): (Depth, u64)) {
        let mut queues = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        queues.retain(|queue| queue.0 != name);
        queues.push((name, depth, most));
    }

    fn now(&self) -> Vec<(&'static str, u64, u64)> {
        let queues = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        queues.iter().map(|(name, depth, most)| (*name, depth.now(), *most)).collect()
    }
}

/// What tells of lockprobe itself whenever numbers are taken.
pub fn own(queues: &Queues) -> AskOwn {
    let (mut own, queues) = (Own::new(), queues.clone());
    Box::new(move || OwnState { queues: queues.now(), ..own.state() })
}

/// The same, and how long programs of ours run in the kernel, which has it keep statistics.
pub fn own_with(queues: &Queues, program_time: bool) -> anyhow::Result<AskOwn> {
    let own = Own::new();
    let mut own = if program_time { own.with_program_time()? } else { own };
    let queues = queues.clone();
    Ok(Box::new(move || OwnState { queues: queues.now(), ..own.state() }))
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
