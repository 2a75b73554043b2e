//! `/api/v1/health`: open to everybody, with details for those who are signed in.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::{Response, StatusCode};
use serde_json::{Map, Value, json};

use super::Segment;
use crate::server::App;
use crate::server::caller::Caller;
use crate::server::health::{Check, Overall};
use crate::server::json;
use crate::server::problem::{Problem, Result};

/// `GET /api/v1/health/`
pub async fn all(State(app): State<Arc<App>>, caller: Option<Extension<Caller>>) -> Response<Body> {
    let report = app.health.report();
    let checks: Map<String, Value> =
        report.checks.iter().map(|check| (check.name.to_owned(), shown(check, caller.is_some()))).collect();
    let body = json!({"overall_status": report.overall, "checks": checks, "timestamp": report.timestamp});
    let status = match report.overall {
        Overall::Unhealthy => StatusCode::SERVICE_UNAVAILABLE,
        Overall::Healthy | Overall::Degraded => StatusCode::OK,
    };
    json::answer(status, &body)
}

/// `GET /api/v1/health/{check}`
pub async fn one(
    State(app): State<Arc<App>>,
    caller: Option<Extension<Caller>>,
    Segment(name): Segment,
) -> Result<Response<Body>> {
    let report = app.health.report();
    let check = report.checks.iter().find(|check| check.name == name);
    let names: Vec<&str> = report.checks.iter().map(|check| check.name).collect();
    let check =
        check.ok_or_else(|| Problem::not_found(format!("no such check; there is {}", names.join(", "))))?;
    Ok(json::answer(StatusCode::OK, &shown(check, caller.is_some())))
}

fn shown(check: &Check, details: bool) -> Value {
    match details {
        true => json!(check),
        false => json!({"status": check.status, "response_time_ms": check.response_time_ms}),
    }
}
