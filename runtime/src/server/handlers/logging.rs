//! `/api/v1/logging`: how much the server's own log says.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, Response, StatusCode};
use serde::Deserialize;
use serde_json::json;
use tracing::level_filters::LevelFilter;

use super::media_type;
use crate::server::App;
use crate::server::json;
use crate::server::problem::{Problem, Result};
use crate::task::Object;
use crate::telemetry::{self, LEVELS};

/// Longest body of a change.
const MAX_BODY: usize = 1 << 10;

/// `GET /api/v1/logging/level`
pub async fn level() -> Response<Body> {
    let body = json!({"level": name(telemetry::level()), "dropped_lines": telemetry::dropped()});
    json::answer(StatusCode::OK, &body)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    level: String,
}

/// `PUT /api/v1/logging/level`: `{"level": "DEBUG"}`, until the server ends.
pub async fn set_level(State(app): State<Arc<App>>, request: Request<Body>) -> Result<Response<Body>> {
    let (head, body) = request.into_parts();
    if media_type(&head.headers) != "application/json" {
        return Err(Problem::unsupported("the body is application/json: {\"level\": \"DEBUG\"}"));
    }
    let whole = app.bodies.read(&head.headers, body, "the body", MAX_BODY, 2).await?;
    let Object(Change { level: wanted }): Object<Change> = json::parse(&whole.bytes)?;
    let known = LEVELS.iter().find(|(name, _)| name.eq_ignore_ascii_case(&wanted));
    let (_, level) = known.ok_or_else(|| {
        Problem::invalid("level", format!("one of {}", LEVELS.map(|(name, _)| name).join(", ")))
    })?;
    let before = telemetry::set_level(*level).map_err(Problem::internal)?;
    if before != *level {
        tracing::warn!(from = name(before), to = name(*level), "the level of the log was changed");
    }
    Ok(json::answer(StatusCode::OK, &json!({"level": name(*level), "before": name(before)})))
}

fn name(level: LevelFilter) -> &'static str {
    LEVELS.iter().find(|(_, other)| *other == level).map_or("OFF", |(name, _)| name)
}
