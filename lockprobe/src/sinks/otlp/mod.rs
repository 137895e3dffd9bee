//! Spans, metrics and events to OpenTelemetry collectors, over OTLP/gRPC and OTLP/HTTP.
//!
//! In: records. Out: requests of the three services of OTLP, one resource for each observed process.
//! Never: a wait in `write`, memory without a bound, a loss without a count.
//!
//! ```text
//! write -> process::Table (whose is it), lineage (in which trace) -> a bounded queue a signal
//!       -> one thread, a worker a signal: delivery (batch, retry, give up)
//!          -> traces, metrics, logs (protobuf) -> client (grpc, http)
//! ```
//!
//! What waits in the queues are the pipeline's own `Arc`s; they become protobuf one batch at a
//! time, when they are sent. Counts are of spans, log records and data points: a wait is two spans,
//! itself and the root of its trace, unless it is a child of another program's. A batch whose answer
//! got lost is sent again, so a collector can see a span twice, with the same ids.

mod attributes;
mod client;
mod delivery;
mod environment;
mod grpc;
mod http;
mod lane;
mod lineage;
mod logs;
mod metrics;
mod outage;
mod process;
mod settings;
mod target;
#[cfg(test)]
mod tests;
mod traces;
mod wire;

pub use settings::{Headers, Layer, Protocol, Settings, Signal, Way};

use super::{Sink, tell, tell_inversion, tell_wait};
use crate::model::{Finding, Metrics, Record, Session};
use anyhow::Context;
use delivery::Worker;
use lane::Lane;
use lineage::Moved;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use tokio::sync::watch;

const USER_AGENT: &str = concat!("lockprobe/", env!("CARGO_PKG_VERSION"));

/// Bounds in space and time.
#[derive(Clone, Debug)]
struct Bounds {
    /// Records that wait for a worker; some 400 bytes each.
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

impl Default for Bounds {
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
pub type Say = Box<dyn Fn(&str) + Send>;

/// By when the worker has to end; that nobody says so any more means now.
type Ending = watch::Receiver<Option<Instant>>;

/// The sink.
pub struct Otlp {
    processes: process::Table,
    moved: Moved,
    session: Arc<Session>,
    traces: Option<Lane<traces::Item>>,
    metrics: Option<Lane<metrics::Item>>,
    logs: Option<Lane<logs::Item>>,
    /// Each contended attempt is a log record.
    contention: bool,
    stop: Option<watch::Sender<Option<Instant>>>,
    /// The thread drops its end when it ends.
    ended: mpsc::Receiver<()>,
    flush: Duration,
}

impl Otlp {
    /// A sink that sends what the settings say, where they say. A collector that is away is no
    /// error; `say` is told of it.
    ///
    /// # Errors
    /// One sentence on an address, a header or a certificate that makes no sense.
    pub fn new(settings: &Settings, session: Arc<Session>, say: Say) -> anyhow::Result<Self> {
        Self::with(settings, session, Bounds::default(), say)
    }

