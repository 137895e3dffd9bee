//! The pages over HTTP, read by those they are for: Prometheus, its checker, probes and people.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Command, Stdio};

use lockprobe_tests::probe::{Ended, Probe, lockprobe};
use lockprobe_tests::program::{Program, compiled};
use lockprobe_tests::servers::{Server, free_port};
use lockprobe_tests::until;
use serde_json::Value;

/// Status and body of a page; `None` while nobody answers.
fn get(port: u16, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8(answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.get(9..12)?.parse().ok()?, body.to_owned()))
}

/// lockprobe with pages.
struct Watch {
    probe: Probe,
    port: u16,
}

impl Watch {
    fn start(arguments: &[&str]) -> Self {
        lockprobe_tests::need_root();
        let port = free_port();
        let address = format!("127.0.0.1:{port}");
        let intervals = ["--metrics-interval", "500ms", "--harvest-every", "500ms"];
        let mut command = lockprobe(["trace", "--format", "jsonl", "--http", &address]);
        let probe = Probe::start(command.args(intervals).args(arguments).stdin(Stdio::null()));
        let watch = Self { probe, port };
        until("it is ready", || (watch.get("/readyz")?.0 == 200).then_some(()));
        watch
    }

    fn get(&self, path: &str) -> Option<(u16, String)> {
        get(self.port, path)
    }

    fn page(&self, path: &str) -> String {
        let (status, page) = self.get(path).expect("an answer");
        assert_eq!(status, 200, "{path}: {page}");
        page
    }

    fn end(self) -> Ended {
        self.probe.signal(libc::SIGINT);
        self.probe.wait().expect(0)
    }
}

/// Prometheus that reads a port, every half a second.
fn prometheus(port: u16) -> Server {
    Server::start(|home, own| {
        let settings = home.join("prometheus.yml");
        let text = format!(
            "global: {{scrape_interval: 500ms, scrape_timeout: 500ms}}\nscrape_configs:\n\
             - job_name: lockprobe\n  static_configs: [{{targets: ['127.0.0.1:{port}']}}]\n"
        );
        std::fs::write(&settings, text).expect("a file of settings");
        let mut command = Command::new("prometheus");
        command.arg(format!("--config.file={}", settings.display()));
        command.arg(format!("--storage.tsdb.path={}", home.join("data").display()));
        command.arg(format!("--web.listen-address=127.0.0.1:{own}"));
        command.arg("--enable-feature=exemplar-storage");
        command
    })
}

/// What Prometheus answers.
fn asked(server: &Server, path: &str, query: &str) -> Option<Value> {
    let bytes = query.bytes();
    let query: String = bytes.map(|byte| format!("%{byte:02X}")).collect();
    let (_, body) = get(server.port, &format!("/api/v1/{path}?query={query}"))?;
    let answer: Value = serde_json::from_str(&body).ok()?;
    (answer["status"] == "success").then(|| answer["data"].clone())
}

/// The one number a query comes to.
fn number(server: &Server, query: &str) -> Option<f64> {
    let answer = asked(server, "query", query)?;
    answer["result"][0]["value"][1].as_str()?.parse().ok()
}

