//! `POST /api/tasks`: from a body to a stored task.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use bytes::Bytes;
use jiff::Timestamp;

use super::admission::{Sent, explain, find, spec_of};
use super::received::{self, Received};
use super::tasks::{finished, record};
use crate::limits::Requested;
use crate::scheduler::{Accepted, Ended, Submission, Submitted};
use crate::server::App;
use crate::server::body::Whole;
use crate::server::caller::Caller;
use crate::server::heavy::heavy;
use crate::server::json;
use crate::server::observe;
use crate::server::overload::AtWork;
use crate::server::problem::{Problem, Result};
use crate::server::query::{self, Query};
use crate::server::submission::TaskJson;
use crate::task::{Digest, Object, Record, State as TaskState, Task, TaskId};
use crate::task_store::Idempotency;

/// What a request says of a task, before it is checked against components, limits and grants.
struct Wanted {
    task: TaskJson,
    component: Option<Sent>,
    input: Bytes,
    /// The body's place in memory, until the task is stored.
    body: Whole,
}

/// `POST /api/tasks/?wait=&dry_run=`
pub async fn submit(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Extension(at_work): Extension<AtWork>,
    request: Request<Body>,
) -> Result<Response<Body>> {
    let mut query = Query::of(request.uri(), &["arg", "env"])?;
    let wait = query::wait(&mut query, request.headers())?;
    let dry_run = query.take_flag("dry_run")?.unwrap_or(false);
    let key = idempotency_key(request.headers())?;
    let Wanted { task, component, input: sent_input, body } = wanted(&app, query, request).await?;
    task.check()?;
    if dry_run {
        return explain(&app, &caller, task, component, &sent_input).await;
    }
    let idempotency = key.map(|key| Idempotency {
        key,
        fingerprint: heavy(sent_input.len(), || fingerprint(&task, &component, &sent_input)),
    });
    if let Some(idempotency) = &idempotency
        && let Some((id, fingerprint)) = app.scheduler.recall(caller.tenant(), &idempotency.key).await?
    {
        // Before anything is looked up: the component may have moved or gone since.
        drop((sent_input, body));
        if wait.is_some() {
            at_work.waits();
        }
        return match fingerprint == idempotency.fingerprint {
            true => repeated(&app, caller.tenant(), id, wait).await,
            false => Err(idempotency_conflict()),
        };
    }
    let mut found = find(&app, &caller, &task, component).await?;
    let keep = found.keep.take();
    let mode = app.modes.mode();
    let spec = spec_of(&app, &caller, mode, task, found)?;
    let waits = wait.is_some_and(|wait| !wait.is_zero()) && !spec.grants.reach_outside();
    Requested::all(&spec.limits)?
        .effective(app.modes.of(mode).limits)?
        .admit_input(sent_input.len() as u64)?;
    if let Some((name, bytes)) = keep {
        let (components, digest) = (app.components.clone(), spec.digest);
        // To its end, whether the client waits or not.
        let caller = caller.clone();
        let upload =
            tokio::spawn(async move { components.upload(caller.tenant(), digest, bytes, name, None).await });
        upload.await.map_err(Problem::internal)??;
    }
    let now = Timestamp::now();
    let task = Task {
        id: TaskId::generate(),
        tenant: caller.tenant().to_owned(),
        created: now,
        spec: Arc::new(spec),
        state: TaskState::submitted(now),
    };
    let input = heavy(sent_input.len(), || Arc::from(&*sent_input));
    drop(sent_input);
    let place = body.without_bytes();
    let submission = Submission { task, input, idempotency, waits };
    let submitted = app.scheduler.submit(submission).await?;
    // Stored: its place in memory is for others, however long this client waits.
    drop(place);
    if wait.is_some() {
        at_work.waits();
    }
    match submitted {
        Submitted::Accepted(task) => accepted(&app, task, wait).await,
        Submitted::Before(id) => repeated(&app, caller.tenant(), id, wait).await,
        Submitted::Conflict => Err(idempotency_conflict()),
    }
}

