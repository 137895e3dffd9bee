//! Holders that cannot let go: gone, stopped, frozen, or asleep where nothing reaches them.
//!
//! That a holder is gone is certain when its lock's memory names it after it was found missing.
//! The other states are reported when a thread has waited for a second and the holder has been in
//! the state, and in the same sleep, for two looks in a row.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::model::{
    Activity, Doing, Edge, Finding, FindingKind, Holder, HolderSource, LockId, ThreadId,
};
use crate::track::activities::{Activities, Seen};
use crate::track::identity::Identity;
use crate::track::{LockTable, Ongoing};

/// Waits for a holder that cannot go on are reported from this length on, nanoseconds.
pub const STALLED_AFTER: u64 = 1_000_000_000;
/// For how long the holder must have been seen in the same state.
const SAME_FOR: u64 = 200_000_000;
/// Between the first look at a lock without an owner and the second.
const CONFIRM_AFTER: u64 = 50_000_000;
/// Waits shorter than this are no reason to look at their holder.
const LOOK_FROM: u64 = STALLED_AFTER / 4;
/// How often one holder is looked at.
const LOOK_EVERY: u64 = STALLED_AFTER / 4;
/// Most holders looked at in one go: some 3 ms.
const LOOKS_AT_MOST: usize = 64;
/// Most findings going on at a time.
const AT_MOST: usize = 4096;
/// Most waits told with one finding.
const WAITS_AT_MOST: usize = 16;

/// What is wrong, with which lock, and who has it.
type Key = (FindingKind, LockId, ThreadId);

/// Looks for holders that cannot let go.
#[derive(Default)]
pub struct Holders {
    suspects: HashMap<Key, u64>,
    going_on: BTreeMap<Key, Finding>,
}

/// Holders that ought to be looked at now, those not looked at for longest first.
pub fn worth_a_look(table: &LockTable, activities: &Activities, now: u64) -> Vec<ThreadId> {
    let old = table.waiting().filter(|w| now.saturating_sub(w.since) >= LOOK_FROM);
    let holders = old.filter_map(named).map(|holder| holder.id).filter(|id| id.tid != 0);
    let holders: BTreeSet<ThreadId> = holders.collect();
    let looked = |id: ThreadId| activities.of(id).map_or(0, |seen| seen.activity.time);
    let mut due: Vec<(u64, ThreadId)> = holders.into_iter().map(|id| (looked(id), id)).collect();
    due.retain(|(looked, _)| now.saturating_sub(*looked) >= LOOK_EVERY);
    due.sort_unstable();
    due.truncate(LOOKS_AT_MOST);
    due.into_iter().map(|(_, id)| id).collect()
}

/// The holder that the lock's memory names, or the kernel that keeps the lock.
fn named(wait: &Ongoing) -> Option<&Holder> {
    wait.current_holder.as_ref().filter(|holder| holder.source.is_certain())
}

impl Holders {
    /// Looks at the table and at what holders do; returns what is certain and new, and what is
    /// over.
    pub fn check(&mut self, table: &LockTable, activities: &Activities, now: u64) -> Vec<Finding> {
        let mut stalls: BTreeMap<Key, Stall<'_>> = BTreeMap::new();
        for wait in table.waiting() {
            let Some(holder) = named(wait) else { continue };
            let seen = activities.of(holder.id);
            let Some(kind) = kind_of(wait, holder, seen, now) else { continue };
            let key = (kind, wait.lock.id, holder.id);
            stalls.entry(key).or_insert_with(|| Stall { seen, waits: Vec::new() }).waits.push(wait);
        }
        let mut findings = self.over(&stalls, table, now);
        let mut suspects = HashMap::new();
        for (key, stall) in stalls {
            if self.going_on.contains_key(&key) {
                continue;
            }
            let seen = stall.seen.map(|seen| seen.since);
            let first = seen.or(self.suspects.get(&key).copied()).unwrap_or(now);
            // The lock must have been read again since the holder was found missing.
            let confirmed = stall.waits.iter().map(|w| w.confirmed).max().unwrap_or(0);
            let certain =
                key.0 != FindingKind::Orphan || confirmed.saturating_sub(first) >= CONFIRM_AFTER;
            if certain && self.going_on.len() < AT_MOST {
                let finding = stall.finding(key, now);
                self.going_on.insert(key, finding.clone());
                findings.push(finding);
            } else {
                suspects.insert(key, first);
            }
        }
        self.suspects = suspects;
        findings
    }

    /// Threads that wait for what a second look would decide on.
    pub fn suspects<'a>(&'a self, table: &'a LockTable) -> impl Iterator<Item = ThreadId> + 'a {
        let locks = self.suspects.keys().map(|(_, lock, _)| lock);
        locks.flat_map(|lock| table.waiting_for(lock)).map(|wait| wait.thread.id)
    }

