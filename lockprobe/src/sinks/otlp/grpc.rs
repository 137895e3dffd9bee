//! OTLP over gRPC.

use anyhow::Context;
use http::uri::PathAndQuery;
use prost::Message as _;
use prost::bytes::{BufMut as _, Bytes};
use std::error::Error as _;
use std::time::Duration;
use tonic::client::Grpc as Caller;
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::MetadataMap;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Extensions, Request, Status};
use tonic_types::StatusExt;

use super::client::{Answer, ExportResponse, LONGEST_DELAY, printable, root_cause};
use super::settings::Signal;
use super::target::Target;

/// A collector that is spoken to in gRPC.
pub struct Grpc {
    endpoint: Endpoint,
    path: PathAndQuery,
    metadata: MetadataMap,
    gzip: bool,
    connection: Option<Caller<Channel>>,
}

impl Grpc {
    /// Not connected yet.
    pub fn new(target: &Target) -> anyhow::Result<Self> {
        let mut endpoint = Endpoint::from(target.uri.clone())
            .user_agent(super::USER_AGENT)?
            .connect_timeout(target.timeout)
            .tcp_keepalive(Some(Duration::from_secs(30)));
        if target.uri.scheme_str() == Some("https") {
            let mut tls = match &target.tls.trusted {
                Some(pem) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)),
                None => ClientTlsConfig::new().with_native_roots(),
            };
            if let Some((certificate, key)) = &target.tls.identity {
                tls = tls.identity(Identity::from_pem(certificate, key));
            }
            let name = &target.name;
            endpoint = endpoint
                .tls_config(tls)
                .with_context(|| format!("cannot set up TLS for the OTLP collector {name}"))?;
        }
        Ok(Self {
            endpoint,
            path: PathAndQuery::from_static(method(target.signal)),
            metadata: MetadataMap::from_headers(target.headers.clone()),
            gzip: target.gzip,
            connection: None,
        })
    }

    /// The next attempt is made on a new connection.
    pub fn hang_up(&mut self) {
        self.connection = None;
    }

    /// One attempt.
    pub async fn export(&mut self, batch: Bytes) -> Answer {
        let (endpoint, gzip) = (&self.endpoint, self.gzip);
        let connection = self.connection.get_or_insert_with(|| {
            let caller = Caller::new(endpoint.connect_lazy());
            match gzip {
                true => caller
                    .send_compressed(CompressionEncoding::Gzip)
                    .accept_compressed(CompressionEncoding::Gzip),
                false => caller,
            }
        });
        if let Err(error) = connection.ready().await {
            return Answer::Away { why: root_cause(&error), delay: None };
        }
        let request = Request::from_parts(self.metadata.clone(), Extensions::new(), batch);
        match connection.unary(request, self.path.clone(), Ready).await {
            Ok(response) => response.into_inner().into(),
            Err(status) => judge(&status),
        }
    }
}

fn method(signal: Signal) -> &'static str {
    match signal {
        Signal::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        Signal::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        Signal::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
    }
}

/// Requests that are bytes already.
struct Ready;

impl Codec for Ready {
    type Encode = Bytes;
    type Decode = ExportResponse;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Ready {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Ready {
    type Item = ExportResponse;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<ExportResponse>, Status> {
        // That it was taken is said by the status; what else is said is of no use if it cannot be read.
        Ok(Some(ExportResponse::decode(buffer).unwrap_or_default()))
    }
}

/// Whether another attempt makes sense: <https://opentelemetry.io/docs/specs/otlp/#failures>.
pub fn judge(status: &Status) -> Answer {
    // With a source the status was made on this side: the request or the answer got lost.
    if let Some(source) = status.source() {
        return Answer::Away { why: root_cause(source), delay: None };
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
