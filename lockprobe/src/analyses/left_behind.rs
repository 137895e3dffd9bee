//! Locks whose holder ended without letting them go: files that stay, robust locks handed on.
//!
//! Of a lock that only its holder can let go the table tells ([`super::holder`]). Here are those that
//! outlive their holder in another way: a file that is a lock by being there waits for somebody to
//! take it away; a robust mutex is had by the next at once, who has to see to what it guards. That
//! the holder has ended is certain before they come here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::{Activity, Doing, Edge, Finding, FindingKind, LockId, ThreadId};
use crate::track::identity::Identity;
use crate::track::{Left, LockTable};

/// Which lock, whose, since when.
type Key = (LockId, ThreadId, u64);

fn key(left: &Left) -> Key {
    (left.lock.id, left.holder.id, left.since)
}

/// Looks for them.
#[derive(Default)]
pub struct LeftBehind {
    going_on: BTreeMap<Key, Finding>,
    /// Those in the table of which the end has been told.
    ended: BTreeSet<Key>,
}

impl LeftBehind {
    /// Looks at the table; returns what is new and what is over. The table bounds how many there
    /// are.
    pub fn check(&mut self, table: &LockTable, now: u64) -> Vec<Finding> {
        let there = |of: &Key| table.left(&of.0).filter(|left| key(left) == *of);
        self.ended.retain(|of| there(of).is_some());
        let goes_on = |of: &Key| there(of).is_some_and(|left| !left.over);
        let over = self.going_on.extract_if(.., |of, _| !goes_on(of));
        let over: Vec<(Key, Finding)> = over.collect();
        let mut findings = Vec::new();
        for (of, finding) in over {
            findings.push(Finding { ended: Some(now), ..finding });
            self.ended.insert(of);
        }
        for left in table.left_behind() {
            let of = key(left);
            if self.going_on.contains_key(&of) || self.ended.contains(&of) {
                continue;
            }
            let finding = finding(left, now);
            findings.push(finding.clone());
            // It may be over as soon as it is known.
            if left.over {
                findings.push(Finding { ended: Some(now), ..finding });
                self.ended.insert(of);
            } else {
                self.going_on.insert(of, finding);
            }
        }
        findings
    }

    /// What goes on.
    pub fn going_on(&self) -> impl Iterator<Item = &Finding> {
        self.going_on.values()
    }
}

fn finding(left: &Left, now: u64) -> Finding {
    let Left { lock, holder, refused, count, since, handed_on, .. } = left;
    let kind = if *handed_on { FindingKind::OwnerDied } else { FindingKind::Orphan };
    let ThreadId { pid, tid } = holder.id;
    let identity = Identity::of(format_args!("{} {} {pid} {tid} {since}", kind.name(), lock.id));
    let edge = |(waiter, since): &(_, u64)| Edge {
        waiter: *waiter,
        lock: Arc::clone(lock),
        since: *since,
        estimated: false,
        holder: holder.id,
        holder_name: holder.name.clone(),
        span: None,
        stacks: None,
    };
    Finding {
        kind,
        id: identity.number(0),
        formed: *since,
        found: now.max(*since),
        ended: None,
        remote: None,
        waits: refused.iter().map(edge).collect(),
        waiters: *count,
        holder: Some(Activity {
            id: holder.id,
            time: now,
            doing: Doing::Gone,
            call: String::new(),
            switches: 0,
            start_ticks: 0,
            name: holder.name.clone(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        Holder, HolderSource, LockDescription, LockEvent, LockKind, Precision, Thread, What,
    };
    use crate::track::Tracker;

    const HOLDER: ThreadId = ThreadId { pid: 4, tid: 4 };

    #[derive(Default)]
    struct Story {
        tracker: Tracker,
        found: LeftBehind,
    }

    impl Story {
        fn then(&mut self, time: u64, tid: u32, what: What) -> Vec<(FindingKind, bool, u64)> {
            self.apply(time, tid, what);
            let found = self.found.check(self.tracker.table(), time);
            found.iter().map(|f| (f.kind, f.ended.is_some(), f.id)).collect()
        }

        fn apply(&mut self, time: u64, tid: u32, what: What) {
            let lock = Arc::new(LockDescription {
                id: LockId::Name { root: 1, path: 2 },
                kind: LockKind::LockFile,
                name: "/x.lock".into(),
                confirmed: true,
                call_site: None,
                address: None,
            });
            let thread = Thread { id: ThreadId { pid: tid, tid }, ..Thread::default() };
            self.tracker.apply(LockEvent { time, lock, thread, what }, &mut Vec::new());
        }
    }

    fn holder(id: ThreadId) -> Holder {
        Holder { id, name: "h".into(), source: HolderSource::LastAcquirer, gone: false }
    }

    #[test]
    fn a_file_left_behind_is_told_of_once_and_when_it_is_taken_away() {
        let mut story = Story::default();
        let refused = |since| What::LeftBehind { holder: holder(HOLDER), since };
        let begun = story.then(10, 7, refused(10));
        let [(FindingKind::Orphan, false, id)] = begun[..] else { panic!("{begun:?}") };
        assert_eq!(story.then(20, 7, refused(10)), []);
        assert_eq!(story.then(30, 8, refused(30)), []);
        assert_eq!(story.found.going_on().count(), 1);
        assert_eq!(story.tracker.table().left_behind().next().map(|left| left.count), Some(2));
        assert_eq!(story.then(40, 9, What::Cleared), [(FindingKind::Orphan, true, id)]);
        assert_eq!(story.found.going_on().count(), 0);
        // And left behind once more.
        let again = story.then(50, 7, refused(50));
        assert!(matches!(again[..], [(FindingKind::Orphan, false, other)] if other != id));
    }

    #[test]
    fn a_lock_that_was_handed_on_is_told_of_until_it_is_let_go() {
        let died = |died| What::OwnerDied { holder: holder(HOLDER), since: 5, died };
        let released = |id: ThreadId| What::Released {
            holder: holder(id),
            since: 9,
            not_before: 0,
            precision: Precision::LowerBound,
        };
        let heir = ThreadId { pid: 7, tid: 7 };
        let begun = |story: &mut Story, time| {
            let begun = story.then(time, 7, died(time));
            let [(FindingKind::OwnerDied, false, id)] = begun[..] else { panic!("{begun:?}") };
            [(FindingKind::OwnerDied, true, id)]
        };
        let mut story = Story::default();
        let over = begun(&mut story, 10);
        assert_eq!(story.then(11, 4, released(HOLDER)), [], "who has ended lets nothing go");
        assert_eq!(story.then(20, 7, released(heir)), over);
        // Its own end ends it too, be it before anybody looked.
        let over = begun(&mut story, 25);
        story.tracker.ended(|id| id == heir);
        assert_eq!(story.then(30, 9, What::Gone), over);
        story.tracker.expire(40);
        story.tracker.expire(50);
        story.apply(60, 7, died(60));
        let told = story.then(61, 7, released(heir));
        let [(FindingKind::OwnerDied, false, id), (FindingKind::OwnerDied, true, end)] = told[..]
        else {
            panic!("{told:?}")
        };
        assert_eq!(id, end);
        assert_eq!(story.then(62, 9, What::Gone), [], "once");
    }
}
