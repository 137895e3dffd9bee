//! Holders of servers' locks that are stopped past the time of their next renewal.
//!
//! Nobody has to wait for it: a holder that renews its lease in regular intervals, has missed two of
//! them, and is stopped or frozen, will lose its lock unless it goes on in time; so will one of which
//! the thread that renews has not come back from where no signal reaches it: from a disk, a network
//! file system. Of one that others wait for, [`super::holder`] tells.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::{Doing, Finding, FindingKind, LockId, Notice, NoticeKind, RemoteHold, ThreadId};
use crate::track::LockTable;
use crate::track::activities::{Activities, Seen};
use crate::track::identity::Identity;

/// For how long it must have been seen in the same state.
const SAME_FOR: u64 = 200_000_000;
/// How often one holder is looked at.
const LOOK_EVERY: u64 = 250_000_000;
/// Most holders looked at in one go.
const LOOKS_AT_MOST: usize = 64;
/// Most findings going on at a time.
const AT_MOST: usize = 4096;

/// A hold: lock, thread, since.
type Key = (LockId, ThreadId, u64);

/// Looks for them.
#[derive(Default)]
pub struct Paused {
    going_on: BTreeMap<Key, Finding>,
}

/// All threads of a process are stopped at once, and the first one is there for as long as the process
/// is.
fn first(hold: &RemoteHold) -> ThreadId {
    ThreadId { pid: hold.thread.id.pid, tid: hold.thread.id.pid }
}

/// Whom to look at: the first, and the one that renews.
fn looked_at(hold: &RemoteHold) -> [ThreadId; 2] {
    [first(hold), hold.renewer]
}

/// What keeps a holder from going on, if it does nothing else.
fn hindrance<'a>(hold: &RemoteHold, activities: &'a Activities) -> Option<&'a Seen> {
    let stopped = |seen: &&Seen| {
        matches!(seen.activity.doing, Doing::Stopped | Doing::Traced | Doing::Frozen)
    };
    // Any other thread may sleep where it likes.
    let stuck = |seen: &&Seen| seen.activity.doing == Doing::DiskSleep;
    let renewer = || activities.of(hold.renewer).filter(stuck);
    activities.of(first(hold)).filter(stopped).or_else(renewer)
}

/// Holders that have missed renewals and ought to be looked at now.
pub fn worth_a_look<'a>(
    overdue: impl Iterator<Item = &'a RemoteHold>,
    activities: &Activities,
    now: u64,
) -> Vec<ThreadId> {
    let looked = |id: ThreadId| activities.of(id).map_or(0, |seen| seen.activity.time);
    let mut due: Vec<(u64, ThreadId)> =
        overdue.flat_map(looked_at).map(|id| (looked(id), id)).collect();
    due.retain(|(looked, _)| now.saturating_sub(*looked) >= LOOK_EVERY);
    due.sort_unstable();
    due.dedup();
    due.truncate(LOOKS_AT_MOST);
    due.into_iter().map(|(_, id)| id).collect()
}

impl Paused {
    /// Looks at holds that have missed renewals; returns what is new and what is over.
    pub fn check<'a>(
        &mut self,
        overdue: impl Iterator<Item = &'a RemoteHold>,
        table: &LockTable,
        activities: &Activities,
        now: u64,
    ) -> Vec<Finding> {
        let mut stopped: BTreeMap<Key, (&RemoteHold, &Seen)> = BTreeMap::new();
        for hold in overdue {
            if let Some(seen) = hindrance(hold, activities) {
                stopped.insert((hold.lock.id, hold.thread.id, hold.since), (hold, seen));
            }
        }
        let over = self.going_on.extract_if(.., |key, _| !stopped.contains_key(key));
        let mut findings: Vec<Finding> =
            over.map(|(_, finding)| Finding { ended: Some(now), ..finding }).collect();
        for (key, (hold, seen)) in stopped {
            let same_for = seen.activity.time.saturating_sub(seen.since);
            let known = self.going_on.contains_key(&key) || self.going_on.len() >= AT_MOST;
            if known || same_for < SAME_FOR || table.waiters(&hold.lock.id) > 0 {
                continue;
            }
            let finding = finding(hold, seen, now);
            self.going_on.insert(key, finding.clone());
            findings.push(finding);
        }
        findings
    }

    /// What goes on.
    pub fn going_on(&self) -> impl Iterator<Item = &Finding> {
        self.going_on.values()
    }
}

