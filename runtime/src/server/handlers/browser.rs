//! `/sign-in`: where the link leads that `omnimind serve` prints.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{LOCATION, REFERRER_POLICY, SET_COOKIE};
use axum::http::{HeaderValue, Request, Response, StatusCode};

use crate::server::App;
use crate::server::problem::{Problem, Result};
use crate::server::query::Query;

/// `GET /sign-in?ticket=T`
pub async fn sign_in(State(app): State<Arc<App>>, request: Request<Body>) -> Result<Response<Body>> {
    let mut query = Query::of(request.uri(), &[])?;
    let ticket = query.take("ticket").unwrap_or_default();
    query.end("ticket")?;
    let cookie = app.sessions.redeem(&ticket).map_err(Problem::internal)?.ok_or_else(|| {
        let detail = "the link was used before, or is too old: sign in with user and password, or start the \
                      server again for another link";
        Problem::new(StatusCode::FORBIDDEN, "link_expired", detail)
    })?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SEE_OTHER;
    let headers = response.headers_mut();
    headers.insert(LOCATION, HeaderValue::from_static("/"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(SET_COOKIE, HeaderValue::from_str(&cookie).map_err(Problem::internal)?);
    Ok(response)
}
