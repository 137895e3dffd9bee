//! Stories of the futex backend: what the kernel half saw, and what it means.

use super::*;
use crate::model::{LockFact, LockId, Precision, SiteClass, SiteFact, Thread, ThreadFact};

const MS: u64 = 1_000_000;
const PID: u32 = 10;
const LOCK: u64 = 0x1000;
/// Call sites, by what is there.
const MUTEX: u64 = 0x401;
const CONDITION: u64 = 0x402;
const RUST: u64 = 0x403;
const SHARED: u64 = 0x404;
const STRANGE: u64 = 0x405;
const MUSL: u64 = 0x406;
const GIL: u64 = 0x407;
/// Callers of the shared frame.
const TIMED_LOCK: u64 = 0x501;
const TIMED_CONDITION: u64 = 0x502;

fn thread(tid: u32) -> Thread {
    let mut comm = [0; 16];
    comm[0] = b't';
    Thread { id: ThreadId { pid: PID, tid }, ns_tid: tid, ns_level: 0, comm }
}

/// A wait of thread `tid`, from `start` to `ran`, on a mutex that `owner` has and lets go.
fn wait(tid: u32, start: u64, ran: u64, owner: u32) -> WaitSeen {
    WaitSeen {
        time: ran,
        thread: thread(tid),
        address: LOCK,
        futex: LOCK,
        parked: false,
        private: true,
        timed: false,
        preexisting: false,
        priority_inheritance: false,
        bitset: false,
        ip: MUTEX,
        caller: 0,
        caller_known: false,
        sp: 0x7000,
        start,
        slept: start,
        woken: ran - 1,
        ran,
        sleeps: 1,
        value: 2,
        words: Some([2, 0, owner, 1, 0, 0]),
        first_owner: Some(owner),
        reason: WakeReason::Release,
        waker: Some(thread(owner)),
        leaver: None,
        holder_since: None,
        released_before: 0,
        hold_exact: false,
        cpu: 0,
    }
}

fn gave_up(wait: WaitSeen, reason: WakeReason) -> WaitSeen {
    WaitSeen { reason, waker: None, ..wait }
}

fn at(ip: u64, wait: WaitSeen) -> WaitSeen {
    WaitSeen { ip, ..wait }
}

fn site(level: u32, ip: u64, class: SiteClass) -> Observation {
    Observation::Fact(Fact::Site(SiteFact { pid: PID, level, ip, class, function: None }))
}

fn process(tid: u32, time: u64, event: ProcessEvent) -> Observation {
    Observation::Process(ProcessSeen { time, thread: thread(tid), event, killed: false })
}

/// A backend that knows the call sites.
fn futex() -> Futex {
    let mut futex = Futex::default();
    for fact in [
        site(0, MUTEX, SiteClass::Lock(LockKind::PthreadMutex)),
        site(0, CONDITION, SiteClass::Idle),
        site(0, RUST, SiteClass::Lock(LockKind::RustMutex)),
        site(0, SHARED, SiteClass::ByCaller(8)),
        site(0, MUSL, SiteClass::Lock(LockKind::MuslMutex)),
        site(1, TIMED_LOCK, SiteClass::Lock(LockKind::PthreadMutex)),
        site(1, TIMED_CONDITION, SiteClass::Idle),
    ] {
        futex.observe(&fact, &mut Vec::new());
    }
    futex
}

/// What a story comes to, told to the end.
fn tell(story: impl IntoIterator<Item = Observation>) -> (Futex, Vec<LockEvent>) {
    let mut futex = futex();
    let mut events = Vec::new();
    story.into_iter().for_each(|observation| futex.observe(&observation, &mut events));
    futex.finish(&mut events);
    (futex, events)
}

