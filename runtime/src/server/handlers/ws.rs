//! `/ws`: from an HTTP request to a WebSocket (RFC 6455), and the tickets for it.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::body::Body as _;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::nothing_sent;
use crate::server::App;
use crate::server::caller::{Address, Caller};
use crate::server::connection::Upgraded;
use crate::server::feed::Channel;
use crate::server::json;
use crate::server::problem::{Problem, Result};
use crate::server::query::Query;
use crate::server::websocket::{Rules, Session, TICKET};

/// `POST /api/ws-ticket`
pub async fn ticket(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    request: Request<Body>,
) -> Result<Response<Body>> {
    nothing_sent(&app, request).await?;
    let ticket = app.web_sockets.ticket(caller)?;
    Ok(json::answer(StatusCode::CREATED, &json!({"ticket": ticket, "expires_in": TICKET.as_secs()})))
}

/// `GET /ws?ticket=T`; the gate has taken the ticket.
pub async fn upgrade(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Extension(Address(address)): Extension<Address>,
    Extension(upgraded): Extension<Upgraded>,
    mut request: Request<Body>,
) -> Result<Response<Body>> {
    if request.method() == Method::HEAD {
        return Err(Problem::method_not_allowed());
    }
    let accept = accept(&request)?;
    let mut query = Query::of(request.uri(), &[])?;
    query.take("ticket");
    query.end("ticket")?;
    if *app.ending.borrow() {
        return Err(Problem::overloaded("the server is shutting down"));
    }
    let place = app.web_sockets.place(address, caller.tenant())?;
    upgraded.is_to_be();
    let stream = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        // The client may be gone before it has the answer.
        let Ok(stream) = stream.await else { return };
        let (feed, ending) = (app.feed.clone(), app.ending.clone());
        let rules = Rules::new(app.config.websocket.max_subscriptions_per_client);
        let tenant = caller.tenant().to_owned();
        let gone = {
            let (app, caller) = (app.clone(), caller.clone());
            Box::pin(async move { caller.gone(&app.auth.tokens).await })
        };
        let open = move |name: String| {
            let (app, caller) = (app.clone(), caller.clone());
            async move { Channel::open(&name, &app.scheduler, &caller).await }
        };
        let session = Session::new(TokioIo::new(stream), feed, &tenant, open, rules, ending).await;
        session.until(gone).run().await;
        drop(place);
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    Ok(response)
}

/// What is answered to the client's key, where the request asks for a WebSocket.
fn accept(request: &Request<Body>) -> Result<HeaderValue> {
    let headers = request.headers();
    let refused = |detail| Problem::new(StatusCode::BAD_REQUEST, "bad_request", detail);
    if request.version() != Version::HTTP_11 {
        return Err(refused("a WebSocket begins with a request of HTTP/1.1"));
    }
    if !has_token(headers, UPGRADE, "websocket") {
        return Err(Problem::upgrade_required("this path is for WebSockets: send Upgrade: websocket"));
    }
    if one(headers, SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(Problem::upgrade_required("Sec-WebSocket-Version is 13"));
    }
    if !has_token(headers, CONNECTION, "upgrade") {
        return Err(refused("the header Connection does not say upgrade"));
    }
    if !request.body().is_end_stream() {
        return Err(refused("a request that asks for an upgrade has no body"));
    }
    let key = one(headers, SEC_WEBSOCKET_KEY)
        .filter(|key| STANDARD.decode(key.as_bytes()).is_ok_and(|nonce| nonce.len() == 16))
        .ok_or_else(|| refused("Sec-WebSocket-Key is one, of 16 bytes in base64"))?;
    HeaderValue::from_str(&derive_accept_key(key.as_bytes())).map_err(Problem::internal)
}

fn has_token(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|one| one.trim().eq_ignore_ascii_case(token))
}

/// The header's value, if it comes once.
fn one(headers: &HeaderMap, name: HeaderName) -> Option<&HeaderValue> {
    let mut values = headers.get_all(name).into_iter();
    values.next().filter(|_| values.next().is_none())
}
