//! OTLP as receivers understand it that nobody here wrote.

use std::sync::Arc;

use lockprobe::model::{
    Durations, Exemplar, Family, Histogram, Instrument, Metrics, Point, ProcessFact, Record,
    Session, SpanId, Value as Number,
};
use lockprobe::sinks::Sink as _;
use lockprobe::sinks::otlp::{Otlp, Settings, Signal};
use lockprobe_tests::program::watched;
use lockprobe_tests::receivers::{Official, Phoenix};
use lockprobe_tests::records::{number, text};
use lockprobe_tests::servers::{Server, python};
use serde_json::Value;

/// Two agents that take turns with a lock in Redis, the writer after the planner; a command.
fn agents(redis: &Server, more: &str) -> Vec<String> {
    let command = python("agent.py").join(" ");
    let agent = |name: &str| {
        let project = format!("OTEL_RESOURCE_ATTRIBUTES=openinference.project.name={name}");
        format!("OTEL_SERVICE_NAME={name} {project} {more} {command} {name} {}", redis.port)
    };
    let line = format!("{} & {} & wait", agent("planner"), agent("writer"));
    vec!["sh".into(), "-c".into(), line]
}

/// Has lockprobe watch the agents and send what it sees to a collector.
fn observe(redis: &Server, collector: &str, more: &str) {
    let server = format!("{}=redis", redis.port);
    let arguments = ["trace", "--otlp", collector, "--server", &server, "--output", "/dev/null"];
    let ended = watched(&arguments, agents(redis, more)).expect(0);
    assert_eq!(ended.stderr, "", "all was delivered");
}

fn of<'a>(lines: &'a [Value], signal: &str, name: &str) -> Vec<&'a Value> {
    let key = if signal == "log" { "event" } else { "name" };
    let mine = |line: &&Value| line["signal"] == signal && line[key] == name;
    lines.iter().filter(mine).collect()
}

fn service(line: &Value) -> &str {
    line["resource"]["service.name"].as_str().expect("a name")
}

/// The spans of two agents, as one sees them who knows nothing else.
fn check_spans(lines: &[Value], protocol: &str) {
    assert!(lines.iter().all(|line| line["protocol"] == protocol && line["scope"] == "lockprobe"));
    let acquires = of(lines, "span", "acquire lock:workspace");
    let holds = of(lines, "span", "hold lock:workspace");
    assert_eq!((acquires.len(), holds.len()), (6, 6), "three turns of two agents");
    for agent in ["planner", "writer"] {
        let own = |spans: &[&Value]| spans.iter().filter(|span| service(span) == agent).count();
        assert_eq!((own(&acquires), own(&holds)), (3, 3), "{agent}");
    }
    for span in acquires.iter().chain(&holds) {
        assert_eq!(span["resource"]["telemetry.distro.name"], "lockprobe");
        assert!(number(&span["resource"], "process.pid") > 0);
        let root = of(lines, "span", "lock lock:workspace");
        let root = root.iter().find(|root| root["span"] == span["parent"]).expect("its root");
        assert_eq!((&root["trace"], &root["parent"]), (&span["trace"], &Value::from("")));
        assert_eq!(service(root), service(span));
        let (length, attributes) =
            (number(span, "end") - number(span, "start"), &span["attributes"]);
        assert!(length < 5_000_000_000, "nanoseconds since 1970: {span}");
        assert_eq!(attributes["lock.system.name"], "redis");
        assert_eq!(attributes["lock.lease.duration"], 5.0, "seconds");
    }
    // Whenever the writer had to wait, it was for the planner.
    let blocked: Vec<_> = acquires
        .iter()
        .filter(|span| service(span) == "writer" && !span["links"].as_array().unwrap().is_empty())
        .collect();
    assert!(!blocked.is_empty(), "{acquires:#?}");
    for span in blocked {
        let links = span["links"].as_array().expect("links");
        let kinds: Vec<_> =
            links.iter().map(|link| text(&link["attributes"], "lock.link.type")).collect();
        assert_eq!(kinds, ["blocked_by", "handed_over_by"]);
        let same =
            |hold: &&&Value| hold["span"] == links[0]["span"] && hold["trace"] == links[0]["trace"];
        let hold = holds.iter().find(same).expect("the hold it was blocked by");
        assert_eq!(service(hold), "planner");
        let pid = number(&hold["resource"], "process.pid");
        assert_eq!(span["attributes"]["lock.holder.pid"], pid);
    }
}

