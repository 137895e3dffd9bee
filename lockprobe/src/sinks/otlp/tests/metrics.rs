//! Metrics, value by value, and what is lost between two kinds of buckets.

use super::*;
use crate::model::{
    Durations, Exemplar, Family, Histogram, Instrument, Metrics, Point, TraceContext,
    Value as Number,
};
use crate::sinks::otlp::delivery::Item as _;
use crate::sinks::otlp::lineage::Moved;
use crate::sinks::otlp::metrics::Item;
use crate::sinks::otlp::process::Table;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Told;
use opentelemetry_proto::tonic::metrics::v1::{ExponentialHistogramDataPoint, Metric};
use prost::Message;

const WALL: u64 = 1_700_000_000_000_000_000;

pub fn point(value: Number) -> Point {
    let attributes = vec![("lock.name", Arc::from("queue_lock"))];
    Point { agent: Some(Arc::new(fact())), attributes, value }
}

pub fn family(instrument: Instrument, points: Vec<Point>) -> Family {
    let (name, unit, help) = ("lock.waiters", "{waiter}", "Threads that wait");
    Family { name, unit, help, instrument, points }
}

pub fn numbers(families: Vec<Family>) -> Metrics {
    Metrics { start: 1_000, time: 9_000, families }
}

/// Resource, and metrics under it, of each request.
fn sent(metrics: Metrics, moved: &Moved) -> Vec<Vec<(Vec<String>, Vec<Metric>)>> {
    let mut table = Table::new(8, "box");
    table.learn(&fact());
    let item = Item::new(&Arc::new(metrics), &mut table, moved);
    let count = item.count();
    let batches = Item::encode(&[item], &session());
    assert_eq!(batches.iter().map(|batch| batch.count).sum::<u64>(), count);
    let read = |bytes: prost::bytes::Bytes| {
        assert!(bytes.len() < 4 << 20);
        let request = ExportMetricsServiceRequest::decode(bytes).unwrap();
        let resource = |r: opentelemetry_proto::tonic::metrics::v1::ResourceMetrics| {
            let metrics = r.scope_metrics.into_iter().flat_map(|scope| scope.metrics).collect();
            (shown(&r.resource.unwrap().attributes), metrics)
        };
        request.resource_metrics.into_iter().map(resource).collect()
    };
    batches.into_iter().map(|batch| read(batch.bytes)).collect()
}

fn durations(of: &[u64]) -> Durations {
    let mut histogram = Histogram::default();
    of.iter().for_each(|nanos| histogram.add(*nanos));
    Durations {
        histogram,
        count: of.len() as u64,
        total: of.iter().sum(),
        longest: of.iter().copied().max().unwrap_or(0),
        exemplars: Vec::new(),
    }
}

fn histogram(durations: Durations, moved: &Moved) -> ExponentialHistogramDataPoint {
    let value = Number::Durations(Arc::new(durations));
    let metrics = numbers(vec![family(Instrument::Histogram, vec![point(value)])]);
    let metric = sent(metrics, moved).remove(0).remove(0).1.remove(0);
    let Some(Data::ExponentialHistogram(mut data)) = metric.data else { panic!("{metric:?}") };
    assert_eq!(data.aggregation_temporality, 2, "cumulative");
    data.data_points.remove(0)
}

