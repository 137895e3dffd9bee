//! Stories of locks the kernel keeps: what is seen, and what it means.

use super::*;
use crate::model::lock::END_OF_FILE;
use crate::model::{
    FileFact, FoundFile, HolderFact, HolderSource, LockFileFact, LockFileSeen, LockKind, Mode,
    NamedProcess, NamedState, Outcome, Precision, ThreadId,
};

const MS: u64 = 1_000_000;
/// A process that waits, and two that have what it waits for.
const WAITER: u32 = 10;
const FIRST: u32 = 20;
const SECOND: u32 = 30;

fn thread(pid: u32) -> Thread {
    Thread { id: ThreadId { pid, tid: pid }, ..Thread::default() }
}

fn range(start: u64, end: u64) -> KernelLock {
    let id = LockId::File { device: 8, inode: 7, fcntl: true, start, end };
    let key = CountsKey { mixed: start as u32, device: 8, inode: 7 };
    KernelLock { id, kind: LockKind::PosixFile, mode: Mode::Exclusive, key }
}

fn whole() -> KernelLock {
    range(0, END_OF_FILE)
}

/// What happens to a lock; the owner is the process.
fn event(time: u64, pid: u32, event: FileEvent, holder: Option<u32>) -> FileSeen {
    let (holder_owner, owner) = (holder.map(u64::from), u64::from(pid));
    let (lock, thread) = (whole(), thread(pid));
    let (refused, descriptor) = (None, 3);
    FileSeen { time, thread, lock, event, owner, holder_owner, holder, refused, descriptor }
}

fn wait(phase: Phase, start: u64, ran: u64, holder: u32) -> KernelWait {
    KernelWait {
        phase,
        time: ran.max(start),
        thread: thread(WAITER),
        lock: whole(),
        start,
        slept: start,
        woken: ran.saturating_sub(1),
        ran,
        sleeps: 1,
        timed: false,
        preexisting: false,
        reason: WakeReason::Other,
        waker: None,
        first_holder: Some(holder),
        holder: Some(holder),
    }
}

fn file(seen: FileSeen) -> Observation {
    Observation::File(seen)
}

fn learn(pid: u32, threads: u32) -> Observation {
    Observation::Fact(Fact::Holder(HolderFact { pid, name: format!("p{pid}"), threads }))
}

/// Runs a story; returns what came of it, in order.
fn tell(story: impl IntoIterator<Item = Observation>) -> (Kernel, Vec<LockEvent>) {
    let mut kernel = Kernel::default();
    let mut out = Vec::new();
    story.into_iter().for_each(|seen| kernel.observe(&seen, &mut out));
    (kernel, out)
}

/// Without what only says that it goes on.
fn outcomes_of(told: Vec<LockEvent>) -> Vec<LockEvent> {
    told.into_iter().filter(|told| !matches!(told.what, What::Polling { .. })).collect()
}

#[test]
fn a_blocked_wait_ends_with_the_lock_and_the_hold_before_it_is_known() {
    let (_, told) = tell([
        learn(FIRST, 1),
        file(event(10 * MS, WAITER, FileEvent::Blocked, Some(FIRST))),
        file(event(60 * MS, FIRST, FileEvent::Released, None)),
        Observation::KernelWait(wait(Phase::Ran, 10 * MS, 61 * MS, FIRST)),
        file(event(62 * MS, WAITER, FileEvent::Acquired, None)),
    ]);
    let [let_go, asked, got] = &told[..] else { panic!("{told:#?}") };
    let What::Released { holder, since, precision, .. } = &let_go.what else { panic!() };
    assert_eq!((holder.id, holder.source), (thread(FIRST).id, HolderSource::LockTable));
    assert_eq!((*since, *precision), (10 * MS, Precision::LowerBound));
    let What::Contended { holder: Some(holder), mode, .. } = &asked.what else { panic!() };
    assert_eq!((asked.time, holder.id, *mode), (10 * MS, thread(FIRST).id, Mode::Exclusive));
    let What::Acquired { from: Some(from), sleeps: 1, .. } = &got.what else { panic!() };
    assert_eq!((got.time, from.id), (62 * MS, thread(FIRST).id));
}

