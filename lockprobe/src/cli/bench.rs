//! `lockprobe bench`: synthetic records through ring, reader, pipeline and a sink.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::command::{BenchArgs, Format, Grouping, OutputArgs};
use super::run::{Opened, drive};
use crate::pipeline::{Aside, Pipeline};
use crate::sinks::Pressure;
use crate::source::Source;
use crate::source::live::{Live, Options, Synthetic, Targets};

/// Runs it, and prints what was made, delivered and dropped as one JSON object.
pub fn main(args: &BenchArgs) -> anyhow::Result<u8> {
    let options = Options {
        min_wait: 0,
        stack_threshold: None,
        ring_bytes: args.ring_size,
        targets: Targets::everything(),
        lock_files: false,
        servers: crate::source::live::Servers::none(),
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
    let generator = std::thread::spawn(move || generate(generator, rate, length, &count));
    let stop = live.stop_flag();
    let ended = drive(
        &mut live,
        pipeline,
        outlets,
        || !generator.is_finished(),
        || stop.store(true, Ordering::Relaxed),
    )?;
    let took = generator.join().map_err(|_| anyhow::anyhow!("the generator crashed"))??;
    let summary = &ended.summary;
    let dropped = summary.losses.dropped.iter().map(|(stage, cause, count)| {
        serde_json::json!({ "stage": stage, "cause": cause, "count": count })
    });
    let report = serde_json::json!({
        "made": made.load(Ordering::Relaxed),
        "emitted": summary.losses.emitted,
        "received": summary.received,
        "seconds": took.as_secs_f64(),
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
) -> anyhow::Result<Duration> {
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
    Ok(begun.elapsed())
}
