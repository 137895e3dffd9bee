//! Addresses, the environment, and who counts more.

use super::*;
use crate::sinks::otlp::settings::{Headers, Protocol};
use crate::sinks::otlp::target::Target;
use std::cell::RefCell;
use std::path::PathBuf;

fn target(url: &str, protocol: Option<Protocol>) -> anyhow::Result<Target> {
    let way = Way { endpoint: Some(url.to_owned()), protocol, ..Way::default() };
    said(way).target(Signal::Traces)
}

/// What an environment says, and what is said of it.
fn environment(set: &[(&str, &str)]) -> (Settings, Vec<String>) {
    let told = RefCell::new(Vec::new());
    let get = |name: &str| {
        let name = name.strip_prefix("OTEL_EXPORTER_OTLP_").or(name.strip_prefix("OTEL_")).unwrap();
        set.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
    };
    let say = |line: &str| told.borrow_mut().push(line.to_owned());
    let settings = Settings::default().with_environment(&get, &say);
    (settings, told.take())
}

#[test]
fn good_addresses() {
    for (good, becomes) in [
        ("http://localhost:4317", "http://localhost:4317/"),
        ("http://[::1]:4317/", "http://[::1]:4317/"),
        (" http://10.0.0.1:9 ", "http://10.0.0.1:9/"),
        ("https://collector.example", "https://collector.example/"),
    ] {
        let target = target(good, None).unwrap();
        assert_eq!((target.protocol, &*target.uri.to_string()), (Protocol::Grpc, becomes));
    }
    for (good, becomes) in [
        ("http://localhost:4318", "http://localhost:4318/v1/traces"),
        ("http://localhost:4318/", "http://localhost:4318/v1/traces"),
        ("https://gateway.example/otlp", "https://gateway.example/otlp/v1/traces"),
        ("http://h:1/otlp/?key=1", "http://h:1/otlp/v1/traces?key=1"),
        // Of one signal, and meant for all.
        ("http://h:4318/v1/logs", "http://h:4318/v1/traces"),
    ] {
        let target = target(good, None).unwrap();
        assert_eq!((target.protocol, &*target.uri.to_string()), (Protocol::Http, becomes));
    }
    let plain = target("http://collector", Some(Protocol::Http)).unwrap();
    assert_eq!(plain.uri.to_string(), "http://collector/v1/traces");
}

#[test]
fn bad_addresses_get_one_clear_sentence() {
    for (bad, says) in [
        ("", "no http:// or https://"),
        ("localhost:4317", "no http:// or https://"),
        ("http://", "not a URL"),
        ("http://a b:1", "not a URL"),
        ("ftp://host:4317", "scheme ftp"),
        ("http://host", "no port"),
        ("http://host:0", "no port"),
        ("https://host:0", "no port"),
        ("http://host:99999", "no port"),
        ("http://:4317", "names no host"),
        ("http://me:hunter2@host:4317", "OTEL_EXPORTER_OTLP_HEADERS"),
        ("me:hunter2@host:4317", "OTEL_EXPORTER_OTLP_HEADERS"),
    ] {
        let error = target(bad, None).err().unwrap().to_string();
        assert!(error.contains(says), "{bad}: {error}");
        assert!(!error.contains('\n') && !error.contains("hunter2"), "{error}");
    }
    let error = target("http://host:4318/v1/traces", Some(Protocol::Grpc)).err().unwrap();
    assert!(error.to_string().contains("http/protobuf"), "{error}");
}

#[test]
fn files_that_are_not_there_or_do_not_belong_together() {
    let none = || Some(PathBuf::from("/nonexistent.pem"));
    let endpoint = Some("https://host:4317".to_owned());
    for (way, says) in [
        (Way { ca_file: none(), ..Way::default() }, "OTEL_EXPORTER_OTLP_CERTIFICATE"),
        (Way { key_file: none(), ..Way::default() }, "give both"),
        (
            Way { cert_file: none(), key_file: none(), ..Way::default() },
            "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
        ),
    ] {
        let settings = said(Way { endpoint: endpoint.clone(), ..way });
        let error = settings.target(Signal::Logs).err().unwrap().to_string();
        assert!(error.contains(says) && !error.contains('\n'), "{error}");
    }
    // Without TLS they are not looked at.
    let plain =
        Way { endpoint: Some("http://host:4317".into()), ca_file: none(), ..Way::default() };
    assert!(said(plain).target(Signal::Logs).is_ok());
}

