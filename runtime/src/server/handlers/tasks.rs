//! `/api/tasks`, but for submissions.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::{Request, Response, StatusCode, Uri};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::Segment;
use crate::scheduler::{Cancelled, Ended};
use crate::server::App;
use crate::server::caller::Caller;
use crate::server::heavy::heavy;
use crate::server::json;
use crate::server::observe;
use crate::server::overload::AtWork;
use crate::server::problem::{Problem, Result};
use crate::server::query::{self, Query};
use crate::task::{Priority, Record, State as TaskState, Status, Task, TaskId, timestamp};
use crate::task_store::{self, WithOutput};

/// How long a cancellation is waited for before the answer is `202`.
const CANCEL_WAIT: Duration = Duration::from_millis(500);

/// Longest grace that may be given.
const MAX_GRACE: Duration = Duration::from_secs(300);

/// Tasks in one page of a list.
const MAX_PAGE: usize = 1000;

/// `GET /api/tasks/?status=&priority=&component=&limit=&cursor=`
pub async fn list(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    request: Request<Body>,
) -> Result<Response<Body>> {
    let page = page(&app, &query(request.uri(), &caller)?).await?;
    let body = page.write(serde_json::to_vec).map_err(Problem::internal)?;
    json::tagged_text(&app.bodies, body)
}

/// Which tasks a list is to have.
pub(super) fn query(uri: &Uri, caller: &Caller) -> Result<task_store::Query> {
    let mut query = Query::of(uri, &[])?;
    let status = one_of(&mut query, "status", &Status::ALL.map(|status| (status.name(), status)))?;
    let priority =
        one_of(&mut query, "priority", &Priority::ALL.map(|priority| (priority.name(), priority)))?;
    let component = query.take("component");
    let limit = match query.take("limit") {
        None => 100,
        Some(text) => text
            .parse()
            .ok()
            .filter(|limit| (1..=MAX_PAGE).contains(limit))
            .ok_or_else(|| Problem::invalid("limit", format!("a whole number from 1 to {MAX_PAGE}")))?,
    };
    let before = match query.take("cursor") {
        None => None,
        Some(text) => Some(
            TaskId::from_str(&text)
                .map_err(|_| Problem::invalid("cursor", "the next_cursor of another page"))?,
        ),
    };
    query.end("status, priority, component, limit, cursor")?;
    Ok(task_store::Query { tenant: caller.tenant().to_owned(), before, status, priority, component, limit })
}

/// The tasks that `query` asks for, and where the next ones begin.
pub(super) async fn page(app: &App, query: &task_store::Query) -> Result<Page> {
    // One more tells whether there is another page.
    let mut tasks =
        app.scheduler.list(&task_store::Query { limit: query.limit + 1, ..query.clone() }).await?;
    let more = tasks.len() > query.limit;
    tasks.truncate(query.limit);
    let next_cursor = tasks.last().filter(|_| more).map(|task| task.id);
    Ok(Page { tasks, next_cursor })
}

/// Some tasks, and where the next ones begin.
pub(super) struct Page {
    tasks: Vec<Task>,
    next_cursor: Option<TaskId>,
}

/// The same as clients see it.
#[derive(Serialize)]
pub(super) struct Records {
    tasks: Vec<Record>,
    next_cursor: Option<TaskId>,
}

impl Page {
    /// Does `write` with what clients are to see.
    pub(super) fn write<T>(&self, write: impl FnOnce(&Records) -> T) -> T {
        let words: usize = self.tasks.iter().map(|task| task.spec.metadata.get().len()).sum();
        heavy(words, || {
            let tasks = self.tasks.iter().map(Record::of).collect();
            write(&Records { tasks, next_cursor: self.next_cursor })
        })
    }
}

