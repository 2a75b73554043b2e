//! `/api/v1/protection`: how the machine is, what was decided because of it, and the mode.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, Response, StatusCode};
use serde::Deserialize;
use serde_json::json;

use super::media_type;
use crate::limits::Mode;
use crate::server::App;
use crate::server::json;
use crate::server::problem::{Problem, Result};
use crate::server::query::Query;
use crate::task::Object;

/// Decisions in one answer: where nothing is said, and at most.
const DECISIONS: usize = 100;
const MAX_DECISIONS: usize = 1000;

/// Longest body of a switch.
const MAX_BODY: usize = 1 << 10;

/// `GET /api/v1/protection/`
pub async fn status(State(app): State<Arc<App>>) -> Response<Body> {
    json::answer(StatusCode::OK, &app.guard.status())
}

/// `GET /api/v1/protection/decisions?limit=`
pub async fn decisions(State(app): State<Arc<App>>, request: Request<Body>) -> Result<Response<Body>> {
    let mut query = Query::of(request.uri(), &[])?;
    let limit = match query.take("limit").map(|limit| limit.parse()) {
        None => DECISIONS,
        Some(Ok(limit)) if (1..=MAX_DECISIONS).contains(&limit) => limit,
        Some(_) => return Err(Problem::invalid("limit", format!("a number from 1 to {MAX_DECISIONS}"))),
    };
    query.end("limit")?;
    Ok(json::tagged(&json!({"decisions": app.guard.decisions(limit)})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Switch {
    mode: String,
}

/// `PUT /api/v1/protection/mode`: `{"mode": "prod"}`
pub async fn switch(State(app): State<Arc<App>>, request: Request<Body>) -> Result<Response<Body>> {
    let (head, body) = request.into_parts();
    if media_type(&head.headers) != "application/json" {
        return Err(Problem::unsupported("the body is application/json: {\"mode\": \"prod\"}"));
    }
    let whole = app.bodies.read(&head.headers, body, "the body", MAX_BODY, 2).await?;
    let Object(Switch { mode }): Object<Switch> = json::parse(&whole.bytes)?;
    let mode: Mode = mode.parse().map_err(|_| Problem::invalid("mode", "one of dev, test, prod"))?;
    let before = app
        .guard
        .switch(mode)
        .map_err(|why| Problem::invalid("mode", format!("the configuration does not fit {mode}: {why}")))?;
    let body = json!({"mode": mode.name(), "before": before.name(), "places": app.guard.places()});
    Ok(json::answer(StatusCode::OK, &body))
}
