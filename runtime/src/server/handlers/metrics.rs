//! `/metrics` for Prometheus, `/api/metrics` and its other names for everybody else.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, Response, StatusCode};

use crate::metrics;
use crate::server::App;
use crate::server::caller::Caller;
use crate::server::figures;
use crate::server::json;
use crate::server::problem::{Problem, Result};

/// `GET /metrics`
pub async fn text(State(app): State<Arc<App>>, caller: Option<Extension<Caller>>) -> Result<Response<Body>> {
    // The gate lets nobody in without credentials unless that is configured.
    if let (Some(Extension(caller)), false) = (caller, app.config.metrics.open) {
        caller.operates()?;
    }
    let text = app.metrics.text(&figures::families(&app)).map_err(Problem::internal)?;
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(metrics::CONTENT_TYPE));
    Ok(response)
}

/// `GET /api/metrics`, `GET /api/omnimind/metrics/real`
pub async fn all(State(app): State<Arc<App>>) -> Response<Body> {
    json::answer(StatusCode::OK, &figures::all(&app))
}

/// `GET /api/v1/performance/summary`
pub async fn in_short(State(app): State<Arc<App>>) -> Response<Body> {
    json::answer(StatusCode::OK, &figures::in_short(&app))
}