/// Attempts that ended: when, whose, how, after how many sleeps.
fn ends(events: &[LockEvent]) -> Vec<(u64, u32, &'static str, u32)> {
    let end = |event: &LockEvent| {
        let (how, sleeps) = match &event.what {
            What::Acquired { sleeps, .. } => ("acquired", *sleeps),
            What::Abandoned { error, sleeps } => (*error, *sleeps),
            _ => return None,
        };
        Some((event.time, event.thread.id.tid, how, sleeps))
    };
    events.iter().filter_map(end).collect()
}

/// Holders that waits were said to have: of whom, how known.
fn holders(events: &[LockEvent]) -> Vec<Option<(u32, HolderSource)>> {
    let holder = |event: &LockEvent| match &event.what {
        What::Contended { holder, .. } => {
            Some(holder.as_ref().map(|holder| (holder.id.tid, holder.source)))
        }
        _ => None,
    };
    events.iter().filter_map(holder).collect()
}

/// Releases: when, whose, since when, how precise.
fn releases(events: &[LockEvent]) -> Vec<(u64, u32, u64, Precision)> {
    let release = |event: &LockEvent| match &event.what {
        What::Released { holder, since, precision, .. } => {
            Some((event.time, holder.id.tid, *since, *precision))
        }
        _ => None,
    };
    events.iter().filter_map(release).collect()
}

#[test]
fn a_wait_has_a_holder_a_release_and_an_end() {
    let (_, events) = tell([Observation::Wait(wait(2, 10, 50, 1))]);
    assert_eq!(ends(&events), [(50, 2, "acquired", 1)]);
    assert!(holders(&events).iter().all(|h| *h == Some((1, HolderSource::OwnerWord))));
    assert_eq!(releases(&events), [(49, 1, 10, Precision::LowerBound)]);
    assert!(events.iter().all(|event| event.lock.confirmed));
}

#[test]
fn retries_are_one_attempt() {
    let first = wait(2, 10, 20, 1);
    let again = WaitSeen { slept: 21, sleeps: 2, ran: 0, woken: 0, time: 21, ..first.clone() };
    let last = WaitSeen { slept: 21, sleeps: 2, ran: 50, woken: 49, time: 50, ..first.clone() };
    let (_, events) = tell([
        Observation::Wait(first),
        Observation::Resume(again),
        Observation::Wait(last),
        Observation::Tick(50 + GRACE + 1),
    ]);
    assert_eq!(ends(&events), [(50, 2, "acquired", 2)]);
    assert_eq!(releases(&events).len(), 2, "the lock was let go twice");
}

#[test]
fn a_resume_takes_back_the_end_of_a_wait() {
    let first = wait(2, 10, 20, 1);
    let again = WaitSeen { slept: 21, sleeps: 2, ran: 0, woken: 0, time: 21, ..first.clone() };
    let mut futex = futex();
    let mut events = Vec::new();
    futex.observe(&Observation::Wait(first), &mut events);
    futex.observe(&Observation::Resume(again), &mut events);
    futex.observe(&Observation::Tick(10 * GRACE), &mut events);
    assert_eq!(ends(&events), [], "it sleeps on, for as long as it takes");
}

#[test]
fn an_end_is_certain_once_the_thread_has_not_slept_again() {
    let mut futex = futex();
    let mut events = Vec::new();
    futex.observe(&Observation::Wait(wait(2, 10, 50, 1)), &mut events);
    futex.observe(&Observation::Tick(50 + GRACE), &mut events);
    assert_eq!(ends(&events), []);
    futex.observe(&Observation::Tick(51 + GRACE), &mut events);
    assert_eq!(ends(&events), [(50, 2, "acquired", 1)]);
}

#[test]
fn another_attempt_ends_the_one_before() {
    let (one, two) = (wait(2, 10, 50, 1), wait(2, 60, 90, 3));
    let (_, events) = tell([Observation::Wait(one), Observation::Wait(two)]);
    assert_eq!(ends(&events), [(50, 2, "acquired", 1), (90, 2, "acquired", 1)]);
}

