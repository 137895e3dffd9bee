//! The worker of a signal: gathers records into batches, tries each until it is settled, counts the
//! outcome.

use super::client::{Answer, Client};
use super::outage::{Outage, Outages};
use super::process::Process;
use super::settings::Signal;
use super::wire::Wire;
use super::{Bounds, Ending};
use crate::model::Session;
use prost::bytes::Bytes;
use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout_at};

/// What waits to be sent: it becomes protobuf one batch at a time, when it is.
pub trait Item: Send + Sized + 'static {
    /// What it counts for: spans, data points, log records.
    fn count(&self) -> u64;
    /// Encoded size, rather too much than too little.
    fn weight(&self) -> usize;
    /// Requests for some of them.
    fn encode(items: &[Self], session: &Session) -> Vec<Batch>;
}

/// A request.
#[derive(Clone, Debug)]
pub struct Batch {
    /// As it is sent, and sent again.
    pub bytes: Bytes,
    /// What it counts for.
    pub count: u64,
}

/// Items by process, in the order of the first of each.
pub fn by_process<'a, T>(
    items: impl IntoIterator<Item = &'a T>,
    process: impl Fn(&'a T) -> &'a Arc<Process>,
) -> Vec<(&'a Process, Vec<&'a T>)> {
    let mut groups: Vec<(&Process, Vec<&T>)> = Vec::new();
    let mut index: HashMap<*const Process, usize> = HashMap::new();
    let mut last = 0;
    for item in items {
        let process = process(item);
        // Mostly of the same process as the one before.
        if let Some((_, items)) =
            groups.get_mut(last).filter(|(own, _)| std::ptr::eq(*own, &**process))
        {
            items.push(item);
            continue;
        }
        let group = *index.entry(Arc::as_ptr(process)).or_insert_with(|| {
            groups.push((process, Vec::new()));
            groups.len() - 1
        });
        groups[group].1.push(item);
        last = group;
    }
    groups
}

/// A resource with what is its own: `ResourceSpans` and its like, which have one form.
pub fn under(wire: &mut Wire, resource: &[u8], own: impl FnOnce(&mut Wire)) {
    const RESOURCE: u32 = 1;
    const SCOPES: u32 = 2;
    wire.message(1, |group| {
        group.bytes(RESOURCE, resource);
        group.message(SCOPES, |scoped| {
            scoped.message(1, |scope| {
                scope.bytes(1, b"lockprobe");
                scope.bytes(2, env!("CARGO_PKG_VERSION").as_bytes());
            });
            own(scoped);
        });
    });
}

/// What became of what was written.
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

/// What a worker needs of others.
pub struct Place {
    /// The collector.
    pub client: Client,
    /// What it is told.
    pub signal: Signal,
    /// When the end is near.
    pub ending: Ending,
    /// What becomes of it all.
    pub counters: Arc<Counters>,
    /// The circumstances.
    pub session: Arc<Session>,
    /// Space and time.
    pub bounds: Bounds,
}

/// Owns the connection.
pub struct Worker<I> {
    place: Place,
    inbox: mpsc::Receiver<I>,
    /// One item that did not fit into the last batch.
    spare: Option<I>,
    outage: Rc<RefCell<Outage>>,
    /// Outlives a batch that is given up: the next one does not start at full speed.
    pause: Option<Pause>,
    /// Failed attempts since the last answer.
    failures: u32,
    /// The collector has answered before.
    reached: bool,
}

impl<I: Item> Worker<I> {
    /// A worker that ends when `inbox` is closed and empty, or at the moment its place says.
    pub fn new(place: Place, inbox: mpsc::Receiver<I>, outages: &Outages) -> Self {
        let outage = outages.of(place.client.name());
        Self { place, inbox, spare: None, outage, pause: None, failures: 0, reached: false }
    }