#[test]
fn a_hold_that_was_seen_to_begin_is_exact_and_nobodys_business_if_nobody_wants_it() {
    let hold = |wanted: bool| {
        let asks = file(event(30 * MS, WAITER, FileEvent::Refused, Some(FIRST)));
        let story = [
            Some(file(event(10 * MS, FIRST, FileEvent::Acquired, None))),
            wanted.then_some(asks),
            Some(file(event(60 * MS, FIRST, FileEvent::Released, None))),
        ];
        tell(story.into_iter().flatten()).1
    };
    assert!(hold(false).is_empty());
    let told = hold(true);
    let [let_go] = &told[..] else { panic!("{told:#?}") };
    let What::Released { since, precision, .. } = let_go.what else { panic!() };
    assert_eq!((since, precision), (10 * MS, Precision::Exact));
}

#[test]
fn who_closes_a_file_without_having_its_lock_ends_no_hold() {
    let (_, told) = tell([
        file(event(10 * MS, WAITER, FileEvent::Blocked, Some(FIRST))),
        file(event(20 * MS, SECOND, FileEvent::Released, None)),
    ]);
    assert!(told.is_empty(), "{told:#?}");
}

#[test]
fn a_wait_nobody_saw_succeed_was_interrupted() {
    let blocked = file(event(10 * MS, WAITER, FileEvent::Blocked, Some(FIRST)));
    let ran = Observation::KernelWait(wait(Phase::Ran, 10 * MS, 61 * MS, FIRST));
    let (_, told) = tell([blocked, ran.clone(), Observation::Tick(200 * MS)]);
    let [_, end] = &told[..] else { panic!("{told:#?}") };
    assert_eq!(end.what, What::Abandoned { error: "interrupted", sleeps: 1 });
    // Of a file system with a way of its own nothing is seen but the sleep.
    let (_, told) = tell([ran, Observation::Tick(200 * MS)]);
    assert!(matches!(told[1].what, What::Acquired { .. }), "{told:#?}");
}

#[test]
fn who_goes_back_to_sleep_has_not_decided() {
    let (_, told) = tell([
        Observation::KernelWait(wait(Phase::Ran, 10 * MS, 61 * MS, FIRST)),
        Observation::KernelWait(wait(Phase::Resumed, 10 * MS, 61 * MS, FIRST)),
        Observation::Tick(500 * MS),
    ]);
    assert!(told.is_empty(), "{told:#?}");
}

fn refused(time: u64, first: u64, count: u32) -> Observation {
    let seen = event(time, WAITER, FileEvent::Refused, Some(FIRST));
    file(FileSeen { refused: Some((first, count)), ..seen })
}

#[test]
fn a_lock_that_is_polled_is_one_attempt() {
    let got = event(80 * MS, WAITER, FileEvent::Acquired, None);
    let (mut kernel, told) = tell([
        learn(FIRST, 1),
        refused(10 * MS, 10 * MS, 1),
        refused(30 * MS, 10 * MS, 2),
        file(FileSeen { refused: Some((10 * MS, 4)), ..got }),
    ]);
    let [goes_on, attempt] = &told[..] else { panic!("{told:#?}") };
    let What::Polling { since, holder: Some(holder), .. } = &goes_on.what else { panic!() };
    assert_eq!((goes_on.time, *since, holder.id), (30 * MS, 10 * MS, thread(FIRST).id));
    let What::Polled { since, holder, outcome, attempts, .. } = &attempt.what else { panic!() };
    assert_eq!((attempt.time, *since, *attempts), (80 * MS, 10 * MS, 5));
    assert_eq!(
        (*outcome, holder.as_ref().map(|h| h.id)),
        (Outcome::Acquired, Some(thread(FIRST).id))
    );
    let counted = kernel.polled();
    assert_eq!((counted[0].2.waits, counted[0].2.total), (1, 70 * MS));
}