#[test]
fn a_time_out_is_given_up() {
    let timed = WaitSeen { timed: true, ..gave_up(wait(2, 10, 50, 1), WakeReason::Other) };
    let (_, events) = tell([Observation::Wait(timed)]);
    assert_eq!(ends(&events), [(50, 2, "timeout", 1)]);
    assert_eq!(releases(&events), []);
    // The word names the holder; that thread was never met, so nobody knows it on the host.
    assert_eq!(holders(&events), [Some((0, HolderSource::OwnerWord))]);
    // In time: a lock with a time-out that was not needed.
    let in_time = WaitSeen { timed: true, ..wait(2, 10, 50, 1) };
    let (_, events) = tell([Observation::Wait(in_time)]);
    assert_eq!(ends(&events), [(50, 2, "acquired", 1)]);
}

#[test]
fn an_owner_word_that_is_no_thread_id_is_no_owner() {
    for owner in [0, 1 << 22, u32::MAX] {
        let odd = WaitSeen { first_owner: Some(owner), ..wait(2, 10, 50, 1) };
        let odd = WaitSeen { words: Some([2, 0, owner, 0, 0, 0]), ..odd };
        let (_, events) = tell([Observation::Wait(odd)]);
        let by_waker = Some((1, HolderSource::Waker));
        assert!(holders(&events).iter().all(|h| *h == by_waker), "{owner}: {events:?}");
    }
}

#[test]
fn the_owner_is_asked_for_when_nobody_knows_it() {
    let mut futex = futex();
    let seen = Observation::Wait(gave_up(wait(2, 10, 50, 1), WakeReason::Unknown));
    assert_eq!(futex.wants(&seen), Some(Want::Thread { pid: PID, ns_tid: 1 }));
    let fact = ThreadFact { pid: PID, ns_tid: 1, home: PID, tid: 1001, name: "owner".into() };
    futex.observe(&Observation::Fact(Fact::Thread(fact)), &mut Vec::new());
    assert_eq!(futex.wants(&seen), None);
    let mut events = Vec::new();
    futex.observe(&seen, &mut events);
    futex.finish(&mut events);
    assert_eq!(holders(&events)[0], Some((1001, HolderSource::OwnerWord)));
}

#[test]
fn a_call_site_is_asked_for_when_nobody_knows_it() {
    let futex = futex();
    let seen = Observation::Wait(at(STRANGE, wait(2, 10, 50, 1)));
    assert_eq!(futex.wants(&seen), Some(Want::Site));
    assert_eq!(futex.wants(&Observation::Tick(1)), None);
}

#[test]
fn without_an_owner_word_the_waker_had_it_unless_it_changed_hands() {
    let (_, events) = tell([Observation::Wait(at(RUST, wait(2, 10, 50, 1)))]);
    assert!(holders(&events).iter().all(|h| *h == Some((1, HolderSource::Waker))));
    let let_go_before = WaitSeen { released_before: 5, ..at(RUST, wait(2, 10, 50, 1)) };
    let (_, events) = tell([Observation::Wait(let_go_before)]);
    assert!(holders(&events).iter().all(|h| *h == Some((1, HolderSource::Waker))));
    // Let go while this thread slept: somebody else had it when the wait began.
    let changed = WaitSeen { released_before: 30, ..at(RUST, wait(2, 10, 50, 1)) };
    let (_, events) = tell([Observation::Wait(changed)]);
    assert!(holders(&events).iter().all(Option::is_none), "{events:?}");
    assert_eq!(releases(&events), [(49, 1, 30, Precision::Unknown)]);
    // Slept more than once: it may have changed hands unseen.
    let twice = WaitSeen { sleeps: 2, ..at(RUST, wait(2, 10, 50, 1)) };
    let (_, events) = tell([Observation::Wait(twice)]);
    assert!(holders(&events).iter().all(Option::is_none), "{events:?}");
}

#[test]
fn a_hold_seen_from_end_to_end_is_exact() {
    let exact = WaitSeen { holder_since: Some(20), hold_exact: true, ..wait(2, 10, 50, 1) };
    let (_, events) = tell([Observation::Wait(exact)]);
    assert_eq!(releases(&events), [(49, 1, 20, Precision::Exact)]);
}

