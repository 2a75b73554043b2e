//! Browsers: the link that signs one in, and the way out.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::header::{LOCATION, REFERRER_POLICY, SET_COOKIE};
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use serde_json::json;

use super::nothing_sent;
use crate::server::App;
use crate::server::caller::Caller;
use crate::server::json;
use crate::server::problem::{Problem, Result};
use crate::server::query::Query;

/// `POST /api/sign-in`: a link for a browser, to be completed with the server's address.
pub async fn link(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    request: Request<Body>,
) -> Result<Response<Body>> {
    caller.comes_without_token()?;
    nothing_sent(&app, request).await?;
    let path = app.auth.sessions.link().map_err(Problem::internal)?;
    Ok(json::answer(StatusCode::CREATED, &json!({"path": path})))
}

/// `GET /sign-in?ticket=T`
pub async fn sign_in(State(app): State<Arc<App>>, request: Request<Body>) -> Result<Response<Body>> {
    // What only looks at links asks like this, and is not to use them up.
    if request.method() == Method::HEAD {
        return Err(Problem::method_not_allowed());
    }
    let mut query = Query::of(request.uri(), &[])?;
    let ticket = query.take("ticket").unwrap_or_default();
    query.end("ticket")?;
    let cookie = app.auth.sessions.redeem(&ticket).map_err(Problem::internal)?.ok_or_else(|| {
        let detail = "the link was used before, or is too old: `omnimind sign-in` makes another one";
        Problem::new(StatusCode::FORBIDDEN, "link_expired", detail)
    })?;
    let mut response = to_the_beginning(&cookie)?;
    response.headers_mut().insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    Ok(response)
}

/// `POST /sign-out`
pub async fn sign_out(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Response<Body>> {
    to_the_beginning(&app.auth.sessions.end(&headers))
}

fn to_the_beginning(cookie: &str) -> Result<Response<Body>> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SEE_OTHER;
    let headers = response.headers_mut();
    headers.insert(LOCATION, HeaderValue::from_static("/"));
    headers.insert(SET_COOKIE, HeaderValue::from_str(cookie).map_err(Problem::internal)?);
    Ok(response)
}
