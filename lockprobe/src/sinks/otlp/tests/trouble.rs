//! A collector that is away, hangs, or does not want what it gets.

use super::collector::{Collector, Dead, Script, spans};
use super::*;
use crate::sinks::otlp::client::Answer;
use crate::sinks::otlp::grpc::judge;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTracePartialSuccess;
use std::collections::HashSet;
use std::time::Instant;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

fn brief() -> Bounds {
    Bounds { flush: Duration::from_millis(300), ..bounds() }
}

fn asks_for_a_pause(code: Code, delay: Option<Duration>) -> Status {
    Status::with_error_details(code, "busy", ErrorDetails::with_retry_info(delay))
}

#[test]
fn what_is_written_before_the_collector_is_up_arrives() {
    let dead = Dead::new();
    let (mut otlp, said) = sink(&spans_to(&dead.url()), bounds());
    write(&mut otlp, 0..1_000);
    let line = said.recv_timeout(PATIENCE).unwrap();
    assert!(line.starts_with("warning: cannot deliver to the OTLP collector http://127."));
    assert!(line.contains("refused") && line.contains("Start the collector"), "{line}");
    let collector = dead.start(vec![], None);
    write(&mut otlp, 1_000..2_000);
    otlp.finish().unwrap();
    assert_eq!((spans_of(&otlp), lost(&otlp)), (4_000, 0));
    let said: Vec<_> = said.try_iter().collect();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("is back"), "{said:?}");
    let spans = spans(&collector.taken());
    let ids: HashSet<_> = spans.into_iter().map(|span| (span.trace_id, span.span_id)).collect();
    assert_eq!(ids.len(), 4_000);
}

#[test]
fn a_collector_that_restarts_is_found_again() {
    let collector = Collector::start(vec![]);
    let next = Dead::on(collector.port);
    let (mut otlp, said) = sink(&spans_to(&collector.url), bounds());
    write(&mut otlp, 0..10);
    collector.request();
    drop(collector);
    write(&mut otlp, 10..20);
    said.recv_timeout(PATIENCE).unwrap();
    let collector = next.start(vec![], None);
    otlp.finish().unwrap();
    assert_eq!((spans_of(&otlp), lost(&otlp)), (40, 0));
    assert!(!collector.taken().is_empty());
}

#[test]
fn one_hiccup_is_no_news() {
    let fine = || Ok(ExportTracePartialSuccess::default());
    let collector = Collector::start(vec![fine(), Err(Status::unavailable("busy")), fine()]);
    let (mut otlp, said) = sink(&spans_to(&collector.url), bounds());
    write(&mut otlp, 0..10);
    collector.request();
    write(&mut otlp, 10..20);
    otlp.finish().unwrap();
    assert_eq!((spans_of(&otlp), lost(&otlp)), (40, 0));
    drop(otlp);
    assert_eq!(said.iter().count(), 0);
}

#[test]
fn a_burst_into_a_dead_collector_is_counted_to_the_last_span() {
    let dead = Dead::new();
    let (mut otlp, said) = sink(&spans_to(&dead.url()), brief());
    write(&mut otlp, 0..100_000);
    let begun = Instant::now();
    otlp.finish().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(20));
    assert_eq!((spans_of(&otlp), lost(&otlp)), (0, 200_000));
    // What was held in memory: the queue, one batch, and one record that did not fit into it.
    let held = 2 * (8192 + 2048 + 1);
    assert!(loss(&otlp, "queue_full") >= 200_000 - held);
    assert!(loss(&otlp, "shutdown") > 0);
    assert_eq!(loss(&otlp, "collector_rejected"), 0);
    assert_eq!(said.try_iter().count(), 1);
    // Nothing is lost silently after the end either.
    write(&mut otlp, 0..1);
    otlp.finish().unwrap();
    assert_eq!(lost(&otlp), 200_002);
}

#[test]
fn a_batch_is_given_up_after_its_time() {
    let dead = Dead::new();
    let bounds = Bounds { give_up: Duration::from_millis(50), ..bounds() };
    let (mut otlp, _said) = sink(&spans_to(&dead.url()), bounds);
    write(&mut otlp, 0..3_000);
    otlp.finish().unwrap();
    assert_eq!((loss(&otlp, "collector_unavailable"), lost(&otlp)), (6_000, 6_000));
}

#[test]
fn a_hanging_collector_blocks_nothing() {
    // The kernel takes the connection, and nobody ever reads from it.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let hurried = Way { timeout: Some(Duration::from_millis(50)), ..Way::default() };
    let settings = super::said(hurried).sending(&[Signal::Traces]);
    let (mut otlp, said) = sink(&settings.with_endpoint(&url), brief());
    write(&mut otlp, 0..20_000);
    let line = said.recv_timeout(PATIENCE).unwrap();
    assert!(line.contains("no answer within 50ms"), "{line}");
    let begun = Instant::now();
    otlp.finish().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(20));
    assert_eq!((spans_of(&otlp), lost(&otlp)), (0, 40_000));
}

