//! Stories: what happens to locks, and the numbers that come of it.

use super::*;
use crate::model::{
    Family, Holder, HolderSource, LockCounts, LockKind, Losses, Mode, Remote, SpanId, Thread,
    ThreadId, Value,
};

const MS: u64 = 1_000_000;
const S: u64 = 1_000 * MS;

fn meter(series: usize) -> Metering {
    let template = |name: &str| name.replace(|c: char| c.is_ascii_digit(), "*");
    Metering::new(0, Limits { series, min_wait: MS, template })
}

fn mutex(name: &str) -> Arc<LockDescription> {
    lock(LockKind::PthreadMutex, LockId::Private { pid: 7, image: 0, address: 64 }, name)
}

fn lock(kind: LockKind, id: LockId, name: &str) -> Arc<LockDescription> {
    let (confirmed, call_site, address) = (true, None, None);
    Arc::new(LockDescription { id, kind, name: name.into(), confirmed, call_site, address })
}

fn thread(pid: u32) -> Thread {
    Thread { id: ThreadId { pid, tid: pid }, ..Thread::default() }
}

fn wait(lock: &Arc<LockDescription>, pid: u32, (start, end): (u64, u64)) -> AcquireSpan {
    AcquireSpan {
        id: SpanId { trace: u128::from(start), span: end },
        lock: lock.clone(),
        mode: Mode::Exclusive,
        thread: thread(pid),
        start,
        end,
        outcome: Outcome::Acquired,
        error: None,
        holder: None,
        handed_over_by: None,
        blocked_by: None,
        wake_delay: None,
        sleeps: 1,
        queue_depth: 2,
        start_estimated: false,
        stacks: None,
        remote: None,
    }
}

/// What the kernel half adds to its counts for waits of these lengths.
fn counts(lengths: &[u64], doubtful: u64) -> LockCounts {
    let mut counts = LockCounts::default();
    lengths.iter().for_each(|length| counts.add(*length));
    counts.doubtful = Some(doubtful);
    counts
}

fn report(meter: &mut Metering, time: u64) -> Metrics {
    meter.look(&LockTable::default(), &[], time);
    meter.report(&Now { time, losses: Losses::default(), received: 0, own: None })
}

fn family<'a>(metrics: &'a Metrics, name: &str) -> Option<&'a Family> {
    metrics.families.iter().find(|family| family.name == name)
}

/// Every point of a family: process, attributes, and the number, of durations how many and their
/// total.
fn points(metrics: &Metrics, name: &str) -> Vec<String> {
    let all = family(metrics, name).into_iter().flat_map(|family| &family.points);
    let shown = all.map(|point| {
        let agent = point.agent.as_ref().map_or("host".to_owned(), |a| a.pid.to_string());
        let attributes: Vec<&str> = point.attributes.iter().map(|(_, value)| &**value).collect();
        let value = match &point.value {
            Value::Integer(n) => n.to_string(),
            Value::Real(n) => n.to_string(),
            Value::Durations(d) => {
                assert_eq!(d.histogram.count(), d.count);
                format!("{} in {} us", d.count, d.total / 1_000)
            }
        };
        format!("{agent} {} {value}", attributes.join(","))
    });
    shown.collect()
}

#[test]
fn every_wait_is_counted_once_however_it_was_told() {
    let mut meter = meter(SERIES);
    let baton = mutex("baton");
    // Two long ones with spans, of three; and a thousand short ones.
    for start in [S, 2 * S] {
        meter.acquire(&wait(&baton, 7, (start, start + 3 * MS)), Seen::Asleep);
    }
    let all: Vec<u64> = std::iter::repeat_n(50_000, 1000).chain([3 * MS; 3]).collect();
    let early = report(&mut meter, 3 * S);
    meter.counted(&baton, Some(7), Counts::of(&counts(&all, 0)), (3 * S, 0));
    let acquired = |n, us| format!("7 pthread,baton,exclusive,acquired {n} in {us} us");
    assert_eq!(points(&early, "lock.wait.duration"), [acquired(2, 6000)]);
    let settled = report(&mut meter, 4 * S);
    assert_eq!(points(&settled, "lock.wait.duration"), [acquired(1003, 59_000)]);
    assert_eq!(points(&settled, "lock.attempts"), ["7 pthread,baton,acquired,true 1003"]);
    assert_eq!(points(&settled, "lock.agent.wait.time"), ["7  0.059"]);
}

