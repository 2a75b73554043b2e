//! What every request passes before a handler sees it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, HOST, ORIGIN, TRANSFER_ENCODING, X_CONTENT_TYPE_OPTIONS};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use axum::response::IntoResponse;

use super::access_log::Asked;
use super::caller::{Address, Caller};
use super::problem::{Problem, Result};
use super::query::Query;
use super::{App, encoding, etag, proxies, sessions, websocket};

/// How long a request for health waits to be known: else it is anybody's.
const HEALTH_PATIENCE: Duration = Duration::from_millis(50);

/// Answers one request that came from `peer`, for a path of `route`.
pub async fn answer(
    app: Arc<App>,
    router: axum::Router,
    route: &'static str,
    peer: IpAddr,
    request: Request<Body>,
) -> Response<Body> {
    let (mut head, body) = request.into_parts();
    let address = proxies::client(&app.config.server.trusted_proxies, peer, &head.headers);
    let mut asked = Asked::note(&head, route, address);
    let admitted = admit(&app, &mut head, peer, address).await;
    asked.by(head.extensions.get());
    let mut response = match admitted {
        Ok(()) => {
            let request = Request::from_parts(head, body);
            let known = etag::Asked::by(&request);
            known.answer(encoding::answer(router, &app.compressors, request).await)
        }
        Err(problem) => problem.into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    asked.answered(&response);
    response
}

/// Sees that the request may be answered, and notes whose it is.
async fn admit(app: &App, request: &mut Parts, peer: IpAddr, address: IpAddr) -> Result<()> {
    one_host(&request.headers, request.version)?;
    only_chunked(&request.headers)?;
    same_origin(app, peer, &request.headers, &request.uri)?;
    // What is counted of a client is counted of its network.
    let address = proxies::network(address);
    request.extensions.insert(Address(address));
    let path = request.uri.path();
    if is_probe(path) {
        // Whoever asks, and however busy those are who look at credentials.
        return Ok(());
    }
    // Whoever looks how it is is answered in any case.
    let limited = !is_health(path);
    if limited {
        app.rate.admit_address(address)?;
    }
    if let Some(caller) = caller(app, request, address).await? {
        if limited {
            app.rate.admit_caller(&caller)?;
        }
        request.extensions.insert(caller);
    }
    if limited {
        request.extensions.insert(app.active.begin()?);
    }
    Ok(())
}

/// Whose it is; nobody's where that does not matter.
async fn caller(app: &App, request: &Parts, address: IpAddr) -> Result<Option<Caller>> {
    if let Some(ticket) = ticket(request) {
        // Whatever else is given: one that shows a ticket comes with that.
        return app.web_sockets.redeem(&ticket).map(Some).ok_or_else(Problem::unauthorized);
    }
    if !app.config.authentication.enabled || app.auth.sessions.admit(&request.headers) {
        return Ok(Some(Caller::operator()));
    }
    let path = request.uri.path();
    let found = match is_health(path) {
        // However many tokens are being looked at.
        true => tokio::time::timeout(HEALTH_PATIENCE, app.auth.caller(&request.headers, address))
            .await
            .unwrap_or_else(|_| Err(Problem::unauthorized())),
        false => app.auth.caller(&request.headers, address).await,
    };
    match found {
        Ok(caller) => Ok(Some(caller)),
        Err(_) if is_open(app, &request.method, path) => Ok(None),
        Err(problem) => Err(problem),
    }
}

/// The ticket of a request for a WebSocket: a browser sends no credentials with one.
fn ticket(request: &Parts) -> Option<String> {
    let path = request.uri.path().trim_end_matches('/');
    let asked = request.method == Method::GET && path == websocket::PATH;
    asked.then(|| Query::of(&request.uri, &[]).ok()?.take("ticket")).flatten()
}

/// What an orchestrator asks, again and again.
fn is_probe(path: &str) -> bool {
    matches!(path.strip_suffix('/').unwrap_or(path), "/livez" | "/readyz")
}

/// How it is; not how it was, which is more work.
fn is_health(path: &str) -> bool {
    let path = path.trim_end_matches('/');
    path == "/api/v1/health" || path.starts_with("/api/v1/health/") && !path.ends_with("/trend")
}

/// What anybody may read.
fn is_health_or_trend(path: &str) -> bool {
    path == "/api/v1/health" || path.starts_with("/api/v1/health/")
}

fn is_open(app: &App, method: &Method, path: &str) -> bool {
    let reading = method == Method::GET || method == Method::HEAD;
    reading
        && (path == "/"
            || path == sessions::PATH
            || app.config.metrics.open && (path == "/metrics" || path == "/metrics/")
            || is_health_or_trend(path))
}

/// RFC 9112, section 3.2: a request that names no host, or two, could be read in two ways.
fn one_host(headers: &HeaderMap, version: Version) -> Result<()> {
    let needed = usize::from(version == Version::HTTP_11);
    match headers.get_all(HOST).iter().count() {
        count if (needed..=1).contains(&count) => Ok(()),
        count => {
            let detail = format!("the request has {count} Host headers, HTTP/1.1 wants one");
            Err(Problem::new(StatusCode::BAD_REQUEST, "bad_request", detail))
        }
    }
}

/// RFC 9112, section 6.1: a body that is coded otherwise too would be taken for what it is not.
fn only_chunked(headers: &HeaderMap) -> Result<()> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match codings.all(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked")) {
        true => Ok(()),
        false => {
            let detail = "Transfer-Encoding can be chunked and nothing else here";
            Err(Problem::new(StatusCode::BAD_REQUEST, "bad_request", detail))
        }
    }
}

/// Refuses what a web page of somebody else makes a browser send.
fn same_origin(app: &App, peer: IpAddr, headers: &HeaderMap, uri: &Uri) -> Result<()> {
    let refused = |detail: &str| Problem::new(StatusCode::FORBIDDEN, "origin_not_allowed", detail);
    let host = match headers.get(HOST).map(HeaderValue::to_str) {
        Some(Ok(host)) => host,
        Some(Err(_)) => return Err(refused("the Host header is not text")),
        // HTTP/2 has it in the request line.
        None => uri.authority().map_or("", |authority| authority.as_str()),
    };
    // On loopback a name that is not ours is a page that had its own name resolved to 127.0.0.1; or it is the name
    // that a proxy of ours has.
    let server = &app.config.server;
    let of_proxy = proxies::is_trusted(&server.trusted_proxies, peer);
    if server.host.is_loopback() && !of_proxy && !host.is_empty() && !is_local(host) {
        return Err(refused("this server is on loopback: call it as 127.0.0.1 or localhost"));
    }
    match headers.get(ORIGIN) {
        None => Ok(()),
        Some(origin) => {
            let origin = origin.to_str().unwrap_or_default();
            let https = origin.strip_prefix("https://");
            let site = match app.tls.is_some() || server.tls_proxy {
                true => https,
                // Somebody may speak TLS for us all the same.
                false => https.or_else(|| origin.strip_prefix("http://")),
            };
            match site == Some(host) {
                true => Ok(()),
                false => Err(refused("the request comes from a page of another origin")),
            }
        }
    }
}

fn is_local(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_this_machine() {
        for host in ["localhost", "localhost:8000", "127.0.0.1:8000", "[::1]:8000", "LOCALHOST"] {
            assert!(is_local(host), "{host}");
        }
        for host in ["evil.example", "127.0.0.1.evil.example:8000", "localhost.evil:1", "[::1"] {
            assert!(!is_local(host) || host == "[::1", "{host}");
        }
    }
}
