//! Steps, and what they have in common.

use core::net::SocketAddr;
use std::sync::Arc;

use super::holds::{Hold, owner_of};
use crate::model::{LockDescription, Mode, Owner, RemoteAct, RemoteStep, Said, Thread};

/// Where and when something happened.
#[derive(Clone, Copy, Debug)]
pub struct At {
    /// Connection.
    pub connection: u64,
    /// Name space of the network.
    pub namespace: u32,
    /// Server.
    pub server: SocketAddr,
    /// When.
    pub time: u64,
    /// Who.
    pub thread: Thread,
}

impl At {
    /// Process.
    pub fn pid(&self) -> u32 {
        self.thread.id.pid
    }

    /// The same, when and by whom the request was sent.
    pub fn asked(self, (time, thread): (u64, Thread)) -> Self {
        Self { time, thread, ..self }
    }

    /// A step of a lock.
    pub fn step(
        &self,
        lock: &Arc<LockDescription>,
        owner: Option<Owner>,
        act: RemoteAct,
    ) -> RemoteStep {
        let Self { connection, server, time, thread, .. } = *self;
        RemoteStep { time, thread, lock: lock.clone(), connection, server, owner, act }
    }

    /// Said of a hold: by its own process, or on its behalf.
    pub fn of(self, hold: &Hold) -> Self {
        let thread = if hold.pid() == self.pid() { self.thread } else { hold.thread };
        Self { thread, ..self }
    }
}

/// It is asked for.
pub fn asked(lease: Option<u64>, queued: bool) -> RemoteAct {
    RemoteAct::Asked { mode: Mode::Exclusive, lease, queued }
}

/// It is had.
pub fn acquired(lease: Option<u64>, fence: Option<i64>) -> RemoteAct {
    let fence = fence.and_then(|fence| u64::try_from(fence).ok());
    RemoteAct::Acquired { mode: Mode::Exclusive, lease, fence }
}

/// The attempt is over.
pub fn ended(error: &'static str) -> RemoteAct {
    RemoteAct::Ended { error, holder: None }
}

/// Who has it, as the server says.
pub fn said(lease: i64) -> Option<Said> {
    owner_of(lease).map(|owner| Said { owner: Some(owner), words: None })
}