#[test]
fn a_condition_variable_is_no_lock() {
    let (futex, events) = tell([
        Observation::Wait(at(CONDITION, wait(2, 10, 50, 1))),
        Observation::Waiting(at(CONDITION, WaitSeen { ran: 0, ..wait(3, 10, 50, 1) })),
    ]);
    assert_eq!(events, []);
    assert!(futex.skipped().idle > 0);
    assert!(futex.lock_at(PID, LOCK, (CONDITION, 0)).is_none());
}

#[test]
fn a_frame_that_serves_many_is_told_by_its_caller() {
    let by = |caller| WaitSeen { caller, caller_known: true, ..at(SHARED, wait(2, 10, 50, 1)) };
    let (_, events) = tell([Observation::Wait(by(TIMED_LOCK))]);
    assert_eq!(ends(&events), [(50, 2, "acquired", 1)]);
    let (futex, events) = tell([Observation::Wait(by(TIMED_CONDITION))]);
    assert_eq!((ends(&events), futex.skipped().idle), (vec![], 1));
}

#[test]
fn the_first_wait_at_a_shared_frame_has_its_caller_from_the_stack() {
    let mut stack = vec![0; 64];
    stack[8..16].copy_from_slice(&TIMED_LOCK.to_le_bytes());
    let first = LockSeen {
        value: 2,
        time: 10,
        thread: thread(2),
        address: LOCK,
        parked: false,
        private: true,
        priority_inheritance: false,
        ip: SHARED,
        sp: 0x7000,
        bp: 0,
        stack,
    };
    let unknown = at(SHARED, wait(2, 10, 50, 1));
    let story = [Observation::Lock(Box::new(first.clone())), Observation::Wait(unknown.clone())];
    let (futex, events) = tell(story);
    assert_eq!(ends(&events), [(50, 2, "acquired", 1)]);
    assert_eq!(holders(&events)[0], Some((1, HolderSource::OwnerWord)));
    let lock = futex.lock_at(PID, LOCK, (SHARED, 0xdead));
    assert_eq!(lock.map(|lock| lock.kind), Some(LockKind::PthreadMutex));
    // A stack too short to hold the caller says nothing.
    let short = LockSeen { stack: vec![0; 12], ..first };
    let (futex, events) = tell([Observation::Lock(Box::new(short)), Observation::Wait(unknown)]);
    assert_eq!((ends(&events), futex.skipped().unclassified), (vec![], 1));
}

#[test]
fn three_waits_that_look_like_it_make_a_candidate() {
    let strange = |n: u64| Observation::Wait(at(STRANGE, wait(2, n * 100, n * 100 + 50, 1)));
    let (_, events) = tell([strange(1), strange(2)]);
    assert_eq!(events, []);
    let (_, events) = tell([strange(1), strange(2), strange(3), strange(4)]);
    assert!(!ends(&events).is_empty());
    assert!(events.iter().all(|e| !e.lock.confirmed && e.lock.kind == LockKind::Unknown));
    let unlike = WaitSeen { value: 7, ..at(STRANGE, wait(2, 50, 90, 1)) };
    let story = [Observation::Wait(unlike), strange(1), strange(2), strange(3), strange(4)];
    assert_eq!(tell(story).1, [], "a lock's word is 2 while threads wait");
}

