//! `lockprobe bench --metrics`: the numbers alone.

use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use crate::analyses::metrics::{Counts, Limits, Metering, Now, Seen};
use crate::framing;
use crate::model::{
    AcquireSpan, LockCounts, LockDescription, LockId, LockKind, Losses, Metrics, Mode, Outcome,
    ProcessFact, SpanId, Thread, ThreadId,
};
use crate::track::LockTable;

const PROCESSES: u32 = 20;
/// Of each process; so many of all of them as there are series.
const LOCKS: u32 = 100;
const SPANS: u64 = 1_000_000;
const ROUNDS: usize = 9;

/// Adds spans and counts of many locks, and makes reports; prints what each takes as one JSON
/// object.
pub fn main() -> anyhow::Result<u8> {
    let series = (PROCESSES * LOCKS) as usize;
    let limits = Limits { series, min_wait: 1_000_000, template: framing::template };
    let mut numbers = Metering::new(0, limits);
    for pid in 1..=PROCESSES {
        let fact = ProcessFact { pid, service: format!("service-{pid}"), ..Default::default() };
        numbers.learn(&Arc::new(fact), 0);
    }
    let spans: Vec<AcquireSpan> = (0..PROCESSES * LOCKS).map(span).collect();
    let add = |numbers: &mut Metering, round: u64| {
        let begun = Instant::now();
        for i in 0..SPANS {
            // A step that is prime to the number of locks visits them in no order.
            let span = &spans[(i as usize * 7919) % spans.len()];
            numbers.acquire(span, Seen::Asleep);
        }
        let took = begun.elapsed().as_nanos() as f64 / SPANS as f64;
        let mut counts = LockCounts::default();
        (0..100).for_each(|i| counts.add(20_000 << (i % 4)));
        counts.doubtful = Some(0);
        let counts = Counts::of(&counts);
        let begun = Instant::now();
        for span in &spans {
            let pid = Some(span.thread.id.pid);
            numbers.counted(&span.lock, pid, counts.clone(), (round, round));
        }
        (took, begun.elapsed().as_nanos() as f64 / spans.len() as f64)
    };
    let mut times = Vec::new();
    let mut points = 0;
    let mut last = Metrics::default();
    for round in 0..ROUNDS as u64 {
        let (of_span, of_counts) = add(&mut numbers, round);
        numbers.series_ended();
        let begun = Instant::now();
        numbers.look(&LockTable::default(), &[], round);
        let losses = Losses::default();
        let metrics = numbers.report(&Now { time: round, losses, received: 0, own: None });
        times.push((of_span, of_counts, begun.elapsed().as_secs_f64() * 1e3));
        points = metrics.families.iter().map(|family| family.points.len()).sum();
        // Sinks have the last one still when the next is made.
        last = metrics;
    }
    let median = |of: fn(&(f64, f64, f64)) -> f64| {
        let mut all: Vec<f64> = times.iter().map(of).collect();
        all.sort_by(f64::total_cmp);
        all[ROUNDS / 2]
    };
    let report = serde_json::json!({
        "locks": spans.len(), "points": points, "families": last.families.len(),
        "span_nanoseconds": median(|t| t.0), "counts_nanoseconds": median(|t| t.1),
        "report_milliseconds": median(|t| t.2), "resident_kilobytes": resident(),
    });
    writeln!(std::io::stdout(), "{report}")?;
    Ok(0)
}

fn resident() -> u64 {
    let pages = procfs::process::Process::myself().and_then(|own| own.statm());
    pages.map_or(0, |pages| pages.resident * procfs::page_size() / 1024)
}

fn span(number: u32) -> AcquireSpan {
    let (pid, lock) = (1 + number / LOCKS, number % LOCKS);
    let letter = |n: u32| char::from(b'a' + (n % 26) as u8);
    let id = LockId::Private { pid, image: 0, address: u64::from(lock) * 64 };
    let lock = LockDescription {
        id,
        kind: LockKind::PthreadMutex,
        name: format!("queue_{}{}", letter(lock), letter(lock / 26)).into(),
        confirmed: true,
        call_site: None,
        address: None,
    };
    let start = u64::from(number) * 1_000;
    AcquireSpan {
        id: SpanId { trace: 1, span: u64::from(number) },
        lock: Arc::new(lock),
        mode: Mode::Exclusive,
        thread: Thread { id: ThreadId { pid, tid: pid }, ..Thread::default() },
        start,
        end: start + 1_000_000 + u64::from(number) * 100_000,
        outcome: Outcome::Acquired,
        error: None,
        holder: None,
        handed_over_by: None,
        blocked_by: None,
        wake_delay: None,
        sleeps: 1,
        queue_depth: 1,
        start_estimated: false,
        stacks: None,
        remote: None,
    }
}