#[test]
fn what_is_not_certain_of_short_waits_is_not_said() {
    let mut meter = meter(SERIES);
    let book =
        lock(LockKind::PthreadRwLock, LockId::Shared { device: 1, inode: 2, offset: 3 }, "book");
    let timed = mutex("timed");
    meter.counted(&book, Some(7), Counts::of(&counts(&[5_000], 0)), (S, 0));
    meter.counted(&timed, Some(7), Counts::of(&counts(&[5_000, 6_000], 1)), (S, 0));
    let told_by_an_older_kernel_half = LockCounts { doubtful: None, ..counts(&[7_000], 0) };
    meter.counted(&mutex("old"), Some(8), Counts::of(&told_by_an_older_kernel_half), (S, 0));
    let file = LockId::File { device: 1, inode: 2, fcntl: false, start: 0, end: 9 };
    meter.counted(
        &lock(LockKind::Flock, file, "/run/job-42.lock"),
        None,
        Counts::of(&counts(&[8_000], 0)),
        (S, 0),
    );
    assert_eq!(
        points(&report(&mut meter, 2 * S), "lock.wait.duration"),
        [
            "7 pthread,book,unknown,acquired 1 in 5 us",
            "7 pthread,timed,exclusive,unknown 2 in 11 us",
            "8 pthread,old,exclusive,unknown 1 in 7 us",
            "host flock,/run/job-**.lock,unknown,acquired 1 in 8 us",
        ]
    );
}

#[test]
fn a_wait_that_was_given_up_explains_its_own_doubt() {
    let mut meter = meter(SERIES);
    let baton = mutex("baton");
    let mut given_up = wait(&baton, 7, (S, S + 5 * MS));
    (given_up.outcome, given_up.error) = (Outcome::Abandoned, Some("timeout"));
    meter.acquire(&given_up, Seen::Asleep);
    meter.counted(&baton, Some(7), Counts::of(&counts(&[9_000, 5 * MS], 1)), (2 * S, 0));
    assert_eq!(
        points(&report(&mut meter, 3 * S), "lock.wait.duration"),
        [
            "7 pthread,baton,exclusive,abandoned 1 in 5000 us",
            "7 pthread,baton,exclusive,acquired 1 in 9 us",
        ]
    );
}

#[test]
fn spans_that_the_kernel_does_not_count_are_no_credit() {
    let mut meter = meter(SERIES);
    let file = LockId::File { device: 1, inode: 2, fcntl: false, start: 0, end: 9 };
    let file = lock(LockKind::Flock, file, "f");
    meter.acquire(&wait(&file, 7, (S, S + 5 * MS)), Seen::Asking);
    meter.acquire(&wait(&file, 8, (S, S + 5 * MS)), Seen::Asleep);
    // One slept; a record of another was lost.
    meter.counted(&file, None, Counts::of(&counts(&[5 * MS, 5 * MS], 0)), (2 * S, 0));
    let waits = points(&report(&mut meter, 3 * S), "lock.wait.duration");
    assert_eq!(waits.iter().filter(|w| w.ends_with("1 in 5000 us")).count(), 3, "{waits:?}");
    assert!(waits[2].starts_with("host flock,f,unknown"), "{waits:?}");
}

#[test]
fn slices_of_waits_are_no_waits() {
    let mut meter = meter(SERIES);
    let id = LockId::Private { pid: 7, image: 0, address: 8 };
    let gil = lock(LockKind::PythonGil, id, "GIL");
    // Twelve milliseconds in three slices, and a short one.
    meter.acquire(&wait(&gil, 7, (S, S + 12 * MS)), Seen::Asleep);
    let sliced = counts(&[5 * MS, 5 * MS, 2 * MS, 100_000], 2);
    meter.counted(&gil, Some(7), Counts::of(&sliced), (2 * S, 0));
    let waits = points(&report(&mut meter, 3 * S), "lock.wait.duration");
    assert_eq!(waits[0], "7 cpython,GIL,exclusive,acquired 1 in 12000 us");
    assert!(waits[1].starts_with("7 cpython,GIL,exclusive,unknown 1 in "), "{waits:?}");
    assert_eq!(waits.len(), 2);
}

