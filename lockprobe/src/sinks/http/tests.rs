//! The server as its readers find it, over real connections.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::model::{
    Durations, Exemplar, Family, Histogram, Instrument, Metrics, Point, ProcessFact, SpanId, Value,
};

fn started() -> Started {
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    start(&Settings { listen, version: "1.2.3" }).unwrap()
}

fn session() -> Session {
    let (host, kernel) = ("box".to_owned(), "6.18".to_owned());
    Session { host, kernel, wall_offset: 1_700_000_000_000_000_000, ..Session::default() }
}

/// What comes back for these bytes, until the server closes.
fn told(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // The server may answer and close before all is sent.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

fn get(address: SocketAddr, path: &str) -> (u16, String) {
    get_as(address, path, "*/*")
}

fn get_as(address: SocketAddr, path: &str, accept: &str) -> (u16, String) {
    // HTTP/1.0: a page comes as it is, without the lengths of its pieces.
    let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\nAccept: {accept}\r\n\r\n");
    let answer = told(address, request.as_bytes());
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
    (head[9..12].parse().unwrap(), body.to_owned())
}

fn durations(nanos: &[u64], exemplars: &[(u64, u64)]) -> Value {
    let mut histogram = Histogram::default();
    nanos.iter().for_each(|n| histogram.add(*n));
    let exemplar = |(value, span): &(u64, u64)| Exemplar {
        value: *value,
        time: 5_250_000_000,
        span: SpanId { trace: 0xabc, span: *span },
    };
    Value::Durations(Arc::new(Durations {
        histogram,
        count: nanos.len() as u64,
        total: nanos.iter().sum(),
        longest: nanos.iter().copied().max().unwrap_or(0),
        exemplars: exemplars.iter().map(exemplar).collect(),
    }))
}

fn metrics() -> Metrics {
    let agent = Some(Arc::new(ProcessFact { pid: 7, service: "a\"b\n".into(), ..<_>::default() }));
    let point = |attributes: &[(&'static str, &str)], value| Point {
        agent: agent.clone(),
        attributes: attributes.iter().map(|(n, v)| (*n, Arc::from(*v))).collect(),
        value,
    };
    let family = |name, unit, instrument, points| Family {
        name,
        unit,
        help: "Of a test",
        instrument,
        points,
    };
    let waits = durations(&[900, 1 << 20, (1 << 20) + 1, 1 << 40], &[(1 << 20, 1), (1_048_577, 2)]);
    let families = vec![
        family(
            "lock.wait.duration",
            "s",
            Instrument::Histogram,
            vec![point(&[("lock.name", "\\evil\x1b[0m")], waits)],
        ),
        family(
            "lock.attempts",
            "{attempt}",
            Instrument::Counter,
            vec![point(&[], Value::Integer(4))],
        ),
        family(
            "lock.waiters",
            "{waiter}",
            Instrument::UpDownCounter,
            vec![point(&[], Value::Integer(-1))],
        ),
        family(
            "lock.agent.wait.time",
            "s",
            Instrument::Counter,
            vec![point(&[], Value::Real(0.25))],
        ),
        family("lock.holders", "{holder}", Instrument::UpDownCounter, vec![]),
    ];
    Metrics { start: 1, time: 6_000_000_000, families }
}

/// Lines about locks.
fn of_locks(page: &str) -> Vec<&str> {
    page.lines().filter(|line| line.contains("lock_")).collect()
}

#[test]
fn numbers_as_text() {
    let mut server = started();
    server.pulse.observing(&session());
    server.sink.write(&Record::Metrics(Arc::new(metrics()))).unwrap();
    let (status, page) = get(server.address, "/metrics");
    assert_eq!(status, 200);
    let lines = of_locks(&page);
    let labels = r#"lock_name="\\evil�[0m",service_name="a\"b\n""#;
    let bucket =
        |le: &str, n: u64| format!("lock_wait_duration_seconds_bucket{{{labels},le=\"{le}\"}} {n}");
    assert_eq!(
        lines[..2],
        [
            "# HELP lock_wait_duration_seconds Of a test.",
            "# TYPE lock_wait_duration_seconds histogram"
        ]
    );
    assert_eq!(lines[2], bucket("0.000004096", 1));
    assert_eq!(lines[6], bucket("0.001048576", 2), "the bound is included");
    assert_eq!(lines[7], bucket("0.002097152", 3));
    assert_eq!(lines[21], bucket("68.719476736", 3));
    assert_eq!(lines[22], bucket("+Inf", 4));
    assert_eq!(lines[23], format!("lock_wait_duration_seconds_sum{{{labels}}} 1099.513725829"));
    assert_eq!(lines[24], format!("lock_wait_duration_seconds_count{{{labels}}} 4"));
    let service = r#"{service_name="a\"b\n"}"#;
    assert_eq!(
        lines[25..],
        [
            "# HELP lock_attempts_total Of a test.",
            "# TYPE lock_attempts_total counter",
            &format!("lock_attempts_total{service} 4"),
            "# HELP lock_waiters Of a test.",
            "# TYPE lock_waiters gauge",
            &format!("lock_waiters{service} -1"),
            "# HELP lock_agent_wait_time_seconds_total Of a test.",
            "# TYPE lock_agent_wait_time_seconds_total counter",
            &format!("lock_agent_wait_time_seconds_total{service} 0.25"),
        ]
    );
    for own in [
        "lockprobe_build_info{kernel=\"6.18\",version=\"1.2.3\"} 1",
        "target_info{host_name=\"box\"} 1",
        "lockprobe_ready 1",
        "lockprobe_scrape_series_omitted_total 0",
        "lockprobe_scrape_time_seconds 1700000006",
    ] {
        assert!(page.lines().any(|line| line == own), "{own}: {page}");
    }
    assert!(!page.contains("EOF") && !page.contains("trace_id"));
    server.sink.finish().unwrap();
}

#[test]
fn numbers_as_openmetrics() {
    let mut server = started();
    server.pulse.observing(&session());
    server.sink.write(&Record::Metrics(Arc::new(metrics()))).unwrap();
    let (status, page) = get_as(server.address, "/metrics", "application/openmetrics-text");
    assert_eq!(status, 200);
    let lines = of_locks(&page);
    assert_eq!(
        lines[..3],
        [
            "# HELP lock_wait_duration_seconds Of a test.",
            "# TYPE lock_wait_duration_seconds histogram",
            "# UNIT lock_wait_duration_seconds seconds",
        ]
    );
    let trace = "trace_id=\"00000000000000000000000000000abc\"";
    for (line, span, value) in [(lines[7], 1, "0.001048576"), (lines[8], 2, "0.001048577")] {
        let expected = format!(" # {{{trace},span_id=\"{span:016x}\"}} {value} 1700000005.250");
        assert!(line.ends_with(&expected), "{line}");
    }
    assert!(lines.contains(&"# TYPE lock_attempts counter"), "{lines:#?}");
    assert!(lines.iter().any(|line| line.starts_with("lock_attempts_total{")));
    assert!(page.ends_with("\n# EOF\n"));
}

#[test]
fn many_series_come_in_pieces_and_whole() {
    let mut server = started();
    let point = |n: u32| Point {
        agent: None,
        attributes: vec![("lock.name", Arc::from(format!("lock {n}")))],
        value: durations(&[u64::from(n)], &[]),
    };
    let mut metrics = metrics();
    metrics.families[0].points = (0..2000).map(point).collect();
    server.sink.write(&Record::Metrics(Arc::new(metrics))).unwrap();
    let begun = Instant::now();
    let (_, page) = get(server.address, "/metrics");
    let counts = page.lines().filter(|l| l.starts_with("lock_wait_duration_seconds_count{"));
    assert_eq!(counts.count(), 2000, "within {:?}", begun.elapsed());
    assert!(page.len() > 3_000_000);
    let heads = page.lines().filter(|l| l.starts_with("# TYPE lock_wait_duration")).count();
    assert_eq!(heads, 1);
}

#[test]
fn health_and_readiness_follow_the_pipeline() {
    let server = started();
    assert_eq!(get(server.address, "/healthz"), (200, "ok\n".into()));
    let (status, why) = get(server.address, "/readyz");
    assert!(status == 503 && why.contains("attaching"), "{status} {why}");
    server.pulse.observing(&session());
    assert_eq!(get(server.address, "/readyz"), (200, "ready\n".into()));
    server.pulse.ending();
    assert_eq!(get(server.address, "/readyz").0, 503);
    assert_eq!(get(server.address, "/healthz").0, 200);
}

#[test]
fn a_snapshot_is_taken_by_the_pipeline_or_not_at_all() {
    let mut server = started();
    assert_eq!(get(server.address, "/snapshot").0, 503, "nothing is attached");
    server.pulse.observing(&session());
    let address = server.address;
    let reader = std::thread::spawn(move || get(address, "/snapshot"));
    let mut taken = false;
    while !taken {
        server.asks.answer(|| {
            taken = true;
            Arc::new(|| b"{}\n".to_vec())
        });
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(reader.join().unwrap(), (200, "{}\n".into()));
    let begun = Instant::now();
    let (status, why) = get(server.address, "/snapshot");
    assert!(status == 503 && why.contains("within 2 s"), "{status} {why}");
    assert!(begun.elapsed() >= Duration::from_secs(2));
}

#[test]
fn every_answer_tells_browsers_to_do_nothing() {
    let server = started();
    for request in [
        "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /none HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc",
        "GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    ] {
        let answer = told(server.address, request.as_bytes()).to_ascii_lowercase();
        let head = answer.split_once("\r\n\r\n").unwrap().0;
        for line in [
            "x-content-type-options: nosniff",
            "content-security-policy: default-src 'none'; frame-ancestors 'none'",
            "cache-control: no-store",
            "connection: close",
        ] {
            assert!(head.lines().any(|l| l == line), "{line}: {head}");
        }
        assert!(!head.contains("access-control") && !head.contains("server:"), "{head}");
    }
    let head = told(server.address, b"HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"), "{head}");
    let refused = told(server.address, b"PUT /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(
        refused.starts_with("HTTP/1.1 405") && refused.contains("allow: GET, HEAD"),
        "{refused}"
    );
}

#[test]
fn nonsense_is_refused_and_does_no_harm() {
    let server = started();
    for bytes in [
        &b"\0\x01\x02\r\n\r\n"[..],
        b"GET / HTTP/9.9\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\nHost: \xff\xfe\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    ] {
        let answer = told(server.address, bytes);
        assert!(!answer.starts_with("HTTP/1.1 200"), "{bytes:?}: {answer}");
    }
    let long = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "a".repeat(9000));
    assert!(told(server.address, long.as_bytes()).starts_with("HTTP/1.1 431"));
    let many = format!("GET / HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "A: b\r\n".repeat(70));
    assert!(told(server.address, many.as_bytes()).starts_with("HTTP/1.1 431"));
    let second = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(2);
    let answers = told(server.address, second.as_bytes());
    assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "one request a connection");
    assert_eq!(get(server.address, "/healthz").0, 200);
}

#[test]
fn readers_that_dawdle_make_room_for_others() {
    let server = started();
    let slow: Vec<TcpStream> = (0..40)
        .map(|_| {
            let mut stream = TcpStream::connect(server.address).unwrap();
            stream.write_all(b"GET /metrics HTT").unwrap();
            stream
        })
        .collect();
    let begun = Instant::now();
    // All places are taken: it waits until the first of them is given up.
    assert_eq!(get(server.address, "/healthz").0, 200);
    let took = begun.elapsed();
    assert!(took > Duration::from_secs(2) && took < Duration::from_secs(8), "{took:?}");
    drop(slow);
}

#[test]
fn it_ends_though_readers_are_still_there() {
    let mut server = started();
    server.pulse.observing(&session());
    let mut waiting = TcpStream::connect(server.address).unwrap();
    waiting.write_all(b"GET /snapshot HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let begun = Instant::now();
    server.sink.finish().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(1));
    assert!(TcpStream::connect(server.address).is_err(), "nobody listens any more");
}

#[test]
fn an_address_that_is_taken_is_one_sentence() {
    let first = started();
    let error = start(&Settings { listen: first.address, version: "1" }).err().unwrap();
    let sentence = format!("{error:#}");
    assert!(sentence.contains(&first.address.to_string()), "{sentence}");
    assert!(sentence.contains("choose another address"), "{sentence}");
}
