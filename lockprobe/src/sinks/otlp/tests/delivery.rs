//! A collector that is there.

use super::collector::{Collector, Dead, Made, spans};
use super::*;
use crate::sinks::otlp::traces::root_id;
use std::collections::HashSet;

#[test]
fn spans_arrive_with_their_process_their_parents_and_their_links() {
    let collector = Collector::start(vec![]);
    let (mut otlp, said) = sink(&spans_to(&collector.url), bounds());
    let blocker = SpanId { trace: 5, span: 6 };
    otlp.write(&Record::Process(Arc::new(fact()))).unwrap();
    let blocked = AcquireSpan { blocked_by: Some(blocker), ..acquire(1) };
    otlp.write(&Record::Acquire(Arc::new(blocked))).unwrap();
    otlp.write(&Record::Hold(Arc::new(hold(1, Precision::Exact)))).unwrap();
    let other = AcquireSpan { thread: thread(8, 8), ..acquire(2) };
    otlp.write(&Record::Acquire(Arc::new(other))).unwrap();
    otlp.finish().unwrap();
    assert_eq!((spans_of(&otlp), lost(&otlp)), (5, 0));
    assert_eq!(said.try_iter().count(), 0);

    let taken = collector.taken();
    let of = |pid: i64| {
        let process = format!("process.pid={pid}");
        let mine = |r: &&opentelemetry_proto::tonic::trace::v1::ResourceSpans| {
            shown(&r.resource.as_ref().unwrap().attributes).contains(&process)
        };
        spans(&taken.iter().filter(mine).cloned().collect::<Vec<_>>())
    };
    let (mine, others) = (of(7), of(8));
    let names: Vec<_> = mine.iter().map(|span| &*span.name).collect();
    assert_eq!(names, ["lock queue_lock", "acquire queue_lock", "hold queue_lock"]);
    assert_eq!(others.len(), 2);
    let root = root_id(acquire(1).id.trace).to_be_bytes();
    assert_eq!(mine[0].span_id, root);
    assert!(mine[0].parent_span_id.is_empty());
    assert_eq!((&*mine[1].parent_span_id, &*mine[2].parent_span_id), (&root[..], &root[..]));
    assert!(mine.iter().all(|span| span.trace_id == acquire(1).id.trace.to_be_bytes()));
    assert_eq!(mine[1].links[0].span_id, blocker.span.to_be_bytes());
    assert_eq!(mine[1].links[0].trace_id, blocker.trace.to_be_bytes());
}

#[test]
fn many_batches_arrive_whole_in_requests_a_collector_takes() {
    let collector = Collector::start(vec![]);
    let bounds = Bounds { queue: 20_000, ..bounds() };
    let (mut otlp, _said) = sink(&spans_to(&collector.url), bounds);
    write(&mut otlp, 0..9_000);
    // As long as demangled names get: the size is what bounds these batches.
    for n in 9_000..9_500 {
        let long = AcquireSpan { lock: lock(&"x".repeat(10_000)), ..acquire(n) };
        otlp.write(&Record::Acquire(Arc::new(long))).unwrap();
    }
    otlp.finish().unwrap();
    assert_eq!((spans_of(&otlp), lost(&otlp)), (19_000, 0));
    let spans = spans(&collector.taken());
    let ids: HashSet<_> = spans.iter().map(|span| (&span.trace_id, &span.span_id)).collect();
    assert_eq!((spans.len(), ids.len()), (19_000, 19_000));
}

#[test]
fn headers_and_compression_reach_the_collector() {
    let collector = Collector::start(vec![]);
    let set = |name: &str| match name {
        "OTEL_EXPORTER_OTLP_HEADERS" => Some("api-key=s%20t".to_owned()),
        "OTEL_EXPORTER_OTLP_COMPRESSION" => Some("gzip".to_owned()),
        "OTEL_EXPORTER_OTLP_TIMEOUT" => Some("60000".to_owned()),
        _ => None,
    };
    let settings = spans_to(&collector.url).with_environment(&set, &|line| panic!("{line}"));
    let (mut otlp, _said) = sink(&settings, bounds());
    write(&mut otlp, 0..10);
    otlp.finish().unwrap();
    assert_eq!((spans_of(&otlp), lost(&otlp)), (20, 0));
    let (metadata, _) = collector.request();
    assert_eq!(metadata.get("api-key").unwrap(), "s t");
    assert_eq!(metadata.get("grpc-encoding").unwrap(), "gzip");
    assert!(metadata.get("user-agent").unwrap().to_str().unwrap().starts_with("lockprobe/"));
}

#[test]
fn all_three_signals_reach_one_collector() {
    let collector = Collector::start(vec![]);
    let (mut otlp, _said) = sink(&to(&collector.url), bounds());
    everything(&mut otlp);
    otlp.finish().unwrap();
    assert_eq!((otlp.delivered(), lost(&otlp)), ([2, 1, 2], 0));
    let numbers = collector.numbers();
    assert_eq!(numbers[0].scope_metrics[0].metrics[0].name, "lock.waiters");
    let events = collector.events();
    let names = events.iter().flat_map(|r| &r.scope_logs[0].log_records).map(|r| &*r.event_name);
    assert_eq!(names.collect::<Vec<_>>(), ["lock.contention", "lock.deadlock.detected"]);
}

#[test]
fn tls_with_certificates_of_ones_own() {
    let authority = Made::new();
    let directory = tempfile::tempdir().unwrap();
    let [ca, certificate, key] =
        ["ca", "certificate", "key"].map(|name| directory.path().join(name));
    std::fs::write(&ca, authority.certificate()).unwrap();
    std::fs::write(&certificate, authority.certificate()).unwrap();
    std::fs::write(&key, authority.key()).unwrap();
    let collector = Dead::new().start(vec![], Some(&authority));
    let way = Way {
        endpoint: Some(format!("https://localhost:{}", collector.port)),
        timeout: Some(PATIENCE),
        ca_file: Some(ca.clone()),
        cert_file: Some(certificate),
        key_file: Some(key),
        ..Way::default()
    };
    let alone = |way| said(way).sending(&[Signal::Traces]);
    let (mut otlp, _said) = sink(&alone(way.clone()), bounds());
    write(&mut otlp, 0..10);
    otlp.finish().unwrap();
    assert_eq!((spans_of(&otlp), lost(&otlp)), (20, 0));

    // It wants to know whom it talks to.
    let nobody = Way { cert_file: None, key_file: None, ..way.clone() };
    let (mut otlp, said) = sink(&alone(nobody), bounds());
    write(&mut otlp, 0..10);
    assert!(said.recv_timeout(PATIENCE).unwrap().contains("cannot deliver"));
    otlp.flush = Duration::from_millis(10);
    otlp.finish().unwrap();
    assert_eq!(lost(&otlp), 20);

    // Without its certificate the collector is a stranger, and the message says so.
    std::fs::write(&ca, Made::new().certificate()).unwrap();
    let (mut otlp, said) = sink(&alone(way), bounds());
    write(&mut otlp, 0..10);
    let line = said.recv_timeout(PATIENCE).unwrap();
    assert!(
        line.contains("certificate") && line.contains("OTEL_EXPORTER_OTLP_CERTIFICATE"),
        "{line}"
    );
    otlp.flush = Duration::from_millis(10);
    otlp.finish().unwrap();
    assert_eq!(lost(&otlp), 20);
}