#[test]
fn the_official_protobufs_read_spans_and_findings_over_both_protocols() {
    let redis = Server::redis();
    for protocol in ["grpc", "http"] {
        let official = Official::start();
        let url = if protocol == "grpc" { &official.grpc } else { &official.http };
        observe(&redis, url, "");
        let lines = official.got();
        check_spans(&lines, protocol);
        let events = of(&lines, "log", "lock.stale_holder.detected");
        let [event] = events[..] else { panic!("{events:#?}") };
        assert_eq!(
            (service(event), text(event, "event")),
            ("writer", "lock.stale_holder.detected")
        );
        assert_eq!(event["severity"], serde_json::json!([17, "ERROR"]));
        assert_eq!(event["attributes"]["lock.lease.duration"], 0.3, "seconds");
        assert!(text(event, "body").starts_with("STALE HOLDER of redis://"), "{event}");
        redis_is_cleared(&redis);
    }
}

#[test]
fn a_lock_call_is_part_of_the_trace_its_comment_tells() {
    let (postgres, official) = (Server::postgres(), Official::start());
    let server = format!("{}=postgresql", postgres.port);
    let arguments =
        ["trace", "--otlp", &official.grpc, "--server", &server, "--output", "/dev/null"];
    let mut client = python("postgres_traced.py");
    client.push(postgres.port.to_string());
    watched(&arguments, client).expect(0);
    let lines = official.got();
    let spans = |verb: &str, key: u32| -> Vec<&Value> {
        let id = format!("adv/0:{key}:1");
        let mine = |span: &&Value| text(&span["attributes"], "lock.id").ends_with(&id);
        of(&lines, "span", &format!("{verb} advisory:*")).into_iter().filter(mine).collect()
    };
    for (key, parent) in [(41, "41"), (42, "42")] {
        for verb in ["acquire", "hold"] {
            let spans = spans(verb, key);
            let [span] = spans[..] else { panic!("{verb} {key}: {lines:#?}") };
            assert_eq!(span["trace"], "5bd66ef5095369c7b0d1f8f4bd33716a", "{span}");
            assert_eq!(text(span, "parent"), format!("{parent:0>16}"));
            assert_eq!(span["attributes"]["lock.trace_context.source"], "sql_comment");
        }
        assert!(spans("lock", key).is_empty(), "no root of its own");
    }
    let (own, root) = (spans("acquire", 43), spans("lock", 43));
    assert_eq!((own.len(), root.len()), (1, 1));
    assert_eq!(own[0]["parent"], root[0]["span"]);
}

/// The turns of the next two agents begin anew.
fn redis_is_cleared(redis: &Server) {
    let mut command = std::process::Command::new("redis-cli");
    command.args(["-p", &redis.port.to_string(), "flushall"]).stdout(std::process::Stdio::null());
    assert!(command.status().is_ok_and(|status| status.success()));
}

/// Numbers of every kind, of a process and of lockprobe.
fn numbers() -> Metrics {
    let agent = Some(Arc::new(ProcessFact {
        pid: 7,
        service: "worker".into(),
        attributes: vec![("k8s.pod.name".into(), "shop-0".into())],
        ..ProcessFact::default()
    }));
    let mut histogram = Histogram::default();
    [3_000_000, 3_000_000, 900_000_000].iter().for_each(|nanos| histogram.add(*nanos));
    let exemplar = Exemplar { value: 900_000_000, time: 5, span: SpanId { trace: 1, span: 2 } };
    let durations = Durations {
        histogram,
        count: 3,
        total: 906_000_000,
        longest: 900_000_000,
        exemplars: vec![exemplar],
    };
    let family = |name, unit, instrument, value, agent: &Option<Arc<ProcessFact>>| {
        let attributes = vec![("lock.name", Arc::from("queue"))];
        let points = vec![Point { agent: agent.clone(), attributes, value }];
        Family { name, unit, help: "For a test", instrument, points }
    };
    let waits = Number::Durations(Arc::new(durations));
    let families = vec![
        family("lock.wait.duration", "s", Instrument::Histogram, waits, &agent),
        family("lock.attempts", "{attempt}", Instrument::Counter, Number::Integer(3), &agent),
        family("lock.waiters", "{waiter}", Instrument::UpDownCounter, Number::Integer(-1), &agent),
        family("lockprobe.memory", "By", Instrument::Gauge, Number::Real(0.5), &None),
    ];
    Metrics { start: 1_000, time: 2_000, families }
}

