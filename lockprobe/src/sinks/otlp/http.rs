//! OTLP over HTTP: protobuf in the body of a POST (<https://opentelemetry.io/docs/specs/otlp/#otlphttp>).

use anyhow::{Context, anyhow};
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{
    CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER, USER_AGENT,
};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use prost::Message as _;
use prost::bytes::Bytes;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::client::{Answer, ExportResponse, LONGEST_DELAY, printable, root_cause};
use super::target::{Target, Tls};

/// Most of an answer that is read.
const ANSWER_AT_MOST: usize = 64 << 10;

/// A collector that is spoken to in HTTP.
pub struct Http {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    target: Target,
}

impl Http {
    /// Not connected yet.
    pub fn new(target: &Target) -> anyhow::Result<Self> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(target.timeout));
        tcp.set_keepalive(Some(Duration::from_secs(30)));
        let encrypted = target.uri.scheme_str() == Some("https");
        let tls = tls(&target.tls, encrypted)
            .with_context(|| format!("cannot set up TLS for the OTLP collector {}", target.name))?;
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { client, target: target.clone() })
    }

    /// One attempt.
    pub async fn export(&mut self, batch: Bytes) -> Answer {
        let target = &self.target;
        let mut request = Request::builder().method(Method::POST).uri(target.uri.clone());
        if let Some(headers) = request.headers_mut() {
            *headers = target.headers.clone();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROTOBUF));
            headers.insert(USER_AGENT, HeaderValue::from_static(super::USER_AGENT));
        }
        let body = match target.gzip.then(|| gzip(&batch)).and_then(Result::ok) {
            Some(smaller) => {
                request = request.header(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                smaller
            }
            None => batch,
        };
        let request = match request.body(Full::new(body)) {
            Ok(request) => request,
            Err(error) => return Answer::Refused(root_cause(&error)),
        };
        let response = match self.client.request(request).await {
            Ok(response) => response,
            Err(error) => return Answer::Away { why: root_cause(&error), delay: None },
        };
        let (head, body) = response.into_parts();
        let body = match Limited::new(body, ANSWER_AT_MOST).collect().await {
            Ok(body) => body.to_bytes(),
            // The status tells enough.
            Err(_) => Bytes::new(),
        };
        judge(head.status, &head.headers, &body, SystemTime::now())
    }
}

const PROTOBUF: &str = "application/x-protobuf";

/// The fastest level: higher ones cost many times as much for little.
fn gzip(batch: &[u8]) -> std::io::Result<Bytes> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(batch.len() / 4), Compression::fast());
    encoder.write_all(batch)?;
    Ok(encoder.finish()?.into())
}

/// Whether another attempt makes sense: <https://opentelemetry.io/docs/specs/otlp/#failures-1>.
pub fn judge(status: StatusCode, headers: &HeaderMap, body: &[u8], now: SystemTime) -> Answer {
    let protobuf = headers.get(CONTENT_TYPE).is_some_and(|kind| kind == PROTOBUF);
    if status.is_success() {
        return match protobuf {
            true => ExportResponse::decode(body).unwrap_or_default(),
            false => ExportResponse::default(),
        }
        .into();
    }
    // Errors come as google.rpc.Status, or as whatever a proxy on the way says.
    let said = tonic_types::pb::Status::decode(body).ok().filter(|_| protobuf);
    let said = match said {
        Some(said) => said.message,
        None => String::from_utf8_lossy(&body[..body.len().min(200)]).trim().to_owned(),
    };
    let why = match said.as_str() {
        "" => format!("{status}"),
        said => format!("{status}: {}", printable(said)),
    };
    match status {
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => {
            let delay = headers.get(RETRY_AFTER).and_then(|after| retry_after(after, now));
            Answer::Away { why, delay }
        }
        _ => Answer::Refused(why),
    }
}

/// Seconds, or a date.
fn retry_after(after: &HeaderValue, now: SystemTime) -> Option<Duration> {
    let after = after.to_str().ok()?.trim();
    let delay = match after.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(after).ok()?.duration_since(now).unwrap_or_default(),
    };
    Some(delay.min(LONGEST_DELAY))
}

/// Whom a connection trusts, and who it says to be.
fn tls(tls: &Tls, encrypted: bool) -> anyhow::Result<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let config =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let config = match &tls.trusted {
        Some(pem) => {
            let mut roots = RootCertStore::empty();
            for certificate in CertificateDer::pem_slice_iter(pem) {
                roots.add(certificate?)?;
            }
            if roots.is_empty() {
                return Err(anyhow!("there is no certificate in the file"));
            }
            config.with_root_certificates(roots)
        }
        None if encrypted => config.with_native_roots()?,
        // Not used, and a system without certificates is none the worse.
        None => config.with_root_certificates(RootCertStore::empty()),
    };
    Ok(match &tls.identity {
        Some((certificate, key)) => {
            let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate).collect();
            config.with_client_auth_cert(chain?, PrivateKeyDer::from_pem_slice(key)?)?
        }
        None => config.with_no_client_auth(),
    })
}