#[test]
fn an_end_without_finish_ends_the_thread() {
    let dead = Dead::new();
    let (mut otlp, said) = sink(&spans_to(&dead.url()), bounds());
    write(&mut otlp, 0..10);
    said.recv_timeout(PATIENCE).unwrap();
    drop(otlp);
    // The worker owns the other end of this channel.
    assert_eq!(said.recv_timeout(PATIENCE), Err(mpsc::RecvTimeoutError::Disconnected));
}

#[test]
fn what_is_refused_is_not_sent_again() {
    let refusal = Status::invalid_argument("no\u{1b}[31m");
    let collector = Collector::start(vec![Err(refusal.clone()), Err(refusal)]);
    let (mut otlp, said) = sink(&spans_to(&collector.url), bounds());
    write(&mut otlp, 0..10);
    let line = said.recv_timeout(PATIENCE).unwrap();
    assert!(line.contains("refused 20 spans (InvalidArgument: no\u{fffd}[31m)"), "{line}");
    write(&mut otlp, 10..20);
    while loss(&otlp, "collector_rejected") < 40 {
        std::thread::yield_now();
    }
    write(&mut otlp, 20..30);
    otlp.finish().unwrap();
    assert_eq!((spans_of(&otlp), lost(&otlp)), (20, 40));
    assert_eq!(said.try_iter().count(), 0, "said once");
}

#[test]
fn a_partial_success_counts_what_was_rejected() {
    let partial =
        |n| Ok(ExportTracePartialSuccess { rejected_spans: n, error_message: "too old".into() });
    for (rejected, counted) in [(3, 3), (0, 0), (-4, 0), (1_000, 20)] {
        let collector = Collector::start(vec![partial(rejected)]);
        let (mut otlp, said) = sink(&spans_to(&collector.url), one_batch());
        write(&mut otlp, 0..10);
        otlp.finish().unwrap();
        assert_eq!((loss(&otlp, "collector_rejected"), spans_of(&otlp)), (counted, 20 - counted));
        let told = said.try_iter().any(|line| line.contains("(too old)"));
        assert_eq!(told, counted > 0);
    }
}

/// Only the end of the run sends.
fn one_batch() -> Bounds {
    Bounds { batch_delay: PATIENCE, ..bounds() }
}

#[test]
fn what_is_temporary_is_tried_again() {
    let pause = Some(Duration::from_millis(20));
    let script: Script = vec![
        Err(Status::unavailable("starting")),
        Err(asks_for_a_pause(Code::ResourceExhausted, pause)),
        Err(asks_for_a_pause(Code::Unavailable, pause)),
        Err(Status::data_loss("")),
    ];
    let collector = Collector::start(script);
    let (mut otlp, _said) = sink(&spans_to(&collector.url), bounds());
    write(&mut otlp, 0..10);
    otlp.finish().unwrap();
    assert_eq!((spans_of(&otlp), lost(&otlp)), (20, 0));
}

#[test]
fn the_pause_a_collector_asks_for_is_kept() {
    let pause = Duration::from_millis(400);
    let collector = Collector::start(vec![Err(asks_for_a_pause(Code::Unavailable, Some(pause)))]);
    let (mut otlp, said) = sink(&spans_to(&collector.url), bounds());
    write(&mut otlp, 0..10);
    said.recv_timeout(PATIENCE).unwrap();
    let asked = Instant::now();
    otlp.finish().unwrap();
    // Half of it, as the message can be late.
    assert!(asked.elapsed() >= pause / 2);
    assert_eq!(spans_of(&otlp), 20);
}

#[test]
fn codes_are_judged_as_the_specification_has_it() {
    let again = |status: &Status| matches!(judge(status), Answer::Away { .. });
    for code in 1..17 {
        let code = Code::from(code);
        let expected = matches!(
            code,
            Code::Cancelled
                | Code::DeadlineExceeded
                | Code::Aborted
                | Code::OutOfRange
                | Code::Unavailable
                | Code::DataLoss
        );
        assert_eq!(again(&Status::new(code, "")), expected, "{code:?}");
    }
    let hour = Some(Duration::from_secs(3600));
    match judge(&asks_for_a_pause(Code::ResourceExhausted, hour)) {
        Answer::Away { delay, .. } => assert_eq!(delay, Some(Duration::from_secs(60))),
        other => panic!("{other:?}"),
    }
    assert!(again(&Status::from_error(Box::new(std::io::Error::other("connection reset")))));
}