/// Reads the request in whichever form it came.
async fn wanted(app: &App, mut query: Query, request: Request<Body>) -> Result<Wanted> {
    let headers = request.headers().clone();
    match received::receive(app, request).await? {
        Received::Json(whole) => {
            query.end("wait, dry_run")?;
            let Object(mut task): Object<TaskJson> = heavy(whole.bytes.len(), || json::parse(&whole.bytes))?;
            let input = heavy(whole.bytes.len(), || task.take_input())?.unwrap_or_default();
            Ok(Wanted { task, component: None, input, body: whole })
        }
        Received::Wasm(whole) => {
            let declared = query.take("digest");
            let mut task = TaskJson::from_query(&mut query)?;
            query.end(TaskJson::QUERY)?;
            let digest = received::digest(&whole.bytes, declared.as_deref(), Some(&headers))?;
            let input = task.take_input()?.unwrap_or_default();
            Ok(Wanted { task, component: Some((digest, whole.bytes.clone())), input, body: whole })
        }
        Received::Parts(mut parts, whole) => {
            query.end("wait, dry_run")?;
            let component = received::take(&mut parts, "component");
            let input = received::take(&mut parts, "input");
            let mut task = match received::take(&mut parts, "task") {
                Some(text) => heavy(text.len(), || json::parse::<Object<TaskJson>>(&text))?.0,
                None => TaskJson::default(),
            };
            received::end(&parts, "component, input, task")?;
            let input = match (input, task.take_input()?) {
                (Some(_), Some(_)) => {
                    return Err(Problem::invalid("input", "it is given in a part and in the part task"));
                }
                (part, inside) => part.or(inside).unwrap_or_default(),
            };
            let mut sent = None;
            if let Some(bytes) = component {
                if bytes.len() > received::max_component() {
                    return Err(Problem::too_large("the component", received::max_component()));
                }
                // Named and sent: they must be the same.
                let declared = task.component.as_deref().filter(|name| name.starts_with(Digest::PREFIX));
                sent = Some((received::digest(&bytes, declared, None)?, bytes));
            }
            Ok(Wanted { task, component: sent, input, body: whole })
        }
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>> {
    let mut keys = headers.get_all("idempotency-key").iter();
    match (keys.next().map(HeaderValue::to_str), keys.next()) {
        (None, _) => Ok(None),
        (Some(Ok(key)), None) if !key.is_empty() && key.len() <= 255 => Ok(Some(key.to_owned())),
        _ => Err(Problem::invalid("Idempotency-Key", "one, of 1 to 255 visible ASCII characters")),
    }
}

fn idempotency_conflict() -> Problem {
    let detail =
        "this Idempotency-Key came before with another submission: use a new key for a new submission";
    Problem::new(StatusCode::CONFLICT, "idempotency_conflict", detail)
}

/// The same for the same submission, whatever its form's boundaries and its wait.
fn fingerprint(task: &TaskJson, component: &Option<Sent>, input: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    let words = serde_json::to_vec(task).unwrap_or_default();
    let component = component.as_ref().map(|(digest, _)| digest.as_bytes().as_slice()).unwrap_or_default();
    for part in [words.as_slice(), component, input] {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
    }
    *hasher.finalize().as_bytes()
}

/// Waits for the end of a task. A server that ends does not keep its clients waiting for tasks it leaves.
async fn ended_within(
    app: &App,
    ended: impl Future<Output = Arc<Ended>>,
    wait: Duration,
) -> Option<Arc<Ended>> {
    let ended = tokio::time::timeout(wait, ended);
    let drained = async {
        let mut ending = app.ending.clone();
        let _ = ending.wait_for(|ending| *ending).await;
        tokio::time::sleep(app.config.server.drain).await;
    };
    tokio::select! {
        biased;
        ended = ended => ended.ok(),
        () = drained => None,
    }
}

/// Answers with the finished record if it comes in time, else with `202`.
async fn accepted(app: &App, mut task: Accepted, wait: Option<Duration>) -> Result<Response<Body>> {
    let ended = match wait {
        None => None,
        Some(wait) => observe::waiting(ended_within(app, task.ended(), wait)).await,
    };
    let live = &task.live;
    let mut response = match ended {
        Some(ended) => finished(app, &ended)?,
        None => json::answer(StatusCode::ACCEPTED, &Record::of(&live.task())),
    };
    if let Ok(location) = HeaderValue::from_str(&format!("/api/tasks/{}", live.id)) {
        response.headers_mut().insert(LOCATION, location);
    }
    Ok(response)
}

/// Answers a submission that came before: `200` with the first one's record.
async fn repeated(app: &App, tenant: &str, id: TaskId, wait: Option<Duration>) -> Result<Response<Body>> {
    if let (Some(live), Some(wait)) = (app.scheduler.live(tenant, id), wait) {
        observe::waiting(ended_within(app, live.ended(), wait)).await;
    }
    record(app, tenant, id).await
}