#[test]
fn the_environment_as_the_specification_has_it() {
    let (none, told) = environment(&[("HEADERS", " "), ("TIMEOUT", "")]);
    assert_eq!(told, [""; 0]);
    assert!(!none.has_endpoint());
    let none = none.target(Signal::Traces).unwrap();
    assert_eq!((none.timeout, none.gzip, none.headers.len()), (Duration::from_secs(5), false, 0));
    assert_eq!(none.uri.to_string(), "http://localhost:4317/");
    let (some, told) = environment(&[
        ("HEADERS", "a=1, B = x%3Dy ,c=d=e,"),
        ("TIMEOUT", "1"),
        ("TRACES_TIMEOUT", "1500"),
        ("COMPRESSION", "none"),
        ("LOGS_COMPRESSION", "gzip"),
        ("PROTOCOL", "grpc"),
    ]);
    assert_eq!(told, [""; 0]);
    let [traces, metrics, logs] = Signal::ALL.map(|signal| some.target(signal).unwrap());
    let timeouts = [traces.timeout, metrics.timeout].map(|t| t.as_millis());
    assert_eq!((timeouts, metrics.gzip, logs.gzip), ([1500, 1], false, true));
    let value = |key| traces.headers.get(key).unwrap().to_str().unwrap();
    assert_eq!((value("a"), value("b"), value("c")), ("1", "x=y", "d=e"));
    assert!(!format!("{some:?} {:?}", traces.headers).contains("x=y"), "values are secrets");
    let (bad, told) = environment(&[
        ("HEADERS", "hunter2,k\u{e9}y=hunter2,a=1,b=%0a,content-type=hunter2"),
        ("TIMEOUT", "5s"),
        ("COMPRESSION", "zstd"),
        ("PROTOCOL", "http/json"),
        ("INSECURE", "perhaps"),
    ]);
    let bad = bad.target(Signal::Traces).unwrap();
    assert_eq!((bad.timeout, bad.gzip, bad.headers.len()), (Duration::from_secs(5), false, 1));
    assert_eq!(told.len(), 8, "{told:#?}");
    assert!(!told.concat().contains("hunter2"), "{told:#?}");
}

#[test]
fn an_address_of_one_signal_is_used_as_it_is() {
    let (some, _) = environment(&[
        ("ENDPOINT", "http://all:4318/base"),
        ("METRICS_ENDPOINT", "http://numbers:9/my/own"),
        ("LOGS_ENDPOINT", "http://events:4317"),
        ("LOGS_PROTOCOL", "grpc"),
    ]);
    let uris = Signal::ALL.map(|signal| some.target(signal).unwrap().uri.to_string());
    let expected =
        ["http://all:4318/base/v1/traces", "http://numbers:9/my/own", "http://events:4317/"];
    assert_eq!(uris, expected);
}

#[test]
fn a_signal_can_be_left_out() {
    let (some, told) = environment(&[("LOGS_EXPORTER", "none"), ("TRACES_EXPORTER", "otlp")]);
    assert_eq!(Signal::ALL.map(|signal| some.sends(signal)), [true, true, false]);
    assert_eq!(told, [""; 0]);
    let (some, told) = environment(&[("METRICS_EXPORTER", "prometheus")]);
    assert!(some.metrics && told[0].contains("OTEL_METRICS_EXPORTER=prometheus"), "{told:?}");
}

#[test]
fn without_a_scheme_it_takes_a_word_on_encryption() {
    for (insecure, becomes) in [("TRUE", "http://host:4317/"), ("false", "https://host:4317/")] {
        let (some, _) = environment(&[("ENDPOINT", "host:4317"), ("INSECURE", insecure)]);
        assert_eq!(some.target(Signal::Traces).unwrap().uri.to_string(), becomes);
    }
    let (http, _) =
        environment(&[("ENDPOINT", "h:1"), ("INSECURE", "true"), ("PROTOCOL", "http/protobuf")]);
    assert!(http.target(Signal::Traces).is_err());
}

#[test]
fn the_file_counts_less_than_the_environment_and_that_less_than_the_command_line() {
    let way = |url: &str| Way { endpoint: Some(url.into()), ..Way::default() };
    let headers = Some(Headers(vec![("key".into(), "file".into())]));
    let file = Layer {
        general: Way { headers, gzip: Some(true), ..way("http://file:1") },
        traces: way("http://file-traces:1"),
        ..Layer::default()
    };
    let set = |name: &str| match name {
        "OTEL_EXPORTER_OTLP_ENDPOINT" => Some("http://environment:2".to_owned()),
        "OTEL_EXPORTER_OTLP_PROTOCOL" => Some("http/protobuf".to_owned()),
        _ => None,
    };
    let name = |settings: &Settings| settings.target(Signal::Traces).unwrap().uri.to_string();
    let of_file = Settings::default().with(file);
    assert_eq!(name(&of_file), "http://file-traces:1/");
    let both = of_file.with_environment(&set, &|line| panic!("{line}"));
    assert_eq!(name(&both), "http://environment:2/v1/traces");
    let target = both.target(Signal::Traces).unwrap();
    assert!(target.gzip && target.headers["key"] == "file");
    let flag = both.clone().with_endpoint("http://flag:4317");
    assert_eq!(name(&flag), "http://flag:4317/v1/traces");
    // Its form says more than the environment.
    let set = |name: &str| (name == "OTEL_EXPORTER_OTLP_PROTOCOL").then(|| "grpc".to_owned());
    let grpc = Settings::default().with_environment(&set, &|line| panic!("{line}"));
    assert_eq!(name(&grpc.clone().with_endpoint("http://h:4318")), "http://h:4318/v1/traces");
    assert_eq!(name(&grpc.with_endpoint("http://h:4317")), "http://h:4317/");
}
