//! The server's thread: connections, their limits, and what is sent.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};

use super::ask::Questions;
use super::exposition::{Exposition, Format, labelled, single};
use super::routes::{Page, page};
use super::shared::Shared;

/// Connections at a time; more wait in the kernel's queue for their turn.
const CONNECTIONS: usize = 32;
/// How long a connection may last, from its first byte to the last of the page.
const LIFETIME: Duration = Duration::from_secs(10);
/// How long the head of a request may take.
const HEAD_WITHIN: Duration = Duration::from_secs(3);
/// Largest head, bytes.
const HEAD_AT_MOST: usize = 8 << 10;
/// Most headers.
const HEADERS_AT_MOST: usize = 64;
/// After a connection could not be taken: most likely there are too many open files.
const BREATH: Duration = Duration::from_millis(100);

/// What the thread needs.
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    /// What the pipeline tells.
    pub shared: Arc<Shared>,
    /// What the pipeline is asked.
    pub questions: Questions,
    /// Its sender is dropped at the end.
    pub stopped: watch::Receiver<()>,
}

impl Server {
    /// Serves until stopped. Pages that are being sent then are cut off.
    pub fn run(self, listener: std::net::TcpListener) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let Ok(runtime) = runtime else { return };
        runtime.block_on(async {
            let mut stopped = self.stopped.clone();
            let Ok(listener) = TcpListener::from_std(listener) else { return };
            tokio::select! {
                () = serve(Arc::new(self), listener) => {}
                _ = stopped.changed() => {}
            }
        });
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Content> {
        let (head, _unread) = request.into_parts();
        match page(&head, self.address) {
            Ok(Page::Index) => with("text/html; charset=utf-8", Content::text(INDEX)),
            Ok(Page::Metrics(format)) => with(format.content_type(), self.metrics(format)),
            Ok(Page::Health) => verdict(self.shared.ailment(), "ok\n"),
            Ok(Page::Readiness) => verdict(self.shared.unreadiness(), "ready\n"),
            Ok(Page::Snapshot) => match self.snapshot().await {
                Ok(page) => with("application/json", Content::Whole(Some(page.into()))),
                Err(why) => refused(StatusCode::SERVICE_UNAVAILABLE, &why),
            },
            Err((status, why)) => refused(status, why),
        }
    }

    async fn snapshot(&self) -> Result<Vec<u8>, String> {
        self.shared.unreadiness()?;
        let answer = self.questions.ask().await?;
        Ok(answer())
    }

    fn metrics(&self, format: Format) -> Content {
        let now = self.shared.now();
        let (version, kernel) = (self.shared.version, now.kernel.as_str());
        let mut own = vec![
            labelled(
                "lockprobe_build_info",
                "1, with the version of lockprobe and of the kernel",
                &[("kernel", kernel), ("version", version)],
                1.0,
            ),
            labelled(
                "target_info",
                "1, with what is said of the host",
                &[("host_name", &now.host)],
                1.0,
            ),
            single(
                "lockprobe_start_time_seconds",
                "When lockprobe began, UNIX time",
                self.shared.start,
            ),
            single(
                "lockprobe_ready",
                "1 while everything is attached and records are read, else 0",
                f64::from(u8::from(self.shared.unreadiness().is_ok())),
            ),
            single(
                "lockprobe_scrape_series_omitted_total",
                "Series left out of this page because a family had too many",
                now.page.omitted as f64,
            ),
        ];
        if now.page.time > 0 {
            let unix = (i128::from(now.page.time) + now.wall_offset) as f64 / 1e9;
            let help = "When the numbers of this page were taken, UNIX time";
            own.push(single("lockprobe_scrape_time_seconds", help, unix));
        }
        Content::Numbers(Box::new(Exposition::new(format, now.page, own, now.wall_offset)))
    }
}

async fn serve(server: Arc<Server>, listener: TcpListener) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let server = server.clone();
                tokio::spawn(async move {
                    // What a reader does wrong is its own matter.
                    let _ = timeout(LIFETIME, converse(server, stream)).await;
                    drop(place);
                });
            }
            Err(_) => sleep(BREATH).await,
        }
    }
}

/// One request, one answer.
async fn converse(server: Arc<Server>, stream: TcpStream) -> hyper::Result<()> {
    let service = service_fn(move |request| {
        let server = server.clone();
        async move { Ok::<_, Infallible>(server.answer(request).await) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_header_size(HEAD_AT_MOST)
        .max_headers(HEADERS_AT_MOST)
        .max_buf_size(2 * HEAD_AT_MOST)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

const INDEX: &str = "<!doctype html>
<html lang=\"en\"><head><meta charset=\"utf-8\"><title>lockprobe</title></head><body>
<h1>lockprobe</h1>
<ul>
<li><a href=\"/metrics\">/metrics</a>: numbers for Prometheus</li>
<li><a href=\"/snapshot\">/snapshot</a>: who waits for which lock of whom, now, as JSON</li>
<li><a href=\"/healthz\">/healthz</a>: whether lockprobe works</li>
<li><a href=\"/readyz\">/readyz</a>: whether it is attached</li>
</ul>
</body></html>
";

/// A page as it is sent.
pub enum Content {
    /// At once.
    Whole(Option<Bytes>),
    /// A piece at a time.
    Numbers(Box<Exposition>),
}

impl Content {
    fn text(text: &'static str) -> Self {
        Self::Whole(Some(Bytes::from_static(text.as_bytes())))
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = match &mut *self {
            Self::Whole(whole) => whole.take(),
            Self::Numbers(numbers) => numbers.next_piece().map(Bytes::from),
        };
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        match self {
            Self::Whole(whole) => {
                hyper::body::SizeHint::with_exact(whole.as_ref().map_or(0, |b| b.len() as u64))
            }
            Self::Numbers(_) => hyper::body::SizeHint::default(),
        }
    }
}

fn verdict(found: Result<(), String>, good: &'static str) -> Response<Content> {
    match found {
        Ok(()) => with(PLAIN, Content::text(good)),
        Err(why) => refused(StatusCode::SERVICE_UNAVAILABLE, &why),
    }
}

const PLAIN: &str = "text/plain; charset=utf-8";

fn refused(status: StatusCode, why: &str) -> Response<Content> {
    let mut response = with(PLAIN, Content::Whole(Some(format!("{why}\n").into())));
    *response.status_mut() = status;
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}

/// A page with what tells browsers to make nothing of it but text.
fn with(kind: &'static str, content: Content) -> Response<Content> {
    let mut response = Response::new(content);
    for (name, value) in [
        (CONTENT_TYPE, kind),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (CACHE_CONTROL, "no-store"),
        (REFERRER_POLICY, "no-referrer"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
