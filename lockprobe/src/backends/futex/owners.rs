//! What a wait says of those who have the lock.

use super::locks::Taking;
use crate::model::{Holder, HolderSource, LockKind, Precision, Thread, WaitSeen, Wakes, What};

/// Whether the waker is known to have had the lock, not just to have woken the thread.
pub fn had_it(kind: LockKind, wait: &WaitSeen) -> bool {
    match kind.wakes() {
        Wakes::Owner => true,
        // It had waited for it itself before it let it go.
        Wakes::Poster => wait.holder_since.is_some(),
        Wakes::Sharer | Wakes::Anybody => false,
    }
}

/// The waker let the lock go when it woke the thread; it had it at least since the thread slept.
pub fn released(wait: &WaitSeen, waker: &Thread, taking: &Taking) -> Option<What> {
    let owned = last_owner(taking, wait) == Some(waker.ns_tid);
    if taking.kind.hides_identity() || !(owned || had_it(taking.kind, wait)) {
        return None;
    }
    let not_before = wait.released_before;
    // A writer wakes all readers at once; that is one release.
    if taking.kind.wakes() == Wakes::Sharer && not_before > wait.slept {
        return None;
    }
    let (since, precision) = match wait.holder_since {
        Some(since) if wait.hold_exact => (since, Precision::Exact),
        _ if not_before <= wait.slept => (wait.slept, Precision::LowerBound),
        _ => (not_before, Precision::Unknown),
    };
    let source = if owned { HolderSource::OwnerWord } else { HolderSource::Waker };
    let holder = Holder { id: waker.id, name: waker.name(), source };
    Some(What::Released { holder, since, not_before, precision })
}

/// Who had the lock when the attempt began, as its memory named it then.
pub fn first_owner(taking: &Taking, wait: &WaitSeen) -> Option<u32> {
    let mut words = wait.words?;
    match taking.kind {
        LockKind::PthreadMutex => words[2] = wait.first_owner?,
        // What the call expected there is what the thread saw there before it slept.
        LockKind::MuslMutex if !wait.priority_inheritance => words[0] = wait.value,
        // The kernel hands it over, and the thread sleeps but once.
        LockKind::PriorityInheritance => {}
        _ if wait.sleeps == 1 => {}
        _ => return None,
    }
    taking.kind.owner(taking.inner, &words)
}

/// Who had the lock when its memory was last read.
pub fn last_owner(taking: &Taking, wait: &WaitSeen) -> Option<u32> {
    taking.kind.owner(taking.inner, &wait.words?)
}
