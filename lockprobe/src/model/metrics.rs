//! Numbers over time: families of points, cumulative since a start.

use super::{Histogram, ProcessFact, SpanId};
use std::sync::Arc;

/// How the numbers of a family behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instrument {
    /// Grows until lockprobe starts anew.
    Counter,
    /// Grows and shrinks, and adds up over points.
    UpDownCounter,
    /// A value at a moment, which does not add up.
    Gauge,
    /// Durations by length.
    Histogram,
}

/// All metrics at a moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics {
    /// Since when counters count, CLOCK_MONOTONIC nanoseconds.
    pub start: u64,
    /// The moment.
    pub time: u64,
    /// By name.
    pub families: Vec<Family>,
}

/// The points of one name.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// Name, as in [`super::names`].
    pub name: &'static str,
    /// Unit in UCUM: `s`, `By`, `{wait}`.
    pub unit: &'static str,
    /// What it counts, one sentence without a full stop.
    pub help: &'static str,
    /// How the numbers behave.
    pub instrument: Instrument,
    /// One a set of attributes.
    pub points: Vec<Point>,
}

/// One number, and what it is of.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// The process it is about; without one it is about the host, or about lockprobe itself.
    pub agent: Option<Arc<ProcessFact>>,
    /// Name and value.
    pub attributes: Vec<(&'static str, Arc<str>)>,
    /// The number.
    pub value: Value,
}

/// A number.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A whole one.
    Integer(i64),
    /// Any.
    Real(f64),
    /// Many durations.
    Durations(Arc<Durations>),
}

/// Durations by length; what was not changed since the last time is shared with it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Durations {
    /// Counts by length.
    pub histogram: Histogram,
    /// How many.
    pub count: u64,
    /// Their total, nanoseconds.
    pub total: u64,
    /// The longest, nanoseconds.
    pub longest: u64,
    /// Spans that show what is behind the numbers, the slowest of each range.
    pub exemplars: Vec<Exemplar>,
}

/// One of many durations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exemplar {
    /// How long, nanoseconds.
    pub value: u64,
    /// When it ended, CLOCK_MONOTONIC nanoseconds.
    pub time: u64,
    /// The span.
    pub span: SpanId,
}
