//! One signal on its way from the sink to its worker, and the count of it.

use super::client::Client;
use super::delivery::{Counters, Item, Place, Tally};
use super::settings::{Settings, Signal};
use super::{Bounds, Ending};
use crate::model::Session;
use std::sync::Arc;
use tokio::sync::mpsc;

/// The sink's end.
pub struct Lane<I> {
    /// None once closed.
    items: Option<mpsc::Sender<I>>,
    counters: Arc<Counters>,
    /// What the counters said when the sink was finished.
    last: Option<Tally>,
    /// What was written.
    written: u64,
    queue_full: u64,
    /// Unsettled at the end; a batch under way then may yet have arrived.
    shutdown: u64,
    limit: u64,
}

/// The worker's end.
type Far<I> = (Place, mpsc::Receiver<I>);

/// What lanes are made of.
pub struct Start<'a> {
    /// Where to.
    pub settings: &'a Settings,
    /// The circumstances.
    pub session: &'a Arc<Session>,
    /// When the end is near.
    pub ending: &'a Ending,
    /// Space and time.
    pub bounds: &'a Bounds,
}

impl Start<'_> {
    /// Both ends, if the signal is sent.
    pub fn lane<I: Item>(
        &self,
        signal: Signal,
        limit: usize,
    ) -> anyhow::Result<Option<(Lane<I>, Far<I>)>> {
        if !self.settings.sends(signal) {
            return Ok(None);
        }
        let client = Client::new(&self.settings.target(signal)?)?;
        let (items, inbox) = mpsc::channel(limit);
        let counters = Arc::new(Counters::default());
        let place = Place {
            client,
            signal,
            ending: self.ending.clone(),
            counters: counters.clone(),
            session: self.session.clone(),
            bounds: self.bounds.clone(),
        };
        let lane = Lane {
            items: Some(items),
            counters,
            last: None,
            written: 0,
            queue_full: 0,
            shutdown: 0,
            limit: limit as u64,
        };
        Ok(Some((lane, (place, inbox))))
    }
}

impl<I: Item> Lane<I> {
    /// Hands an item over, or drops and counts it.
    pub fn push(&mut self, item: I) -> anyhow::Result<()> {
        let count = item.count();
        self.written += count;
        let Some(items) = &self.items else {
            self.shutdown += count;
            return Ok(());
        };
        match items.try_send(item) {
            Ok(()) => Ok(()),
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.queue_full += count;
                Ok(())
            }
            Err(mpsc::error::TrySendError::Closed(_)) => {
                anyhow::bail!(
                    "the thread of the OTLP exporter has ended, which is a bug in lockprobe"
                )
            }
        }
    }

    /// No more comes.
    pub fn close(&mut self) {
        self.items = None;
    }

    /// The worker has ended, or has to do without us: what it has not settled is lost.
    pub fn settle(&mut self) {
        let tally = self.counters.read();
        self.last = Some(tally);
        let settled = tally.delivered + tally.unavailable + tally.rejected + self.queue_full;
        self.shutdown = self.written.saturating_sub(settled);
    }

    /// What the collector has acknowledged.
    pub fn delivered(&self) -> u64 {
        self.tally().delivered
    }

    fn tally(&self) -> Tally {
        self.last.unwrap_or_else(|| self.counters.read())
    }

    /// Name, what waits, and how much may.
    pub fn queue(&self, name: &'static str) -> (&'static str, u64, u64) {
        let free = self.items.as_ref().map_or(self.limit, |items| items.capacity() as u64);
        (name, self.limit.saturating_sub(free), self.limit)
    }

    /// What was lost, by these names.
    pub fn losses(&self, names: [&'static str; 4]) -> [(&'static str, u64); 4] {
        let tally = self.tally();
        let [full, unavailable, rejected, shutdown] = names;
        [
            (full, self.queue_full),
            (unavailable, tally.unavailable),
            (rejected, tally.rejected),
            (shutdown, self.shutdown),
        ]
    }
}
