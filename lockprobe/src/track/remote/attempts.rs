//! Attempts at a lock of a server: which request belongs to which.
//!
//! Most clients ask with one nonce until they have the lock or give up; some take a new one each
//! time, and some ask from a new thread each time. So a request belongs to the attempt of its
//! process that asked with the same nonce; else to one of the same thread that is not waiting for an
//! answer; else to one whose nonce was given up.

use core::net::SocketAddr;
use std::sync::Arc;

use super::holds::Holds;
use crate::model::{Holder, HolderSource, Mode, Owner, Said, Thread, ThreadId, TraceContext};

/// Most nonces remembered of one attempt.
const NONCES_AT_MOST: usize = 8;
/// Most attempts at one lock.
const AT_MOST: usize = 4096;
/// An attempt that has not asked for so long, or three times as long as it usually takes, has given
/// up; nanoseconds.
const QUIET: u64 = 2_000_000_000;
/// Most gaps between requests that are remembered.
const GAPS: usize = 8;
/// An answer the server takes its time for: after this it was lost, nanoseconds.
const UNANSWERED: u64 = 30_000_000_000;

/// One attempt that goes on.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Who asked first.
    pub thread: Thread,
    /// When.
    pub since: u64,
    /// How it would have the lock.
    pub mode: Mode,
    /// For how long.
    pub lease: Option<u64>,
    /// How often it asked.
    pub requests: u32,
    /// How often it was refused.
    pub refusals: u32,
    /// Who had the lock when it was first refused.
    pub holder: Option<Holder>,
    /// Who has it, as the server says.
    pub said: Option<Arc<str>>,
    /// How many were before it, first.
    pub ahead: Option<u32>,
    /// The server.
    pub server: SocketAddr,
    /// It asked, and there is no answer yet.
    pub in_flight: bool,
    /// The server answers when it has the lock.
    pub queued: bool,
    /// When it last asked or was answered.
    pub last: u64,
    /// Its latest nonce was given up.
    pub spent: bool,
    /// The trace that a request said it is part of.
    pub context: Option<TraceContext>,
    owners: Vec<(Owner, u64)>,
    asked: u64,
    gaps: Vec<u64>,
}

impl Attempt {
    /// The latest nonce.
    pub fn owner(&self) -> Option<Owner> {
        self.owners.last().map(|(owner, _)| *owner)
    }

    /// Whether it ever asked with this nonce.
    pub fn is_of(&self, owner: Owner) -> bool {
        self.owners.iter().any(|(known, _)| *known == owner)
    }

    /// Whether it has given up by now, as far as that can be told from silence.
    pub fn is_over(&self, now: u64) -> bool {
        if self.in_flight {
            return !self.queued && now.saturating_sub(self.last) > UNANSWERED;
        }
        now.saturating_sub(self.last) > QUIET.max(3 * self.usual())
    }

    /// Between two of its requests.
    fn usual(&self) -> u64 {
        let mut gaps = self.gaps.clone();
        gaps.sort_unstable();
        gaps.get(gaps.len() / 2).copied().unwrap_or(0)
    }

    /// When and as what it ended, if its process ends now: one that was refused and had asked no
    /// more for longer than it usually takes was over before.
    pub fn at_exit(&self, now: u64) -> (u64, &'static str) {
        let quiet = now.saturating_sub(self.last) > 2 * self.usual();
        let over = self.spent || self.requests <= 1 || quiet;
        match over && !self.in_flight {
            true => (self.last, "gave_up"),
            false => (now, "thread_exit"),
        }
    }

    /// Notes who the server says has the lock.
    pub fn note(&mut self, said: Option<Said>, holds: &Holds) {
        let Some(said) = said else { return };
        let known = said.owner.and_then(|owner| holds.of_owner(owner));
        let by_server = || {
            let name = said.words.as_deref().map_or_else(
                || said.owner.map(|owner| format!("owner {:016x}", owner.0)).unwrap_or_default(),
                str::to_owned,
            );
            Holder { id: ThreadId::default(), name, source: HolderSource::Server, gone: false }
        };
        if self.holder.is_none() {
            self.holder = Some(known.unwrap_or_else(by_server));
        }
        self.said = said.words.or_else(|| self.said.take());
    }

    fn asks(&mut self, time: u64, owner: Option<Owner>) {
        if self.requests > 0 {
            if self.gaps.len() == GAPS {
                self.gaps.remove(0);
            }
            self.gaps.push(time.saturating_sub(self.asked));
        }
        self.requests += 1;
        self.asked = time;
        self.last = time;
        self.in_flight = true;
        self.spent = false;
        if let Some(owner) = owner
            && !self.is_of(owner)
        {
            if self.owners.len() == NONCES_AT_MOST {
                self.owners.remove(0);
            }
            self.owners.push((owner, time));
        }
    }
}