    /// What goes on.
    pub fn going_on(&self) -> impl Iterator<Item = &Finding> {
        self.going_on.values()
    }

    fn over(
        &mut self,
        stalls: &BTreeMap<Key, Stall<'_>>,
        table: &LockTable,
        now: u64,
    ) -> Vec<Finding> {
        // A look that could not tell who has the lock says nothing.
        let unread = |edge: &Edge| {
            let wait = table.wait_for(edge.waiter.id, &edge.lock.id);
            wait.is_some_and(|w| w.since == edge.since && w.current_holder.is_none())
        };
        let over = |key: &Key, finding: &mut Finding| {
            !stalls.contains_key(key) && !finding.waits.iter().any(unread)
        };
        let over = self.going_on.extract_if(.., over);
        over.map(|(_, finding)| Finding { ended: Some(now), ..finding }).collect()
    }
}

/// What is wrong with the holder of a wait, if it is certain that something is.
fn kind_of(wait: &Ongoing, holder: &Holder, seen: Option<&Seen>, now: u64) -> Option<FindingKind> {
    // What the kernel keeps it takes back from a process that ends; and of one with several threads
    // it does not say which has the lock.
    let of_memory = holder.source == HolderSource::OwnerWord;
    if holder.id.tid == 0 {
        return of_memory.then_some(FindingKind::Orphan);
    }
    let seen = seen?;
    let kind = match seen.activity.doing {
        Doing::Gone if !of_memory => return None,
        Doing::Gone => return Some(FindingKind::Orphan),
        Doing::Stopped | Doing::Traced => FindingKind::HolderStopped,
        Doing::Frozen => FindingKind::HolderFrozen,
        Doing::DiskSleep => FindingKind::HolderInIo,
        _ => return None,
    };
    let waited = now.saturating_sub(wait.since);
    let same_for = seen.activity.time.saturating_sub(seen.since);
    (waited >= STALLED_AFTER && same_for >= SAME_FOR).then_some(kind)
}

/// Waits for one holder of one lock.
struct Stall<'a> {
    seen: Option<&'a Seen>,
    waits: Vec<&'a Ongoing>,
}