#[test]
fn instruments_are_what_the_specification_calls_them() {
    for (instrument, value, told) in [
        (Instrument::Counter, Number::Integer(7), Told::AsInt(7)),
        (Instrument::UpDownCounter, Number::Integer(-7), Told::AsInt(-7)),
        (Instrument::Counter, Number::Real(0.5), Told::AsDouble(0.5)),
        (Instrument::Gauge, Number::Real(0.25), Told::AsDouble(0.25)),
    ] {
        let metrics = numbers(vec![family(instrument, vec![point(value)])]);
        let metric = sent(metrics, &Moved::default()).remove(0).remove(0).1.remove(0);
        let told_of = (&*metric.name, &*metric.unit, &*metric.description);
        assert_eq!(told_of, ("lock.waiters", "{waiter}", "Threads that wait"));
        let (points, start) = match metric.data.unwrap() {
            Data::Gauge(gauge) => {
                assert_eq!(instrument, Instrument::Gauge);
                (gauge.data_points, 0)
            }
            Data::Sum(sum) => {
                let monotonic = instrument == Instrument::Counter;
                assert_eq!((sum.aggregation_temporality, sum.is_monotonic), (2, monotonic));
                (sum.data_points, WALL + 1_000)
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(points[0].value, Some(told));
        assert_eq!(shown(&points[0].attributes), ["lock.name=queue_lock"]);
        let times = (points[0].start_time_unix_nano, points[0].time_unix_nano);
        assert_eq!(times, (start, WALL + 9_000));
    }
}

#[test]
fn each_process_is_a_resource_and_so_is_lockprobe() {
    let other = Arc::new(ProcessFact { pid: 8, service: "other".into(), ..fact() });
    let value = || Number::Integer(1);
    let of_other = Point { agent: Some(other), ..point(value()) };
    let own = Point { agent: None, ..point(value()) };
    let points = || vec![point(value()), of_other.clone(), own.clone(), point(value())];
    let families = vec![family(Instrument::Counter, points()), family(Instrument::Gauge, points())];
    let taken = sent(numbers(families), &Moved::default()).remove(0);
    let services: Vec<_> = taken.iter().map(|(resource, _)| &*resource[0]).collect();
    assert_eq!(services, ["service.name=worker", "service.name=other", "service.name=lockprobe"]);
    assert!(taken[2].0.contains(&format!("process.pid={}", std::process::id())));
    for (_, metrics) in &taken {
        assert_eq!(metrics.len(), 2, "points of one name are under one metric");
    }
    let Some(Data::Sum(sum)) = &taken[0].1[0].data else { panic!() };
    assert_eq!(sum.data_points.len(), 2);
}

#[test]
fn many_points_are_several_requests() {
    let many =
        Number::Durations(Arc::new(durations(&[1_000, 1_000_000, 1_000_000_000, 100_000_000_000])));
    let points: Vec<Point> = (0..30_000).map(|_| point(many.clone())).collect();
    let requests = sent(numbers(vec![family(Instrument::Histogram, points)]), &Moved::default());
    assert!(requests.len() > 1, "{}", requests.len());
    let count = |metric: &Metric| match &metric.data {
        Some(Data::ExponentialHistogram(data)) => data.data_points.len(),
        other => panic!("{other:?}"),
    };
    let all = requests.iter().flatten().flat_map(|(_, metrics)| metrics).map(count);
    assert_eq!(all.sum::<usize>(), 30_000);
    assert!(sent(numbers(vec![]), &Moved::default()).is_empty(), "nothing is not sent");
}

/// Upper end of a bucket, seconds.
fn end_of(index: f64) -> f64 {
    ((index + 1.0) / 8.0).exp2()
}

/// The quantile that a receiver reads, seconds: inside a bucket it assumes even steps of the
/// logarithm, as the backends do.
fn quantile(point: &ExponentialHistogramDataPoint, share: f64) -> f64 {
    let buckets = point.positive.as_ref().unwrap();
    let rank = share * point.count as f64;
    let mut seen = point.zero_count as f64;
    for (i, count) in buckets.bucket_counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        let here = *count as f64;
        if seen + here >= rank {
            let inside = ((rank - seen) / here).clamp(0.0, 1.0);
            return end_of(f64::from(buckets.offset) + i as f64 - 1.0 + inside);
        }
        seen += here;
    }
    f64::NAN
}

#[test]
fn a_bucket_claims_hardly_more_than_it_has() {
    // Every bucket of ours but the first, which is the zero bucket, and the last, which has no end.
    for i in 1..215_u32 {
        let (low, high) = (10.0 + f64::from(i) / 8.0, 10.0 + f64::from(i + 1) / 8.0);
        let inside = ((low + high) / 2.0).exp2() as u64;
        let point = histogram(durations(&[inside]), &Moved::default());
        let buckets = point.positive.as_ref().unwrap();
        assert_eq!((&*buckets.bucket_counts, point.zero_count), (&[1_u64][..], 0), "bucket {i}");
        let index = f64::from(buckets.offset);
        for (told, real) in
            [(end_of(index), high.exp2() / 1e9), (end_of(index - 1.0), low.exp2() / 1e9)]
        {
            let more = told / real - 1.0;
            assert!((0.0..0.0157).contains(&more), "bucket {i}: {told} for {real}");
        }
        assert_eq!((point.sum, point.max), (Some(inside as f64 / 1e9), Some(inside as f64 / 1e9)));
        assert_eq!((point.scale, point.count), (3, 1));
    }
}

#[test]
fn quantiles_are_within_what_is_promised() {
    // Log-normal about 5 ms, by sums of twelve numbers of Lehmer's generator: the same every time.
    let mut state = 1_u64;
    let mut random = || {
        state = state * 48_271 % 0x7fff_ffff;
        state as f64 / f64::from(0x7fff_ffff_u32)
    };
    let mut values: Vec<u64> = (0..100_000)
        .map(|_| {
            let normal = (0..12).map(|_| random()).sum::<f64>() - 6.0;
            (5e6 * (1.2 * normal).exp()) as u64
        })
        .collect();
    let point = histogram(durations(&values), &Moved::default());
    values.sort_unstable();
    let mut worst: f64 = 0.0;
    for share in [0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999] {
        let truth = values[(share * values.len() as f64) as usize] as f64 / 1e9;
        let told = quantile(&point, share);
        worst = worst.max((told / truth - 1.0).abs());
    }
    // Where durations are many, the buckets' offset is left, 1.6 %, and what a receiver assumes of
    // the inside of a bucket.
    assert!(worst < 0.025, "{worst}");
}

#[test]
fn durations_too_short_to_tell_apart_are_in_the_zero_bucket() {
    let point = histogram(durations(&[0, 1, 500, 1_116, 1_117, u64::MAX / 2]), &Moved::default());
    assert_eq!((point.zero_count, point.count), (4, 6));
    assert!((point.zero_threshold - 1.1166e-6).abs() < 1e-9, "{}", point.zero_threshold);
    assert_eq!(point.positive.unwrap().bucket_counts.iter().sum::<u64>(), 2);
    let none = histogram(durations(&[]), &Moved::default());
    assert_eq!(
        (none.count, none.zero_count, none.positive.unwrap().bucket_counts.len()),
        (0, 0, 0)
    );
}

#[test]
fn exemplars_name_the_span_where_it_was_sent() {
    let exemplar =
        |trace| Exemplar { value: 5_000_000, time: 7_000, span: SpanId { trace, span: 77 } };
    let mut moved = Moved::default();
    let context = Some(TraceContext { trace: 0xcc, span: 9, sampled: true });
    let remote = crate::model::Remote { context, ..crate::model::Remote::default() };
    let id = SpanId { trace: 6, span: 77 };
    let told = HoldSpan { id, remote: Some(Arc::new(remote)), ..hold(1, Precision::Exact) };
    moved.hold(&told, &Table::new(1, "").of(7, told.lock.id));
    let with = Durations { exemplars: vec![exemplar(5), exemplar(6)], ..durations(&[5_000_000]) };
    let point = histogram(with, &moved);
    let traces: Vec<_> = point.exemplars.iter().map(|e| e.trace_id.clone()).collect();
    assert_eq!(traces, [5_u128.to_be_bytes(), 0xcc_u128.to_be_bytes()]);
    let first = &point.exemplars[0];
    assert_eq!((&*first.span_id, first.time_unix_nano), (&77_u64.to_be_bytes()[..], WALL + 7_000));
    use opentelemetry_proto::tonic::metrics::v1::exemplar::Value;
    assert_eq!(first.value, Some(Value::AsDouble(0.005)));
}