fn finding(hold: &RemoteHold, seen: &Seen, now: u64) -> Finding {
    let kind = FindingKind::HolderPaused;
    let ThreadId { pid, tid } = hold.thread.id;
    let lock = hold.lock.identity();
    let text = format_args!("{} {pid} {tid} {lock} {} {}", kind.name(), hold.since, seen.since);
    let notice =
        Notice { time: now, what: NoticeKind::Paused, hold: Arc::new(hold.clone()), other: None };
    Finding {
        kind,
        id: Identity::of(text).number(0),
        formed: seen.since,
        found: now,
        ended: None,
        waits: Vec::new(),
        waiters: 0,
        holder: Some(seen.activity.clone()),
        remote: Some(Arc::new(notice)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Activity, LockDescription, LockKind, Mode, Thread};

    const MS: u64 = 1_000_000;

    fn hold() -> RemoteHold {
        let lock = LockDescription {
            id: LockId::Private { pid: 1, image: 0, address: 7 },
            kind: LockKind::RedisLock,
            name: "l".into(),
            confirmed: true,
            call_site: None,
            address: None,
        };
        RemoteHold {
            lock: Arc::new(lock),
            thread: Thread { id: ThreadId { pid: 10, tid: 11 }, ..Thread::default() },
            owner: None,
            mode: Mode::Exclusive,
            since: 0,
            deadline: Some(5000 * MS),
            lease: Some(5000 * MS),
            renewed: 0,
            renewals: 3,
            renewer: ThreadId { pid: 10, tid: 12 },
            connection: 1,
            server: ([127, 0, 0, 1], 6379).into(),
            attempt: None,
            fence: None,
            gone: false,
            context: None,
        }
    }

    fn look(activities: &mut Activities, time: u64, doing: Doing) {
        for tid in [10, 12] {
            look_at(activities, tid, time, doing);
        }
    }

    fn look_at(activities: &mut Activities, tid: u32, time: u64, doing: Doing) {
        let id = ThreadId { pid: 10, tid };
        let (call, name) = (String::new(), "h".to_owned());
        let seen = Activity { id, time, doing, call, switches: 0, start_ticks: 0, name };
        activities.learn(seen);
    }

    #[test]
    fn a_stopped_holder_that_misses_renewals_is_found_and_its_going_on_too() {
        let (mut paused, mut activities) = (Paused::default(), Activities::default());
        let (hold, table) = (hold(), LockTable::default());
        let mut found = Vec::new();
        for time in [1000, 1250, 1500].map(|t| t * MS) {
            let due = worth_a_look([&hold].into_iter(), &activities, time);
            assert_eq!(due, [10, 12].map(|tid| ThreadId { pid: 10, tid }));
            assert!(worth_a_look([].into_iter(), &activities, time).is_empty());
            look(&mut activities, time, Doing::Stopped);
            assert!(worth_a_look([&hold].into_iter(), &activities, time + MS).is_empty());
            found.extend(paused.check([&hold].into_iter(), &table, &activities, time));
        }
        let [one] = &found[..] else { panic!("{found:?}") };
        assert_eq!((one.kind, one.formed), (FindingKind::HolderPaused, 1000 * MS));
        assert_eq!((one.found, one.ended), (1250 * MS, None));
        // It was renewed: it is not among those that missed one.
        let over = paused.check([].into_iter(), &table, &activities, 1600 * MS);
        assert_eq!(over.iter().map(|f| f.ended).collect::<Vec<_>>(), [Some(1600 * MS)]);
        assert_eq!(over[0].id, one.id);
        assert_eq!(paused.going_on().count(), 0);
    }

    #[test]
    fn a_thread_that_renews_and_does_not_come_back_from_the_kernel_is_paused() {
        for (tid, findings) in [(10, 0), (11, 0), (12, 1)] {
            let (mut paused, mut activities) = (Paused::default(), Activities::default());
            let (hold, table) = (hold(), LockTable::default());
            let mut found = Vec::new();
            for time in [1000, 1250, 1500].map(|t| t * MS) {
                look(&mut activities, time, Doing::Sleeping);
                found.extend(paused.check([&hold].into_iter(), &table, &activities, time));
            }
            for time in [1750, 2000, 2250].map(|t| t * MS) {
                look_at(&mut activities, tid, time, Doing::DiskSleep);
                found.extend(paused.check([&hold].into_iter(), &table, &activities, time));
            }
            assert_eq!(found.len(), findings, "thread {tid}");
        }
    }

    #[test]
    fn a_slow_holder_is_not_a_stopped_one() {
        let (mut paused, mut activities) = (Paused::default(), Activities::default());
        let (hold, table) = (hold(), LockTable::default());
        for time in [1000, 1250, 1500].map(|t| t * MS) {
            look(&mut activities, time, Doing::Sleeping);
            assert!(paused.check([&hold].into_iter(), &table, &activities, time).is_empty());
        }
    }
}
