//! The sink against a collector that speaks HTTP, and its moods.

use super::collector::Made;
use super::*;
use crate::sinks::otlp::client::Answer;
use crate::sinks::otlp::http::judge;
use crate::sinks::otlp::settings::{Headers, Protocol};
use ::http::{HeaderMap, StatusCode};
use flate2::read::GzDecoder;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::time::{Instant, SystemTime};

/// A request as it came.
#[derive(Debug)]
struct Got {
    path: String,
    headers: Vec<String>,
    body: Vec<u8>,
}

impl Got {
    fn has(&self, header: &str) -> bool {
        self.headers.iter().any(|line| line.eq_ignore_ascii_case(header))
    }
}

/// Answers what the script says, then `200 OK`, to one connection after the other.
struct Collector {
    port: u16,
    inbox: mpsc::Receiver<Got>,
}

impl Collector {
    fn start(script: Vec<String>) -> Self {
        Self::with(script, None)
    }

    fn with(script: Vec<String>, tls: Option<&Made>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, inbox) = mpsc::channel();
        let script = Arc::new(std::sync::Mutex::new(script.into_iter()));
        let tls = tls.map(server);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, script) = (stream.unwrap(), script.clone());
                let (tls, sender) = (tls.clone(), sender.clone());
                std::thread::spawn(move || match tls {
                    None => serve(stream, &script, &sender),
                    Some(tls) => {
                        let session = rustls::ServerConnection::new(tls).unwrap();
                        serve(rustls::StreamOwned::new(session, stream), &script, &sender);
                    }
                });
            }
        });
        Self { port, inbox }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/otlp", self.port)
    }

    fn got(&self) -> Got {
        self.inbox.recv_timeout(PATIENCE).unwrap()
    }
}

/// A server that wants to know whom it talks to.
fn server(made: &Made) -> Arc<rustls::ServerConfig> {
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let certificate = CertificateDer::from_pem_slice(made.certificate().as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(made.key().as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut known = rustls::RootCertStore::empty();
    known.add(certificate.clone()).unwrap();
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
        Arc::new(known),
        provider.clone(),
    );
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(vec![certificate], key);
    Arc::new(config.unwrap())
}

type Script = std::sync::Mutex<std::vec::IntoIter<String>>;

fn serve(stream: impl Read + Write, script: &Script, sender: &mpsc::Sender<Got>) {
    let mut stream = BufReader::new(stream);
    loop {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            match line.trim_end() {
                "" => break,
                line => lines.push(line.to_owned()),
            }
        }
        let length = lines.iter().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().unwrap())
        });
        let mut body = vec![0; length.unwrap()];
        stream.read_exact(&mut body).unwrap();
        let path = lines.remove(0).split(' ').nth(1).unwrap().to_owned();
        let answer = script.lock().unwrap().next();
        let answer = answer.unwrap_or_else(|| reply("200 OK", "", b""));
        if sender.send(Got { path, headers: lines, body }).is_err() {
            return;
        }
        let bytes: Vec<u8> = answer.chars().map(|c| c as u8).collect();
        if stream.get_mut().write_all(&bytes).and_then(|()| stream.get_mut().flush()).is_err() {
            return;
        }
    }
}

/// An answer, each byte of it a character.
fn reply(status: &str, headers: &str, body: &[u8]) -> String {
    let body: String = body.iter().map(|&byte| char::from(byte)).collect();
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}\r\n{body}", body.chars().count())
}

const PROTOBUF: &str = "content-type: application/x-protobuf\r\n";

#[test]
fn all_three_signals_reach_their_paths() {
    let collector = Collector::start(vec![]);
    let (mut otlp, said) = sink(&to(&collector.url()), bounds());
    everything(&mut otlp);
    otlp.finish().unwrap();
    assert_eq!((otlp.delivered(), lost(&otlp)), ([2, 1, 2], 0));
    let mut got: Vec<Got> = collector.inbox.try_iter().collect();
    got.sort_by(|a, b| a.path.cmp(&b.path));
    for request in &got {
        assert!(request.has("content-type: application/x-protobuf"), "{:?}", request.headers);
        assert!(request.headers.iter().any(|line| line.starts_with("user-agent: lockprobe/")));
        match &*request.path {
            "/otlp/v1/logs" => {
                let logs = ExportLogsServiceRequest::decode(&*request.body).unwrap();
                assert!(!logs.resource_logs[0].scope_logs[0].log_records.is_empty());
            }
            "/otlp/v1/metrics" => {
                let metrics = ExportMetricsServiceRequest::decode(&*request.body).unwrap();
                assert_eq!(metrics.resource_metrics.len(), 1);
            }
            "/otlp/v1/traces" => {
                let traces = ExportTraceServiceRequest::decode(&*request.body).unwrap();
                assert_eq!(traces.resource_spans[0].scope_spans[0].spans.len(), 2);
            }
            other => panic!("{other}"),
        }
    }
    assert_eq!(said.try_iter().count(), 0);
}

