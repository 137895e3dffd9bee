//! From families of points to OTLP metrics: cumulative, in seconds, one resource a process.
//!
//! The kernel half counts durations in buckets that end at `2^(10 + (i + 1) / 8)` nanoseconds; those
//! of an exponential histogram of scale 3 end at `2^((k + 1) / 8)` seconds. A nanosecond is no power
//! of the eighth root of two, so the two do not meet: ours lie 0.18 of a bucket below those with the
//! index `i - 159`. Each bucket goes whole into that one. Nothing is split or counted twice, sums of
//! histograms stay right, and what is read from it is up to 1.6 % longer than it was, beside the
//! width of a bucket, 9 %. Count, sum and maximum are as exact as they were measured.

use super::delivery::{self, Batch};
use super::lineage::Moved;
use super::process::{Process, Table};
use super::wire::Wire;
use crate::model::histogram::{MIN_EXPONENT, SCALE};
use crate::model::{Durations, Exemplar, Family, Instrument, Metrics, Point, Session, Value};
use std::collections::HashMap;
use std::sync::Arc;

/// Index of an exponential bucket, less that of ours whose durations go there.
const SHIFT: i32 = -159;
/// Points under one resource in one request, and bytes of one; collectors take 4 MiB.
const POINTS_AT_MOST: usize = 1_000;
const BYTES_AT_MOST: usize = 2 << 20;
/// `AGGREGATION_TEMPORALITY_CUMULATIVE`
const CUMULATIVE: u64 = 2;

/// All numbers at a moment, and the resources that they are of.
pub struct Item {
    metrics: Arc<Metrics>,
    /// By id and image.
    agents: HashMap<(u32, u32), Arc<Process>>,
    own: Arc<Process>,
    /// Where spans of exemplars went that are not in their own trace.
    moved: HashMap<u128, u128>,
}

impl Item {
    /// Numbers, with whose they are.
    pub fn new(metrics: &Arc<Metrics>, table: &mut Table, moved: &Moved) -> Self {
        let points = || metrics.families.iter().flat_map(|family| &family.points);
        let mut agents = HashMap::new();
        for agent in points().filter_map(|point| point.agent.as_ref()) {
            let key = (agent.pid, agent.image);
            agents.entry(key).or_insert_with(|| table.known_or_learn(agent));
        }
        let spans = points().filter_map(|point| match &point.value {
            Value::Durations(durations) => Some(&durations.exemplars),
            _ => None,
        });
        let moved = spans
            .flatten()
            .filter_map(|exemplar| Some((exemplar.span.trace, moved.of(exemplar.span)?)));
        let moved = moved.collect();
        Self { metrics: metrics.clone(), agents, own: Arc::new(table.lockprobe()), moved }
    }

    fn process(&self, point: &Point) -> &Arc<Process> {
        let key = point.agent.as_ref().map(|agent| (agent.pid, agent.image));
        key.and_then(|key| self.agents.get(&key)).unwrap_or(&self.own)
    }
}

/// A point, and what it is one of.
struct Placed<'a> {
    family: &'a Family,
    point: &'a Point,
    process: &'a Arc<Process>,
}

impl delivery::Item for Item {
    fn count(&self) -> u64 {
        self.metrics.families.iter().map(|family| family.points.len() as u64).sum()
    }

    /// Each is a batch of its own, or several.
    fn weight(&self) -> usize {
        BYTES_AT_MOST
    }

    fn encode(items: &[Self], session: &Session) -> Vec<Batch> {
        items.iter().flat_map(|item| item.requests(session)).collect()
    }
}

impl Item {
    fn requests(&self, session: &Session) -> Vec<Batch> {
        let placed: Vec<Placed<'_>> = self
            .metrics
            .families
            .iter()
            .flat_map(|family| family.points.iter().map(move |point| (family, point)))
            .map(|(family, point)| Placed { family, point, process: self.process(point) })
            .collect();
        let writer = Writer {
            start: session.unix_nanos(self.metrics.start),
            time: session.unix_nanos(self.metrics.time),
            session,
            moved: &self.moved,
        };
        let mut batches = Vec::new();
        let (mut wire, mut count) = (Wire::default(), 0);
        for (process, points) in delivery::by_process(&placed, |placed| placed.process) {
            for points in points.chunks(POINTS_AT_MOST) {
                delivery::under(&mut wire, &process.resource, |out| writer.points(out, points));
                count += points.len() as u64;
                if wire.len() > BYTES_AT_MOST {
                    let bytes = std::mem::take(&mut wire).into_bytes().into();
                    batches.push(Batch { bytes, count: std::mem::take(&mut count) });
                }
            }
        }
        if count > 0 {
            batches.push(Batch { bytes: wire.into_bytes().into(), count });
        }
        batches
    }
}

struct Writer<'a> {
    start: u64,
    time: u64,
    session: &'a Session,
    moved: &'a HashMap<u128, u128>,
}