impl Stall<'_> {
    fn finding(mut self, (kind, lock, holder): Key, now: u64) -> Finding {
        self.waits.sort_unstable_by_key(|wait| (wait.since, wait.thread.id));
        let first = self.waits.first().map_or(now, |wait| wait.since);
        let formed = self.seen.map_or(first, |seen| seen.since.max(first));
        let ThreadId { pid, tid } = holder;
        let identity = Identity::of(format_args!("{} {lock} {pid} {tid} {first}", kind.name()));
        let name = self.waits.first().and_then(|wait| named(wait)).map(|h| h.name.clone());
        let name = name.unwrap_or_default();
        let gone = Activity {
            id: holder,
            time: now,
            doing: Doing::Gone,
            call: String::new(),
            switches: 0,
            start_ticks: 0,
            name: name.clone(),
        };
        let edge = |wait: &&Ongoing| Edge {
            waiter: wait.thread,
            lock: Arc::clone(&wait.lock),
            since: wait.since,
            estimated: wait.estimated,
            holder,
            holder_name: name.clone(),
            span: Some(wait.span()),
            stacks: None,
        };
        Finding {
            kind,
            id: identity.number(0),
            formed,
            found: now,
            ended: None,
            waits: self.waits.iter().take(WAITS_AT_MOST).map(edge).collect(),
            waiters: self.waits.len() as u32,
            holder: Some(self.seen.map_or(gone, |seen| seen.activity.clone())),
            remote: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{LockDescription, LockEvent, LockKind, Mode, Thread, What};
    use crate::track::Tracker;

    const MS: u64 = 1_000_000;
    const OWNER: ThreadId = ThreadId { pid: 1, tid: 2 };

    /// A tracker that is told of one thread that waits, and of its holder.
    #[derive(Default)]
    struct Story {
        tracker: Tracker,
        activities: Activities,
        holders: Holders,
    }

    impl Story {
        fn event(&mut self, time: u64, tid: u32, what: What) {
            let lock = Arc::new(LockDescription {
                id: LockId::Private { pid: 1, image: 0, address: 7 },
                kind: LockKind::PthreadMutex,
                name: "l".into(),
                confirmed: true,
                call_site: None,
                address: None,
            });
            let thread = Thread { id: ThreadId { pid: 1, tid }, ..Thread::default() };
            self.tracker.apply(LockEvent { time, lock, thread, what }, &mut Vec::new());
        }

        /// Thread 1 has waited since 0 and still does, for a lock of this owner.
        fn waits(&mut self, time: u64, owner: ThreadId) {
            let holder = Some(Holder {
                id: owner,
                name: "h".into(),
                source: HolderSource::OwnerWord,
                gone: false,
            });
            self.event(
                0,
                1,
                What::Contended { holder: holder.clone(), mode: Mode::Exclusive, estimated: false },
            );
            self.event(time, 1, What::StillWaiting { holder });
        }

        fn does(&mut self, time: u64, doing: Doing, switches: u64) {
            let call = String::new();
            let name = "h".to_owned();
            let seen = Activity { id: OWNER, time, doing, call, switches, start_ticks: 0, name };
            self.activities.learn(seen);
        }

        fn check(&mut self, now: u64) -> Vec<(FindingKind, bool)> {
            let found = self.holders.check(self.tracker.table(), &self.activities, now);
            found.iter().map(|f| (f.kind, f.ended.is_some())).collect()
        }
    }

    #[test]
    fn a_lock_of_nobody_is_an_orphan_on_the_second_look() {
        let mut story = Story::default();
        let nobody = ThreadId { pid: 1, tid: 0 };
        let mut found = Vec::new();
        for look in 1..5 {
            story.waits(look * 100 * MS, nobody);
            found.extend(story.check(look * 100 * MS));
        }
        assert_eq!(found, [(FindingKind::Orphan, false)]);
        story.waits(500 * MS, OWNER);
        assert_eq!(story.check(500 * MS), [(FindingKind::Orphan, true)]);
    }

    #[test]
    fn an_owner_that_ended_is_an_orphan_only_if_its_lock_is_read_again() {
        let mut story = Story::default();
        story.waits(100 * MS, OWNER);
        story.does(150 * MS, Doing::Gone, 0);
        // It may have let the lock go after it was read and before it ended.
        assert!(story.check(200 * MS).is_empty());
        story.waits(300 * MS, OWNER);
        assert_eq!(story.check(300 * MS), [(FindingKind::Orphan, false)]);
    }

    #[test]
    fn a_stopped_holder_is_reported_after_a_second_and_when_it_goes_on() {
        let mut story = Story::default();
        let mut found = Vec::new();
        for look in 1..20 {
            let now = look * 100 * MS;
            story.waits(now, OWNER);
            story.does(now, Doing::Stopped, 5);
            found.extend(story.check(now).into_iter().map(|told| (look, told)));
        }
        assert_eq!(found, [(10, (FindingKind::HolderStopped, false))]);
        story.does(2000 * MS, Doing::Running, 5);
        assert_eq!(story.check(2000 * MS), [(FindingKind::HolderStopped, true)]);
    }

    #[test]
    fn a_finding_ends_with_the_wait() {
        let mut story = Story::default();
        for look in 1..12 {
            story.waits(look * 100 * MS, OWNER);
            story.does(look * 100 * MS, Doing::Frozen, 5);
            story.check(look * 100 * MS);
        }
        story.event(1250 * MS, 1, What::Abandoned { error: "timeout", sleeps: 1 });
        assert_eq!(story.check(1300 * MS), [(FindingKind::HolderFrozen, true)]);
    }

    #[test]
    fn many_short_sleeps_in_the_kernel_are_no_stall() {
        let mut story = Story::default();
        for look in 1..40 {
            story.waits(look * 100 * MS, OWNER);
            story.does(look * 100 * MS, Doing::DiskSleep, look);
            assert!(story.check(look * 100 * MS).is_empty());
        }
        story.does(4000 * MS, Doing::DiskSleep, 40);
        assert!(story.check(4000 * MS).is_empty());
        story.does(4200 * MS, Doing::DiskSleep, 40);
        assert_eq!(story.check(4200 * MS), [(FindingKind::HolderInIo, false)]);
    }

    #[test]
    fn a_guessed_holder_is_no_evidence() {
        let mut story = Story::default();
        let holder =
            Holder { id: OWNER, name: "h".into(), source: HolderSource::Waker, gone: false };
        for look in 1..30 {
            let holder = Some(holder.clone());
            story.event(
                0,
                1,
                What::Contended { holder: holder.clone(), mode: Mode::Exclusive, estimated: false },
            );
            story.event(look * 100 * MS, 1, What::StillWaiting { holder });
            story.does(look * 100 * MS, Doing::Stopped, 5);
            assert!(story.check(look * 100 * MS).is_empty());
            assert!(
                worth_a_look(story.tracker.table(), &story.activities, look * 100 * MS).is_empty()
            );
        }
    }

    #[test]
    fn holders_are_looked_at_when_others_have_waited_for_a_while_and_not_too_often() {
        let mut story = Story::default();
        let mut looks = Vec::new();
        for look in 1..11 {
            let now = look * 100 * MS;
            story.waits(now, OWNER);
            for id in worth_a_look(story.tracker.table(), &story.activities, now) {
                assert_eq!(id, OWNER);
                story.does(now, Doing::Running, 5);
                looks.push(look);
            }
        }
        assert_eq!(looks, [3, 6, 9]);
    }
}