#[test]
fn headers_and_compression_reach_the_collector() {
    let collector = Collector::start(vec![]);
    let way = Way {
        endpoint: Some(collector.url()),
        headers: Some(Headers(vec![("API-Key".into(), "s t".into())])),
        gzip: Some(true),
        timeout: Some(PATIENCE),
        ..Way::default()
    };
    let settings = said(way).sending(&[Signal::Traces]);
    let (mut otlp, _said) = sink(&settings, bounds());
    write(&mut otlp, 0..100);
    otlp.finish().unwrap();
    assert_eq!((spans_of(&otlp), lost(&otlp)), (200, 0));
    let got = collector.got();
    assert!(got.has("api-key: s t") && got.has("content-encoding: gzip"), "{:?}", got.headers);
    let mut plain = Vec::new();
    GzDecoder::new(&*got.body).read_to_end(&mut plain).unwrap();
    assert!(plain.len() > 5 * got.body.len());
    assert!(ExportTraceServiceRequest::decode(&*plain).is_ok());
}

#[test]
fn what_is_temporary_is_tried_again_with_the_same_bytes() {
    let script = ["429 Too Many Requests", "502 Bad Gateway", "503 Service Unavailable", "504 T"];
    let collector = Collector::start(script.map(|status| reply(status, "", b"busy")).into());
    let (mut otlp, said) = sink(&spans_to(&collector.url()), bounds());
    write(&mut otlp, 0..10);
    let line = said.recv_timeout(PATIENCE).unwrap();
    assert!(line.contains("(429 Too Many Requests: busy)"), "{line}");
    otlp.finish().unwrap();
    assert_eq!((spans_of(&otlp), lost(&otlp)), (20, 0));
    let first = collector.got();
    for _ in 0..4 {
        assert_eq!(collector.got().body, first.body);
    }
}