impl Writer<'_> {
    /// `Metric`s of one resource: points of one family follow each other.
    fn points(&self, out: &mut Wire, points: &[&Placed<'_>]) {
        const METRICS: u32 = 2;
        const NAME: u32 = 1;
        const DESCRIPTION: u32 = 2;
        const UNIT: u32 = 3;
        for points in points.chunk_by(|a, b| std::ptr::eq(a.family, b.family)) {
            let family = points[0].family;
            out.message(METRICS, |metric| {
                metric.bytes(NAME, family.name.as_bytes());
                metric.bytes(DESCRIPTION, family.help.as_bytes());
                metric.bytes(UNIT, family.unit.as_bytes());
                self.values(metric, family.instrument, points);
            });
        }
    }

    fn values(&self, metric: &mut Wire, instrument: Instrument, points: &[&Placed<'_>]) {
        const GAUGE: u32 = 5;
        const SUM: u32 = 7;
        const EXPONENTIAL_HISTOGRAM: u32 = 10;
        const TEMPORALITY: u32 = 2;
        const MONOTONIC: u32 = 3;
        match instrument {
            Instrument::Gauge => metric.message(GAUGE, |gauge| {
                points.iter().for_each(|placed| self.number(gauge, placed.point, false));
            }),
            Instrument::Counter | Instrument::UpDownCounter => metric.message(SUM, |sum| {
                points.iter().for_each(|placed| self.number(sum, placed.point, true));
                sum.uint(TEMPORALITY, CUMULATIVE);
                sum.uint(MONOTONIC, u64::from(instrument == Instrument::Counter));
            }),
            Instrument::Histogram => metric.message(EXPONENTIAL_HISTOGRAM, |histogram| {
                points.iter().for_each(|placed| self.durations(histogram, placed));
                histogram.uint(TEMPORALITY, CUMULATIVE);
            }),
        }
    }

    /// A `NumberDataPoint`.
    fn number(&self, out: &mut Wire, point: &Point, cumulative: bool) {
        const START: u32 = 2;
        const TIME: u32 = 3;
        const AS_DOUBLE: u32 = 4;
        const AS_INT: u32 = 6;
        const ATTRIBUTES: u32 = 7;
        out.message(1, |out| {
            attributes(out, ATTRIBUTES, point);
            if cumulative {
                out.fixed64(START, self.start);
            }
            out.fixed64(TIME, self.time);
            match &point.value {
                Value::Integer(value) => out.fixed64(AS_INT, *value as u64),
                Value::Real(value) => out.real(AS_DOUBLE, *value),
                // Of many durations, how many.
                Value::Durations(durations) => out.fixed64(AS_INT, durations.count),
            }
        });
    }

    /// An `ExponentialHistogramDataPoint`.
    fn durations(&self, out: &mut Wire, placed: &Placed<'_>) {
        const ATTRIBUTES: u32 = 1;
        const START: u32 = 2;
        const TIME: u32 = 3;
        const COUNT: u32 = 4;
        const SUM: u32 = 5;
        const SCALE_OF: u32 = 6;
        const ZEROS: u32 = 7;
        const POSITIVE: u32 = 8;
        const EXEMPLARS: u32 = 11;
        const MAX: u32 = 13;
        const ZERO_THRESHOLD: u32 = 14;
        // A histogram of anything else would be a fault of ours: nothing is better than nonsense.
        let Value::Durations(durations) = &placed.point.value else { return };
        let Buckets { offset, counts, zeros } = buckets(durations);
        let parent = placed.process.parent.map(|context| context.trace);
        out.message(1, |out| {
            attributes(out, ATTRIBUTES, placed.point);
            out.fixed64(START, self.start);
            out.fixed64(TIME, self.time);
            out.fixed64(COUNT, zeros + counts.iter().sum::<u64>());
            out.real(SUM, durations.total as f64 / 1e9);
            out.zigzag(SCALE_OF, SCALE as i32);
            out.fixed64(ZEROS, zeros);
            out.message(POSITIVE, |buckets| {
                buckets.zigzag(1, offset);
                buckets.packed(2, counts);
            });
            for exemplar in &durations.exemplars {
                out.message(EXEMPLARS, |out| self.exemplar(out, exemplar, parent));
            }
            out.real(MAX, durations.longest as f64 / 1e9);
            out.real(ZERO_THRESHOLD, zero_threshold());
        });
    }

    fn exemplar(&self, out: &mut Wire, exemplar: &Exemplar, parent: Option<u128>) {
        const TIME: u32 = 2;
        const AS_DOUBLE: u32 = 3;
        const SPAN: u32 = 4;
        const TRACE: u32 = 5;
        let own = exemplar.span.trace;
        let trace = self.moved.get(&own).copied().or(parent).unwrap_or(own);
        out.fixed64(TIME, self.session.unix_nanos(exemplar.time));
        out.real(AS_DOUBLE, exemplar.value as f64 / 1e9);
        out.bytes(SPAN, &exemplar.span.span.to_be_bytes());
        out.bytes(TRACE, &trace.to_be_bytes());
    }
}

fn attributes(out: &mut Wire, field: u32, point: &Point) {
    let mut list = out.attributes(field);
    point.attributes.iter().for_each(|(key, value)| list.text(key, value));
}

/// Buckets of an exponential histogram.
struct Buckets<'a> {
    offset: i32,
    counts: &'a [u64],
    zeros: u64,
}

/// Upper end of the first bucket of ours, which has all shorter durations too: a zero bucket.
fn zero_threshold() -> f64 {
    (f64::from(MIN_EXPONENT) + 1.0 / f64::from(1 << SCALE)).exp2() / 1e9
}

/// The buckets from the first that is not empty to the last.
fn buckets(durations: &Durations) -> Buckets<'_> {
    let (zeros, counts) = durations.histogram.counts().split_first().unwrap_or((&0, &[]));
    let first = counts.iter().position(|count| *count > 0).unwrap_or(0);
    let end = counts.iter().rposition(|count| *count > 0).map_or(first, |last| last + 1);
    // The one split off is number 0.
    Buckets { offset: SHIFT + 1 + first as i32, counts: &counts[first..end], zeros: *zeros }
}
