//! The way from the reader to the pipeline: a bounded channel that knows how much is in it.

use std::sync::mpsc::{self, Receiver, SyncSender, sync_channel};

use crate::health::Depth;
use crate::source::Batch;

/// Batches on their way; with 20 ms a batch, more than a second of work.
pub const AT_MOST: usize = 64;

/// Both ends.
pub fn channel() -> (BatchSender, BatchReceiver) {
    let (sender, receiver) = sync_channel(AT_MOST);
    let depth = Depth::default();
    (BatchSender { sender, depth: depth.clone() }, BatchReceiver { receiver, depth })
}

/// The reader's end.
pub struct BatchSender {
    sender: SyncSender<Batch>,
    depth: Depth,
}

/// Nobody listens any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unheard;

impl BatchSender {
    /// Waits for room.
    pub fn send(&self, batch: Batch) -> Result<(), Unheard> {
        self.depth.enters();
        self.sender.send(batch).map_err(|_| {
            self.depth.leaves();
            Unheard
        })
    }
}

/// The pipeline's end.
pub struct BatchReceiver {
    receiver: Receiver<Batch>,
    depth: Depth,
}

impl BatchReceiver {
    /// Waits for a batch; an error when no more will come.
    pub fn recv(&self) -> Result<Batch, mpsc::RecvError> {
        let batch = self.receiver.recv()?;
        self.depth.leaves();
        Ok(batch)
    }

    /// Takes those that are there now.
    pub fn try_iter(&self) -> impl Iterator<Item = Batch> {
        self.receiver.try_iter().inspect(|_| self.depth.leaves())
    }

    /// How much is in it; the one that waits for room counts.
    pub fn depth(&self) -> Depth {
        self.depth.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_knows_how_much_is_in_it() {
        let (sender, receiver) = channel();
        let depth = receiver.depth();
        (0..3).for_each(|_| sender.send(Batch::default()).unwrap());
        assert_eq!(depth.now(), 3);
        receiver.recv().unwrap();
        assert_eq!(depth.now(), 2);
        drop(receiver);
        assert_eq!(sender.send(Batch::default()), Err(Unheard));
        assert_eq!(depth.now(), 2);
    }
}