#[test]
fn what_is_refused_is_not_sent_again() {
    let status = tonic_types::pb::Status { message: "no\u{1b}[31m".into(), ..Default::default() };
    let refusal = reply("400 Bad Request", PROTOBUF, &status.encode_to_vec());
    let collector = Collector::start(vec![refusal, reply("500 Oops", "", b"<html>")]);
    let (mut otlp, said) = sink(&spans_to(&collector.url()), bounds());
    write(&mut otlp, 0..10);
    let line = said.recv_timeout(PATIENCE).unwrap();
    assert!(line.contains("refused 20 spans (400 Bad Request: no\u{fffd}[31m)"), "{line}");
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
fn a_collector_of_traces_alone_gets_told_how_to_leave_the_rest_out() {
    let collector = Collector::start(vec![reply("404 Not Found", "", b"")]);
    let settings = to(&collector.url()).sending(&[Signal::Logs]);
    let (mut otlp, said) = sink(&settings, bounds());
    write(&mut otlp, 0..1);
    otlp.finish().unwrap();
    let line = said.recv_timeout(PATIENCE).unwrap();
    assert!(line.contains("1 log records (404 Not Found)"), "{line}");
    assert!(line.ends_with("If it takes none, set OTEL_LOGS_EXPORTER=none."), "{line}");
    assert_eq!(otlp.losses()[2], ("logs_collector_rejected", 1));
}

#[test]
fn a_partial_success_counts_what_was_rejected() {
    let partial = ExportTracePartialSuccess { rejected_spans: 3, error_message: "too old".into() };
    let response = ExportTraceServiceResponse { partial_success: Some(partial) };
    let answer = reply("200 OK", PROTOBUF, &response.encode_to_vec());
    let collector = Collector::start(vec![answer]);
    let bounds = Bounds { batch_delay: PATIENCE, ..bounds() };
    let (mut otlp, said) = sink(&spans_to(&collector.url()), bounds);
    write(&mut otlp, 0..10);
    otlp.finish().unwrap();
    assert_eq!((loss(&otlp, "collector_rejected"), spans_of(&otlp)), (3, 17));
    assert!(said.try_iter().any(|line| line.contains("(too old)")));
}

#[test]
fn the_pause_a_collector_asks_for_is_kept() {
    let busy = reply("503 Service Unavailable", "retry-after: 1\r\n", b"");
    let collector = Collector::start(vec![busy]);
    let (mut otlp, said) = sink(&spans_to(&collector.url()), bounds());
    write(&mut otlp, 0..10);
    said.recv_timeout(PATIENCE).unwrap();
    let asked = Instant::now();
    otlp.finish().unwrap();
    // Half of it, as the message can be late.
    assert!(asked.elapsed() >= Duration::from_millis(500));
    assert_eq!(spans_of(&otlp), 20);
}

#[test]
fn answers_are_judged_as_the_specification_has_it() {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_770);
    let away = |status: u16, after: &str| {
        let mut headers = HeaderMap::new();
        if !after.is_empty() {
            headers.insert("retry-after", after.parse().unwrap());
        }
        let status = StatusCode::from_u16(status).unwrap();
        match judge(status, &headers, b"", now) {
            Answer::Away { delay, .. } => Some(delay),
            _ => None,
        }
    };
    for status in 300..600 {
        let again = matches!(status, 429 | 502 | 503 | 504);
        assert_eq!(away(status, "").is_some(), again, "{status}");
    }
    let seconds = |n| Some(Some(Duration::from_secs(n)));
    assert_eq!(away(503, "7"), seconds(7));
    assert_eq!(away(429, "7200"), seconds(60), "nobody asks for longer than a minute");
    // The example of RFC 9110, seven seconds on, and one that is past.
    assert_eq!(away(503, "Sun, 06 Nov 1994 08:49:37 GMT"), seconds(7));
    assert_eq!(away(503, "Sun, 06 Nov 1994 08:49:00 GMT"), seconds(0));
    for nonsense in ["-1", "soon", "1.5"] {
        assert_eq!(away(503, nonsense), Some(None), "{nonsense}");
    }
    let huge = "x".repeat(1_000_000);
    match judge(StatusCode::BAD_REQUEST, &HeaderMap::new(), huge.as_bytes(), now) {
        Answer::Refused(why) => assert!(why.len() < 300),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_hanging_collector_blocks_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let hurried = Way {
        timeout: Some(Duration::from_millis(50)),
        protocol: Some(Protocol::Http),
        ..Way::default()
    };
    let settings = super::said(hurried).sending(&[Signal::Traces]);
    let brief = Bounds { flush: Duration::from_millis(300), ..bounds() };
    let (mut otlp, said) = sink(&settings.with_endpoint(&url), brief);
    write(&mut otlp, 0..20_000);
    let line = said.recv_timeout(PATIENCE).unwrap();
    assert!(line.contains("no answer within 50ms"), "{line}");
    otlp.finish().unwrap();
    assert_eq!((spans_of(&otlp), lost(&otlp)), (0, 40_000));
}

#[test]
fn tls_on_both_sides() {
    let made = Made::new();
    let directory = tempfile::tempdir().unwrap();
    let [certificate, key] = ["certificate", "key"].map(|name| directory.path().join(name));
    std::fs::write(&certificate, made.certificate()).unwrap();
    std::fs::write(&key, made.key()).unwrap();
    let collector = Collector::with(vec![], Some(&made));
    let way = Way {
        endpoint: Some(format!("https://localhost:{}/otlp", collector.port)),
        timeout: Some(PATIENCE),
        ca_file: Some(certificate.clone()),
        cert_file: Some(certificate.clone()),
        key_file: Some(key),
        ..Way::default()
    };
    let alone = |way| said(way).sending(&[Signal::Traces]);
    let (mut otlp, _said) = sink(&alone(way.clone()), bounds());
    write(&mut otlp, 0..10);
    otlp.finish().unwrap();
    assert_eq!((spans_of(&otlp), lost(&otlp)), (20, 0));
    assert_eq!(collector.got().path, "/otlp/v1/traces");

    let nobody = Way { cert_file: None, key_file: None, ..way.clone() };
    let (mut otlp, said) = sink(&alone(nobody), bounds());
    write(&mut otlp, 0..10);
    assert!(said.recv_timeout(PATIENCE).unwrap().contains("cannot deliver"));
    otlp.flush = Duration::from_millis(10);
    otlp.finish().unwrap();
    assert_eq!(lost(&otlp), 20);

    std::fs::write(&certificate, "nothing").unwrap();
    let error = Otlp::with(&alone(way), session(), bounds(), Box::new(|_| ())).err().unwrap();
    let error = format!("{error:#}");
    assert!(error.contains("cannot set up TLS") && error.contains("no certificate"), "{error}");
}
