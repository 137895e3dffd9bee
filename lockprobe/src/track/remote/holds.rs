//! Holds of a lock of a server.

use core::net::SocketAddr;
use std::sync::Arc;

use super::attempts::Attempt;
use super::name_of;
use crate::model::{
    HoldEnd, HoldSpan, Holder, HolderSource, LockDescription, LockKind, Mode, Notice, NoticeKind,
    Owner, Precision, Remote, RemoteHold, RemoteStep, SpanId, Thread,
};
use crate::track::identity::{Role, span_id};

/// Most holders of one lock: readers, or the places of a semaphore.
const AT_MOST: usize = 4096;
/// Most gaps between renewals that are remembered, and fewest that make a habit.
const GAPS: usize = 8;
const HABIT: usize = 2;
/// So many renewals have to be missed: one may be late.
const MISSED: u64 = 2;

/// A lock as it was granted.
#[derive(Clone, Copy, Debug)]
pub struct Granted {
    /// When.
    pub time: u64,
    /// To whom.
    pub thread: Thread,
    /// With which nonce.
    pub owner: Option<Owner>,
    /// Where.
    pub server: SocketAddr,
    /// Over which connection.
    pub connection: u64,
    /// How.
    pub mode: Mode,
    /// For how long.
    pub lease: Option<u64>,
    /// Number of the grant.
    pub fence: Option<u64>,
}

/// One hold.
#[derive(Clone, Debug)]
pub struct Hold {
    /// What is known of it.
    pub remote: RemoteHold,
    /// Its lease ended, and that was said.
    pub overrun: bool,
    precision: Precision,
    /// Between a renewal and the one before it.
    gaps: Vec<u64>,
}

impl Hold {
    /// Says something about it.
    pub fn notice(
        &self,
        what: NoticeKind,
        time: u64,
        other: Option<(Thread, Option<Owner>)>,
    ) -> Notice {
        Notice { time, what, hold: Arc::new(self.remote.clone()), other }
    }

    /// Whether it is over by its lease.
    pub fn has_ended(&self, now: u64) -> bool {
        self.remote.deadline.is_some_and(|deadline| deadline <= now)
    }

    /// Whether renewals that were to be expected by then are missing, and the lease goes on.
    pub fn is_overdue(&self, moment: u64) -> bool {
        let hold = &self.remote;
        if self.gaps.len() < HABIT || hold.gone || self.has_ended(moment) {
            return false;
        }
        let mut gaps = self.gaps.clone();
        gaps.sort_unstable();
        let usual = gaps[gaps.len() / 2];
        moment.saturating_sub(hold.renewed) > usual.saturating_mul(MISSED)
    }

    /// Whether a lock of its kind stays when its holder is gone, unless it has a lease. Where no lease
    /// is told, of Redis and memcached there is none; of others it may only not have been seen.
    pub fn should_expire(&self) -> bool {
        matches!(
            self.remote.lock.kind,
            LockKind::RedisLock
                | LockKind::RedisRedlock
                | LockKind::RedisSemaphore
                | LockKind::MemcachedLock
        )
    }

    /// Whether the server keeps it when the connection ends that it was taken on, as that of a
    /// process that ends does at once. What databases lock for a session ends with it.
    pub fn outlives_connection(&self) -> bool {
        !matches!(
            self.remote.lock.kind,
            LockKind::PostgresAdvisory
                | LockKind::PostgresRow
                | LockKind::PostgresTable
                | LockKind::MysqlUser
                | LockKind::MysqlRow
        )
    }

    /// Its span.
    pub fn span(&self, end: u64, ended: HoldEnd) -> HoldSpan {
        let hold = &self.remote;
        let own = span_id(&hold.lock.id, hold.thread.id, hold.since, Role::Hold);
        let id =
            hold.attempt.map_or(own, |attempt| SpanId { trace: attempt.trace, span: own.span });
        let remote = Remote {
            server: Some(hold.server),
            owner: hold.owner,
            requests: 0,
            lease: hold.lease,
            renewals: hold.renewals,
            fence: hold.fence,
            said: None,
            ahead: None,
            attempt: hold.attempt,
            context: hold.context,
        };
        HoldSpan {
            id,
            lock: hold.lock.clone(),
            holder: name_of(&hold.thread, HolderSource::Conversation),
            start: hold.since,
            end: end.max(hold.since),
            ended,
            precision: self.precision,
            waiters: 0,
            remote: Some(Arc::new(remote)),
        }
    }
}

/// All holds of one lock.
#[derive(Debug, Default)]
pub struct Holds(Vec<Hold>);

impl Holds {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Hold> {
        self.0.iter()
    }

    /// Those of a process.
    pub fn of_process(&mut self, pid: u32) -> impl Iterator<Item = &mut Hold> {
        self.0.iter_mut().filter(move |hold| hold.remote.thread.id.pid == pid)
    }

    /// Who has the lock with this nonce.
    pub fn of_owner(&self, owner: Owner) -> Option<Holder> {
        let hold = self.0.iter().find(|hold| hold.remote.owner == Some(owner))?;
        Some(name_of(&hold.remote.thread, HolderSource::Conversation))
    }

    /// Whom one who asks has to wait for: whoever has the lock, unless the asker itself has it, or
    /// they would have it together. What others say may be the same words: it is no nonce then.
    pub fn holder_for(&self, asker: &Attempt) -> Option<Holder> {
        let (pid, owner) = (asker.thread.id.pid, asker.owner());
        let own = |hold: &RemoteHold| {
            hold.thread.id.pid == pid && (owner.is_none() || hold.owner == owner)
        };
        // One reader waits for another where a writer is between them, as a refusal says.
        let together = |hold: &RemoteHold| {
            asker.refusals == 0 && asker.mode == Mode::Shared && hold.mode == Mode::Shared
        };
        let in_the_way = |hold: &&Hold| !own(&hold.remote) && !together(&hold.remote);
        let hold = self.0.iter().find(|hold| in_the_way(hold) && !hold.overrun)?;
        Some(name_of(&hold.remote.thread, HolderSource::Conversation))
    }

