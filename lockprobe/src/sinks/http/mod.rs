//! Pages over HTTP: metrics for Prometheus, health for probes, the state of all locks for people.
//!
//! In: records, beats of the pipeline, answers to questions. Out: pages, to whoever may connect.
//! Never: anything that changes lockprobe or the system, a wait of the pipeline for a reader.
//!
//! ```text
//! pipeline -- Record::Metrics --> Http (sums up, own thread) --> Shared --> server thread --> page
//!          -- Pulse::beat ----------------------------------------^            |
//!          <-- Asks, bounded; answered between batches ------------------------+
//! ```
//!
//! One request a connection and a limit on everything: a reader that is slow or hostile costs a
//! place among a few for a few seconds, and nobody else anything.

mod ask;
mod exposition;
mod ladder;
mod naming;
mod routes;
mod series;
mod server;
mod shared;
#[cfg(test)]
mod tests;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::Context;
use tokio::sync::watch;

use super::Sink;
use crate::model::{Record, Session};
pub use ask::{Answer, Asks};
use series::Series;
pub use shared::Pulse;
use shared::Shared;

/// What it takes to serve.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to listen; with port 0 the system chooses one.
    pub listen: SocketAddr,
    /// Version of lockprobe, for `lockprobe_build_info`.
    pub version: &'static str,
}

/// A server that has begun.
pub struct Started {
    /// Where it listens.
    pub address: SocketAddr,
    /// The sink for the pipeline's records.
    pub sink: Http,
    /// What readers want to know of the pipeline.
    pub asks: Asks,
    /// To be told that the pipeline is alive.
    pub pulse: Pulse,
}

/// Listens and serves from now on. Fails when the address cannot be had.
pub fn start(settings: &Settings) -> anyhow::Result<Started> {
    let listen = settings.listen;
    let cannot = || {
        format!("cannot listen for HTTP at {listen}; choose another address, or end what has it")
    };
    let listener = TcpListener::bind(listen).with_context(cannot)?;
    listener.set_nonblocking(true).with_context(cannot)?;
    let address = listener.local_addr().with_context(cannot)?;
    let shared = Arc::new(Shared::new(settings.version));
    let (questions, asks) = ask::channel();
    let (stop, stopped) = watch::channel(());
    let server = server::Server { address, shared: shared.clone(), questions, stopped };
    let thread = std::thread::Builder::new()
        .name("lockprobe-pages".into())
        .spawn(move || server.run(listener))
        .context("the thread for HTTP cannot be started")?;
    let pulse = Pulse::new(shared.clone());
    let sink = Http { shared, series: Series::default(), stop: Some(stop), thread: Some(thread) };
    Ok(Started { address, sink, asks, pulse })
}

/// Takes metrics and keeps them for those who come to read.
pub struct Http {
    shared: Arc<Shared>,
    series: Series,
    stop: Option<watch::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Sink for Http {
    fn name(&self) -> &'static str {
        "http"
    }

    fn write(&mut self, record: &Record) -> anyhow::Result<()> {
        if let Record::Metrics(metrics) = record {
            self.shared.publish(self.series.take(metrics));
        }
        Ok(())
    }

    fn finish(&mut self) -> anyhow::Result<()> {
        drop(self.stop.take());
        match self.thread.take().map(JoinHandle::join) {
            Some(Err(_)) => anyhow::bail!("the thread for HTTP crashed"),
            _ => Ok(()),
        }
    }

    fn losses(&self) -> Vec<(&'static str, u64)> {
        vec![("too_many_series", self.series.omitted())]
    }
}

impl Drop for Http {
    fn drop(&mut self) {
        // `finish` was not called where the start failed after all.
        let _ = self.finish();
    }
}
