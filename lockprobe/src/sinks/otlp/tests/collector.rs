//! A collector in this process, with the moods of a real one.

use super::PATIENCE;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{
    LogsService, LogsServiceServer,
};
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::logs::v1::ResourceLogs;
use opentelemetry_proto::tonic::metrics::v1::ResourceMetrics;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Mutex, mpsc};
use tokio::net::TcpSocket;
use tonic::codec::CompressionEncoding::Gzip;
use tonic::metadata::MetadataMap;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status};

/// One answer after the other; the default when there is none left.
pub type Script = Vec<Result<ExportTracePartialSuccess, Status>>;

struct Service {
    script: Mutex<std::vec::IntoIter<Result<ExportTracePartialSuccess, Status>>>,
    received: mpsc::Sender<(MetadataMap, ExportTraceServiceRequest)>,
}

#[tonic::async_trait]
impl TraceService for Service {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let answer = self.script.lock().unwrap().next();
        if let Some(Err(status)) = answer {
            return Err(status);
        }
        let (metadata, _, request) = request.into_parts();
        self.received.send((metadata, request)).unwrap();
        let partial_success = answer.and_then(Result::ok);
        Ok(Response::new(ExportTraceServiceResponse { partial_success }))
    }
}

struct Numbers(mpsc::Sender<ExportMetricsServiceRequest>);

#[tonic::async_trait]
impl MetricsService for Numbers {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.0.send(request.into_inner()).unwrap();
        Ok(Response::new(Default::default()))
    }
}

struct Events(mpsc::Sender<ExportLogsServiceRequest>);

#[tonic::async_trait]
impl LogsService for Events {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        self.0.send(request.into_inner()).unwrap();
        Ok(Response::new(Default::default()))
    }
}

/// A key, and a certificate that signs for itself: it may be anybody's.
pub struct Made(rcgen::CertifiedKey<rcgen::KeyPair>);

impl Made {
    pub fn new() -> Self {
        Self(rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap())
    }

    pub fn certificate(&self) -> String {
        self.0.cert.pem()
    }

    pub fn key(&self) -> String {
        self.0.signing_key.serialize_pem()
    }
}

/// A port that is taken, where nobody listens: connections are refused.
pub struct Dead {
    socket: TcpSocket,
    address: SocketAddr,
}

impl Dead {
    pub fn new() -> Self {
        Self::on(0)
    }

    /// Takes this port even while a collector of this process listens there.
    pub fn on(port: u16) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.set_reuseport(true).unwrap();
        socket.bind((Ipv4Addr::LOCALHOST, port).into()).unwrap();
        let address = socket.local_addr().unwrap();
        Self { socket, address }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Listens; with a key it speaks TLS, and to those who have the same.
    pub fn start(self, script: Script, tls: Option<&Made>) -> Collector {
        let (received, inbox) = mpsc::channel();
        let (numbers, numbers_inbox) = mpsc::channel();
        let (events, events_inbox) = mpsc::channel();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let (port, url) = (self.address.port(), self.url());
        let tls = tls.map(|made| {
            let identity = Identity::from_pem(made.certificate(), made.key());
            let known = Certificate::from_pem(made.certificate());
            ServerTlsConfig::new().identity(identity).client_ca_root(known)
        });
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async move {
                let listener = self.socket.listen(16).unwrap();
                let script = Mutex::new(script.into_iter());
                let service = Service { script, received };
                let service = TraceServiceServer::new(service)
                    .accept_compressed(Gzip)
                    .max_decoding_message_size(4 << 20);
                let mut server = Server::builder();
                if let Some(tls) = tls {
                    server = server.tls_config(tls).unwrap();
                }
                let incoming = TcpIncoming::from(listener);
                let server = server
                    .add_service(service)
                    .add_service(MetricsServiceServer::new(Numbers(numbers)))
                    .add_service(LogsServiceServer::new(Events(events)))
                    .serve_with_incoming(incoming);
                tokio::select! {
                    ended = server => ended.unwrap(),
                    _ = stopped => {}
                }
            });
        });
        Collector {
            url,
            port,
            inbox,
            numbers: numbers_inbox,
            events: events_inbox,
            stop: Some(stop),
            thread: Some(thread),
        }
    }
}

pub struct Collector {
    pub url: String,
    pub port: u16,
    inbox: mpsc::Receiver<(MetadataMap, ExportTraceServiceRequest)>,
    numbers: mpsc::Receiver<ExportMetricsServiceRequest>,
    events: mpsc::Receiver<ExportLogsServiceRequest>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Collector {
    pub fn start(script: Script) -> Self {
        Dead::new().start(script, None)
    }

    /// The next request it took.
    pub fn request(&self) -> (MetadataMap, ExportTraceServiceRequest) {
        self.inbox.recv_timeout(PATIENCE).unwrap()
    }

    /// All it took until now.
    pub fn taken(&self) -> Vec<ResourceSpans> {
        self.inbox.try_iter().flat_map(|(_, request)| request.resource_spans).collect()
    }

    /// All metrics it took until now.
    pub fn numbers(&self) -> Vec<ResourceMetrics> {
        self.numbers.try_iter().flat_map(|request| request.resource_metrics).collect()
    }

    /// All log records it took until now.
    pub fn events(&self) -> Vec<ResourceLogs> {
        self.events.try_iter().flat_map(|request| request.resource_logs).collect()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        drop(self.stop.take());
        let _ = self.thread.take().unwrap().join();
    }
}

pub fn spans(resources: &[ResourceSpans]) -> Vec<Span> {
    let scopes = resources.iter().flat_map(|resource| &resource.scope_spans);
    scopes.flat_map(|scope| scope.spans.clone()).collect()
}
