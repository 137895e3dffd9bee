//! The connection to a collector: address, options of the environment, one attempt at a time.

use anyhow::{Context, bail};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use std::error::Error;
use std::time::Duration;
use tonic::codec::CompressionEncoding;
use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue, MetadataMap};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Uri};
use tonic::{Code, Extensions, Request, Status};
use tonic_types::StatusExt;

/// A collector may not ask for a longer pause than this.
const LONGEST_DELAY: Duration = Duration::from_secs(60);

/// What the standard environment variables set.
#[derive(Clone, Debug)]
pub struct Options {
    /// Sent with each request.
    pub headers: MetadataMap,
    /// For one attempt, connecting included.
    pub timeout: Duration,
    /// Compress requests.
    pub gzip: bool,
    /// File of a certificate to trust beside those of the system.
    pub certificate: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            headers: MetadataMap::new(),
            timeout: Duration::from_secs(5),
            gzip: false,
            certificate: None,
        }
    }
}

impl Options {
    /// Reads the environment; as the specification wants it, what makes no sense is said and
    /// otherwise treated as not set. Headers are secrets and never shown.
    pub fn read(variable: &dyn Fn(&str) -> Option<String>, say: &dyn Fn(&str)) -> Self {
        let get = |name: &str| {
            [format!("OTEL_EXPORTER_OTLP_TRACES_{name}"), format!("OTEL_EXPORTER_OTLP_{name}")]
                .into_iter()
                .find_map(|name| {
                    let value = variable(&name)?.trim().to_owned();
                    (!value.is_empty()).then_some((name, value))
                })
        };
        let mut options = Self::default();
        if let Some((name, value)) = get("HEADERS") {
            for (n, pair) in
                value.split(',').enumerate().filter(|(_, pair)| !pair.trim().is_empty())
            {
                match header(pair) {
                    Some((key, value)) => drop(options.headers.insert(key, value)),
                    None => say(&format!(
                        "warning: ignoring header {} of {name}: not of the form key=value",
                        n + 1
                    )),
                }
            }
        }
        if let Some((name, value)) = get("TIMEOUT") {
            match value.parse::<u64>() {
                Ok(milliseconds) if milliseconds > 0 => {
                    options.timeout = Duration::from_millis(milliseconds);
                }
                _ => {
                    say(&format!("warning: ignoring {name}={value}: not a number of milliseconds"))
                }
            }
        }
        if let Some((name, value)) = get("COMPRESSION") {
            match value.as_str() {
                "gzip" => options.gzip = true,
                "none" => {}
                _ => say(&format!("warning: ignoring {name}={value}: neither gzip nor none")),
            }
        }
        if let Some((name, value)) = get("PROTOCOL")
            && value != "grpc"
        {
            say(&format!("warning: ignoring {name}={value}: lockprobe speaks grpc only"));
        }
        options.certificate = get("CERTIFICATE").map(|(_, value)| value);
        options
    }
}

/// `key=value`, the value percent-encoded as in W3C baggage.
fn header(pair: &str) -> Option<(AsciiMetadataKey, AsciiMetadataValue)> {
    let (key, value) = pair.split_once('=')?;
    let key = key.trim().to_ascii_lowercase().parse().ok()?;
    let value = percent_encoding::percent_decode_str(value.trim()).decode_utf8().ok()?;
    let mut value: AsciiMetadataValue = value.parse().ok()?;
    value.set_sensitive(true);
    Some((key, value))
}

/// A collector's address that was understood.
pub struct Address {
    /// As people know it.
    name: String,
    endpoint: Endpoint,
}

impl Address {
    /// Takes `http://host:port` and `https://host:port`; all else gets one sentence that says how
    /// it should look.
    pub fn parse(text: &str, options: &Options) -> anyhow::Result<Self> {
        const FORM: &str = "give it as http://host:4317 (4317 is the usual port of OTLP over gRPC)";
        let text = text.trim();
        if text.contains('@') {
            // Not repeated: it holds a password.
            bail!(
                "the OTLP address has a user name in it: {FORM}, and credentials in \
                 OTEL_EXPORTER_OTLP_HEADERS"
            );
        }
        if !text.contains("://") {
            bail!("the OTLP address {text:?} has no http:// or https:// in front: {FORM}");
        }
        let Ok(uri) = text.parse::<Uri>() else {
            bail!("the OTLP address {text:?} is not a URL: {FORM}");
        };
        let scheme = uri.scheme_str().unwrap_or_default();
        if !matches!(scheme, "http" | "https") {
            bail!(
                "the OTLP address {text:?} has the scheme {scheme}, neither http nor https: {FORM}"
            );
        }
        let host = uri.host().unwrap_or_default();
        if host.is_empty() {
            bail!("the OTLP address {text:?} names no host: {FORM}");
        }
        let Some(port) = uri.port_u16().filter(|port| *port != 0) else {
            bail!("the OTLP address {text:?} has no port: {FORM}");
        };
        if uri.path_and_query().is_some_and(|path| path.as_str() != "/") {
            bail!(
                "the OTLP address {text:?} has a path, as OTLP over HTTP has it; \
                 lockprobe speaks OTLP over gRPC: {FORM}"
            );
        }
        let name = format!("{scheme}://{host}:{port}");
        let mut endpoint = Endpoint::from(uri.clone())
            .user_agent(concat!("lockprobe/", env!("CARGO_PKG_VERSION")))?
            .connect_timeout(options.timeout)
            .tcp_keepalive(Some(Duration::from_secs(30)));
        if scheme == "https" {
            endpoint = endpoint
                .tls_config(trust(options)?)
                .with_context(|| format!("cannot set up TLS for the OTLP collector {name}"))?;
        }
        Ok(Self { name, endpoint })
    }
}