#[test]
fn who_asks_once_was_refused_and_who_asks_no_more_gave_up() {
    let outcomes = |story: Vec<Observation>| {
        let (mut kernel, mut told) = tell(story);
        kernel.finish(&mut told);
        let what = outcomes_of(told).into_iter().map(|told| match told.what {
            What::Polled { outcome, error, .. } => (outcome, error, told.time / MS),
            what => panic!("{what:?}"),
        });
        what.collect::<Vec<_>>()
    };
    let (one, two) = (refused(10 * MS, 10 * MS, 1), refused(30 * MS, 10 * MS, 2));
    let later = Observation::Tick(4000 * MS);
    assert_eq!(outcomes(vec![one.clone(), later.clone()]), [(Outcome::Refused, None, 10)]);
    let gave_up = (Outcome::Abandoned, Some("gave_up"), 30);
    assert_eq!(outcomes(vec![one.clone(), two.clone(), later]), [gave_up]);
    assert_eq!(outcomes(vec![one, two]), [(Outcome::Waiting, None, 30)]);
}

#[test]
fn a_deadlock_the_kernel_refuses_is_told_at_once() {
    let (_, told) = tell([file(event(10 * MS, WAITER, FileEvent::Deadlock, Some(FIRST)))]);
    let What::Polled { outcome, error, .. } = told[0].what else { panic!("{told:#?}") };
    assert_eq!((outcome, error), (Outcome::Refused, Some("deadlock")));
}

#[test]
fn of_a_process_with_many_threads_none_is_named_unless_it_was_seen() {
    let asleep = Observation::KernelWait(wait(Phase::Asleep, 10 * MS, 0, FIRST));
    let holder = |story: Vec<Observation>| {
        let (_, told) = tell(story);
        let What::StillWaiting { holder: Some(holder) } = &told.last().unwrap().what else {
            panic!("{told:#?}")
        };
        holder.id.tid
    };
    assert_eq!(holder(vec![learn(FIRST, 1), asleep.clone()]), FIRST);
    assert_eq!(holder(vec![learn(FIRST, 2), asleep.clone()]), 0);
    assert_eq!(holder(vec![learn(FIRST, 0), asleep.clone()]), 0);
    let mut took = event(5 * MS, FIRST, FileEvent::Acquired, None);
    took.thread.id.tid = 25;
    assert_eq!(holder(vec![learn(FIRST, 2), file(took), asleep]), 25);
}

#[test]
fn a_lock_is_called_by_its_path_and_its_range() {
    let name = |lock: KernelLock, path: Option<&str>| {
        let path = path.map(str::to_owned);
        let fact = Fact::File(FileFact { device: 8, inode: 7, path });
        let (mut kernel, _) = tell([Observation::Fact(fact)]);
        kernel.names.describe(&lock).name.to_string()
    };
    assert_eq!(name(whole(), Some("/x")), "/x");
    assert_eq!(name(range(100, 149), Some("/x")), "/x[100..=149]");
    assert_eq!(name(range(100, END_OF_FILE), Some("/x")), "/x[100..]");
    assert_eq!(name(range(100, 149), None), "fcntl:dev8:ino7:100-149");
}