#[test]
fn servers_locks_are_counted_by_their_spans() {
    let mut meter = meter(SERIES);
    let remote = |kind| lock(kind, LockId::Remote { kind, mixed: 1 }, "invoice:*");
    let mut first = wait(&remote(LockKind::RedisLock), 7, (S, S + 1000));
    first.remote = Some(Arc::new(Remote { requests: 1, ..Remote::default() }));
    meter.acquire(&first, Seen::Talking);
    first.remote = Some(Arc::new(Remote { requests: 5, ..Remote::default() }));
    meter.acquire(&first, Seen::Talking);
    let mut queued = wait(&remote(LockKind::PostgresAdvisory), 7, (S, S + 1000));
    queued.remote = Some(Arc::new(Remote { requests: 1, ..Remote::default() }));
    meter.acquire(&queued, Seen::Talking);
    (queued.outcome, queued.error) = (Outcome::Refused, Some("refused"));
    meter.acquire(&queued, Seen::Talking);
    meter.renewed(&first.lock, 7, S, false);
    meter.renewed(&first.lock, 7, S, true);
    let metrics = report(&mut meter, 2 * S);
    assert_eq!(
        points(&metrics, "lock.attempts"),
        [
            "7 redis,invoice:*,acquired,false 1",
            "7 redis,invoice:*,acquired,true 1",
            "7 postgresql,invoice:*,acquired 1",
            "7 postgresql,invoice:*,refused,true 1",
        ]
    );
    assert_eq!(
        points(&metrics, "lock.renewals"),
        ["7 redis,invoice:*,renewed 1", "7 redis,invoice:*,lost 1"]
    );
    let waits = points(&metrics, "lock.wait.duration");
    assert_eq!(waits.len(), 2, "who was refused at once has not waited: {waits:?}");
}

#[test]
fn holds_are_counted_by_how_much_was_seen_of_them() {
    let mut meter = meter(SERIES);
    let source = HolderSource::OwnerWord;
    let holder = Holder { id: thread(7).id, name: String::new(), source, gone: false };
    let mut span = HoldSpan {
        id: SpanId { trace: 1, span: 2 },
        lock: mutex("baton"),
        holder,
        start: S,
        end: S + 4 * MS,
        ended: HoldEnd::Released,
        precision: Precision::Exact,
        waiters: 1,
        remote: None,
    };
    meter.hold(&span);
    span.precision = Precision::LowerBound;
    meter.hold(&span);
    meter.hold(&span);
    span.ended = HoldEnd::Unknown;
    meter.hold(&span);
    assert_eq!(
        points(&report(&mut meter, 2 * S), "lock.hold.duration"),
        [
            "7 pthread,baton,exclusive,exact 1 in 4000 us",
            "7 pthread,baton,exclusive,lower_bound 2 in 8000 us",
        ]
    );
}

#[test]
fn the_queue_is_the_longest_of_the_interval() {
    let mut meter = meter(SERIES);
    for (depth, start) in [(2, S), (9, 2 * S), (4, 3 * S)] {
        let span = wait(&mutex("baton"), 7, (start, start + 2 * MS));
        meter.acquire(&AcquireSpan { queue_depth: depth, ..span }, Seen::Asleep);
    }
    assert_eq!(points(&report(&mut meter, 4 * S), "lock.queue.depth"), ["7 pthread,baton 9"]);
    assert_eq!(points(&report(&mut meter, 5 * S), "lock.queue.depth"), ["7 pthread,baton 0"]);
}

#[test]
fn a_process_is_reported_once_more_after_its_end() {
    let mut meter = meter(SERIES);
    let fact = ProcessFact { pid: 7, start_ticks: 3, service: "shop".into(), ..Default::default() };
    meter.learn(&Arc::new(fact), S);
    meter.acquire(&wait(&mutex("baton"), 7, (S, S + 3 * MS)), Seen::Asleep);
    meter.ended(7, 2 * S);
    // Its last counts are taken out after its end.
    let last = counts(&[3 * MS, 20_000], 0);
    meter.counted(&mutex("baton"), Some(7), Counts::of(&last), (2 * S + 50 * MS, 0));
    let metrics = report(&mut meter, 12 * S);
    let waits = points(&metrics, "lock.wait.duration");
    assert_eq!(waits, ["7 pthread,baton,exclusive,acquired 2 in 3020 us"]);
    let agent = family(&metrics, "lock.wait.duration").unwrap().points[0].agent.clone();
    assert_eq!(agent.unwrap().service, "shop");
    let after = report(&mut meter, 22 * S);
    for gone in ["lock.wait.duration", "lock.attempts", "lock.agent.wait.time"] {
        assert!(family(&after, gone).is_none(), "{gone}");
    }
}

