//! Stories: what happens to a lock, and the spans it makes.

use super::threads::ThreadCounts;
use super::*;
use crate::model::{HolderSource, LockDescription, LockId, LockKind, Mode, Thread};

fn lock(address: u64) -> Arc<LockDescription> {
    Arc::new(LockDescription {
        id: LockId::Private { pid: 1, image: 0, address },
        kind: LockKind::PthreadMutex,
        name: format!("lock{address}").into(),
        confirmed: true,
        call_site: None,
        address: None,
    })
}

fn thread(tid: u32) -> Thread {
    Thread { id: ThreadId { pid: 1, tid }, ns_tid: tid, ..Thread::default() }
}

fn holder(tid: u32) -> Holder {
    Holder {
        id: ThreadId { pid: 1, tid },
        name: String::new(),
        source: HolderSource::OwnerWord,
        gone: false,
    }
}

/// One step of a story: time, lock, thread, what.
type Step = (u64, u64, u32, What);

fn wants(time: u64, who: u32, address: u64, has: u32) -> Step {
    (
        time,
        address,
        who,
        What::Contended { holder: Some(holder(has)), mode: Mode::Exclusive, estimated: false },
    )
}

fn gets(time: u64, who: u32, address: u64, from: u32) -> Step {
    let what = What::Acquired { from: Some(holder(from)), wake_delay: Some(1), sleeps: 1 };
    (time, address, who, what)
}

fn lets_go(time: u64, who: u32, address: u64, since: u64, precision: Precision) -> Step {
    let what = What::Released { holder: holder(who), since, not_before: 0, precision };
    (time, address, who, what)
}

fn tell(story: Vec<Step>) -> (Tracker, Vec<Span>) {
    let mut tracker = Tracker::default();
    let mut spans = Vec::new();
    for (time, address, who, what) in story {
        let event = LockEvent { time, lock: lock(address), thread: thread(who), what };
        tracker.apply(event, &mut spans);
    }
    (tracker, spans)
}

#[test]
fn a_wait_ends_with_the_hold_that_blocked_it() {
    let (_, spans) = tell(vec![
        wants(10, 2, 7, 1),
        lets_go(50, 1, 7, 10, Precision::LowerBound),
        gets(52, 2, 7, 1),
    ]);
    let [Span::Hold(hold), Span::Acquire(acquire)] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!((hold.start, hold.end, hold.waiters), (10, 50, 1));
    assert_eq!((acquire.start, acquire.end), (10, 52));
    assert_eq!(acquire.holder, Some(holder(1)));
    assert_eq!(acquire.blocked_by, Some(hold.id));
    assert_eq!(acquire.outcome, Outcome::Acquired);
}

#[test]
fn a_wait_that_goes_on_knows_the_span_it_becomes() {
    let (tracker, _) = tell(vec![wants(10, 2, 7, 1)]);
    let going_on = tracker.table().waits_of(thread(2).id).next().map(Ongoing::span);
    let (_, spans) = tell(vec![wants(10, 2, 7, 1), gets(52, 2, 7, 1)]);
    let [Span::Acquire(acquire)] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!(going_on, Some(acquire.id));
}

#[test]
fn an_exact_hold_shares_the_trace_of_its_own_acquire() {
    let (_, spans) = tell(vec![
        wants(10, 2, 7, 1),
        wants(11, 3, 7, 1),
        lets_go(50, 1, 7, 10, Precision::LowerBound),
        gets(52, 2, 7, 1),
        lets_go(90, 2, 7, 52, Precision::Exact),
        gets(91, 3, 7, 2),
    ]);
    let acquire = spans.iter().find_map(|s| match s {
        Span::Acquire(a) if a.thread.id.tid == 2 => Some(a.id),
        _ => None,
    });
    let hold = spans.iter().find_map(|s| match s {
        Span::Hold(h) if h.holder.id.tid == 2 => Some(h.clone()),
        _ => None,
    });
    let (acquire, hold) = (acquire.unwrap(), hold.unwrap());
    assert_eq!(hold.id.trace, acquire.trace);
    assert_ne!(hold.id.span, acquire.span);
    assert_eq!((hold.start, hold.end, hold.precision), (52, 90, Precision::Exact));
}

#[test]
fn a_lower_bound_reaches_back_to_the_first_waiter() {
    let (_, spans) = tell(vec![
        wants(10, 2, 7, 1),
        wants(30, 3, 7, 1),
        lets_go(50, 1, 7, 30, Precision::LowerBound),
    ]);
    let [Span::Hold(hold)] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!((hold.start, hold.waiters), (10, 2));
}

#[test]
fn a_lower_bound_does_not_reach_past_an_earlier_release() {
    let mut story = vec![wants(10, 2, 7, 1), wants(30, 3, 7, 1)];
    let what = What::Released {
        holder: holder(1),
        since: 30,
        not_before: 20,
        precision: Precision::LowerBound,
    };
    story.push((50, 7, 1, what));
    let (_, spans) = tell(story);
    let [Span::Hold(hold)] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!(hold.start, 30);
}

