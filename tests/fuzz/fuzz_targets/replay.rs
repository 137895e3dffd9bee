//! Any bytes as a recording: replayed or refused, never a panic, and the summary comes last.
//!
//! From the root: `cargo +nightly fuzz run --fuzz-dir tests/fuzz replay`.

#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use lockprobe::model::Record;
use lockprobe::pipeline::{Aside, Pipeline};
use lockprobe::source::Source;
use lockprobe::source::recording::Recording;

fuzz_target!(|bytes: &[u8]| {
    let input = Box::new(Cursor::new(bytes.to_vec()));
    let Ok(mut recording) = Recording::read("input".into(), input) else { return };
    let mut pipeline = Pipeline::new(recording.session().clone(), Aside::Replay, None);
    let mut records = Vec::new();
    // What comes before the damage is taken in, so that a wrong checksum hides nothing.
    while let Ok(Some(batch)) = recording.next() {
        pipeline.take(&batch, &mut records).expect("nothing is written");
        records.clear();
    }
    pipeline.finish(&mut records).expect("nothing is written");
    assert!(matches!(records.last(), Some(Record::Summary(_))));
});
