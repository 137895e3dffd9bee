//! One signal's collector: what is said of it, understood and checked before anything is sent.

use anyhow::{Context, bail};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use std::path::Path;
use std::time::Duration;

use super::settings::{Protocol, Said, Settings, Signal};

/// For one attempt, where nobody says so: `finish` has to end within five seconds.
const TIMEOUT: Duration = Duration::from_secs(5);
const FORM: &str = "give it as http://host:4317 (4317 is the usual port of OTLP over gRPC, 4318 of \
                    OTLP over HTTP)";

/// A collector's address that was understood, and how it is spoken to.
#[derive(Clone)]
pub struct Target {
    /// What is sent there.
    pub signal: Signal,
    /// How.
    pub protocol: Protocol,
    /// The whole address; of gRPC without a path.
    pub uri: Uri,
    /// Scheme, host and port, for messages.
    pub name: String,
    /// Sent with each request; every value is marked as a secret.
    pub headers: HeaderMap,
    /// Compress requests.
    pub gzip: bool,
    /// For one attempt, connecting included.
    pub timeout: Duration,
    /// What TLS needs.
    pub tls: Tls,
}

/// Certificates as they are in their files.
#[derive(Clone, Default)]
pub struct Tls {
    /// Whom to trust instead of whom the system does.
    pub trusted: Option<Vec<u8>>,
    /// Who to be: certificate and key.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl Settings {
    /// The collector of a signal.
    ///
    /// # Errors
    /// One sentence on what is wrong with the address, a header or a file.
    pub fn target(&self, signal: Signal) -> anyhow::Result<Target> {
        let (endpoint, protocol) = self.place(signal);
        let insecure = self.said(signal, |way| &way.insecure).map(|said| said.value);
        let uri = address(&endpoint, protocol, signal, insecure)?;
        let (scheme, host) = (uri.scheme_str().unwrap_or_default(), uri.authority());
        let name = format!("{scheme}://{}", host.map(Authority::as_str).unwrap_or_default());
        let mut headers = HeaderMap::new();
        for (key, value) in
            self.said(signal, |way| &way.headers).into_iter().flat_map(|s| s.value.0)
        {
            let Some((key, value)) = header(&key, &value) else {
                bail!(
                    "the OTLP header {key:?} cannot be sent: its name or its value has characters \
                     that headers cannot have, or lockprobe sets it itself; leave it out"
                );
            };
            headers.insert(key, value);
        }
        let timeout = self.said(signal, |way| &way.timeout).map_or(TIMEOUT, |said| said.value);
        let tls = match scheme {
            "https" => self.tls(signal)?,
            _ => Tls::default(),
        };
        let gzip = self.said(signal, |way| &way.gzip).is_some_and(|said| said.value);
        Ok(Target { signal, protocol, uri, name, headers, gzip, timeout, tls })
    }

    fn tls(&self, signal: Signal) -> anyhow::Result<Tls> {
        let read = |path: &Path, what: &str, variable: &str| {
            std::fs::read(path).with_context(|| {
                format!(
                    "cannot read {}, the {what} of the OTLP exporter; correct {variable} or the \
                     configuration (otlp.tls)",
                    path.display()
                )
            })
        };
        let trusted = self.said(signal, |way| &way.ca_file);
        let trusted = trusted
            .map(|said| read(&said.value, "certificate", "OTEL_EXPORTER_OTLP_CERTIFICATE"))
            .transpose()?;
        let certificate = self.said(signal, |way| &way.cert_file);
        let key = self.said(signal, |way| &way.key_file);
        let identity = match (certificate, key) {
            (Some(certificate), Some(key)) => Some((
                read(
                    &certificate.value,
                    "client certificate",
                    "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
                )?,
                read(&key.value, "client key", "OTEL_EXPORTER_OTLP_CLIENT_KEY")?,
            )),
            (None, None) => None,
            _ => bail!(
                "the OTLP exporter has a client certificate without a key, or a key without a \
                 certificate; give both (OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and \
                 OTEL_EXPORTER_OTLP_CLIENT_KEY, or otlp.tls in the configuration)"
            ),
        };
        Ok(Tls { trusted, identity })
    }
}