#[test]
fn an_exec_renews_the_process() {
    let (futex, events) = tell([
        Observation::Wait(wait(2, 10, 50, 1)),
        process(PID, 60, ProcessEvent::Exec),
        site(0, MUTEX, SiteClass::Lock(LockKind::PthreadMutex)),
        Observation::Wait(wait(2, 110, 150, 1)),
    ]);
    assert_eq!(ends(&events), [(50, 2, "acquired", 1), (150, 2, "acquired", 1)]);
    let mut ids: Vec<_> = events.iter().map(|event| event.lock.id).collect();
    ids.dedup();
    assert_eq!(ids.len(), 2, "the same address is another lock: {ids:?}");
    assert_eq!(futex.image(PID), 1);
    // What was known of the old program's code says nothing of the new one's.
    let (futex, _) = tell([process(PID, 60, ProcessEvent::Exec)]);
    assert_eq!(futex.wants(&Observation::Wait(wait(2, 110, 150, 1))), Some(Want::Site));
}

#[test]
fn a_thread_that_ends_while_it_waits_gives_up() {
    let asleep =
        WaitSeen { ran: 0, woken: 0, time: 50, ..gave_up(wait(2, 10, 50, 1), WakeReason::Unknown) };
    let killed = gave_up(wait(2, 10, 50, 1), WakeReason::Signal);
    let replaced = gave_up(wait(2, 10, 50, 1), WakeReason::Other);
    for story in [
        [Observation::Waiting(asleep.clone()), process(2, 60, ProcessEvent::ThreadExit)],
        [Observation::Waiting(asleep), process(PID, 60, ProcessEvent::Exit)],
        [Observation::Wait(killed.clone()), process(2, 60, ProcessEvent::ThreadExit)],
        [Observation::Wait(killed), process(PID, 60, ProcessEvent::Exit)],
        [Observation::Wait(replaced), process(PID, 60, ProcessEvent::Exec)],
    ] {
        let (_, events) = tell(story.clone());
        assert_eq!(ends(&events), [(60, 2, "thread_exit", 1)], "{story:?}");
        assert!(events.iter().any(|event| event.what == What::Gone));
    }
}

#[test]
fn a_thread_that_ends_with_the_lock_had_it() {
    let (_, events) =
        tell([Observation::Wait(wait(2, 10, 50, 1)), process(2, 60, ProcessEvent::ThreadExit)]);
    assert_eq!(ends(&events), [(50, 2, "acquired", 1)]);
}

#[test]
fn the_owner_of_a_priority_inheritance_lock_is_its_word() {
    let waiters = 1 << 31;
    let inherited = WaitSeen {
        priority_inheritance: true,
        words: Some([waiters | 7, 0, 0, 0, 0, 0]),
        first_owner: Some(0),
        value: 0,
        ..at(STRANGE, wait(2, 10, 50, 7))
    };
    let (_, events) = tell([Observation::Wait(inherited)]);
    assert_eq!(holders(&events)[0], Some((7, HolderSource::OwnerWord)));
    assert!(events.iter().all(|e| e.lock.kind == LockKind::PriorityInheritance));
}

#[test]
fn a_mutex_of_musl_begins_before_its_word_and_may_name_its_owner_there() {
    let musl = |value: u32, word: u32| WaitSeen {
        value,
        words: Some([word, 0, 0, 0, 0, 0]),
        first_owner: Some(0),
        sleeps: 2,
        ..at(MUSL, wait(2, 10, 50, 1))
    };
    let known = |wait: WaitSeen| {
        let met = Observation::Wait(WaitSeen { address: 0x9000, ..wait_of_waker() });
        tell([met, Observation::Wait(wait)])
    };
    fn wait_of_waker() -> WaitSeen {
        wait(1, 1, 2, 7)
    }
    // Recursive, and whoever had it first is in what the call expected.
    let (_, events) = known(musl(0x8000_0001, 0x8000_0003));
    let lock = LockId::Private { pid: PID, image: 0, address: LOCK - 4 };
    let of_lock: Vec<_> = events.iter().filter(|e| e.lock.id == lock).cloned().collect();
    assert!(!of_lock.is_empty() && of_lock.iter().all(|e| e.lock.kind == LockKind::MuslMutex));
    assert!(holders(&of_lock).iter().all(|h| *h == Some((1, HolderSource::OwnerWord))));
    // Normal: it is taken, and who let it go had it, unless it changed hands.
    let normal = WaitSeen { sleeps: 1, ..musl(0x8000_0010, 0x8000_0010) };
    let (_, events) = tell([Observation::Wait(normal)]);
    assert!(holders(&events).iter().all(|h| *h == Some((1, HolderSource::Waker))));
    assert_eq!(ends(&events), [(50, 2, "acquired", 1)]);
    let (_, events) = tell([Observation::Wait(musl(0x8000_0010, 0x8000_0010))]);
    assert!(holders(&events).iter().all(Option::is_none));
    // For good, on a word that is no mutex.
    let (futex, events) = tell([Observation::Wait(musl(0, 0))]);
    assert!(events.is_empty());
    assert_eq!(futex.skipped().unclassified, 1);
}

