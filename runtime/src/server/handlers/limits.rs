//! `/api/v1/limits`: what tasks may have here, and what is proven of it.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, Response};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::media_type;
use crate::limits::Budget;
use crate::server::App;
use crate::server::attestation::{Kept, Report};
use crate::server::json;
use crate::server::problem::{Problem, Result};
use crate::task::{Object, timestamp};

/// A report may have so many bytes.
const MAX_REPORT: usize = 64 << 10;

/// `GET /api/v1/limits`
pub async fn show(State(app): State<Arc<App>>) -> Response<Body> {
    let attestation = app.health.attestation();
    let last = attestation.last();
    let policy = app.modes.current().limits;
    let [mode, version, engine] = attestation.subject();
    let limit = |budget: Budget| {
        let bounds = policy.bounds(budget);
        json!({
            "name": budget.name(), "unit": budget.unit(), "default": bounds.default, "max": bounds.max,
            "proof": last.as_ref().and_then(|last| proof(last, budget)),
        })
    };
    let attested = last.as_ref().map(|last| {
        let Report { mode, version, engine, .. } = &last.report;
        json!({
            "at": at(last), "age_s": last.age_s(), "mode": mode, "version": version, "engine": engine,
            "machine": last.machine, "is_current": attestation.is_current(&last.report),
        })
    });
    let body = json!({
        "mode": mode, "version": version, "engine": engine, "limits": Budget::ALL.map(limit), "attested": attested,
    });
    json::tagged(&body)
}

fn proof(kept: &Kept, budget: Budget) -> Option<Value> {
    let proof = kept.proof(budget)?;
    Some(json!({
        "verdict": proof.verdict, "configured": proof.configured, "stopped_at": proof.stopped_at,
        "overshoot": proof.overshoot, "at": at(kept), "age_s": kept.age_s(),
    }))
}

fn at(kept: &Kept) -> Option<String> {
    Timestamp::from_millisecond(kept.at_ms).ok().map(timestamp)
}

/// `PUT /api/v1/limits/attestation`
pub async fn attest(State(app): State<Arc<App>>, request: Request<Body>) -> Result<Response<Body>> {
    let (head, body) = request.into_parts();
    if media_type(&head.headers) != "application/json" {
        return Err(Problem::unsupported("a report is application/json, as `omnimind attest` sends it"));
    }
    let whole = app.bodies.read(&head.headers, body, "the report", MAX_REPORT, 1).await?;
    let Object(report): Object<Report> = json::parse(&whole.bytes)?;
    for (at, proof) in report.limits.iter().enumerate() {
        let field = format!("limits[{at}].name");
        if Budget::from_name(&proof.name).is_none() {
            return Err(Problem::invalid(field, "there is no such limit: see GET /api/v1/limits"));
        }
        if report.limits.iter().take(at).any(|other| other.name == proof.name) {
            return Err(Problem::invalid(field, "a limit comes once"));
        }
    }
    let attestation = app.health.attestation().clone();
    if !attestation.is_current(&report) {
        let detail = format!(
            "this report is of another server: this one is {}; run `omnimind attest` against it",
            attestation.subject().join(", ")
        );
        return Err(Problem::conflict(detail));
    }
    app.health.admit_new()?;
    let kept = tokio::task::spawn_blocking(move || attestation.keep(report)).await;
    kept.map_err(Problem::internal)?.map_err(Problem::unwritten)?;
    Ok(show(State(app)).await)
}