/// A header that may be sent, its value marked as a secret.
pub fn header(key: &str, value: &str) -> Option<(HeaderName, HeaderValue)> {
    // What says how a request is made is not for others to say.
    const OWN: [&str; 9] = [
        "host",
        "connection",
        "content-type",
        "content-length",
        "content-encoding",
        "transfer-encoding",
        "te",
        "grpc-encoding",
        "grpc-timeout",
    ];
    let key: HeaderName = key.trim().to_ascii_lowercase().parse().ok()?;
    if OWN.contains(&key.as_str()) || key.as_str().ends_with("-bin") {
        return None;
    }
    let mut value: HeaderValue = value.parse().ok()?;
    // gRPC and HTTP/1 agree on what is printable.
    value.to_str().ok()?;
    value.set_sensitive(true);
    Some((key, value))
}

/// Takes `http://host:port` and `https://host:port`, over HTTP with a path; all else gets one
/// sentence that says how it should look.
fn address(
    endpoint: &Said<String>,
    protocol: Protocol,
    signal: Signal,
    insecure: Option<bool>,
) -> anyhow::Result<Uri> {
    let text = endpoint.value.trim();
    if text.contains('@') {
        // Not repeated: it holds a password.
        bail!(
            "the OTLP address has a user name in it: {FORM}, and credentials in \
             OTEL_EXPORTER_OTLP_HEADERS"
        );
    }
    let bare = !text.contains("://");
    let whole = match (bare, insecure, protocol) {
        (false, ..) => text.to_owned(),
        (true, Some(true), Protocol::Grpc) => format!("http://{text}"),
        (true, Some(false), Protocol::Grpc) => format!("https://{text}"),
        _ => bail!("the OTLP address {text:?} has no http:// or https:// in front: {FORM}"),
    };
    let Ok(uri) = whole.parse::<Uri>() else {
        bail!("the OTLP address {text:?} is not a URL: {FORM}");
    };
    let scheme = uri.scheme().cloned().unwrap_or(Scheme::HTTP);
    if scheme != Scheme::HTTP && scheme != Scheme::HTTPS {
        bail!("the OTLP address {text:?} has the scheme {scheme}, neither http nor https: {FORM}");
    }
    let host = uri.host().unwrap_or_default();
    if host.is_empty() {
        bail!("the OTLP address {text:?} names no host: {FORM}");
    }
    // Every scheme has its port, but 80 is not one gRPC is spoken at.
    let needed = protocol == Protocol::Grpc && scheme == Scheme::HTTP;
    let given = uri.authority().is_some_and(|whole| whole.as_str().len() > host.len());
    if uri.port_u16().is_none_or(|port| port == 0) && (needed || given) {
        bail!("the OTLP address {text:?} has no port: {FORM}");
    }
    let path = path(&uri, endpoint.own, protocol, signal);
    let Some(path) = path else {
        bail!(
            "the OTLP address {text:?} has a path, which OTLP over gRPC has not: leave it out, or \
             set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"
        );
    };
    let authority = uri.authority().map(Authority::as_str).unwrap_or_default();
    Ok(Uri::builder().scheme(scheme).authority(authority).path_and_query(path).build()?)
}

/// Where at the collector. Of gRPC the service tells, so that there is no other.
fn path(uri: &Uri, own: bool, protocol: Protocol, signal: Signal) -> Option<PathAndQuery> {
    let given = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let path = match (protocol, own) {
        (Protocol::Grpc, _) => return (given == "/").then(|| PathAndQuery::from_static("/")),
        (Protocol::Http, true) => given.to_owned(),
        // One address for all signals is the root of theirs, unless it is one of theirs already.
        (Protocol::Http, false) => {
            let (path, query) = given.split_once('?').unwrap_or((given, ""));
            let root = path.trim_end_matches('/');
            let named = Signal::ALL.map(v1);
            let root = named.iter().find_map(|own| root.strip_suffix(own)).unwrap_or(root);
            let mark = if query.is_empty() { "" } else { "?" };
            format!("{root}{}{mark}{query}", v1(signal))
        }
    };
    PathAndQuery::try_from(path).ok()
}

fn v1(signal: Signal) -> &'static str {
    ["/v1/traces", "/v1/metrics", "/v1/logs"][signal as usize]
}
