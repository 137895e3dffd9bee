//! The standard variables, read as their specification has it
//! (<https://opentelemetry.io/docs/specs/otel/protocol/exporter/>).

use std::path::PathBuf;
use std::time::Duration;

use super::settings::{Headers, Layer, Protocol, Signal, Way};
use super::target;

/// What they say. Values are repeated in warnings, but for those of headers, which are secrets.
pub fn read(variable: &dyn Fn(&str) -> Option<String>, say: &dyn Fn(&str)) -> Layer {
    let of = |infix: &str| way(&|name| variable(name), infix, say);
    Layer {
        general: of(""),
        traces: of(&format!("{}_", Signal::Traces.variable())),
        metrics: of(&format!("{}_", Signal::Metrics.variable())),
        logs: of(&format!("{}_", Signal::Logs.variable())),
    }
}

/// Signals that are not to be sent at all. Other exporters are not for us to be.
pub fn off(variable: &dyn Fn(&str) -> Option<String>, say: &dyn Fn(&str)) -> Vec<Signal> {
    let is_off = |signal: &Signal| {
        let name = format!("OTEL_{}_EXPORTER", signal.variable());
        let Some(value) = variable(&name) else { return false };
        match value.trim() {
            "none" => true,
            "" | "otlp" => false,
            value => {
                say(&format!("warning: ignoring {name}={value}: neither otlp nor none"));
                false
            }
        }
    };
    Signal::ALL.into_iter().filter(is_off).collect()
}

fn way(variable: &dyn Fn(&str) -> Option<String>, infix: &str, say: &dyn Fn(&str)) -> Way {
    let get = |name: &str| {
        let name = format!("OTEL_EXPORTER_OTLP_{infix}{name}");
        let value = variable(&name)?.trim().to_owned();
        // Set to nothing is not set.
        (!value.is_empty()).then_some((name, value))
    };
    let file = |name: &str| get(name).map(|(_, path)| PathBuf::from(path));
    Way {
        endpoint: get("ENDPOINT").map(|(_, url)| url),
        protocol: get("PROTOCOL").and_then(|(name, value)| {
            let known = Protocol::parse(&value);
            if known.is_none() {
                say(&format!(
                    "warning: ignoring {name}={value}: lockprobe speaks grpc and http/protobuf"
                ));
            }
            known
        }),
        headers: get("HEADERS").map(|(name, value)| headers(&name, &value, say)),
        gzip: get("COMPRESSION").and_then(|(name, value)| match value.as_str() {
            "gzip" => Some(true),
            "none" => Some(false),
            _ => {
                say(&format!("warning: ignoring {name}={value}: neither gzip nor none"));
                None
            }
        }),
        timeout: get("TIMEOUT").and_then(|(name, value)| match value.parse::<u64>() {
            Ok(milliseconds) if milliseconds > 0 => Some(Duration::from_millis(milliseconds)),
            _ => {
                say(&format!("warning: ignoring {name}={value}: not a number of milliseconds"));
                None
            }
        }),
        ca_file: file("CERTIFICATE"),
        cert_file: file("CLIENT_CERTIFICATE"),
        key_file: file("CLIENT_KEY"),
        insecure: get("INSECURE").and_then(|(name, value)| {
            match value.to_ascii_lowercase().as_str() {
                "true" => Some(true),
                "false" => Some(false),
                _ => {
                    say(&format!("warning: ignoring {name}={value}: neither true nor false"));
                    None
                }
            }
        }),
    }
}

/// `key=value,key=value`, the values percent-encoded as in W3C baggage.
fn headers(name: &str, list: &str, say: &dyn Fn(&str)) -> Headers {
    let mut headers = Vec::new();
    let pairs = list.split(',').enumerate().filter(|(_, pair)| !pair.trim().is_empty());
    for (n, pair) in pairs {
        let decoded = pair.split_once('=').and_then(|(key, value)| {
            let value = percent_encoding::percent_decode_str(value.trim()).decode_utf8().ok()?;
            target::header(key, &value)?;
            Some((key.trim().to_ascii_lowercase(), value.into_owned()))
        });
        match decoded {
            Some(pair) => headers.push(pair),
            None => say(&format!(
                "warning: ignoring header {} of {name}: not of the form key=value, or a header \
                 that lockprobe sets itself",
                n + 1
            )),
        }
    }
    Headers(headers)
}