/// Whom a TLS connection trusts.
fn trust(options: &Options) -> anyhow::Result<ClientTlsConfig> {
    let Some(path) = &options.certificate else {
        return Ok(ClientTlsConfig::new().with_native_roots());
    };
    let pem = std::fs::read(path)
        .with_context(|| format!("cannot read {path}, named by OTEL_EXPORTER_OTLP_CERTIFICATE"))?;
    Ok(ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)))
}

/// What came of one attempt.
#[derive(Debug)]
pub enum Answer {
    /// The collector has the batch, but for these spans.
    Taken { rejected: u64, message: String },
    /// It does not want the batch, now or later.
    Refused(String),
    /// Not now: worth another attempt, after this delay if the collector asked for one.
    Away { why: String, delay: Option<Duration> },
}

/// A collector.
pub struct Client {
    address: Address,
    options: Options,
    connection: Option<TraceServiceClient<Channel>>,
}

impl Client {
    /// A client that connects with its first attempt.
    pub fn new(address: Address, options: Options) -> Self {
        Self { address, options, connection: None }
    }

    /// The collector's address, for messages.
    pub fn name(&self) -> &str {
        &self.address.name
    }

    /// One attempt.
    pub async fn export(&mut self, batch: ExportTraceServiceRequest) -> Answer {
        let mut connection = self.connection.take().unwrap_or_else(|| self.connect());
        let request = Request::from_parts(self.options.headers.clone(), Extensions::new(), batch);
        let answer = tokio::time::timeout(self.options.timeout, connection.export(request)).await;
        let answer = match answer {
            Ok(Ok(response)) => {
                let partial = response.into_inner().partial_success.unwrap_or_default();
                Answer::Taken {
                    rejected: partial.rejected_spans.try_into().unwrap_or(0),
                    message: printable(&partial.error_message),
                }
            }
            Ok(Err(status)) => judge(&status),
            Err(_) => {
                let why = format!("no answer within {:?}", self.options.timeout);
                Answer::Away { why, delay: None }
            }
        };
        // After a failure the connection may be half dead, which only a new one finds out soon.
        if !matches!(answer, Answer::Away { .. }) {
            self.connection = Some(connection);
        }
        answer
    }

    fn connect(&self) -> TraceServiceClient<Channel> {
        let client = TraceServiceClient::new(self.address.endpoint.connect_lazy());
        if !self.options.gzip {
            return client;
        }
        client
            .send_compressed(CompressionEncoding::Gzip)
            .accept_compressed(CompressionEncoding::Gzip)
    }
}

/// Whether another attempt makes sense: <https://opentelemetry.io/docs/specs/otlp/#failures>.
pub fn judge(status: &Status) -> Answer {
    // With a source the status was made on this side: the request or the answer got lost.
    if let Some(source) = status.source() {
        return Answer::Away { why: printable(&root_cause(source)), delay: None };
    }
    let delay = status
        .get_details_retry_info()
        .and_then(|info| info.retry_delay)
        .map(|delay| delay.min(LONGEST_DELAY));
    let why = match status.message() {
        "" => format!("{:?}", status.code()),
        message => format!("{:?}: {}", status.code(), printable(message)),
    };
    match status.code() {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => Answer::Away { why, delay },
        Code::ResourceExhausted if delay.is_some() => Answer::Away { why, delay },
        _ => Answer::Refused(why),
    }
}

fn root_cause(error: &(dyn Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// A remote text, short and harmless enough for a terminal.
fn printable(text: &str) -> String {
    let text: String = text.chars().take(200).collect();
    crate::model::thread::printable(&text)
}