/// A request for the lock.
#[derive(Clone, Copy, Debug)]
pub struct Asking {
    /// When.
    pub time: u64,
    /// Who.
    pub thread: Thread,
    /// With which nonce.
    pub owner: Option<Owner>,
    /// Where.
    pub server: SocketAddr,
    /// How it would have it.
    pub mode: Mode,
    /// For how long.
    pub lease: Option<u64>,
    /// The server answers when it has it.
    pub queued: bool,
}

/// All attempts at one lock.
#[derive(Debug, Default)]
pub struct Attempts(Vec<Attempt>);

impl Attempts {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each of them.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Attempt> {
        self.0.iter_mut()
    }

    /// Which attempt a step of this thread and nonce belongs to.
    pub fn find(&mut self, thread: &Thread, owner: Option<Owner>) -> Option<&mut Attempt> {
        let at = self.position(thread, owner)?;
        self.0.get_mut(at)
    }

    /// What was asked for with this nonce is part of a trace.
    pub fn trace(&mut self, thread: &Thread, owner: Option<Owner>, context: TraceContext) {
        if let Some(attempt) = self.find(thread, owner) {
            attempt.context = Some(context);
        }
    }

    /// The same, and it is over.
    pub fn take(&mut self, thread: &Thread, owner: Option<Owner>) -> Option<Attempt> {
        self.position(thread, owner).map(|at| self.0.remove(at))
    }

    /// Takes out those that are over.
    pub fn take_if(&mut self, over: impl Fn(&Attempt) -> bool) -> Vec<Attempt> {
        self.0.extract_if(.., |attempt| over(attempt)).collect()
    }

    fn position(&self, thread: &Thread, owner: Option<Owner>) -> Option<usize> {
        let of_process = |a: &&Attempt| a.thread.id.pid == thread.id.pid;
        let find =
            |is: &dyn Fn(&Attempt) -> bool| self.0.iter().position(|a| of_process(&a) && is(a));
        if let Some(owner) = owner
            && let Some(at) = find(&|a| a.is_of(owner))
        {
            return Some(at);
        }
        // Without a nonce there is nothing better than the thread, then the process.
        if owner.is_none() {
            let same = find(&|a| a.thread.id == thread.id);
            return same.or_else(|| find(&|_| true));
        }
        None
    }

    /// Takes a request; the attempt it belongs to, and whether that is new.
    pub fn ask(&mut self, asking: &Asking) -> Option<(&mut Attempt, bool)> {
        if let Some(owner) = asking.owner {
            self.split(owner);
        }
        let idle = |a: &Attempt| !a.in_flight && a.thread.id.pid == asking.thread.id.pid;
        let known = self
            .position(&asking.thread, asking.owner)
            .filter(|&at| asking.owner.is_some() || idle(&self.0[at]))
            .or_else(|| self.0.iter().position(|a| idle(a) && a.thread.id == asking.thread.id))
            .or_else(|| self.0.iter().position(|a| idle(a) && a.spent));
        let fresh = known.is_none();
        let at = match known {
            Some(at) => at,
            None if self.0.len() >= AT_MOST => return None,
            None => {
                self.0.push(begun(asking));
                self.0.len() - 1
            }
        };
        let attempt = &mut self.0[at];
        attempt.asks(asking.time, asking.owner);
        attempt.queued = asking.queued;
        attempt.lease = asking.lease.or(attempt.lease);
        Some((attempt, fresh))
    }

    /// An attempt that comes back to a nonce it had changed for another is two that were taken for
    /// one: the later nonces are those of the other.
    fn split(&mut self, owner: Owner) {
        let is_it = |a: &Attempt| a.is_of(owner) && a.owner() != Some(owner);
        let Some(at) = self.0.iter().position(is_it) else { return };
        let attempt = &mut self.0[at];
        let place = attempt.owners.iter().position(|(known, _)| *known == owner).unwrap_or(0);
        let others = attempt.owners.split_off(place + 1);
        let mut other = attempt.clone();
        attempt.in_flight = false;
        other.since = others.first().map_or(other.since, |(_, time)| *time);
        other.requests = others.len() as u32;
        other.owners = others;
        if self.0.len() < AT_MOST {
            self.0.push(other);
        }
    }
}

fn begun(asking: &Asking) -> Attempt {
    Attempt {
        thread: asking.thread,
        since: asking.time,
        mode: asking.mode,
        lease: asking.lease,
        requests: 0,
        refusals: 0,
        holder: None,
        said: None,
        ahead: None,
        server: asking.server,
        in_flight: true,
        queued: asking.queued,
        last: asking.time,
        spent: false,
        context: None,
        owners: Vec::new(),
        asked: asking.time,
        gaps: Vec::new(),
    }
}
