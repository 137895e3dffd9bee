//! The worker: gathers records into batches, tries each until it is settled, counts the outcome.

use super::client::{Answer, Client};
use super::convert::{self, Item};
use super::{Say, Settings};
use crate::model::Session;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout_at};

/// Spans by what became of them.
#[derive(Debug, Default)]
pub struct Counters {
    delivered: AtomicU64,
    unavailable: AtomicU64,
    rejected: AtomicU64,
}

/// The counters at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Acknowledged by the collector.
    pub delivered: u64,
    /// Given up.
    pub unavailable: u64,
    /// Refused by the collector.
    pub rejected: u64,
}

impl Counters {
    /// The counters now.
    pub fn read(&self) -> Tally {
        Tally {
            delivered: self.delivered.load(Relaxed),
            unavailable: self.unavailable.load(Relaxed),
            rejected: self.rejected.load(Relaxed),
        }
    }
}

/// Until when no attempt is made.
#[derive(Clone, Copy)]
struct Pause {
    until: Instant,
    /// The collector asked for it, so the end of the run does not shorten it.
    asked: bool,
}

/// Owns the connection.
pub struct Worker {
    client: Client,
    inbox: mpsc::Receiver<Item>,
    /// One item that did not fit into the last batch.
    spare: Option<Item>,
    stopping: watch::Receiver<Option<std::time::Instant>>,
    counters: Arc<Counters>,
    session: Arc<Session>,
    settings: Settings,
    outage: Outage,
    /// Outlives a batch that is given up: the next one does not start at full speed.
    pause: Option<Pause>,
    /// Failed attempts since the last answer.
    failures: u32,
    /// The collector has answered before.
    reached: bool,
}

impl Worker {
    /// A worker that ends when `inbox` is closed and empty, or at the moment `stopping` says.
    pub fn new(
        client: Client,
        inbox: mpsc::Receiver<Item>,
        stopping: watch::Receiver<Option<std::time::Instant>>,
        counters: Arc<Counters>,
        session: Arc<Session>,
        settings: Settings,
        say: Say,
    ) -> Self {
        let outage = Outage::new(say, client.name().to_owned(), settings.give_up);
        Self {
            client,
            inbox,
            spare: None,
            stopping,
            counters,
            session,
            settings,
            outage,
            pause: None,
            failures: 0,
            reached: false,
        }
    }

    /// Works until the end. What it has not settled by then nobody counts here.
    pub async fn run(mut self) {
        let mut stopping = self.stopping.clone();
        let deadline = async move {
            // An error means that the sink is gone without a word: then the end is now.
            if let Ok(at) = stopping.wait_for(Option::is_some).await.map(|at| *at)
                && let Some(at) = at
            {
                sleep_until(at.into()).await;
            }
        };
        let work = async {
            while let Some(batch) = self.gather().await {
                self.deliver(&batch).await;
            }
        };
        tokio::select! {
            biased;
            () = deadline => {}
            () = work => {}
        }
    }

    /// The next batch: full, or what came within the delay. None when no more can come.
    async fn gather(&mut self) -> Option<Vec<Item>> {
        let first = match self.spare.take() {
            Some(item) => item,
            None => self.inbox.recv().await?,
        };
        let deadline = Instant::now() + self.settings.batch_delay;
        let mut bytes = first.weight();
        let mut batch = vec![first];
        while batch.len() < self.settings.batch {
            let Ok(Some(item)) = timeout_at(deadline, self.inbox.recv()).await else { break };
            bytes += item.weight();
            if bytes > self.settings.batch_bytes {
                self.spare = Some(item);
                break;
            }
            batch.push(item);
        }
        Some(batch)
    }

