//! A sink on its own thread behind a bounded channel.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::Sink;
use crate::health::{Depth, Lost};
use crate::model::Record;

/// Records waiting for one sink.
const QUEUE: usize = 16_384;
const IDLE_AFTER: Duration = Duration::from_millis(100);
const IDLE_AT_LEAST: Duration = Duration::from_secs(1);

/// What to do when a sink cannot keep up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pressure {
    /// Drop records and count them: the kernel does not wait.
    Drop,
    /// Wait: a recording does.
    Wait,
}

type Ended = (anyhow::Result<()>, Vec<(&'static str, u64)>);

/// The way to one sink.
pub struct Outlet {
    name: &'static str,
    sender: Option<SyncSender<Record>>,
    thread: Option<JoinHandle<Ended>>,
    failed: Arc<AtomicBool>,
    pressure: Pressure,
    lost: Lost,
    depth: Depth,
}

impl Outlet {
    /// Starts the sink's thread.
    pub fn start(sink: Box<dyn Sink>, pressure: Pressure) -> std::io::Result<Self> {
        let (sender, records) = sync_channel(QUEUE);
        let name = sink.name();
        let failed = Arc::new(AtomicBool::new(false));
        let flag = failed.clone();
        let (depth, lost) = (Depth::default(), Lost::default());
        let (waiting, told) = (depth.clone(), lost.clone());
        let thread =
            std::thread::Builder::new().name(format!("lockprobe-{name}")).spawn(move || {
                let ended = run(sink, &records, &waiting, &told);
                flag.store(ended.0.is_err(), Ordering::Relaxed);
                ended
            })?;
        let (sender, thread) = (Some(sender), Some(thread));
        Ok(Self { name, sender, thread, failed, pressure, lost, depth })
    }

    /// Name of the sink.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Whether the sink has ended with an error.
    pub fn failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Hands a record over. The summary is never dropped.
    pub fn offer(&mut self, record: &Record) {
        let Some(sender) = &self.sender else { return };
        let wait = self.pressure == Pressure::Wait || matches!(record, Record::Summary(_));
        self.depth.enters();
        let sent = match wait {
            true => sender.send(record.clone()).map_err(|e| TrySendError::Disconnected(e.0)),
            false => sender.try_send(record.clone()),
        };
        if let Err(error) = sent {
            self.depth.leaves();
            // A sink that has ended says why in `finish`.
            if matches!(error, TrySendError::Full(_)) {
                self.lost.did_not_fit();
            }
        }
    }

    /// How many records wait for the sink, and how many may.
    pub fn waiting(&self) -> (Depth, u64) {
        (self.depth.clone(), QUEUE as u64)
    }

    /// Records dropped because the sink could not keep up.
    pub fn dropped(&self) -> u64 {
        self.lost.queue_full()
    }

    /// All it could not deliver, as it goes on.
    pub fn lost(&self) -> Lost {
        self.lost.clone()
    }

    /// Ends the sink: what it could not deliver, and why it failed if it did.
    pub fn finish(&mut self) -> Ended {
        drop(self.sender.take());
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(ended)) => ended,
            Some(Err(_)) => (Err(anyhow::anyhow!("the {} output crashed", self.name)), Vec::new()),
            None => (Ok(()), Vec::new()),
        }
    }
}

fn run(mut sink: Box<dyn Sink>, records: &Receiver<Record>, depth: &Depth, lost: &Lost) -> Ended {
    let result = pump(sink.as_mut(), records, depth, lost);
    let result = result.and_then(|()| sink.finish());
    let losses = sink.losses();
    lost.tell(losses.clone());
    (result, losses)
}

fn pump(
    sink: &mut dyn Sink,
    records: &Receiver<Record>,
    depth: &Depth,
    lost: &Lost,
) -> anyhow::Result<()> {
    loop {
        match records.recv_timeout(IDLE_AFTER) {
            Ok(record) => {
                depth.leaves();
                sink.write(&record)?;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
        let busy = Instant::now() + IDLE_AT_LEAST;
        while Instant::now() < busy
            && let Ok(record) = records.try_recv()
        {
            depth.leaves();
            sink.write(&record)?;
        }
        sink.idle()?;
        lost.tell(sink.losses());
    }
}