    fn with(
        settings: &Settings,
        session: Arc<Session>,
        bounds: Bounds,
        say: Say,
    ) -> anyhow::Result<Self> {
        let (stop, ending) = watch::channel(None);
        let (alive, ended) = mpsc::channel::<()>();
        let start = lane::Start { settings, session: &session, ending: &ending, bounds: &bounds };
        let (traces, spans) = start.lane(Signal::Traces, bounds.queue)?.unzip();
        // They are cumulative: what is newer makes what is older needless.
        let (metrics, numbers) = start.lane(Signal::Metrics, 2)?.unzip();
        let (logs, events) = start.lane(Signal::Logs, bounds.queue)?.unzip();
        let kept = bounds.give_up;
        let work = move || async move {
            let outages = outage::Outages::new(say, kept);
            let spans = spans.map(|(place, inbox)| Worker::new(place, inbox, &outages));
            let numbers = numbers.map(|(place, inbox)| Worker::new(place, inbox, &outages));
            let events = events.map(|(place, inbox)| Worker::new(place, inbox, &outages));
            tokio::join!(run(spans), run(numbers), run(events));
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start the OTLP exporter")?;
        std::thread::Builder::new()
            .name("lockprobe-otlp".into())
            .spawn(move || {
                // Dropped however the worker ends.
                let _alive = alive;
                runtime.block_on(work());
                // A name look-up that hangs must not keep the process.
                runtime.shutdown_background();
            })
            .context("cannot start a thread for the OTLP exporter")?;
        Ok(Self {
            processes: process::Table::new(bounds.processes, &session.host),
            moved: Moved::default(),
            session,
            traces,
            metrics,
            logs,
            contention: settings.contention,
            stop: Some(stop),
            ended,
            flush: bounds.flush,
        })
    }

    /// Spans, data points and log records that collectors have acknowledged.
    pub fn delivered(&self) -> [u64; 3] {
        let traces = self.traces.as_ref().map_or(0, Lane::delivered);
        let metrics = self.metrics.as_ref().map_or(0, Lane::delivered);
        [traces, metrics, self.logs.as_ref().map_or(0, Lane::delivered)]
    }

    /// What waits in the queues, and how much may: for lockprobe's own telemetry.
    pub fn queues(&self) -> Vec<(&'static str, u64, u64)> {
        let traces = self.traces.as_ref().map(|lane| lane.queue("otlp_traces"));
        let metrics = self.metrics.as_ref().map(|lane| lane.queue("otlp_metrics"));
        let logs = self.logs.as_ref().map(|lane| lane.queue("otlp_logs"));
        [traces, metrics, logs].into_iter().flatten().collect()
    }

    fn acquire(&mut self, span: &Arc<crate::model::AcquireSpan>) -> anyhow::Result<()> {
        let process = self.processes.of(span.thread.id.pid, span.lock.id);
        let lineage = self.moved.acquire(span, &process, &self.processes);
        if let Some(logs) = self.logs.as_mut().filter(|_| self.contention)
            && logs::contended(span, self.session.min_wait)
        {
            let body = tell_wait(span, &|pid| self.processes.name(pid));
            let subject = logs::Subject::Contention(span.clone());
            let trace = Some((lineage.trace(span.id), span.id.span));
            logs.push(logs::Item { subject, process: process.clone(), body, trace })?;
        }
        let Some(traces) = &mut self.traces else { return Ok(()) };
        traces.push(traces::Item {
            subject: traces::Subject::Acquire(span.clone()),
            process,
            lineage,
        })
    }

    fn hold(&mut self, span: &Arc<crate::model::HoldSpan>) -> anyhow::Result<()> {
        let Some(traces) = &mut self.traces else { return Ok(()) };
        let process = self.processes.of(span.holder.id.pid, span.lock.id);
        let lineage = self.moved.hold(span, &process);
        traces.push(traces::Item { subject: traces::Subject::Hold(span.clone()), process, lineage })
    }

    fn finding(&mut self, finding: &Arc<Finding>) -> anyhow::Result<()> {
        let Some(logs) = &mut self.logs else { return Ok(()) };
        let told = tell(finding, &|pid| self.processes.name(pid), &|_| String::new());
        let process = match logs::subject_of(finding) {
            Some((pid, lock)) => self.processes.of(pid, lock),
            None => Arc::new(self.processes.lockprobe()),
        };
        let body = told.sentences();
        let trace = logs::span_of(finding, &process);
        let subject = logs::Subject::Finding(finding.clone());
        logs.push(logs::Item { subject, process, body, trace })
    }

    fn inversion(&mut self, found: &Arc<crate::model::Inversion>) -> anyhow::Result<()> {
        let Some(logs) = &mut self.logs else { return Ok(()) };
        let Some(first) = found.orders.first() else { return Ok(()) };
        let process = self.processes.of(first.pid, first.from.id);
        let body = tell_inversion(found, &|pid| self.processes.name(pid));
        let subject = logs::Subject::Inversion(found.clone());
        logs.push(logs::Item { subject, process, body, trace: None })
    }

    fn numbers(&mut self, metrics: &Arc<Metrics>) -> anyhow::Result<()> {
        let Some(lane) = &mut self.metrics else { return Ok(()) };
        lane.push(metrics::Item::new(metrics, &mut self.processes, &self.moved))
    }
}

/// Runs the worker of a signal, where it is sent.
async fn run<I: delivery::Item>(worker: Option<Worker<I>>) {
    if let Some(worker) = worker {
        worker.run().await;
    }
}

impl Sink for Otlp {
    fn name(&self) -> &'static str {
        "otlp"
    }

    fn write(&mut self, record: &Record) -> anyhow::Result<()> {
        match record {
            Record::Acquire(span) => self.acquire(span),
            Record::Hold(span) => self.hold(span),
            Record::Process(fact) => {
                self.processes.learn(fact);
                Ok(())
            }
            Record::Finding(finding) => self.finding(finding),
            Record::Inversion(inversion) => self.inversion(inversion),
            Record::Metrics(metrics) => self.numbers(metrics),
            Record::Summary(_) => Ok(()),
        }
    }

    fn finish(&mut self) -> anyhow::Result<()> {
        let Some(stop) = self.stop.take() else { return Ok(()) };
        stop.send_replace(Some(Instant::now() + self.flush));
        self.traces.iter_mut().for_each(Lane::close);
        self.metrics.iter_mut().for_each(Lane::close);
        self.logs.iter_mut().for_each(Lane::close);
        // Disconnected when the workers have ended. They keep the deadline themselves; the rest is
        // for a machine too busy to let them.
        let _ = self.ended.recv_timeout(self.flush + Duration::from_millis(150));
        self.traces.iter_mut().for_each(Lane::settle);
        self.metrics.iter_mut().for_each(Lane::settle);
        self.logs.iter_mut().for_each(Lane::settle);
        Ok(())
    }

    fn losses(&self) -> Vec<(&'static str, u64)> {
        let spans = ["queue_full", "collector_unavailable", "collector_rejected", "shutdown"];
        let points = [
            "points_queue_full",
            "points_collector_unavailable",
            "points_collector_rejected",
            "points_shutdown",
        ];
        let logs = [
            "logs_queue_full",
            "logs_collector_unavailable",
            "logs_collector_rejected",
            "logs_shutdown",
        ];
        let traces = self.traces.iter().flat_map(|lane| lane.losses(spans));
        let metrics = self.metrics.iter().flat_map(|lane| lane.losses(points));
        traces.chain(metrics).chain(self.logs.iter().flat_map(|lane| lane.losses(logs))).collect()
    }
}
