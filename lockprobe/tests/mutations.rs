//! Damaged input: whatever a recording holds, reading it ends, and what cannot be read is counted.
//!
//! The damage is the same in every run. `tests/fuzz` looks for other damage.

use std::io::Cursor;
use std::path::Path;

use lockprobe::decode::decode;
use lockprobe::model::{Observation, Record, Session};
use lockprobe::pipeline::{Aside, Pipeline};
use lockprobe::source::recording::Recording;
use lockprobe::source::{Batch, Source};

const FRAMES: usize = 200_000;

/// A generator of numbers that look random (xorshift64*, Vigna 2016), the same ones every time.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

fn recordings() -> Vec<Vec<u8>> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden");
    let paths = std::fs::read_dir(golden).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> =
        paths.filter(|path| path.extension().is_some_and(|e| e == "lprec")).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

fn frames() -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for bytes in recordings() {
        let mut recording = Recording::read("golden".into(), Box::new(Cursor::new(bytes))).unwrap();
        while let Some(batch) = recording.next().unwrap() {
            frames.extend(batch.frames().map(<[u8]>::to_vec));
        }
    }
    frames
}

/// Changes a few bytes, a field, or the length.
fn damage(frame: &mut Vec<u8>, numbers: &mut Numbers) {
    const ODD: [u64; 8] = [0, 1, 0x7f, 0xff, u32::MAX as u64, i64::MAX as u64, u64::MAX, 1 << 63];
    for _ in 0..=numbers.below(3) {
        let at = numbers.below(frame.len());
        match numbers.below(8) {
            0 => frame.truncate(at),
            1 => frame.extend_from_slice(&numbers.next().to_le_bytes()),
            2 | 3 => {
                // A whole field, where fields are: aligned, and the length left as it was.
                let at = at & !3;
                let value = ODD[numbers.below(ODD.len())].to_le_bytes();
                let width = if numbers.below(2) == 0 { 4 } else { 8 };
                if let Some(field) = frame.get_mut(at..at + width) {
                    field.copy_from_slice(&value[..width]);
                }
            }
            _ => {
                if let Some(byte) = frame.get_mut(at) {
                    *byte ^= 1 << numbers.below(8);
                }
            }
        }
    }
    // Most of the damage is to what a record says, not to how long it claims to be.
    if numbers.below(4) != 0 && frame.len() >= 8 {
        let length = (frame.len() as u32).to_le_bytes();
        frame[4..8].copy_from_slice(&length);
    }
}

/// A pipeline, and how many records came out of it.
struct Run {
    pipeline: Pipeline,
    records: Vec<Record>,
}

impl Run {
    fn new() -> Self {
        let pipeline = Pipeline::new(Session::default(), Aside::Replay, None);
        Self { pipeline, records: Vec::new() }
    }

    fn take(&mut self, batch: &Batch) {
        self.pipeline.take(batch, &mut self.records).unwrap();
        for record in self.records.drain(..) {
            if let Record::Acquire(span) = record {
                assert!(span.end >= span.start, "{span:?}");
            }
        }
    }

    fn finish(mut self) {
        self.pipeline.finish(&mut self.records).unwrap();
        let Some(Record::Summary(_)) = self.records.last() else { panic!("no summary") };
    }
}

#[test]
fn damaged_frames_are_decoded_or_refused() {
    let frames = frames();
    let mut numbers = Numbers(0x10c4_9d0b_e5ee_d001);
    let (mut read, mut refused) = (0, 0);
    for _ in 0..FRAMES {
        let mut frame = frames[numbers.below(frames.len())].clone();
        damage(&mut frame, &mut numbers);
        match decode(&frame) {
            Ok(Observation::Wait(wait)) => {
                assert!(wait.start <= wait.slept && wait.sleeps > 0);
                read += 1;
            }
            Ok(_) => read += 1,
            Err(_) => refused += 1,
        }
    }
    assert!(read > FRAMES / 10 && refused > FRAMES / 10, "{read} read, {refused} refused");
}

#[test]
fn a_pipeline_lives_through_damaged_frames() {
    let frames = frames();
    let mut numbers = Numbers(0x10c4_9d0b_e5ee_d002);
    // Some of the records in their order, some damaged, some out of order: a hundred stories.
    for _ in 0..100 {
        let mut run = Run::new();
        let mut batch = Batch::default();
        let start = numbers.below(frames.len());
        for at in 0..FRAMES / 100 {
            let place =
                if numbers.below(4) == 0 { numbers.below(frames.len()) } else { start + at };
            let mut frame = frames[place % frames.len()].clone();
            if numbers.below(2) == 0 {
                damage(&mut frame, &mut numbers);
            }
            batch.push(&frame);
            if batch.len() == 256 {
                run.take(&batch);
                batch.clear();
            }
        }
        run.take(&batch);
        run.finish();
    }
}

#[test]
fn a_damaged_recording_is_read_to_its_end_or_refused() {
    let recordings = recordings();
    let mut numbers = Numbers(0x10c4_9d0b_e5ee_d003);
    for _ in 0..300 {
        let mut bytes = recordings[numbers.below(recordings.len())].clone();
        for _ in 0..=numbers.below(4) {
            let at = numbers.below(bytes.len());
            bytes[at] ^= 1 << numbers.below(8);
        }
        if numbers.below(3) == 0 {
            bytes.truncate(numbers.below(bytes.len()));
        }
        let Ok(mut recording) = Recording::read("damaged".into(), Box::new(Cursor::new(bytes)))
        else {
            continue;
        };
        let mut run = Run::new();
        let error = loop {
            match recording.next() {
                Ok(Some(batch)) => run.take(&batch),
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        run.finish();
        assert!(error.is_none_or(|error| error.status() == 8));
    }
}
