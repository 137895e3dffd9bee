//! An OTLP collector in this process.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
pub use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span};
use tokio::net::TcpSocket;
use tokio::sync::oneshot;
use tonic::codec::CompressionEncoding::Gzip;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

struct Service(Sender<ExportTraceServiceRequest>);

#[tonic::async_trait]
impl TraceService for Service {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let gone = |_| Status::unavailable("the test is over");
        self.0.send(request.into_inner()).map_err(gone)?;
        Ok(Response::new(ExportTraceServiceResponse { partial_success: None }))
    }
}

/// A port that is taken, where nobody listens: connections are refused until it is [`Dead::start`]ed.
pub struct Dead {
    socket: TcpSocket,
    address: SocketAddr,
}

impl Dead {
    /// Takes a port.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a port");
        let address = socket.local_addr().expect("an address");
        Self { socket, address }
    }

    /// How lockprobe is told of it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Listens.
    pub fn start(self) -> Collector {
        let url = self.url();
        let (sender, inbox) = channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async move {
                let listener = self.socket.listen(16).expect("the port is ours");
                let service = TraceServiceServer::new(Service(sender)).accept_compressed(Gzip);
                let incoming = TcpIncoming::from(listener);
                let server = Server::builder().add_service(service).serve_with_incoming(incoming);
                tokio::select! {
                    ended = server => ended.expect("it serves"),
                    _ = stopped => {}
                }
            });
        });
        Collector { url, inbox, stop: Some(stop), thread: Some(thread) }
    }
}

/// A collector that takes everything. Dropping it ends it.
pub struct Collector {
    /// How lockprobe is told of it.
    pub url: String,
    inbox: Receiver<ExportTraceServiceRequest>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Collector {
    /// Starts one.
    pub fn start() -> Self {
        Dead::new().start()
    }

    /// All it took.
    pub fn taken(&self) -> Vec<ResourceSpans> {
        self.inbox.try_iter().flat_map(|request| request.resource_spans).collect()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The spans of all resources.
pub fn spans(resources: &[ResourceSpans]) -> Vec<Span> {
    let scopes = resources.iter().flat_map(|resource| &resource.scope_spans);
    scopes.flat_map(|scope| scope.spans.clone()).collect()
}

/// An attribute as text.
pub fn attribute(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|a| a.key == key)?;
    Some(match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        Value::DoubleValue(number) => number.to_string(),
        Value::BoolValue(truth) => truth.to_string(),
        other => format!("{other:?}"),
    })
}