#[test]
fn the_queue_is_as_deep_as_the_threads_in_it() {
    let (_, spans) = tell(vec![
        wants(10, 2, 7, 1),
        wants(20, 3, 7, 1),
        wants(30, 4, 7, 1),
        gets(52, 2, 7, 1),
        gets(60, 3, 7, 2),
        gets(70, 4, 7, 3),
    ]);
    let depths: Vec<u32> = spans
        .iter()
        .filter_map(|s| match s {
            Span::Acquire(a) => Some(a.queue_depth),
            Span::Hold(_) => None,
        })
        .collect();
    assert_eq!(depths, [1, 2, 3]);
}

#[test]
fn what_still_waits_at_the_end_says_so() {
    let (mut tracker, mut spans) = tell(vec![wants(10, 2, 7, 1)]);
    tracker.finish(99, &mut spans);
    let [Span::Acquire(acquire)] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!((acquire.outcome, acquire.end), (Outcome::Waiting, 99));
    assert_eq!(tracker.table().waiting_count(), 0);
}

#[test]
fn a_wait_whose_end_was_lost_is_forgotten_and_counted() {
    let (mut tracker, _) =
        tell(vec![wants(10, 2, 7, 1), (20, 7, 2, What::StillWaiting { holder: None })]);
    tracker.expire(20 + LOST_AFTER);
    assert_eq!((tracker.table().waiting_count(), tracker.expired()), (1, 0));
    tracker.expire(21 + LOST_AFTER);
    assert_eq!((tracker.table().waiting_count(), tracker.expired()), (0, 1));
}

#[test]
fn two_threads_in_opposite_order_are_a_circle() {
    let (tracker, _) = tell(vec![wants(10, 1, 7, 2), wants(12, 2, 8, 1), wants(13, 3, 8, 1)]);
    let ids = |tids: &[u32]| tids.iter().map(|&tid| ThreadId { pid: 1, tid }).collect::<Vec<_>>();
    assert_eq!(wait_for::cycles(tracker.table(), &ThreadCounts::default()), [ids(&[1, 2])]);
}

#[test]
fn a_chain_is_no_circle_and_a_guess_makes_none() {
    let (tracker, _) = tell(vec![wants(10, 1, 7, 2), wants(12, 2, 8, 3)]);
    assert!(wait_for::cycles(tracker.table(), &ThreadCounts::default()).is_empty());
    let guessed = Holder { source: HolderSource::Waker, ..holder(1) };
    let what = What::Contended { holder: Some(guessed), mode: Mode::Exclusive, estimated: false };
    let (tracker, _) = tell(vec![wants(10, 1, 7, 2), (12, 8, 2, what)]);
    assert!(wait_for::cycles(tracker.table(), &ThreadCounts::default()).is_empty());
}

#[test]
fn events_come_out_in_order_of_time() {
    let mut order = Reorder::default();
    for (time, address, who, what) in [wants(30, 2, 7, 1), wants(10, 3, 7, 1), wants(20, 4, 7, 1)] {
        order.push(LockEvent { time, lock: lock(address), thread: thread(who), what });
    }
    let times: Vec<u64> = std::iter::from_fn(|| order.pop(25)).map(|e| e.time).collect();
    assert_eq!(times, [10, 20]);
    assert_eq!(order.pop(31).map(|e| e.time), Some(30));
}

#[test]
fn who_asks_again_and_again_waits_and_makes_no_circle() {
    let mut tracker = Tracker::default();
    let mut spans = Vec::new();
    let mut tell = |tracker: &mut Tracker, time, tid: u32, what| {
        let event = LockEvent { time, lock: lock(tid.into()), thread: thread(tid), what };
        tracker.apply(event, &mut spans);
    };
    let polls = |holder: u32| What::Polling {
        since: 10,
        holder: Some(self::holder(holder)),
        mode: Mode::Exclusive,
    };
    tell(&mut tracker, 20, 1, polls(2));
    tell(&mut tracker, 21, 2, polls(1));
    assert_eq!(tracker.table().waiting_count(), 2);
    assert!(super::wait_for::cycles(tracker.table(), &ThreadCounts::default()).is_empty());
    let over = What::Polled {
        since: 10,
        holder: None,
        from: None,
        mode: Mode::Exclusive,
        outcome: Outcome::Abandoned,
        error: Some("gave_up"),
        attempts: 3,
    };
    tell(&mut tracker, 30, 1, over);
    assert_eq!(tracker.table().waiting_count(), 1);
    // What sleeps for a lock is not given up for an attempt that does not.
    let asleep = What::Contended { holder: None, mode: Mode::Exclusive, estimated: false };
    tell(&mut tracker, 40, 1, asleep);
    tell(&mut tracker, 41, 1, polls(2));
    let wait = tracker.table().wait_of(thread(1).id).unwrap();
    assert_eq!((wait.since, wait.polled), (40, false));
}
