//! What a wait says of those who have the lock.

use super::naming::Taking;
use crate::model::{
    Holder, HolderSource, LockKind, Precision, Thread, ThreadId, WaitSeen, Wakes, What,
};

/// Whether it is seen each time that the lock is let go to somebody: where threads sleep on words of
/// their own, the word of one does not tell what others waited for.
pub fn is_seen(kind: LockKind, wait: &WaitSeen) -> bool {
    !kind.hides_identity() || wait.parked
}

/// Whether the waker is known to have had the lock, not just to have woken the thread.
pub fn had_it(kind: LockKind, wait: &WaitSeen) -> bool {
    match kind.wakes() {
        _ if !is_seen(kind, wait) => false,
        Wakes::Owner => true,
        // It had waited for it itself before it let it go.
        Wakes::Poster => wait.holder_since.is_some(),
        Wakes::Sharer | Wakes::Anybody => false,
    }
}

/// The waker let the lock go when it woke the thread; it had it at least since the thread slept.
pub fn released(wait: &WaitSeen, waker: &Thread, taking: &Taking) -> Option<What> {
    let owned = last_owner(taking, wait) == Some(waker.ns_tid);
    if !is_seen(taking.kind, wait) || !(owned || had_it(taking.kind, wait)) {
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
    let holder = Holder { id: waker.id, name: waker.name(), source, gone: false };
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

/// The owner of a robust lock that ended without letting go, where that is what woke the thread: the
/// kernel goes through the list of such locks while their owner ends, and hands each on to one who
/// waits (`exit_robust_list`, kernel/futex/core.c). glibc notes in the fifth word that a mutex is
/// robust, and that it has priority inheritance (`PTHREAD_MUTEX_ROBUST_NORMAL_NP`, 16, and
/// `PTHREAD_MUTEX_PRIO_INHERIT_NP`, 32, nptl/pthreadP.h).
pub fn left_by(taking: Option<Taking>, wait: &WaitSeen) -> Option<Holder> {
    let taking = &taking?;
    let leaver = wait.leaver.as_ref()?;
    let kind = wait.words?[4];
    let robust = match taking.kind {
        LockKind::PthreadMutex => kind & 0x10 != 0,
        LockKind::PriorityInheritance => kind & 0x30 == 0x30,
        _ => false,
    };
    let ThreadId { pid, .. } = wait.thread.id;
    let near = !wait.private || leaver.id.pid == pid;
    let its = robust && near && last_owner(taking, wait) == Some(leaver.ns_tid);
    let (id, name, source) = (leaver.id, leaver.name(), HolderSource::OwnerWord);
    its.then_some(Holder { id, name, source, gone: false })
}