#[test]
fn what_is_not_known_is_asked_for() {
    let blocked = file(event(10 * MS, WAITER, FileEvent::Blocked, Some(FIRST)));
    let mut kernel = Kernel::default();
    let thread = thread(WAITER).id;
    assert_eq!(kernel.wants(&blocked), Some(Want::Holder(FIRST)));
    kernel.observe(&learn(FIRST, 1), &mut Vec::new());
    let path = Want::Path { thread, descriptor: Some(3), device: 8, inode: 7 };
    let fact = Fact::File(FileFact { device: 8, inode: 7, path: None });
    let holder = ThreadId { pid: FIRST, tid: FIRST };
    let of_holder = Want::Path { thread: holder, descriptor: None, device: 8, inode: 7 };
    // The thread may have closed it again: then who has it may tell, or the next time be better.
    for look in 0..8 {
        let path = if look % 2 == 0 { &path } else { &of_holder };
        assert_eq!(kernel.wants(&blocked).as_ref(), Some(path));
        kernel.observe(&Observation::Fact(fact.clone()), &mut Vec::new());
    }
    assert_eq!(kernel.wants(&blocked), None);
}

/// What happens to a name; who made it did so at 5 ms.
fn name(time: u64, pid: u32, event: FileEvent, path: &str, count: u32) -> Observation {
    let maker = Some((5 * MS, thread(FIRST).id));
    Observation::LockFile(Box::new(LockFileSeen {
        time,
        thread: thread(pid),
        event,
        directory: false,
        maker,
        root: (8, 2),
        base: (8, 9),
        descriptor: None,
        refused: (count > 0).then_some((10 * MS, count)),
        path: path.to_owned(),
    }))
}

#[test]
fn a_name_that_is_in_the_way_is_a_lock_of_who_made_it() {
    let at = Fact::File(FileFact { device: 8, inode: 9, path: Some("/r".into()) });
    let (_, told) = tell([
        Observation::Fact(at),
        learn(FIRST, 3),
        name(10 * MS, WAITER, FileEvent::Refused, "x.lock", 1),
        name(40 * MS, FIRST, FileEvent::Released, "/r/./x.lock", 0),
        Observation::Tick(4000 * MS),
    ]);
    let [let_go, attempt] = &told[..] else { panic!("{told:#?}") };
    let What::Released { holder, since, precision, .. } = &let_go.what else { panic!() };
    assert_eq!((holder.id, holder.source), (thread(FIRST).id, HolderSource::LastAcquirer));
    assert_eq!((*since, *precision), (5 * MS, Precision::Exact));
    let What::Polled { outcome, holder: Some(holder), .. } = &attempt.what else { panic!() };
    assert_eq!((*outcome, holder.id, &*holder.name), (Outcome::Refused, thread(FIRST).id, "p20"));
    assert_eq!((&*attempt.lock.name, attempt.lock.kind), ("/r/x.lock", LockKind::LockFile));
}

#[test]
fn a_name_that_is_found_once_is_no_lock_unless_it_sounds_like_one() {
    let told = |path: &str, counts: &[u32]| {
        let asked = counts
            .iter()
            .map(|&n| name((10 + u64::from(n)) * MS, WAITER, FileEvent::Refused, path, n));
        outcomes_of(tell(asked.chain([Observation::Tick(9000 * MS)])).1).len()
    };
    assert_eq!(told("/tmp/cache", &[1]), 0);
    assert_eq!(told("/tmp/cache", &[1, 2]), 1);
    assert_eq!(told("/run/it.pid", &[1]), 1);
}

#[test]
fn a_name_whose_file_is_locked_in_another_way_is_no_lock() {
    let (_, told) = tell([
        name(10 * MS, WAITER, FileEvent::Refused, "/r/x.lock", 1),
        name(11 * MS, WAITER, FileEvent::Otherwise, "/", 0),
        Observation::Tick(9000 * MS),
    ]);
    assert!(told.is_empty(), "{told:#?}");
}

