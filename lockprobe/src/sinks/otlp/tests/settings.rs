//! Addresses and the environment.

use super::*;
use crate::sinks::otlp::client::Address;
use std::cell::RefCell;

#[test]
fn good_addresses() {
    for good in ["http://localhost:4317", "http://[::1]:4317/", " http://10.0.0.1:9 "] {
        assert!(Address::parse(good, &Options::default()).is_ok(), "{good}");
    }
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
        ("http://host:99999", "no port"),
        ("http://:4317", "names no host"),
        ("http://host:4318/v1/traces", "OTLP over HTTP"),
        ("http://me:hunter2@host:4317", "OTEL_EXPORTER_OTLP_HEADERS"),
        ("me:hunter2@host:4317", "OTEL_EXPORTER_OTLP_HEADERS"),
    ] {
        let error = Address::parse(bad, &Options::default()).err().unwrap().to_string();
        assert!(error.contains(says), "{bad}: {error}");
        assert!(!error.contains('\n') && !error.contains("hunter2"), "{error}");
    }
    let certificate = Some("/nonexistent.pem".into());
    let options = Options { certificate, ..Options::default() };
    let error = Address::parse("https://host:4317", &options).err().unwrap().to_string();
    assert!(error.contains("OTEL_EXPORTER_OTLP_CERTIFICATE"), "{error}");
}

#[test]
fn the_environment_as_the_specification_has_it() {
    let said = RefCell::new(Vec::new());
    let read = |set: &[(&str, &str)]| {
        let get = |name: &str| {
            let (_, value) = set.iter().find(|(key, _)| *key == name)?;
            Some((*value).to_owned())
        };
        Options::read(&get, &|line| said.borrow_mut().push(line.to_owned()))
    };
    let none = read(&[("OTEL_EXPORTER_OTLP_HEADERS", " "), ("OTEL_EXPORTER_OTLP_TIMEOUT", "")]);
    assert_eq!((none.timeout, none.gzip, none.headers.len()), (Duration::from_secs(5), false, 0));
    let some = read(&[
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=1, B = x%3Dy ,c=d=e,"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "1"),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "1500"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "none"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
    ]);
    assert_eq!((some.timeout, some.gzip), (Duration::from_millis(1500), false));
    let value = |key| some.headers.get(key).unwrap().to_str().unwrap();
    assert_eq!((value("a"), value("b"), value("c")), ("1", "x=y", "d=e"));
    assert!(!format!("{some:?}").contains("x=y"), "values are secrets");
    assert_eq!(said.take(), [""; 0]);
    let bad = read(&[
        ("OTEL_EXPORTER_OTLP_HEADERS", "hunter2,k\u{e9}y=hunter2,a=1,b=%0a"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "5s"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
    ]);
    assert_eq!((bad.timeout, bad.gzip, bad.headers.len()), (Duration::from_secs(5), false, 1));
    let said = said.take();
    assert_eq!(said.len(), 6, "{said:#?}");
    assert!(!said.concat().contains("hunter2"), "{said:#?}");
}