#[test]
fn a_thread_that_sleeps_still_is_told_with_who_has_the_lock_now() {
    let asleep = WaitSeen { ran: 0, woken: 0, time: 200 * MS, waker: None, ..wait(2, 10, 50, 1) };
    let asleep = WaitSeen { words: Some([2, 0, 3, 1, 0, 0]), ..asleep };
    let (_, events) = tell([Observation::Waiting(asleep)]);
    assert_eq!(holders(&events), [Some((0, HolderSource::OwnerWord))], "1 was not looked up");
    let now = events.iter().find_map(|event| match &event.what {
        What::StillWaiting { holder } => Some((event.time, holder.as_ref().map(|h| h.source))),
        _ => None,
    });
    assert_eq!(now, Some((200 * MS, Some(HolderSource::OwnerWord))));
    assert_eq!(ends(&events), []);
}

#[test]
fn a_shared_lock_is_the_same_in_every_process() {
    let fact = |pid| {
        Observation::Fact(Fact::Lock(LockFact {
            inner: 0,
            pid,
            address: LOCK,
            kind: None,
            symbol: None,
            shared: Some((8, 99, 64)),
            call_site: None,
        }))
    };
    let shared = WaitSeen { private: false, ..wait(2, 10, 50, 1) };
    let mut other = shared.clone();
    other.thread.id.pid = PID + 1;
    let Observation::Fact(Fact::Site(site)) =
        site(0, MUTEX, SiteClass::Lock(LockKind::PthreadMutex))
    else {
        unreachable!()
    };
    let site = Observation::Fact(Fact::Site(SiteFact { pid: PID + 1, ..site }));
    let story =
        [fact(PID), fact(PID + 1), site, Observation::Wait(shared), Observation::Wait(other)];
    let (_, events) = tell(story);
    let mut ids: Vec<_> = events.iter().map(|event| event.lock.id).collect();
    ids.dedup();
    assert_eq!(ids.len(), 1, "{ids:?}");
    assert_eq!(ends(&events).len(), 2);
}

#[test]
fn who_gets_a_robust_lock_by_its_owners_end_has_it_however_soon_it_ends_itself() {
    // The owner was killed in its sleep: nothing says that it ends but that it does.
    let left = |kind: u32, leaver: u32| WaitSeen {
        words: Some([2, 0, 3, 1, kind, 0]),
        leaver: Some(thread(leaver)),
        ..gave_up(wait(1, 10, 50, 3), WakeReason::Other)
    };
    let told = |wait: WaitSeen| {
        let (_, events) = tell([Observation::Wait(wait), process(1, 51, ProcessEvent::ThreadExit)]);
        let died = events.iter().find_map(|event| match &event.what {
            What::OwnerDied { holder, since, died } => Some((holder.id.tid, *since, *died)),
            _ => None,
        });
        (ends(&events), died)
    };
    let (ended, died) = told(left(0x90, 3));
    assert_eq!(ended, [(50, 1, "acquired", 1)]);
    assert_eq!(died, Some((3, 10, 49)));
    // No robust one, or not its owner: whoever ended sent a last signal.
    assert_eq!(told(left(0x80, 3)), (vec![(51, 1, "thread_exit", 1)], None));
    assert_eq!(told(left(0x90, 4)), (vec![(51, 1, "thread_exit", 1)], None));
}