fn one_of<T: Copy>(query: &mut Query, name: &str, known: &[(&'static str, T)]) -> Result<Option<T>> {
    let Some(given) = query.take(name) else { return Ok(None) };
    match known.iter().find(|(word, _)| *word == given) {
        Some((_, value)) => Ok(Some(*value)),
        None => {
            let words: Vec<&str> = known.iter().map(|(word, _)| *word).collect();
            Err(Problem::invalid(name, format!("one of {}", words.join(", "))))
        }
    }
}

/// The id in a path; one that is none names no task.
pub(super) fn task_id(text: &str) -> Result<TaskId> {
    TaskId::from_str(text).map_err(|_| no_task(text))
}

fn no_task(id: &str) -> Problem {
    let shown: String = id.chars().take(80).collect();
    Problem::not_found(format!("there is no task `{}`", shown.escape_debug()))
}

/// One task, or `404`.
pub(super) async fn task(app: &App, tenant: &str, id: &str) -> Result<Task> {
    Ok(found(app, tenant, task_id(id)?).await?.0)
}

async fn found(app: &App, tenant: &str, id: TaskId) -> Result<WithOutput> {
    app.scheduler.task(tenant, id).await?.ok_or_else(|| no_task(&id.to_string()))
}

/// Answers with one task's record, or `404`.
pub(super) async fn record(app: &App, tenant: &str, id: TaskId) -> Result<Response<Body>> {
    let (task, at_hand) = found(app, tenant, id).await?;
    let place = place(app, &task)?;
    let output = match (task.state.status, at_hand) {
        (Status::Completed, None) => app.scheduler.store_of(&task).output(tenant, id).await?,
        (_, at_hand) => at_hand,
    };
    Ok(with_output(&task, output.as_deref(), |record| json::tagged_in(place, record)))
}

/// Room for an answer with the output of `task`.
pub(super) fn place(app: &App, task: &Task) -> Result<Option<OwnedSemaphorePermit>> {
    let bytes = task.state.output_bytes.map_or(0, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
    app.bodies.answer(bytes)
}

/// Answers with the record of a task that has just ended.
pub(super) fn finished(app: &App, ended: &Ended) -> Result<Response<Body>> {
    let place = place(app, &ended.task)?;
    let answer = |record: &Record| json::answer_in(place, StatusCode::OK, record);
    Ok(with_output(&ended.task, ended.output.as_deref(), answer))
}

fn with_output(
    task: &Task,
    output: Option<&[u8]>,
    answer: impl FnOnce(&Record) -> Response<Body>,
) -> Response<Body> {
    heavy(output.map_or(0, <[u8]>::len), || answer(&Record::of(task).with_output(output.map(<[u8]>::to_vec))))
}

/// `GET /api/tasks/{id}`
pub async fn show(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Segment(id): Segment,
) -> Result<Response<Body>> {
    record(&app, caller.tenant(), task_id(&id)?).await
}

/// `GET /api/tasks/{id}/progress`
pub async fn progress(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Segment(id): Segment,
) -> Result<Response<Body>> {
    let task = task(&app, caller.tenant(), &id).await?;
    let TaskState { progress, status, message, .. } = &task.state;
    let body = json!({
        "task_id": task.id, "progress": progress, "status": status, "message": message,
        "timestamp": timestamp(Timestamp::now()),
    });
    Ok(json::answer(StatusCode::OK, &body))
}

/// `GET /api/tasks/{id}/history`
pub async fn history(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Segment(id): Segment,
) -> Result<Response<Body>> {
    let task = task(&app, caller.tenant(), &id).await?;
    Ok(json::tagged(&json!({"task_id": task.id, "events": task.state.history})))
}

/// `GET /api/tasks/{id}/analytics`: where its time and its budgets went.
pub async fn analytics(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Segment(id): Segment,
) -> Result<Response<Body>> {
    let task = task(&app, caller.tenant(), &id).await?;
    let TaskState { status, attempts, interruptions, receipt, completed, .. } = &task.state;
    let until = completed.unwrap_or_else(Timestamp::now);
    let total_ms = until.as_millisecond().saturating_sub(task.created.as_millisecond());
    let share = |used: u64, limit: u64| if limit == 0 { 0.0 } else { used as f64 / limit as f64 };
    let budgets = receipt.as_ref().map(|receipt| {
        let counted = receipt.budgets.iter().filter_map(|(name, line)| Some((name, line.used?, line.limit)));
        let shares = counted.map(|(name, used, limit)| (name.to_string(), share(used, limit).into()));
        shares.collect::<serde_json::Map<String, Value>>()
    });
    let body = json!({
        "task_id": task.id, "status": status, "attempts": attempts, "interruptions": interruptions,
        "total_ms": total_ms,
        "queue_ms": receipt.as_ref().map(|receipt| receipt.queue_ms),
        "wall_ms": receipt.as_ref().map(|receipt| receipt.wall_ms),
        "cpu_ms": receipt.as_ref().map(|receipt| receipt.cpu_ms),
        "stopped_by": receipt.as_ref().and_then(|receipt| receipt.stopped_by.clone()),
        "budget_shares": budgets,
    });
    Ok(json::tagged(&body))
}

/// `GET /api/tasks/analytics/summary`
pub async fn summary(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
) -> Result<Response<Body>> {
    let summary = app.scheduler.summary(caller.tenant()).await?;
    let count =
        |status| summary.counts.iter().find(|(other, _)| *other == status).map_or(0, |(_, count)| *count);
    let (completed, failed) = (count(Status::Completed), count(Status::Failed));
    let ended = completed + failed;
    let rate = (ended > 0).then(|| completed as f64 / ended as f64);
    let mut durations = summary.durations_ms;
    durations.sort_unstable();
    let at = |share: f64| durations.get((durations.len().saturating_sub(1) as f64 * share) as usize);
    let counts: serde_json::Map<String, Value> =
        summary.counts.iter().map(|(status, count)| (status.name().to_owned(), (*count).into())).collect();
    let body = json!({
        "total": summary.counts.iter().map(|(_, count)| count).sum::<u64>(),
        "counts": counts,
        "success_rate": rate,
        "durations_ms": {"samples": durations.len(), "p50": at(0.5), "p95": at(0.95), "p99": at(0.99), "max": durations.last()},
    });
    Ok(json::tagged(&body))
}

/// `DELETE /api/tasks/{id}?grace=5s`
pub async fn cancel(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Extension(at_work): Extension<AtWork>,
    Segment(id): Segment,
    request: Request<Body>,
) -> Result<Response<Body>> {
    let mut query = Query::of(request.uri(), &[])?;
    let grace = match query.take("grace") {
        None => Duration::ZERO,
        Some(text) => query::duration(&text)
            .filter(|grace| *grace <= MAX_GRACE)
            .ok_or_else(|| Problem::invalid("grace", "a time like 5s or 500ms, 300s at most"))?,
    };
    query.end("grace")?;
    let id = task_id(&id)?;
    match app.scheduler.cancel(caller.tenant(), id, grace).await? {
        Cancelled::NotFound => Err(no_task(&id.to_string())),
        Cancelled::HadEnded(status) => {
            Err(Problem::conflict(format!("the task has ended: it is {}", status.name())))
        }
        Cancelled::Asked(live) => {
            at_work.waits();
            match observe::waiting(timeout(CANCEL_WAIT, live.ended())).await {
                Ok(ended) => finished(&app, &ended),
                Err(_) => Ok(json::answer(StatusCode::ACCEPTED, &Record::of(&live.task()))),
            }
        }
    }
}