/// What lies under the name `x.lock`, in the directory /r, which /link leads to too.
fn found(directory: &str, made: Option<u64>, says: Option<(u32, u32, NamedState)>) -> Observation {
    let says = says.map(|(pid, host_pid, state)| {
        let name = if host_pid == 0 { String::new() } else { format!("p{host_pid}") };
        NamedProcess { pid, host_pid, name, threads: 1, state }
    });
    Observation::Fact(Fact::LockFile(LockFileFact {
        root: (8, 2),
        directory: directory.into(),
        name: "x.lock".into(),
        at: Some((8, 9)),
        path: Some("/r".into()),
        found: Some(FoundFile { made, says }),
    }))
}

/// A refusal by a file nobody was seen making.
fn in_the_way(time: u64, path: &str, count: u32) -> Observation {
    let Observation::LockFile(seen) = name(time, WAITER, FileEvent::Refused, path, count) else {
        unreachable!()
    };
    Observation::LockFile(Box::new(LockFileSeen { maker: None, ..*seen }))
}

#[test]
fn a_file_that_was_there_before_says_who_has_it() {
    let says = Some((FIRST, FIRST, NamedState::There));
    let (_, told) = tell([
        found("/r", Some(MS), says),
        in_the_way(10 * MS, "/r/x.lock", 1),
        Observation::Tick(9000 * MS),
    ]);
    let [attempt] = &told[..] else { panic!("{told:#?}") };
    let What::Polled { holder: Some(holder), outcome: Outcome::Refused, .. } = &attempt.what else {
        panic!("{told:#?}")
    };
    assert_eq!((holder.id, &*holder.name), (thread(FIRST).id, "p20"));
    assert_eq!((holder.source, holder.source.is_certain()), (HolderSource::FileContent, false));
}

#[test]
fn a_directory_is_one_however_it_is_spelled() {
    let (_, told) = tell([
        found("/r", None, None),
        found("/link", None, None),
        in_the_way(10 * MS, "/r/x.lock", 1),
        name(40 * MS, FIRST, FileEvent::Released, "/link/x.lock", 0),
        in_the_way(50 * MS, "/link/x.lock", 1),
        Observation::Tick(9000 * MS),
    ]);
    let ids: std::collections::BTreeSet<LockId> = told.iter().map(|told| told.lock.id).collect();
    assert_eq!((ids.len(), &*told[0].lock.name), (1, "/r/x.lock"), "{told:#?}");
    // By the path it really has too, without a look.
    let (_, told) = tell([
        found("/link", None, None),
        in_the_way(10 * MS, "/r/x.lock", 1),
        Observation::Tick(9000 * MS),
    ]);
    assert_eq!(Some(&told[0].lock.id), ids.first());
}

#[test]
fn a_maker_has_no_file_that_was_made_after_its_own() {
    let holder = |made| {
        let (_, told) = tell([
            found("/r", Some(made), None),
            name(900 * MS, WAITER, FileEvent::Refused, "/r/x.lock", 1),
            Observation::Tick(9000 * MS),
        ]);
        let What::Polled { holder, .. } = &told[0].what else { panic!("{told:#?}") };
        holder.as_ref().map(|holder| holder.id)
    };
    assert_eq!(holder(4 * MS), Some(thread(FIRST).id));
    assert_eq!(holder(500 * MS), None);
}

/// Locks left behind and cleared, when, and whose they were.
fn left(told: &[LockEvent]) -> Vec<(u64, Option<ThreadId>)> {
    let one = |told: &LockEvent| match &told.what {
        What::LeftBehind { holder, .. } => Some((told.time / MS, Some(holder.id))),
        What::Cleared => Some((told.time / MS, None)),
        _ => None,
    };
    told.iter().filter_map(one).collect()
}

fn ended(time: u64, pid: u32, killed: bool) -> Observation {
    let (thread, event) = (thread(pid), ProcessEvent::Exit);
    Observation::Process(ProcessSeen { time, thread, event, killed })
}

