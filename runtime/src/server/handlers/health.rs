//! `/api/v1/health`: open to everybody, with details for those whom they concern: the operator all, tenants what
//! keeps their tasks waiting.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::{Request, Response, StatusCode};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;

use super::Segment;
use crate::server::App;
use crate::server::caller::Caller;
use crate::server::health::{Check, Overall, Report};
use crate::server::json;
use crate::server::problem::{Problem, Result};
use crate::server::query::Query;
use crate::task::timestamp;

/// What concerns every tenant: figures of its own tasks' queue, none of the machine.
const OF_TENANTS: &str = "queue";

/// Whether `caller` is told more of the check `name` than its status.
fn sees(caller: Option<&Extension<Caller>>, name: &str) -> bool {
    caller.is_some_and(|Extension(caller)| caller.is_operator() || name == OF_TENANTS)
}

/// Samples in one answer: where nothing is said, and at most.
const SAMPLES: usize = 100;
const MAX_SAMPLES: usize = 1800;

/// What is told of a check.
#[derive(Serialize)]
#[serde(untagged)]
enum Shown<'a> {
    All(&'a Check),
    Status { response_time_ms: f64, status: Overall },
}

impl Shown<'_> {
    fn of<'a>(check: &'a Check, caller: Option<&Extension<Caller>>) -> Shown<'a> {
        match sees(caller, check.name) {
            true => Shown::All(check),
            false => Shown::Status { response_time_ms: check.response_time_ms, status: check.status },
        }
    }
}

#[derive(Serialize)]
struct All<'a> {
    checks: BTreeMap<&'static str, Shown<'a>>,
    overall_status: Overall,
    timestamp: &'a str,
}

/// `GET /api/v1/health/`
pub async fn all(State(app): State<Arc<App>>, caller: Option<Extension<Caller>>) -> Response<Body> {
    let report = app.health.report();
    let shown = |check| Shown::of(check, caller.as_ref());
    let body = All {
        checks: report.checks.iter().map(|check| (check.name, shown(check))).collect(),
        overall_status: report.overall,
        timestamp: &report.timestamp,
    };
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
    let check = check.ok_or_else(|| no_such_check(&names))?;
    Ok(json::answer(StatusCode::OK, &Shown::of(check, caller.as_ref())))
}

/// `GET /api/v1/health/summary`
pub async fn summary(State(app): State<Arc<App>>, caller: Option<Extension<Caller>>) -> Response<Body> {
    let Report { overall, checks, timestamp: at } = app.health.report();
    let now = Timestamp::now();
    let trends = app.health.trends.lock();
    let since = |since: Option<Timestamp>| timestamp(since.unwrap_or(now));
    let [healthy, degraded, unhealthy] =
        Overall::ALL.map(|status| checks.iter().filter(|check| check.status == status).count());
    let ill = checks.iter().filter(|check| check.status != Overall::Healthy).map(|check| {
        let Check { name, status, error, remediation, .. } = check;
        let since = since(trends.since(name, *status));
        match sees(caller.as_ref(), name) {
            true => json!({
                "check": name, "status": status, "since": since, "error": error, "remediation": remediation,
            }),
            false => json!({"check": name, "status": status, "since": since}),
        }
    });
    let mut body = json!({
        "overall_status": overall, "since": since(trends.overall_since(overall)),
        "counts": {"healthy": healthy, "degraded": degraded, "unhealthy": unhealthy},
        "not_healthy": ill.collect::<Vec<_>>(), "timestamp": at,
    });
    if let (Some(Extension(caller)), Some(body)) = (&caller, body.as_object_mut()) {
        if caller.is_operator() {
            body.insert("uptime_s".to_owned(), json!(app.metrics.uptime().as_secs()));
        }
        body.insert("version".to_owned(), json!(env!("CARGO_PKG_VERSION")));
    }
    json::answer(StatusCode::OK, &body)
}

/// `GET /api/v1/health/{check}/trend?limit=`
pub async fn trend(
    State(app): State<Arc<App>>,
    caller: Option<Extension<Caller>>,
    Segment(name): Segment,
    request: Request<Body>,
) -> Result<Response<Body>> {
    let mut query = Query::of(request.uri(), &[])?;
    let limit = match query.take("limit").map(|limit| limit.parse()) {
        None => SAMPLES,
        Some(Ok(limit)) if limit <= MAX_SAMPLES => limit,
        Some(_) => return Err(Problem::invalid("limit", format!("a number from 0 to {MAX_SAMPLES}"))),
    };
    query.end("limit")?;
    // Samples are for those who are known.
    let limit = if caller.is_some() { limit } else { 0 };
    let trends = app.health.trends.lock();
    let mut trend = trends.of(&name, limit).ok_or_else(|| {
        let names: Vec<&str> = trends.statuses().into_iter().map(|(name, _)| name).collect();
        no_such_check(&names)
    })?;
    drop(trends);
    if let (None, Some(trend)) = (caller, trend.as_object_mut()) {
        trend.remove("samples");
    }
    Ok(json::answer(StatusCode::OK, &trend))
}

/// `GET /livez`: this process answers. Nothing is looked at.
pub async fn alive() -> &'static str {
    "alive\n"
}

/// `GET /readyz`: whether new work is accepted.
pub async fn ready(State(app): State<Arc<App>>) -> Result<&'static str> {
    let why = match *app.ending.borrow() {
        true => Some(("ending", "the server is ending: what runs may finish")),
        false => app.health.refuses_new(),
    };
    match why {
        None => Ok("ready\n"),
        Some((reason, detail)) => {
            let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", detail);
            Err(problem.with("reason", reason))
        }
    }
}

fn no_such_check(names: &[&str]) -> Problem {
    Problem::not_found(format!("no such check; there is {}", names.join(", ")))
}
