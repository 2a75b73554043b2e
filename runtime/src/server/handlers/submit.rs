//! `POST /api/tasks`: from a body to a stored task.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use bytes::Bytes;
use jiff::Timestamp;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::components::no_component;
use super::received::{self, Received};
use super::tasks::{finished, record};
use crate::limits::{Budget, Limits, Mode, Requested};
use crate::scheduler::{Accepted, Candidate, Ended, Submission, Submitted};
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
use crate::task::{Capability, Digest, Grants, Object, Record, Spec, State as TaskState, Task, TaskId};
use crate::task_store::Idempotency;

/// What a request says of a task, before it is checked against components, limits and grants.
struct Wanted {
    task: TaskJson,
    component: Option<Sent>,
    input: Bytes,
    /// The body's place in memory, until the task is stored.
    body: Whole,
}

/// A component that came with its submission.
type Sent = (Digest, Bytes);

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

/// The component that a submission names or brings.
struct Found {
    /// As it was named.
    name: String,
    digest: Digest,
    /// What it cannot do without.
    capabilities: Vec<Capability>,
    /// What is to be kept of it once the submission is known to be good: its name, and its bytes.
    keep: Option<(Option<String>, Arc<[u8]>)>,
}

async fn find(app: &App, caller: &Caller, task: &TaskJson, sent: Option<Sent>) -> Result<Found> {
    let named = |name: String| {
        let (digest, about) =
            app.components.resolve(caller.tenant(), &name).ok_or_else(|| no_component(caller, &name))?;
        Ok(Found { name, digest, capabilities: about.needed(), keep: None })
    };
    let Some((digest, bytes)) = sent else {
        if let Some(name) = &task.component {
            super::components::provide(app, caller, name).await?;
        }
        return named(task.component.clone().ok_or_else(|| {
            Problem::invalid("component", "a name or a digest (sha256:…) of a component that was uploaded")
        })?);
    };
    // A name beside the bytes becomes the component's.
    let name = task.component.clone().filter(|name| !name.starts_with(Digest::PREFIX));
    if name.is_none()
        && let Ok(known) = named(digest.to_string())
    {
        return Ok(known);
    }
    let bytes: Arc<[u8]> = heavy(bytes.len(), || Arc::from(&*bytes));
    let (_, interface) = app.components.inspect(bytes.clone()).await?;
    Ok(Found {
        name: name.clone().unwrap_or_else(|| digest.to_string()),
        digest,
        capabilities: interface.capabilities.into_iter().collect(),
        keep: Some((name, bytes)),
    })
}

/// The submission, completed and checked against grants and limits.
fn spec_of(app: &App, caller: &Caller, mode: Mode, task: TaskJson, found: Found) -> Result<Spec> {
    let Found { name, digest, capabilities, .. } = found;
    let grants = effective_grants(&task, caller, mode);
    let missing: Vec<Capability> =
        capabilities.iter().copied().filter(|capability| !grants.allow(*capability)).collect();
    if !missing.is_empty() {
        return Err(denied(&missing, caller));
    }
    if let Some(capability) = capabilities.iter().find(|capability| !capability.is_offered()) {
        let detail =
            format!("the component needs `{}`, which this omnimind does not have yet", capability.name());
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "capability_unavailable", detail));
    }
    let durable = task.durable.unwrap_or(true);
    if !durable && !app.config.store.allow_ephemeral {
        return Err(Problem::invalid(
            "durable",
            "every task is durable here; store.allow_ephemeral (serve --allow-ephemeral) allows others",
        ));
    }
    Ok(Spec {
        component: name,
        digest,
        retry: task.retry(app.config.performance.retry_attempts),
        description: task.description,
        metadata: task.metadata.unwrap_or_else(|| RawValue::NULL.to_owned()),
        priority: task.priority,
        mode: mode.name().into(),
        limits: task.limits,
        args: task.args,
        env: task.env,
        grants,
        deterministic: task.deterministic,
        durable,
    })
}

/// What a submission asks for; where it does not say, what its mode gives; of both what its token allows.
fn effective_grants(task: &TaskJson, caller: &Caller, mode: Mode) -> Grants {
    let grants = match (&task.grants, mode) {
        (Some(grants), _) => grants.clone(),
        (None, Mode::Dev | Mode::Test) => Grants { tensor: true, embedding: true, ..Grants::default() },
        (None, Mode::Prod) => Grants::default(),
    };
    match caller.grants() {
        Some(most) => grants.within(most),
        None => grants,
    }
}

fn denied(missing: &[Capability], caller: &Caller) -> Problem {
    let mut add = serde_json::Map::new();
    for capability in missing {
        if let Ok(Value::Object(example)) = serde_json::from_str(capability.example()) {
            add.extend(example);
        }
    }
    let names: Vec<&str> = missing.iter().map(|capability| capability.name()).collect();
    let add = Value::Object(add);
    let beyond = caller.grants().is_some_and(|most| missing.iter().any(|missing| !most.allow(*missing)));
    let who = if beyond {
        "this token does not allow: ask for one that does; and"
    } else {
        "the submission does not grant:"
    };
    let detail = format!("the component needs {}, which {who} add \"grants\": {add}", names.join(", "));
    Problem::new(StatusCode::FORBIDDEN, "capability_denied", detail).with("grants", add)
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

/// `?dry_run=true`: what would be needed, and whether it would run now.
async fn explain(
    app: &App,
    caller: &Caller,
    task: TaskJson,
    component: Option<Sent>,
    input: &[u8],
) -> Result<Response<Body>> {
    // What came with it is looked at and not kept.
    let Found { name, capabilities: needed, .. } = find(app, caller, &task, component).await?;
    let grants = effective_grants(&task, caller, app.modes.mode());
    let (granted, missing): (Vec<Capability>, Vec<Capability>) =
        needed.iter().copied().partition(|capability| grants.allow(*capability));
    let limits = Requested::all(&task.limits)?.effective(app.modes.current().limits)?;
    limits.admit_input(input.len() as u64)?;
    let load = app.scheduler.load();
    let candidate = Candidate {
        tenant: caller.tenant(),
        priority: task.priority,
        memory_bytes: limits.get(Budget::MemoryBytes),
        durable: task.durable.unwrap_or(true),
    };
    let admission = match () {
        () if !missing.is_empty() => json!({"state": "refused", "reason": "capability_denied"}),
        () if !needed.iter().all(|capability| capability.is_offered()) => {
            json!({"state": "refused", "reason": "capability_unavailable"})
        }
        () if task.durable == Some(false) && !app.config.store.allow_ephemeral => {
            json!({"state": "refused", "reason": "store.allow_ephemeral is false"})
        }
        () if app.health.poisoned().is_some() => json!({"state": "refused", "reason": "storage_unavailable"}),
        () => match app.scheduler.would_begin(candidate) {
            Ok(true) => json!({"state": "admitted"}),
            Ok(false) => {
                let (running, pending) = (load.running, load.pending);
                json!({"state": "queued", "reason": format!("{running} tasks run and {pending} wait")})
            }
            Err(error) => json!({"state": "refused", "reason": Problem::from(error).code()}),
        },
    };
    let body = json!({
        "component": name,
        "capabilities": {"needed": needed, "granted": granted, "missing": missing},
        "limits": {"effective": amounts(&limits)},
        "admission": admission,
    });
    Ok(json::answer(StatusCode::OK, &body))
}

fn amounts(limits: &Limits) -> Value {
    let amounts = Budget::ALL.into_iter().map(|budget| (budget.name().to_owned(), limits.get(budget).into()));
    Value::Object(amounts.collect())
}