#[test]
fn the_official_protobufs_read_metrics_over_both_protocols() {
    for protocol in ["grpc", "http"] {
        let official = Official::start();
        let url = if protocol == "grpc" { &official.grpc } else { &official.http };
        let settings = Settings::default().sending(&[Signal::Metrics]).with_endpoint(url);
        let session = Session { wall_offset: 1_000_000, ..Session::default() };
        let say = Box::new(|line: &str| panic!("{line}"));
        let mut otlp = Otlp::new(&settings, Arc::new(session), say).expect("an address");
        otlp.write(&Record::Metrics(Arc::new(numbers()))).expect("it takes it");
        otlp.finish().expect("it ends");
        assert_eq!(otlp.delivered(), [0, 4, 0], "{:?}", otlp.losses());
        let lines = official.got();
        assert!(lines.iter().all(|line| line["protocol"] == protocol));
        let one = |name: &str| of(&lines, "metric", name)[0].clone();
        let waits = one("lock.wait.duration");
        assert_eq!((text(&waits, "kind"), text(&waits, "unit")), ("exponential_histogram", "s"));
        assert_eq!(waits["resource"]["k8s.pod.name"], "shop-0");
        assert_eq!(service(&waits), "worker");
        let told =
            ["count", "scale", "zeros", "temporality", "start", "end"].map(|k| number(&waits, k));
        assert_eq!(told, [3, 3, 0, 2, 1_001_000, 1_002_000]);
        assert_eq!((&waits["sum"], &waits["max"]), (&Value::from(0.906), &Value::from(0.9)));
        // Where 3 ms and 900 ms are, in eighths of octaves of a second.
        let offset = waits["offset"].as_i64().expect("a number");
        let buckets = waits["buckets"].as_array().expect("buckets");
        let place = |seconds: f64| (seconds.log2() * 8.0).floor() as i64;
        assert!((offset - place(0.003)).abs() <= 1, "{waits}");
        assert_eq!(buckets[0], 2);
        let last = offset + buckets.len() as i64 - 1;
        assert!(
            (last - place(0.9)).abs() <= 1 && buckets.last() == Some(&Value::from(1)),
            "{waits}"
        );
        let exemplar = serde_json::json!({
            "trace": format!("{:032x}", 1), "span": format!("{:016x}", 2), "value": 0.9
        });
        assert_eq!(waits["exemplars"][0], exemplar);
        let attempts = one("lock.attempts");
        assert_eq!(
            (&attempts["monotonic"], &attempts["value"]),
            (&Value::from(true), &Value::from(3))
        );
        let waiters = one("lock.waiters");
        assert_eq!(
            (&waiters["monotonic"], &waiters["value"]),
            (&Value::from(false), &Value::from(-1))
        );
        let own = one("lockprobe.memory");
        assert_eq!((service(&own), text(&own, "kind")), ("lockprobe", "gauge"));
    }
}

#[test]
#[ignore = "needs a trace store of 850 MB: `cargo xtask test --receivers`"]
fn two_agents_appear_in_phoenix_under_their_projects() {
    assert!(Phoenix::is_installed(), "run `cargo xtask test --receivers`");
    let (redis, phoenix) = (Server::redis(), Phoenix::start());
    // It takes no log records, and says so.
    let phoenix_url = format!("{}/v1/traces", phoenix.url());
    for url in [&phoenix.grpc, &phoenix_url] {
        let server = format!("{}=redis", redis.port);
        let arguments = ["trace", "--otlp", url, "--server", &server, "--output", "/dev/null"];
        let mut command = lockprobe_tests::probe::lockprobe(arguments);
        command.arg("--").args(agents(&redis, "")).env("OTEL_LOGS_EXPORTER", "none");
        let ended = lockprobe_tests::probe::Probe::start(&mut command).wait().expect(0);
        assert_eq!(ended.stderr, "");
        redis_is_cleared(&redis);
    }
    let query = "{projects{edges{node{name spans(first:100){edges{node{name spanId parentId \
                 attributes}}}}}}}";
    let spans = |project: &str, start: &str| -> Vec<Value> {
        let all = phoenix.asked(query);
        let projects = all["data"]["projects"]["edges"].as_array().expect("projects").clone();
        let mine = projects.into_iter().find(|edge| edge["node"]["name"] == project);
        let mine = mine.unwrap_or_else(|| panic!("no project {project}: {all}"));
        let spans = mine["node"]["spans"]["edges"].as_array().expect("spans").clone();
        let named = |node: &Value| text(node, "name").starts_with(start);
        spans.into_iter().map(|edge| edge["node"].clone()).filter(named).collect()
    };
    // It writes a moment after it has acknowledged.
    lockprobe_tests::until("Phoenix has all spans", || {
        (spans("planner", "hold lock:workspace").len() == 6).then_some(())
    });
    let holds = spans("planner", "hold lock:workspace");
    let waits = spans("writer", "acquire lock:workspace");
    assert_eq!(waits.len(), 6);
    let attributes =
        |span: &Value| -> Value { serde_json::from_str(text(span, "attributes")).expect("JSON") };
    let blocked: Vec<Value> = waits
        .iter()
        .map(|span| attributes(span)["lock"]["blocked_by"]["span_id"].clone())
        .filter(|id| !id.is_null())
        .collect();
    assert!(blocked.len() >= 2, "{waits:#?}");
    for id in blocked {
        assert!(holds.iter().any(|hold| hold["spanId"] == id), "the hold of the planner");
    }
    for span in waits {
        let roots = spans("writer", "lock lock:workspace");
        assert!(roots.iter().any(|root| root["spanId"] == span["parentId"]), "{span}");
    }
}
