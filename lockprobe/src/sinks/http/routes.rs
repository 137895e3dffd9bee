//! Which page a request is for, or why there is none.

use std::net::{IpAddr, SocketAddr};

use hyper::header::{ACCEPT, CONTENT_LENGTH, HOST, HeaderMap, TRANSFER_ENCODING};
use hyper::http::request::Parts;
use hyper::http::uri::Authority;
use hyper::{Method, StatusCode};

use super::exposition::Format;

/// What a request is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Page {
    /// What there is.
    Index,
    /// All numbers.
    Metrics(Format),
    /// Whether lockprobe should be started anew.
    Health,
    /// Whether there is anything to be seen.
    Readiness,
    /// The state of all locks.
    Snapshot,
}

/// Why a request is for nothing: the status, and a sentence.
pub type Refusal = (StatusCode, &'static str);

/// Reads the head of a request to the server at this address.
pub fn page(head: &Parts, address: SocketAddr) -> Result<Page, Refusal> {
    // Before all else, so that a page of somebody else's learns nothing.
    if address.ip().is_loopback() && !is_local(head) {
        return Err((
            StatusCode::MISDIRECTED_REQUEST,
            "this address is for this host alone; ask for it as 127.0.0.1 or localhost",
        ));
    }
    let page = match head.uri.path() {
        "/" => Page::Index,
        "/metrics" => Page::Metrics(Format::accepted(&accept(&head.headers))),
        "/healthz" => Page::Health,
        "/readyz" => Page::Readiness,
        "/snapshot" => Page::Snapshot,
        _ => return Err((StatusCode::NOT_FOUND, "there is no such page; / lists those there are")),
    };
    if ![Method::GET, Method::HEAD].contains(&head.method) {
        return Err((StatusCode::METHOD_NOT_ALLOWED, "pages can only be read: use GET"));
    }
    let length = head.headers.get(CONTENT_LENGTH);
    if length.is_some_and(|n| n != "0") || head.headers.contains_key(TRANSFER_ENCODING) {
        return Err((StatusCode::PAYLOAD_TOO_LARGE, "pages are asked for without a body"));
    }
    Ok(page)
}

fn accept(headers: &HeaderMap) -> String {
    let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    values.collect::<Vec<_>>().join(",")
}

/// Whether it was meant for this host. A page in a browser can have its own name resolve to
/// 127.0.0.1 and then read what is here, but cannot hide that name: it is in the header `Host`.
/// Without one it is no browser.
fn is_local(head: &Parts) -> bool {
    let named = head.headers.get_all(HOST).iter();
    let named = named.map(|host| host.to_str().ok().and_then(|host| host.parse().ok()));
    let target = head.uri.authority().map(|authority| Some(authority.clone()));
    named
        .chain(target)
        .all(|host: Option<Authority>| host.is_some_and(|host| is_own_name(host.host())))
}

fn is_own_name(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
    let host = host.to_ascii_lowercase();
    match host.parse::<IpAddr>() {
        Ok(ip) => ip.to_canonical().is_loopback(),
        // RFC 6761: names below `localhost` are this host, wherever one asks.
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::Request;

    const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9464);
    const ANY: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 9464);

    fn asked(method: &str, uri: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn status(head: &Parts, address: SocketAddr) -> u16 {
        page(head, address).err().map_or(200, |(status, _)| status.as_u16())
    }

    #[test]
    fn pages_are_read_and_nothing_else() {
        for (method, uri, expected) in [
            ("GET", "/", 200),
            ("HEAD", "/metrics", 200),
            ("GET", "/metrics?name[]=x", 200),
            ("GET", "/healthz", 200),
            ("GET", "/readyz", 200),
            ("GET", "/snapshot", 200),
            ("POST", "/metrics", 405),
            ("DELETE", "/snapshot", 405),
            ("OPTIONS", "/", 405),
            ("PUT", "/nothing", 404),
            ("GET", "/metrics/", 404),
            ("GET", "//metrics", 404),
            ("GET", "/../etc/passwd", 404),
            ("GET", "/%6detrics", 404),
            ("OPTIONS", "*", 404),
        ] {
            assert_eq!(
                status(&asked(method, uri, &[("host", "localhost")]), LOOPBACK),
                expected,
                "{method} {uri}"
            );
        }
    }

    #[test]
    fn bodies_are_refused() {
        for (header, expected) in [
            (("content-length", "0"), 200),
            (("content-length", "5"), 413),
            (("transfer-encoding", "chunked"), 413),
        ] {
            assert_eq!(status(&asked("GET", "/", &[header]), LOOPBACK), expected, "{header:?}");
        }
    }

    #[test]
    fn on_loopback_only_names_of_this_host_are_answered() {
        for (host, expected) in [
            ("localhost", 200),
            ("LocalHost:9464", 200),
            ("localhost.:9464", 200),
            ("a.localhost", 200),
            ("127.0.0.1:9464", 200),
            ("127.8.8.8", 200),
            ("[::1]:9464", 200),
            ("[::ffff:127.0.0.1]", 200),
            ("evil.example", 421),
            ("localhost.evil.example", 421),
            ("127.0.0.1.evil.example:9464", 421),
            ("user@evil.example", 421),
            ("0.0.0.0", 421),
            ("10.0.0.1", 421),
            ("", 421),
            ("a b", 421),
        ] {
            let head = asked("GET", "/metrics", &[("host", host)]);
            assert_eq!(status(&head, LOOPBACK), expected, "{host}");
            assert_eq!(
                status(&head, ANY),
                200,
                "{host}: names others call this host by are not known"
            );
        }
        assert_eq!(status(&asked("GET", "/", &[]), LOOPBACK), 200);
        assert_eq!(
            status(&asked("GET", "http://evil.example/", &[("host", "localhost")]), LOOPBACK),
            421
        );
        let two = [("host", "localhost"), ("host", "evil.example")];
        assert_eq!(status(&asked("GET", "/", &two), LOOPBACK), 421);
        assert_eq!(status(&asked("POST", "/none", &[("host", "evil.example")]), LOOPBACK), 421);
    }

    #[test]
    fn the_reader_chooses_the_format() {
        let head = asked(
            "GET",
            "/metrics",
            &[("accept", "text/plain;q=0.1"), ("accept", "application/openmetrics-text")],
        );
        assert_eq!(page(&head, LOOPBACK), Ok(Page::Metrics(Format::OpenMetrics)));
    }
}