#[test]
fn prometheus_reads_true_counts() {
    // A hundred waits of some 3 ms each, one behind the other.
    let watch = Watch::start(&["--exe", "scene"]);
    let server = prometheus(watch.port);
    let program = Program::start("scene", ["rounds", "3", "30000"]);
    let of_scene = r#"{service_name="scene",lock_name="first"}"#;
    let counted = format!("sum(lock_wait_duration_seconds_count{of_scene})");
    until("Prometheus has read all waits", || (number(&server, &counted)? >= 100.0).then_some(()));
    // The next round may begin before the last one's waiter has let go: a wait too.
    let read_twice = || {
        let before = number(&server, &counted)?;
        let time = number(&server, "lockprobe_scrape_time_seconds")?;
        until("it has been read twice more", || {
            (number(&server, "lockprobe_scrape_time_seconds")? > time + 1.5).then_some(())
        });
        (number(&server, &counted)? == before).then_some(before)
    };
    let waits = until("the program rests", read_twice);
    assert!((100.0..120.0).contains(&waits), "{waits}");
    assert_eq!(number(&server, r#"up{job="lockprobe"}"#), Some(1.0));
    let within = |bound: &str| {
        let labels = of_scene.replace('}', &format!(",le=\"{bound}\"}}"));
        number(&server, &format!("sum(lock_wait_duration_seconds_bucket{labels})"))
    };
    assert_eq!(within("0.001048576"), Some(waits - 100.0), "those of a hundred rounds are longer");
    assert_eq!(within("+Inf"), Some(waits));
    let total = number(&server, &format!("sum(lock_wait_duration_seconds_sum{of_scene})")).unwrap();
    assert!((0.25..10.0).contains(&total), "{total} s");
    let exemplars = until("an exemplar has been read", || {
        // Without a time it asks for none; the machine's clock is past 2001 and before 2286.
        let bucket = format!("lock_wait_duration_seconds_bucket{of_scene}");
        let found = asked(&server, "query_exemplars", &bucket)?;
        found.as_array().is_some_and(|all| !all.is_empty()).then_some(found)
    });
    let trace = exemplars[0]["exemplars"][0]["labels"]["trace_id"].as_str().unwrap();
    assert_eq!(trace.len(), 32, "{exemplars}");
    // When the process has ended the counts stay as they are.
    drop(program);
    assert_eq!(until("it has been read again", read_twice), waits);
    let records = watch.end().records();
    let locks = records.summary()["locks"].as_array().unwrap();
    let lock = locks.iter().find(|lock| lock["lock.name"] == "first").unwrap();
    assert_eq!(lock["waits"].as_f64(), Some(waits), "the sums at the end are the same");
    let acquires = records.acquires();
    let of_trace = acquires.iter().any(|record| record["trace_id"] == trace);
    assert!(of_trace, "the exemplar is of a span that was recorded");
}

#[test]
fn the_checker_of_metrics_has_nothing_to_say() {
    // Anybody may call a service what they like.
    let watch = Watch::start(&["--exe", "scene"]);
    let mut command = Command::new(compiled("scene"));
    command.args(["rounds", "3", "30000"]).env("OTEL_SERVICE_NAME", "a\"} 1\nevil\\ 2\x1b[31m");
    let program = Program::spawn(&mut command);
    let page = until("the waits are on the page", || {
        let page = watch.page("/metrics");
        page.contains("\nlock_wait_duration_seconds_count{").then_some(page)
    });
    for name in ["lockprobe_events_dropped_total", "lockprobe_build_info", "lock_findings_total"] {
        assert!(page.contains(&format!("{name}{{")), "{name}: {page}");
    }
    assert!(page.contains(r#"service_name="a\"} 1"#), "{page}");
    let mut checker = Command::new("promtool");
    checker.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut checker =
        checker.stderr(Stdio::piped()).spawn().expect("promtool; `cargo xtask setup`");
    checker.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let said = checker.wait_with_output().unwrap();
    let text = [said.stdout, said.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    assert!(said.status.success() && text.is_empty(), "{text}\n{page}");
    assert!(!page.contains('\x1b'), "a terminal is safe from names");
    // And what reads it for good takes it whole.
    let server = prometheus(watch.port);
    let evil = r#"sum(lock_wait_duration_seconds_count{service_name=~"a\"} 1.*evil.*"})"#;
    until("Prometheus has read it", || (number(&server, evil)? >= 100.0).then_some(()));
    drop(program);
    watch.end();
}

#[test]
fn lockprobe_tells_of_itself() {
    let watch = Watch::start(&["--exe", "scene"]);
    let value = |page: &str, series: &str| -> Option<f64> {
        page.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
    };
    let page = until("its own numbers are there", || {
        let page = watch.page("/metrics");
        page.contains("\nlockprobe_bpf_map_entries{").then_some(page)
    });
    let probes = value(&page, "lockprobe_probes ").unwrap_or_else(|| panic!("{page}"));
    assert!((7.0..40.0).contains(&probes), "{probes}");
    let limit = |name: &str| value(&page, &format!("lockprobe_bpf_map_limit{{map=\"{name}\"}} "));
    assert!(limit("RING") == Some(4_194_304.0), "{page}");
    assert!(value(&page, "lockprobe_queue_limit{queue=\"batches\"} ") == Some(64.0), "{page}");
    watch.end();
}

#[test]
fn a_snapshot_shows_who_waits_and_the_end_takes_the_pages_along() {
    let program = Program::start("scene", ["blocked"]);
    let told = program.says();
    let watch = Watch::start(&["-p", &program.pid().to_string()]);
    let snapshot: Value = until("the wait is in the snapshot", || {
        let snapshot: Value = serde_json::from_str(&watch.page("/snapshot")).expect("JSON");
        let waits = snapshot["edges"].as_array().is_some_and(|edges| !edges.is_empty());
        waits.then_some(snapshot)
    });
    let output = lockprobe(["generate", "snapshot-schema"]).output().expect("lockprobe runs");
    let schema: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let schema = jsonschema::validator_for(&schema).expect("a schema");
    if let Err(error) = schema.validate(&snapshot) {
        panic!("{error}: {snapshot}");
    }
    let edge = &snapshot["edges"][0];
    assert_eq!(edge["process.pid"], program.pid(), "{snapshot} {told}");
    assert_eq!(snapshot["roots"][0]["process.pid"], program.pid());
    assert_eq!(snapshot["remote_holds"], serde_json::json!([]));
    assert_eq!(watch.page("/healthz"), "ok\n");
    let port = watch.port;
    watch.end();
    assert!(get(port, "/healthz").is_none(), "nobody listens any more");
    program.end();
}

#[test]
fn locks_that_servers_keep_are_in_the_snapshot() {
    let server = Server::redis();
    let watch =
        Watch::start(&["--exe", "redis-cli", "--server", &format!("{}=redis", server.port)]);
    // Taken as a client library takes it, and held as long as the client stays.
    let mut client = Command::new("redis-cli");
    client.args(["-p", &server.port.to_string()]).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut client = client.spawn().expect("redis-cli; `cargo xtask setup`");
    let mut stdin = client.stdin.take().unwrap();
    let nonce = "6a0f3c1e9b7d4a25b8c1";
    writeln!(stdin, "SET lock:pages {nonce} NX PX 30000").unwrap();
    let snapshot = until("the lock is in the snapshot", || {
        let page = watch.page("/snapshot");
        page.contains("lock:pages").then_some(page)
    });
    assert!(!snapshot.contains(nonce), "a nonce is a secret");
    let snapshot: Value = serde_json::from_str(&snapshot).unwrap();
    let hold = &snapshot["remote_holds"][0];
    assert_eq!(hold["process.pid"], client.id(), "{snapshot}");
    assert_eq!(hold["server.port"], server.port);
    assert_eq!(hold["lock.lease.duration"], 30.0);
    let (since, until) = (&hold["start_time_unix_nano"], &hold["lease_end_unix_nano"]);
    let lasts = until.as_u64().unwrap() - since.as_u64().unwrap();
    assert!((29_000_000_000..=30_100_000_000).contains(&lasts), "{hold}");
    drop(stdin);
    client.wait().unwrap();
    watch.end();
}

#[test]
fn an_address_that_is_taken_is_found_out_before_anything_is_attached() {
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ended = lockprobe_tests::probe::run(["trace", "--http", &address]).expect(1);
    assert!(ended.sentence().contains(&address), "{}", ended.stderr);
    lockprobe_tests::probe::run(["trace", "--http", "nonsense"]).expect(2);
}
