//! Where to send what, and how: said by several, of whom the later one counts.
//!
//! A layer is what one of them says: the configuration file, the environment, the command line.
//! Within a layer, what is said of one signal counts more than what is said of all.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::environment;

/// A kind of telemetry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Spans.
    Traces,
    /// Numbers.
    Metrics,
    /// Events.
    Logs,
}

impl Signal {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Traces, Self::Metrics, Self::Logs];

    /// Its name in variables: `TRACES`.
    pub fn variable(self) -> &'static str {
        ["TRACES", "METRICS", "LOGS"][self as usize]
    }

    /// What is counted of it, for messages.
    pub fn unit(self) -> &'static str {
        ["spans", "data points", "log records"][self as usize]
    }
}

/// How OTLP is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// `grpc`
    Grpc,
    /// `http/protobuf`
    Http,
}

impl Protocol {
    /// Reads its name.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "grpc" => Some(Self::Grpc),
            "http/protobuf" => Some(Self::Http),
            _ => None,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        ["grpc", "http/protobuf"][self as usize]
    }
}

/// Headers of each request. Their values are secrets, and are not shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers(pub Vec<(String, String)>);

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.iter().map(|(name, _)| (name, "***"))).finish()
    }
}

/// What is said of the way to a collector; `None` where nothing is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Way {
    /// `http://host:port` or `https://host:port`, perhaps with a path.
    pub endpoint: Option<String>,
    /// How it is spoken to.
    pub protocol: Option<Protocol>,
    /// Sent with each request.
    pub headers: Option<Headers>,
    /// Compress requests with gzip.
    pub gzip: Option<bool>,
    /// For one attempt, connecting included.
    pub timeout: Option<Duration>,
    /// File of the certificates to trust, instead of those of the system.
    pub ca_file: Option<PathBuf>,
    /// File of the certificate to show the collector.
    pub cert_file: Option<PathBuf>,
    /// File of the key that belongs to it.
    pub key_file: Option<PathBuf>,
    /// Of a gRPC endpoint without `http://` or `https://`: it takes no TLS.
    pub insecure: Option<bool>,
}

/// What one of several says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layer {
    /// Of all signals.
    pub general: Way,
    /// Of spans alone.
    pub traces: Way,
    /// Of metrics alone.
    pub metrics: Way,
    /// Of log records alone.
    pub logs: Way,
}

impl Layer {
    fn of(&self, signal: Signal) -> &Way {
        match signal {
            Signal::Traces => &self.traces,
            Signal::Metrics => &self.metrics,
            Signal::Logs => &self.logs,
        }
    }
}

/// All that is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The weakest first.
    layers: Vec<Layer>,
    /// The endpoint of the command line, with a protocol where its form tells one.
    flag: Option<(String, Option<Protocol>)>,
    /// Whether spans are sent.
    pub traces: bool,
    /// Whether metrics are sent.
    pub metrics: bool,
    /// Whether log records are sent: findings as they begin and end.
    pub logs: bool,
    /// Whether each contended attempt is a log record too.
    pub contention: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            layers: Vec::new(),
            flag: None,
            traces: true,
            metrics: true,
            logs: true,
            contention: true,
        }
    }
}

/// A value, and whether it was said of this signal alone.
pub struct Said<T> {
    /// The value.
    pub value: T,
    /// Of this signal alone.
    pub own: bool,
}

impl Settings {
    /// What `lockprobe trace --otlp URL` sends: spans and findings, as the environment wants them
    /// sent. `say` is told of variables that make no sense.
    pub fn of_flag(url: &str, say: &dyn Fn(&str)) -> Self {
        let mut plain = Self::default().sending(&[Signal::Traces, Signal::Logs]);
        plain.contention = false;
        plain.with_environment(&|name| std::env::var(name).ok(), say).with_endpoint(url)
    }

    /// Sends these signals alone.
    pub fn sending(self, signals: &[Signal]) -> Self {
        let [traces, metrics, logs] = Signal::ALL.map(|signal| signals.contains(&signal));
        Self { traces, metrics, logs, ..self }
    }

    /// Adds what counts more than all before.
    pub fn with(mut self, layer: Layer) -> Self {
        self.layers.push(layer);
        self
    }

    /// Adds what the standard variables say (OTEL_EXPORTER_OTLP_*, and OTEL_LOGS_EXPORTER=none and
    /// its like). As the specification wants it, what makes no sense is said and otherwise treated
    /// as not set.
    pub fn with_environment(
        mut self,
        variable: &dyn Fn(&str) -> Option<String>,
        say: &dyn Fn(&str),
    ) -> Self {
        let off = environment::off(variable, say);
        let [traces, metrics, logs] = Signal::ALL.map(|signal| !off.contains(&signal));
        self.traces &= traces;
        self.metrics &= metrics;
        self.logs &= logs;
        self.with(environment::read(variable, say))
    }

    /// Sends all signals to this address. One with a path, or at port 4318, is HTTP's.
    pub fn with_endpoint(mut self, url: &str) -> Self {
        self.flag = Some((url.to_owned(), looks_like(url)));
        self
    }

    /// Whether anybody says where to.
    pub fn has_endpoint(&self) -> bool {
        let has = |layer: &Layer| {
            let own = Signal::ALL.iter().any(|signal| layer.of(*signal).endpoint.is_some());
            own || layer.general.endpoint.is_some()
        };
        self.flag.is_some() || self.layers.iter().any(has)
    }

    /// Whether this is sent.
    pub fn sends(&self, signal: Signal) -> bool {
        match signal {
            Signal::Traces => self.traces,
            Signal::Metrics => self.metrics,
            Signal::Logs => self.logs,
        }
    }

    /// What counts of what is said of one thing.
    pub(super) fn said<T: Clone>(
        &self,
        signal: Signal,
        thing: impl Fn(&Way) -> &Option<T>,
    ) -> Option<Said<T>> {
        self.layers.iter().rev().find_map(|layer| {
            let own = thing(layer.of(signal)).clone().map(|value| Said { value, own: true });
            let general = || thing(&layer.general).clone().map(|value| Said { value, own: false });
            own.or_else(general)
        })
    }

    /// Where to, and by which protocol. Without a word on either: `http://localhost:4317`, grpc.
    pub(super) fn place(&self, signal: Signal) -> (Said<String>, Protocol) {
        let protocol = self.said(signal, |way| &way.protocol).map(|said| said.value);
        if let Some((url, shape)) = &self.flag {
            let protocol = shape.or(protocol).unwrap_or(Protocol::Grpc);
            return (Said { value: url.clone(), own: false }, protocol);
        }
        let said = self.said(signal, |way| &way.endpoint);
        let shape = said.as_ref().and_then(|said| looks_like(&said.value));
        let protocol = protocol.or(shape).unwrap_or(Protocol::Grpc);
        let usual = || match protocol {
            Protocol::Grpc => "http://localhost:4317".to_owned(),
            Protocol::Http => "http://localhost:4318".to_owned(),
        };
        (said.unwrap_or_else(|| Said { value: usual(), own: false }), protocol)
    }
}

/// What an address is made for, where it shows.
fn looks_like(url: &str) -> Option<Protocol> {
    let rest = url.trim().split_once("://").map_or(url, |(_, rest)| rest);
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let http = !path.trim().is_empty() || host.trim().ends_with(":4318");
    http.then_some(Protocol::Http)
}