    /// Tries a batch until the collector has taken or refused it, or the time for it is over.
    async fn deliver(&mut self, batch: &[Item]) {
        let spans = batch.iter().map(Item::spans).sum::<u64>();
        let mut give_up = None;
        loop {
            self.rest().await;
            let give_up = *give_up.get_or_insert_with(|| Instant::now() + self.settings.give_up);
            let answer = self.client.export(convert::request(batch, &self.session)).await;
            let (delay, why) = match answer {
                Answer::Taken { rejected, message } => {
                    let rejected = rejected.min(spans);
                    self.answered();
                    self.counters.delivered.fetch_add(spans - rejected, Relaxed);
                    self.refused(rejected, &message);
                    return;
                }
                Answer::Refused(why) => {
                    self.answered();
                    self.refused(spans, &why);
                    return;
                }
                Answer::Away { why, delay } => (delay, why),
            };
            // One failure on a connection that worked is an idle one that was cut, or a hiccup.
            if self.failures > 0 || !self.reached {
                self.outage.begins(&why);
            }
            self.failures = self.failures.saturating_add(1);
            let until = Instant::now() + self.backoff().max(delay.unwrap_or_default());
            self.pause = Some(Pause { until, asked: delay.is_some() });
            if until > give_up {
                self.counters.unavailable.fetch_add(spans, Relaxed);
                return;
            }
        }
    }

    fn answered(&mut self) {
        self.failures = 0;
        self.reached = true;
        self.outage.ends();
    }

    fn refused(&mut self, spans: u64, why: &str) {
        if spans > 0 {
            self.counters.rejected.fetch_add(spans, Relaxed);
            self.outage.refused(spans, why);
        }
    }

    /// Waits out the pause; the end of the run cuts it short once, unless the collector asked.
    async fn rest(&mut self) {
        let Some(pause) = self.pause.take() else { return };
        if pause.asked || self.stopping.borrow().is_some() {
            sleep_until(pause.until).await;
        } else {
            let _ = timeout_at(pause.until, self.stopping.wait_for(Option::is_some)).await;
        }
    }

    /// A random time between the shortest pause and a ceiling that doubles with each failure.
    fn backoff(&self) -> Duration {
        let (shortest, longest) = self.settings.backoff;
        let ceiling = shortest.saturating_mul(1 << self.failures.min(16)).min(longest);
        // RandomState seeds itself at random: enough for jitter, and no dependency.
        let random = (RandomState::new().hash_one(self.failures) % 1024) as u32;
        shortest + ceiling.saturating_sub(shortest) * random / 1024
    }
}

/// Tells people about an outage once, and about its end once.
struct Outage {
    say: Say,
    collector: String,
    kept: Duration,
    /// The outage that lasts was announced.
    announced: bool,
    /// When one was announced last.
    last: Option<Instant>,
    /// A refusal was announced.
    refusal: bool,
}

impl Outage {
    /// At most one announcement in this time, however the connection flaps.
    const QUIET: Duration = Duration::from_secs(300);

    fn new(say: Say, collector: String, kept: Duration) -> Self {
        Self { say, collector, kept, announced: false, last: None, refusal: false }
    }

    fn begins(&mut self, why: &str) {
        if self.announced || self.last.is_some_and(|at| at.elapsed() < Self::QUIET) {
            return;
        }
        self.announced = true;
        self.last = Some(Instant::now());
        let advice = if why.contains("certificate") {
            "Name the file of the certificate that signs for it in OTEL_EXPORTER_OTLP_CERTIFICATE."
        } else {
            "Start the collector, or correct the address."
        };
        (self.say)(&format!(
            "warning: cannot deliver spans to the OTLP collector {} ({why}); each is kept for {} s, \
             then dropped and counted. {advice}",
            self.collector,
            self.kept.as_secs()
        ));
    }

    fn ends(&mut self) {
        if std::mem::take(&mut self.announced) {
            (self.say)(&format!(
                "the OTLP collector {} is back; spans are delivered again.",
                self.collector
            ));
        }
    }

    fn refused(&mut self, spans: u64, why: &str) {
        if std::mem::replace(&mut self.refusal, true) {
            return;
        }
        (self.say)(&format!(
            "warning: the OTLP collector {} refused {spans} spans ({why}); they are dropped and \
             counted, and so is what it refuses from now on. Check its log, and \
             OTEL_EXPORTER_OTLP_HEADERS if it wants a key.",
            self.collector
        ));
    }
}
