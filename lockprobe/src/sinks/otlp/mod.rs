//! Spans to an OpenTelemetry collector, over OTLP/gRPC.
//!
//! In: records. Out: `ExportTraceServiceRequest`s, one `ResourceSpans` for each observed process.
//! Never: a wait in `write`, memory without a bound, a loss without a count.
//!
//! ```text
//! write -> process::Table (whose span is it) -> bounded queue
//!       -> worker thread: delivery (batch, retry, give up) -> convert -> client
//! ```
//!
//! What waits in the queue are the pipeline's own `Arc`s; they become protobuf one batch at a
//! time, when they are sent. All counts are of OTLP spans: an acquire is two, itself and the root
//! of its trace. A batch whose answer got lost is sent again, so a collector can see a span twice,
//! with the same ids.

mod client;
mod convert;
mod delivery;
mod process;
#[cfg(test)]
mod tests;

use super::Sink;
use crate::model::{Record, Session};
use anyhow::Context;
use client::{Address, Options};
use convert::{Item, Subject};
use delivery::{Counters, Tally, Worker};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc as queue, watch};

/// Bounds in space and time.
#[derive(Clone, Debug)]
struct Settings {
    /// Records that wait for the worker; some 400 bytes each.
    queue: usize,
    /// Processes that are known by name.
    processes: usize,
    /// Records in one request.
    batch: usize,
    /// Estimated bytes in one request; collectors take 4 MiB.
    batch_bytes: usize,
    /// How long a batch waits to become full.
    batch_delay: Duration,
    /// Shortest and longest pause between two attempts.
    backoff: (Duration, Duration),
    /// How long a batch is tried.
    give_up: Duration,
    /// How long `finish` may take.
    flush: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            queue: 8192,
            processes: 8192,
            batch: 2048,
            batch_bytes: 3 << 20,
            batch_delay: Duration::from_secs(1),
            backoff: (Duration::from_millis(100), Duration::from_secs(5)),
            give_up: Duration::from_secs(60),
            flush: Duration::from_millis(4800),
        }
    }
}

/// Where one-line messages for people go.
type Say = Box<dyn Fn(&str) + Send>;

/// The sink.
pub struct Otlp {
    processes: process::Table,
    /// None once finished.
    items: Option<queue::Sender<Item>>,
    /// Carries the moment by which the worker has to end; dropped, it means now.
    stop: Option<watch::Sender<Option<Instant>>>,
    /// The worker drops its end when it ends.
    ended: mpsc::Receiver<()>,
    counters: Arc<Counters>,
    /// What the counters said when the sink was finished.
    last: Option<Tally>,
    /// Spans that were written.
    written: u64,
    queue_full: u64,
    /// Unsettled at the end; a batch under way then may yet have arrived.
    shutdown: u64,
    flush: Duration,
}

impl Otlp {
    /// A sink that sends to the collector at `endpoint`, `http://host:port` or
    /// `https://host:port`. Reads OTEL_EXPORTER_OTLP_HEADERS, _TIMEOUT, _COMPRESSION and
    /// _CERTIFICATE (and their _TRACES_ forms). A collector that is away is no error.
    pub fn new(endpoint: &str, session: Arc<Session>) -> anyhow::Result<Self> {
        let say: Say = Box::new(|line| eprintln!("lockprobe: {line}"));
        let options = Options::read(&|name| std::env::var(name).ok(), &*say);
        Self::with(endpoint, session, options, Settings::default(), say)
    }

    fn with(
        endpoint: &str,
        session: Arc<Session>,
        options: Options,
        settings: Settings,
        say: Say,
    ) -> anyhow::Result<Self> {
        let address = Address::parse(endpoint, &options)?;
        let (items, inbox) = queue::channel(settings.queue);
        let (stop, stopping) = watch::channel(None);
        let (alive, ended) = mpsc::channel::<()>();
        let counters = Arc::new(Counters::default());
        let processes = process::Table::new(settings.processes, &session.host);
        let flush = settings.flush;
        let worker = Worker::new(
            client::Client::new(address, options),
            inbox,
            stopping,
            counters.clone(),
            session,
            settings,
            say,
        );
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start the OTLP exporter")?;
        std::thread::Builder::new()
            .name("lockprobe-otlp".into())
            .spawn(move || {
                // Dropped however the worker ends.
                let _alive = alive;
                runtime.block_on(worker.run());
                // A name look-up that hangs must not keep the process.
                runtime.shutdown_background();
            })
            .context("cannot start a thread for the OTLP exporter")?;
        Ok(Self {
            processes,
            items: Some(items),
            stop: Some(stop),
            ended,
            counters,
            last: None,
            written: 0,
            queue_full: 0,
            shutdown: 0,
            flush,
        })
    }

    /// Spans the collector has acknowledged.
    pub fn delivered(&self) -> u64 {
        self.tally().delivered
    }

    fn tally(&self) -> Tally {
        self.last.unwrap_or_else(|| self.counters.read())
    }

    fn push(&mut self, subject: Subject) -> anyhow::Result<()> {
        let item = Item { process: self.processes.of(&subject), subject };
        let spans = item.spans();
        self.written += spans;
        let Some(items) = &self.items else {
            self.shutdown += spans;
            return Ok(());
        };
        match items.try_send(item) {
            Ok(()) => Ok(()),
            Err(queue::error::TrySendError::Full(_)) => {
                self.queue_full += spans;
                Ok(())
            }
            Err(queue::error::TrySendError::Closed(_)) => {
                anyhow::bail!(
                    "the thread of the OTLP exporter has ended, which is a bug in lockprobe"
                )
            }
        }
    }
}

impl Sink for Otlp {
    fn name(&self) -> &'static str {
        "otlp"
    }

    fn write(&mut self, record: &Record) -> anyhow::Result<()> {
        match record {
            Record::Acquire(span) => self.push(Subject::Acquire(span.clone())),
            Record::Hold(span) => self.push(Subject::Hold(span.clone())),
            Record::Process(fact) => {
                self.processes.learn(fact);
                Ok(())
            }
            Record::Finding(_) | Record::Inversion(_) | Record::Metrics(_) | Record::Summary(_) => {
                Ok(())
            }
        }
    }

    fn finish(&mut self) -> anyhow::Result<()> {
        let Some(stop) = self.stop.take() else { return Ok(()) };
        let deadline = Instant::now() + self.flush;
        stop.send_replace(Some(deadline));
        self.items = None;
        // Disconnected when the worker has ended. It keeps the deadline itself; the rest is for
        // a machine too busy to let it.
        let _ = self.ended.recv_timeout(self.flush + Duration::from_millis(150));
        let tally = self.counters.read();
        self.last = Some(tally);
        let settled = tally.delivered + tally.unavailable + tally.rejected + self.queue_full;
        self.shutdown = self.written.saturating_sub(settled);
        Ok(())
    }

    fn losses(&self) -> Vec<(&'static str, u64)> {
        let tally = self.tally();
        vec![
            ("queue_full", self.queue_full),
            ("collector_unavailable", tally.unavailable),
            ("collector_rejected", tally.rejected),
            ("shutdown", self.shutdown),
        ]
    }
}