#[test]
fn a_file_whose_maker_was_killed_is_left_behind_until_it_is_taken_away() {
    let story = |killed| {
        tell([
            ended(7 * MS, FIRST, killed),
            name(10 * MS, WAITER, FileEvent::Refused, "/r/x.lock", 1),
            name(50 * MS, SECOND, FileEvent::Released, "/r/x.lock", 0),
        ])
        .1
    };
    let told = story(true);
    assert_eq!(left(&told), [(10, Some(thread(FIRST).id)), (50, None)]);
    assert!(!told.iter().any(|told| matches!(told.what, What::Released { .. })), "{told:#?}");
    // `mkdir lock` in a script makes the lock for the script.
    assert_eq!(left(&story(false)), []);
}

#[test]
fn a_file_that_names_a_process_that_is_gone_is_left_behind() {
    let nobody = ThreadId { pid: 77, tid: 0 };
    let gone = Some((77, 0, NamedState::Gone));
    let (_, told) = tell([
        found("/r", Some(MS), gone),
        in_the_way(10 * MS, "/r/x.lock", 1),
        found("/r", Some(20 * MS), Some((FIRST, FIRST, NamedState::There))),
        in_the_way(30 * MS, "/r/x.lock", 2),
    ]);
    assert_eq!(left(&told), [(10, Some(nobody)), (30, None)]);
    let what = |says| {
        let (_, told) =
            tell([found("/r", Some(MS), Some(says)), in_the_way(10 * MS, "/r/x.lock", 1)]);
        left(&told)
    };
    assert_eq!(what((77, 0, NamedState::Unknown)), []);
    // What it says of another than its maker, who is there, proves nothing.
    let (_, told) = tell([
        found("/r", Some(5 * MS), gone),
        name(10 * MS, WAITER, FileEvent::Refused, "/r/x.lock", 1),
    ]);
    assert_eq!(left(&told), []);
}

#[test]
fn which_thread_took_a_file_before_anybody_wanted_it_is_told_with_the_first_refusal() {
    let mut took = event(30 * MS, FIRST, FileEvent::Taken(5 * MS), None);
    took.thread.id.tid = 25;
    let (_, told) = tell([
        learn(FIRST, 9),
        file(took),
        file(event(30 * MS, WAITER, FileEvent::Refused, Some(FIRST))),
        file(event(60 * MS, FIRST, FileEvent::Released, None)),
        Observation::Tick(9000 * MS),
    ]);
    let [let_go, attempt] = &told[..] else { panic!("{told:#?}") };
    let What::Released { holder, since, precision, .. } = &let_go.what else { panic!() };
    let taker = ThreadId { pid: FIRST, tid: 25 };
    assert_eq!((holder.id, *since, *precision), (taker, 5 * MS, Precision::Exact));
    let What::Polled { holder: Some(holder), .. } = &attempt.what else { panic!() };
    assert_eq!(holder.id, taker);
}

#[test]
fn a_file_found_there_and_then_locked_in_another_way_is_one_wait_from_the_first_time_on() {
    let refused = |at, first, count| {
        let seen = event(at, WAITER, FileEvent::Refused, Some(FIRST));
        file(FileSeen { refused: Some((first, count)), ..seen })
    };
    let (first, again) = (11 * MS, 31 * MS);
    let got = event(51 * MS, WAITER, FileEvent::Acquired, None);
    let (mut kernel, mut told) = tell([
        learn(FIRST, 1),
        name(10 * MS, WAITER, FileEvent::Refused, "/r/x.lock", 1),
        refused(first, first, 1),
        name(12 * MS, WAITER, FileEvent::Otherwise, "/r/x.lock", 0),
        refused(again, first, 2),
        file(FileSeen { refused: Some((first, 2)), ..got }),
    ]);
    kernel.finish(&mut told);
    let told = outcomes_of(told);
    let ends = told.iter().filter(|told| !matches!(told.what, What::Contended { .. }));
    let ends: Vec<_> = ends.map(|told| (told.time, told.lock.id)).collect();
    assert_eq!(ends, [(51 * MS, whole().id)], "{told:#?}");
}
