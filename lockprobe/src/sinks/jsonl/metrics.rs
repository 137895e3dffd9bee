//! Numbers over time as JSON, and their schema.

use serde_json::{Value as Json, json};

use super::convert::{Object, put, seconds};
use super::schema::{count, object, time};
use crate::model::histogram::{MIN_EXPONENT, SCALE};
use crate::model::names::{PROCESS_PID, SERVICE_NAME};
use crate::model::signals::METRICS;
use crate::model::{Durations, Instrument, Metrics, Point, Session, Value};

/// All numbers at a moment.
pub fn to_json(o: &mut Object, metrics: &Metrics, session: &Session) {
    put(o, "record", "metrics");
    put(o, "start_time_unix_nano", session.unix_nanos(metrics.start));
    put(o, "time_unix_nano", session.unix_nanos(metrics.time));
    let families = metrics.families.iter().map(|family| {
        let points = family.points.iter().map(|p| point(p, session));
        json!({
            "name": family.name,
            "unit": family.unit,
            "instrument": name_of(family.instrument),
            "points": points.collect::<Vec<Json>>(),
        })
    });
    put(o, "metrics", families.collect::<Vec<Json>>());
}

fn name_of(instrument: Instrument) -> &'static str {
    match instrument {
        Instrument::Counter => "counter",
        Instrument::UpDownCounter => "up_down_counter",
        Instrument::Gauge => "gauge",
        Instrument::Histogram => "histogram",
    }
}

fn point(point: &Point, session: &Session) -> Json {
    let mut o = Object::new();
    if let Some(agent) = &point.agent {
        put(&mut o, PROCESS_PID, agent.pid);
        put(&mut o, SERVICE_NAME, agent.service.as_str());
    }
    let attributes = point.attributes.iter();
    let attributes = attributes.map(|(name, value)| ((*name).to_owned(), json!(&**value)));
    put(&mut o, "attributes", Json::Object(attributes.collect()));
    match &point.value {
        Value::Integer(number) => put(&mut o, "value", *number),
        Value::Real(number) => put(&mut o, "value", *number),
        Value::Durations(durations) => spread(&mut o, durations, session),
    }
    Json::Object(o)
}

/// Where a bucket ends, seconds.
fn end_of(bucket: usize) -> f64 {
    let exponent = f64::from(MIN_EXPONENT) + (bucket as f64 + 1.0) / f64::from(1u32 << SCALE);
    exponent.exp2() / 1e9
}

fn spread(o: &mut Object, durations: &Durations, session: &Session) {
    put(o, "count", durations.count);
    put(o, "sum", seconds(durations.total));
    put(o, "max", seconds(durations.longest));
    let buckets = durations.histogram.counts().iter().enumerate().filter(|(_, n)| **n > 0);
    let buckets = buckets.map(|(bucket, n)| json!([end_of(bucket), n]));
    put(o, "buckets", buckets.collect::<Vec<Json>>());
    let exemplars = durations.exemplars.iter().map(|exemplar| {
        json!({
            "value": seconds(exemplar.value),
            "time_unix_nano": session.unix_nanos(exemplar.time),
            "trace_id": format!("{:032x}", exemplar.span.trace),
            "span_id": format!("{:016x}", exemplar.span.span),
        })
    });
    put(o, "exemplars", exemplars.collect::<Vec<Json>>());
}

/// The schema of the record.
pub fn schema() -> Json {
    let number = json!({ "type": "number" });
    let exemplar = object(
        None,
        &[],
        &[],
        json!({
            "value": number, "time_unix_nano": time(),
            "trace_id": { "type": "string", "pattern": "^[0-9a-f]{32}$" },
            "span_id": { "type": "string", "pattern": "^[0-9a-f]{16}$" },
        }),
    );
    let bucket = json!({
        "type": "array",
        "description": "Where the bucket ends, seconds, and how many are in it.",
        "prefixItems": [{ "type": "number", "minimum": 0 }, { "type": "integer", "minimum": 1 }],
        "items": false,
    });
    let attributes = json!({ "type": "object", "additionalProperties": { "type": "string" } });
    let mut point =
        object(None, &[], &[PROCESS_PID, SERVICE_NAME], json!({ "attributes": attributes }));
    let properties = &mut point["properties"];
    properties["value"] = number.clone();
    properties["count"] = count();
    properties["sum"] = json!({ "type": "number", "minimum": 0, "description": "Seconds." });
    properties["max"] = properties["sum"].clone();
    properties["buckets"] = json!({ "type": "array", "items": bucket });
    properties["exemplars"] = json!({ "type": "array", "items": exemplar });
    point["oneOf"] = json!([
        { "required": ["value"] },
        { "required": ["count", "sum", "max", "buckets", "exemplars"] },
    ]);
    let names: Vec<&str> = METRICS.iter().map(|metric| metric.name).collect();
    let instruments = ["counter", "up_down_counter", "gauge", "histogram"];
    let family = object(
        None,
        &[],
        &[],
        json!({
            "name": { "enum": names },
            "unit": { "type": "string", "minLength": 1 },
            "instrument": { "enum": instruments },
            "points": { "type": "array", "items": point, "minItems": 1 },
        }),
    );
    let more = json!({
        "start_time_unix_nano": time(), "time_unix_nano": time(),
        "metrics": { "type": "array", "items": family },
    });
    object(Some("metrics"), &[], &[], more)
}