    /// Works until the end. What it has not settled by then nobody counts here.
    pub async fn run(mut self) {
        let mut ending = self.place.ending.clone();
        let deadline = async move {
            // An error means that the sink is gone without a word: then the end is now.
            if let Ok(at) = ending.wait_for(Option::is_some).await.map(|at| *at)
                && let Some(at) = at
            {
                sleep_until(at.into()).await;
            }
        };
        let work = async {
            while let Some(items) = self.gather().await {
                let batches = I::encode(&items, &self.place.session);
                drop(items);
                for batch in batches {
                    self.deliver(&batch).await;
                }
            }
        };
        tokio::select! {
            biased;
            () = deadline => {}
            () = work => {}
        }
    }

    /// The next batch: full, or what came within the delay. None when no more can come.
    async fn gather(&mut self) -> Option<Vec<I>> {
        let bounds = &self.place.bounds;
        let first = match self.spare.take() {
            Some(item) => item,
            None => self.inbox.recv().await?,
        };
        let deadline = Instant::now() + bounds.batch_delay;
        let mut bytes = first.weight();
        let mut batch = vec![first];
        while batch.len() < bounds.batch {
            let Ok(Some(item)) = timeout_at(deadline, self.inbox.recv()).await else { break };
            bytes += item.weight();
            if bytes > bounds.batch_bytes {
                self.spare = Some(item);
                break;
            }
            batch.push(item);
        }
        Some(batch)
    }

    /// Tries a batch until the collector has taken or refused it, or the time for it is over.
    async fn deliver(&mut self, batch: &Batch) {
        let mut give_up = None;
        loop {
            self.rest().await;
            let patience = self.place.bounds.give_up;
            let give_up = *give_up.get_or_insert_with(|| Instant::now() + patience);
            let answer = self.place.client.export(batch.bytes.clone()).await;
            let counters = &self.place.counters;
            let (delay, why) = match answer {
                Answer::Taken { rejected, message } => {
                    let rejected = rejected.min(batch.count);
                    counters.delivered.fetch_add(batch.count - rejected, Relaxed);
                    self.answered();
                    self.refused(rejected, &message);
                    return;
                }
                Answer::Refused(why) => {
                    self.answered();
                    self.refused(batch.count, &why);
                    return;
                }
                Answer::Away { why, delay } => (delay, why),
            };
            // One failure on a connection that worked is an idle one that was cut, or a hiccup.
            if self.failures > 0 || !self.reached {
                self.outage.borrow_mut().begins(&why);
            }
            self.failures = self.failures.saturating_add(1);
            let until = Instant::now() + self.backoff().max(delay.unwrap_or_default());
            self.pause = Some(Pause { until, asked: delay.is_some() });
            if until > give_up {
                self.place.counters.unavailable.fetch_add(batch.count, Relaxed);
                return;
            }
        }
    }

    fn answered(&mut self) {
        self.failures = 0;
        self.reached = true;
        self.outage.borrow_mut().ends();
    }

    fn refused(&mut self, count: u64, why: &str) {
        if count > 0 {
            self.place.counters.rejected.fetch_add(count, Relaxed);
            self.outage.borrow_mut().refused(self.place.signal, count, why);
        }
    }

    /// Waits out the pause; the end of the run cuts it short once, unless the collector asked.
    async fn rest(&mut self) {
        let Some(pause) = self.pause.take() else { return };
        let ending = &mut self.place.ending;
        if pause.asked || ending.borrow().is_some() {
            sleep_until(pause.until).await;
        } else {
            let _ = timeout_at(pause.until, ending.wait_for(Option::is_some)).await;
        }
    }

    /// A random time between the shortest pause and a ceiling that doubles with each failure.
    fn backoff(&self) -> Duration {
        let (shortest, longest) = self.place.bounds.backoff;
        let ceiling = shortest.saturating_mul(1 << self.failures.min(16)).min(longest);
        // RandomState seeds itself at random: enough for jitter, and no dependency.
        let random = (RandomState::new().hash_one(self.failures) % 1024) as u32;
        shortest + ceiling.saturating_sub(shortest) * random / 1024
    }
}
