//! Locks of servers that are not held as safely as their holders believe.
//!
//! What is noticed of a hold becomes a finding: once, and once more when the hold is over, where the
//! finding is about a state rather than a moment.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::{Finding, FindingKind, LockId, Notice, NoticeKind, RemoteHold, ThreadId};
use crate::track::identity::Identity;

/// Most findings that go on at a time.
const AT_MOST: usize = 4096;

/// A hold: lock, thread, since.
type Key = (LockId, ThreadId, u64);

/// Findings that go on, by hold.
#[derive(Default)]
pub struct RemoteFindings {
    going_on: HashMap<Key, Vec<Finding>>,
}

fn kind_of(notice: NoticeKind) -> Option<FindingKind> {
    Some(match notice {
        NoticeKind::Overrun => FindingKind::StaleHolder,
        NoticeKind::Lost => FindingKind::LeaseLost,
        NoticeKind::Overlap => FindingKind::Overlap,
        NoticeKind::LateRelease => FindingKind::LateRelease,
        NoticeKind::Removed => FindingKind::RemovedByOther,
        NoticeKind::Immortal => FindingKind::ImmortalLock,
        NoticeKind::Orphaned => FindingKind::Orphan,
        NoticeKind::Herd(_) => FindingKind::ThunderingHerd,
        NoticeKind::Paused => FindingKind::HolderPaused,
        NoticeKind::Over => return None,
    })
}

fn key(hold: &RemoteHold) -> Key {
    (hold.lock.id, hold.thread.id, hold.since)
}

impl RemoteFindings {
    /// What follows from something noticed.
    pub fn notice(&mut self, notice: Notice, now: u64) -> Vec<Finding> {
        let key = key(&notice.hold);
        let Some(kind) = kind_of(notice.what) else {
            let over = self.going_on.remove(&key).unwrap_or_default();
            let ended = Some(notice.time);
            return over.into_iter().map(|finding| Finding { ended, ..finding }).collect();
        };
        let known = self.going_on.get(&key).into_iter().flatten();
        if known.clone().any(|finding| finding.kind == kind) {
            return Vec::new();
        }
        // Whoever was told that a lease ran out need not hear that the server ended it.
        let told = known.clone().any(|finding| finding.kind == FindingKind::StaleHolder);
        if told && kind == FindingKind::LateRelease {
            return Vec::new();
        }
        let finding = finding(kind, notice, now);
        if !kind.is_moment() && (self.going_on.len() < AT_MOST || self.going_on.contains_key(&key))
        {
            self.going_on.entry(key).or_default().push(finding.clone());
        }
        vec![finding]
    }
}

fn finding(kind: FindingKind, notice: Notice, now: u64) -> Finding {
    let hold = &notice.hold;
    let waiters = if let NoticeKind::Herd(many) = notice.what { many } else { 0 };
    let ThreadId { pid, tid } = hold.thread.id;
    let lock = hold.lock.identity();
    let text = format_args!("{} {pid} {tid} {lock} {} {}", kind.name(), hold.since, notice.time);
    Finding {
        kind,
        id: Identity::of(text).number(0),
        formed: notice.time,
        found: now.max(notice.time),
        ended: None,
        waits: Vec::new(),
        waiters,
        holder: None,
        remote: Some(Arc::new(notice)),
    }
}