#[test]
fn no_number_falls_while_its_process_lives() {
    let mut meter = meter(40);
    let mut before: BTreeMap<String, u64> = BTreeMap::new();
    let mut state = 1u64;
    let mut random = move |below: u64| {
        state = state * 48_271 % 0x7fff_ffff;
        state % below
    };
    for round in 1..200u64 {
        let now = round * S;
        for _ in 0..20 {
            let name = format!("lock {}", char::from(b'a' + random(60) as u8));
            let id = LockId::Private { pid: 7, image: 0, address: random(60) };
            let lock = lock(LockKind::PthreadMutex, id, &name);
            let length = 1 << (10 + random(20));
            if length >= MS && random(3) > 0 {
                meter.acquire(&wait(&lock, 7, (now - length, now)), Seen::Asleep);
            }
            meter.counted(
                &lock,
                Some(7),
                Counts::of(&counts(&[length], random(2))),
                (now, round - 1),
            );
        }
        meter.series_ended();
        let metrics = report(&mut meter, now + S / 2);
        let waits = family(&metrics, "lock.wait.duration").unwrap();
        assert!(waits.points.len() <= 40 + 40 / 8 + 8, "{}", waits.points.len());
        let mut total = 0;
        for (shown, point) in points(&metrics, "lock.wait.duration").iter().zip(&waits.points) {
            let Value::Durations(durations) = &point.value else { panic!() };
            let of = shown.rsplit_once(" in ").unwrap().0.rsplit_once(' ').unwrap().0;
            let known = before.insert(of.to_owned(), durations.count).unwrap_or(0);
            assert!(durations.count >= known, "{shown}: {known} before");
            total += durations.count;
        }
        // Whatever has been told so far has been counted: 20 a round, and none twice.
        assert_eq!(total, round * 20);
    }
    let folded = report(&mut meter, 1000 * S);
    let folded = points(&folded, "lockprobe.series.folded");
    assert!(folded[0].starts_with("host lock.wait.duration ") && !folded[0].ends_with(" 0"));
}

#[test]
fn findings_are_there_from_zero() {
    let mut meter = meter(SERIES);
    meter.found("deadlock");
    let found = points(&report(&mut meter, S), "lock.findings");
    assert_eq!(found.len(), FindingKind::ALL.len() + 1);
    assert!(found.contains(&"host deadlock 1".to_owned()));
    assert!(found.contains(&"host lock_order_inversion 0".to_owned()));
}

#[test]
fn what_a_process_has_used_stands_beside_what_it_has_waited() {
    let mut meter = meter(SERIES);
    assert!(meter.next_to_ask().is_empty());
    meter.acquire(&wait(&mutex("baton"), 7, (S, S + 3 * MS)), Seen::Asleep);
    assert_eq!(meter.next_to_ask(), [7]);
    meter.used(&ProcessorFact { pid: 7, start_ticks: 3, user: S, system: S / 2 }, 2 * S);
    let metrics = report(&mut meter, 2 * S);
    assert_eq!(points(&metrics, "process.cpu.time"), ["7 user 1", "7 system 0.5"]);
    assert_eq!(points(&metrics, "lock.agent.wait.time"), ["7  0.003"]);
}

#[test]
fn every_number_is_in_the_tables() {
    let mut meter = meter(SERIES);
    meter.acquire(&wait(&mutex("baton"), 7, (S, S + 3 * MS)), Seen::Asleep);
    let metrics = report(&mut meter, 2 * S);
    for family in &metrics.families {
        let known = metric::METRICS.iter().find(|known| known.name == family.name).unwrap();
        for point in &family.points {
            let known = |name: &&'static str| known.attributes.contains(name);
            assert!(point.attributes.iter().all(|(name, _)| known(name)), "{point:?}");
        }
    }
}