    /// Whether the owner had it already; then it has it once more.
    pub fn again(&mut self, granted: &Granted) -> bool {
        let Some(owner) = granted.owner else { return false };
        let pid = granted.thread.id.pid;
        let is_it = |hold: &RemoteHold| hold.owner == Some(owner) && hold.thread.id.pid == pid;
        let known = self.0.iter_mut().find(|hold| is_it(&hold.remote));
        let Some(hold) = known.filter(|hold| !hold.has_ended(granted.time)) else { return false };
        if let Some(lease) = granted.lease {
            hold.remote.deadline = Some(granted.time + lease);
        }
        true
    }

    /// Takes out the holds that cannot be there beside a new one.
    pub fn in_the_way(&mut self, granted: &Granted) -> Vec<Hold> {
        let rows = |kind| matches!(kind, LockKind::PostgresRow | LockKind::MysqlRow);
        if granted.mode == Mode::Unknown || self.0.first().is_some_and(|h| rows(h.remote.lock.kind))
        {
            // The same words may mean other rows.
            return Vec::new();
        }
        let shared = granted.mode == Mode::Shared;
        let beside = |hold: &Hold| shared && hold.remote.mode == Mode::Shared;
        self.0.extract_if(.., |hold| !beside(hold) && hold.remote.mode != Mode::Unknown).collect()
    }

    /// Adds one; of which the attempt was seen, it was from its beginning.
    pub fn add(
        &mut self,
        lock: &Arc<LockDescription>,
        granted: Granted,
        span: SpanId,
        attempt: Option<&Attempt>,
    ) -> &mut Hold {
        if self.0.len() >= AT_MOST {
            self.0.remove(0);
        }
        let remote = RemoteHold {
            lock: lock.clone(),
            thread: granted.thread,
            owner: granted.owner,
            mode: granted.mode,
            since: granted.time,
            deadline: granted.lease.map(|lease| granted.time.saturating_add(lease)),
            lease: granted.lease,
            renewed: granted.time,
            renewals: 0,
            renewer: granted.thread.id,
            connection: granted.connection,
            server: granted.server,
            attempt: attempt.map(|_| span),
            fence: granted.fence,
            gone: false,
            context: attempt.and_then(|attempt| attempt.context),
        };
        let precision = if attempt.is_some() { Precision::Exact } else { Precision::LowerBound };
        self.0.push(Hold { remote, overrun: false, precision, gaps: Vec::new() });
        let last = self.0.len() - 1;
        &mut self.0[last]
    }

    /// A hold goes on. One nobody knew of is known from now on.
    pub fn renewed(&mut self, lock: &Arc<LockDescription>, step: &RemoteStep, lease: Option<u64>) {
        let at = match self.position(step) {
            Some(at) => at,
            None => {
                let granted = Granted {
                    time: step.time,
                    thread: step.thread,
                    owner: step.owner,
                    server: step.server,
                    connection: step.connection,
                    mode: Mode::Exclusive,
                    lease,
                    fence: None,
                };
                let none = SpanId { trace: 0, span: 0 };
                self.add(lock, granted, none, None);
                self.0.len() - 1
            }
        };
        let hold = &mut self.0[at];
        if hold.gaps.len() == GAPS {
            hold.gaps.remove(0);
        }
        hold.gaps.push(step.time.saturating_sub(hold.remote.renewed));
        hold.remote.renewals += 1;
        hold.remote.renewer = step.thread.id;
        hold.remote.renewed = step.time;
        hold.overrun = false;
        if lease.is_some() {
            hold.remote.lease = lease;
            hold.remote.deadline = lease.map(|lease| step.time.saturating_add(lease));
        }
    }

    fn position(&self, step: &RemoteStep) -> Option<usize> {
        let pid = step.thread.id.pid;
        match step.owner {
            Some(owner) => self.0.iter().position(|hold| hold.remote.owner == Some(owner)),
            None => {
                let same = |hold: &Hold| hold.remote.connection == step.connection;
                let of_process = |hold: &Hold| hold.remote.thread.id.pid == pid;
                let exact = self.0.iter().position(|hold| same(hold) && of_process(hold));
                exact.or_else(|| self.0.iter().position(of_process))
            }
        }
    }

    /// Takes out the one a step is about.
    pub fn take(&mut self, step: &RemoteStep) -> Option<Hold> {
        self.position(step).map(|at| self.0.remove(at))
    }

    /// Takes out all.
    pub fn take_all(&mut self) -> Vec<Hold> {
        std::mem::take(&mut self.0)
    }

    /// Those whose lease has just ended.
    pub fn newly_overrun(&mut self, now: u64) -> Vec<Hold> {
        let ended = self.0.iter_mut().filter(|hold| !hold.overrun && hold.has_ended(now));
        ended
            .map(|hold| {
                hold.overrun = true;
                hold.clone()
            })
            .collect()
    }

    /// Takes out those of a process whose lease has ended.
    pub fn take_ended(&mut self, pid: u32, now: u64) -> Vec<Hold> {
        let is_it = |hold: &mut Hold| hold.remote.thread.id.pid == pid && hold.has_ended(now);
        self.0.extract_if(.., is_it).collect()
    }

    /// Takes out those whose process is gone and whose lease has ended.
    pub fn take_gone(&mut self, now: u64) -> Vec<Hold> {
        self.0.extract_if(.., |hold| hold.remote.gone && hold.has_ended(now)).collect()
    }
}
