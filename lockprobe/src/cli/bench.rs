//! `lockprobe bench`: synthetic records through ring, reader, pipeline and a sink.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use super::command::{BenchArgs, Format, Grouping, OutputArgs};
use super::run::{Opened, drive};
use crate::pipeline::{Aside, Pipeline};
use crate::sinks::Pressure;
use crate::source::Source;
use crate::source::live::{Live, Options, Synthetic, Targets};

/// Runs it, and prints what was made, delivered and dropped, and what that took, as one JSON object.
pub fn main(args: &BenchArgs) -> anyhow::Result<u8> {
    let options = Options {
        min_wait: 0,
        stack_threshold: None,
        ring_bytes: args.ring_size,
        targets: Targets::everything(),
        lock_files: false,
        servers: crate::source::live::Servers::none(),
        row_locks: false,
        full: None,
        harvest_every: None,
    };
    let mut live = Live::start_synthetic(&options)?;
    let outputs = match &args.output {
        Some(path) => Opened::new(&OutputArgs {
            stacks: false,
            format: Format::Jsonl,
            output: Some(path.clone()),
            otlp: None,
            lock_name: Vec::new(),
            metrics_interval: None,
            group_by: Grouping::Lock,
        })?,
        None => Opened::nothing(),
    };
    let outlets = outputs.start(live.session(), Pressure::Drop)?;
    let pipeline = Pipeline::new(live.session().clone(), Aside::Replay, None);
    let made = Arc::new(AtomicU64::new(0));
    let Some(generator) = live.take_synthetic() else {
        anyhow::bail!("the synthetic source was not loaded")
    };
    let (rate, length, count) = (args.rate, args.duration, made.clone());
    let begun = used(ClockId::ProcessCPUTime);
    let generator = std::thread::spawn(move || generate(generator, rate, length, &count));
    let stop = live.stop_flag();
    let ended = drive(
        &mut live,
        pipeline,
        outlets,
        || !generator.is_finished(),
        || stop.store(true, Ordering::Relaxed),
    )?;
    let (took, making) =
        generator.join().map_err(|_| anyhow::anyhow!("the generator crashed"))??;
    let used = used(ClockId::ProcessCPUTime).saturating_sub(begun).saturating_sub(making);
    let summary = &ended.summary;
    let dropped = summary.losses.dropped.iter().map(|(stage, cause, count)| {
        serde_json::json!({ "stage": stage, "cause": cause, "count": count })
    });
    let report = serde_json::json!({
        "made": made.load(Ordering::Relaxed),
        "emitted": summary.losses.emitted,
        "received": summary.received,
        "seconds": took.as_secs_f64(),
        // From ring to sink, without what it took to make the records.
        "processor_seconds": used.as_secs_f64(),
        "spans": ended.seen.spans,
        "resident_bytes": resident(),
        "dropped": dropped.collect::<Vec<_>>(),
    });
    writeln!(std::io::stdout(), "{report}")?;
    Ok(0)
}

fn generate(
    mut generator: Synthetic,
    rate: u64,
    length: Duration,
    made: &AtomicU64,
) -> anyhow::Result<(Duration, Duration)> {
    let begun = Instant::now();
    while begun.elapsed() < length {
        let due = (begun.elapsed().as_secs_f64() * rate as f64) as u64;
        let done = made.load(Ordering::Relaxed);
        if rate != 0 && done >= due {
            std::thread::sleep(Duration::from_micros(200));
            continue;
        }
        let batches = if rate == 0 { 64 } else { ((due - done) / Synthetic::BATCH).clamp(1, 4096) };
        for _ in 0..batches {
            generator.run()?;
        }
        made.fetch_add(batches * Synthetic::BATCH, Ordering::Relaxed);
    }
    Ok((begun.elapsed(), used(ClockId::ThreadCPUTime)))
}

/// Processor time used so far.
fn used(by: ClockId) -> Duration {
    let time = clock_gettime(by);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Memory of this process that is there now.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}