#[test]
fn a_python_lock_is_a_candidate_until_a_stack_shows_what_it_serves_as() {
    const PYTHON: u64 = 0x406;
    let seen = |start, ran| at(PYTHON, wait(2, start, ran, 0));
    let asleep = |start| Observation::Waiting(WaitSeen { woken: 0, ran: 0, ..seen(start, start) });
    let stack = |start, function: &str, file: &str| {
        let place = crate::model::StackFrame {
            function: function.into(),
            source: Some((file.into(), 1)),
            module: "".into(),
            offset: 0,
        };
        let stack = crate::model::Stack { frames: vec![place], complete: true };
        let id = thread(2).id;
        let look = Look::Asleep(stack.into());
        Observation::Fact(Fact::Stack(StackFact { waiter: id, start, thread: id, look }))
    };
    let known = site(0, PYTHON, SiteClass::Lock(LockKind::PythonLock));
    let story = |told: &[Observation]| {
        let (futex, events) = tell([std::slice::from_ref(&known), told].concat());
        let ended = |e: &&LockEvent| matches!(e.what, What::Acquired { .. });
        let ended = events.iter().filter(ended).map(|e| (e.time, e.lock.confirmed));
        (ended.collect::<Vec<_>>(), futex.skipped().idle)
    };
    let short = |start| Observation::Wait(seen(start, start + MS));
    let long = |start| Observation::Wait(seen(start, start + 40 * MS));
    let (first, later) = (100 * MS, 200 * MS);
    assert_eq!(story(&[short(first)]), (vec![(101 * MS, false)], 0));
    let lock = [asleep(first), stack(first, "work", "/srv/app.py"), long(first), short(later)];
    assert_eq!(story(&lock), (vec![(140 * MS, true), (201 * MS, true)], 0));
    let condition = stack(first, "Condition.wait", "/usr/lib/python3.14/threading.py");
    let condition = [asleep(first), condition, long(first), short(later)];
    assert_eq!(story(&condition), (vec![(201 * MS, false)], 1));
    let other = [asleep(first), stack(first + 1, "work", "/srv/app.py"), long(first)];
    assert_eq!(story(&other), (vec![(140 * MS, false)], 0), "the stack of another wait");
}

#[test]
fn a_wait_in_slices_stays_one_however_busy_the_machine_is() {
    let gil = site(0, GIL, SiteClass::Lock(LockKind::PythonGil));
    // Two slices of 5 ms, 20 us apart; the first ends by a timer that went off meanwhile.
    let story = |reason, gap: u64, cpu| {
        let slice = |start, ran, reason| {
            let wait = WaitSeen { timed: true, waker: None, words: None, ..wait(2, start, ran, 0) };
            Observation::Wait(WaitSeen { ip: GIL, first_owner: None, reason, ..wait })
        };
        let first = slice(100 * MS, 105 * MS, reason);
        let mut next = slice(105 * MS + gap, 110 * MS, WakeReason::Release);
        if let Observation::Wait(wait) = &mut next {
            (wait.cpu, wait.waker) = (cpu, Some(thread(9)));
        }
        let (_, events) = tell([gil.clone(), first, next]);
        ends(&events).len()
    };
    let gap = MS / 50;
    for reason in [WakeReason::Other, WakeReason::Exit, WakeReason::Signal] {
        assert_eq!(story(reason, gap, gap), 1, "{reason:?}: it had nothing to do with the lock");
    }
    assert_eq!(story(WakeReason::Other, gap, MS), 1, "more processor time than there was");
    assert_eq!(story(WakeReason::Other, 10 * MS, MS / 20), 1, "others had the processor");
    assert_eq!(story(WakeReason::Other, 10 * MS, MS), 2, "it did something in between");
    assert_eq!(story(WakeReason::Release, gap, gap), 2, "it was let on");
}
