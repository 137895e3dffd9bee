//! Locks of portalocker: a channel that one process alone has subscribed to.
//!
//! `portalocker.RedisLock` calls its connection `<channel>-lock-<holder>`, subscribes, and has the
//! lock when it was told twice that it is the only subscriber. It lets go by closing the connection.
//! Who of several waiters comes next they settle among themselves by messages, which are not read.

use core::net::SocketAddr;
use std::sync::Arc;

use super::families::Families;
use super::memory::Memory;
use super::places::Named;
use crate::framing;
use crate::model::{Mode, Owner, RemoteAct, RemoteStep, Thread};

/// Most subscriptions that are remembered.
const AT_MOST: usize = 4096;

#[derive(Debug)]
struct Subscription {
    named: Arc<Named>,
    connection: u64,
    owner: Owner,
    alone: u32,
    held: bool,
}

/// Channels that are locks, by process and server.
#[derive(Debug)]
pub struct Channels {
    subscriptions: Memory<(u32, SocketAddr, Box<[u8]>), Subscription>,
}

impl Default for Channels {
    fn default() -> Self {
        Self { subscriptions: Memory::new(AT_MOST) }
    }
}

/// Who subscribes to a channel for a lock, by the name of the connection.
pub fn holder<'a>(name: &'a [u8], channel: &[u8]) -> Option<&'a [u8]> {
    name.strip_prefix(channel)?.strip_prefix(b"-lock-").filter(|holder| !holder.is_empty())
}

impl Channels {
    /// A channel is subscribed to for a lock.
    pub fn subscribed(
        &mut self,
        named: Arc<Named>,
        at: (u64, Thread),
        (connection, server): (u64, SocketAddr),
        holder: &[u8],
        families: &mut Families,
        out: &mut Vec<RemoteStep>,
    ) {
        let owner = framing::owner(holder);
        let new = Subscription { named, connection, owner, alone: 0, held: false };
        families.confirm(&new.named);
        let act = RemoteAct::Asked { mode: Mode::Exclusive, lease: None, queued: false };
        families.say(&new.named, step(&new, server, at, act), out);
        self.subscriptions.insert((at.1.id.pid, server, new.named.key.clone()), new);
    }

    /// A process was told how many have subscribed.
    pub fn counted(
        &mut self,
        at: (u64, Thread),
        server: SocketAddr,
        channel: &[u8],
        count: i64,
        families: &mut Families,
        out: &mut Vec<RemoteStep>,
    ) {
        let Some(known) = self.subscriptions.get(&(at.1.id.pid, server, channel.into())) else {
            return;
        };
        if known.held {
            return;
        }
        let act = if count > 1 {
            known.alone = 0;
            RemoteAct::Refused { holder: None, ahead: None }
        } else {
            known.alone += 1;
            if known.alone < 2 {
                return;
            }
            known.held = true;
            RemoteAct::Acquired { mode: Mode::Exclusive, lease: None, fence: None }
        };
        let step = step(known, server, at, act);
        families.say(&known.named, step, out);
    }

    /// A connection was closed.
    pub fn closed(
        &mut self,
        at: (u64, Thread),
        connection: u64,
        server: SocketAddr,
        families: &mut Families,
        out: &mut Vec<RemoteStep>,
    ) {
        self.subscriptions.retain(|_, known| {
            if known.connection != connection {
                return true;
            }
            let act = match known.held {
                true => RemoteAct::Disconnected,
                false => RemoteAct::Ended { error: "gave_up", holder: None },
            };
            families.say(&known.named, step(known, server, at, act), out);
            false
        });
    }

    /// How much was forgotten.
    pub fn forgotten(&self) -> u64 {
        self.subscriptions.forgotten()
    }
}

fn step(
    of: &Subscription,
    server: SocketAddr,
    (time, thread): (u64, Thread),
    act: RemoteAct,
) -> RemoteStep {
    let lock = of.named.lock.clone();
    RemoteStep { time, thread, lock, connection: of.connection, server, owner: Some(of.owner), act }
}
