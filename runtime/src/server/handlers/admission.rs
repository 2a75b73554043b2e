//! From what a submission wants to what it gets: its component, grants and limits, or why not.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Response, StatusCode};
use bytes::Bytes;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::components::no_component;
use crate::limits::{Budget, Limits, Mode, Requested};
use crate::scheduler::Candidate;
use crate::server::App;
use crate::server::caller::Caller;
use crate::server::heavy::heavy;
use crate::server::json;
use crate::server::problem::{Problem, Result};
use crate::server::submission::TaskJson;
use crate::task::{Capability, Digest, Grants, Spec};
use crate::task_store;

/// A component that came with its submission.
pub(super) type Sent = (Digest, Bytes);

/// The component that a submission names or brings.
pub(super) struct Found {
    /// As it was named.
    name: String,
    digest: Digest,
    /// What it cannot do without.
    capabilities: Vec<Capability>,
    /// What is to be kept of it once the submission is known to be good: its name, and its bytes.
    pub(super) keep: Option<(Option<String>, Arc<[u8]>)>,
}

pub(super) async fn find(app: &App, caller: &Caller, task: &TaskJson, sent: Option<Sent>) -> Result<Found> {
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
pub(super) fn spec_of(app: &App, caller: &Caller, mode: Mode, task: TaskJson, found: Found) -> Result<Spec> {
    let Found { name, digest, capabilities, .. } = found;
    let grants = effective_grants(app, &task, caller, mode);
    may_be(app, caller, &task, &capabilities, &grants)?;
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
        durable: task.durable.unwrap_or(true),
    })
}

/// Whether the server takes such a task at all, from this caller.
fn may_be(app: &App, caller: &Caller, task: &TaskJson, needed: &[Capability], grants: &Grants) -> Result<()> {
    if needed.contains(&Capability::Inference) && !app.config.model.is_on {
        let detail =
            "the component needs `inference`, and there are no language models here: model.provider is none";
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "capability_unavailable", detail));
    }
    let missing: Vec<Capability> =
        needed.iter().copied().filter(|capability| !grants.allow(*capability)).collect();
    if !missing.is_empty() {
        return Err(denied(&missing, caller));
    }
    if let Some(capability) = needed.iter().find(|capability| !capability.is_offered()) {
        let detail =
            format!("the component needs `{}`, which this omnimind does not have yet", capability.name());
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "capability_unavailable", detail));
    }
    match task.durable == Some(false) && !app.config.store.allow_ephemeral {
        true => Err(Problem::invalid(
            "durable",
            "every task is durable here; store.allow_ephemeral (serve --allow-ephemeral) allows others",
        )),
        false => Ok(()),
    }
}

/// What a submission asks for; where it does not say, what its mode gives; of both what its token allows.
fn effective_grants(app: &App, task: &TaskJson, caller: &Caller, mode: Mode) -> Grants {
    let grants = match (&task.grants, mode) {
        (Some(grants), _) => grants.clone(),
        (None, Mode::Dev | Mode::Test) => {
            let inference = app.config.model.names().map(str::to_owned).collect();
            Grants { tensor: true, embedding: true, inference, ..Grants::default() }
        }
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

/// `?dry_run=true`: what would be needed, and whether it would run now.
pub(super) async fn explain(
    app: &App,
    caller: &Caller,
    task: TaskJson,
    component: Option<Sent>,
    input: &[u8],
) -> Result<Response<Body>> {
    // What came with it is looked at and not kept.
    let Found { name, capabilities: needed, .. } = find(app, caller, &task, component).await?;
    let grants = effective_grants(app, &task, caller, app.modes.mode());
    let (granted, missing): (Vec<Capability>, Vec<Capability>) =
        needed.iter().copied().partition(|capability| grants.allow(*capability));
    let limits = Requested::all(&task.limits)?.effective(app.modes.current().limits)?;
    limits.admit_input(input.len() as u64)?;
    let candidate = Candidate {
        tenant: caller.tenant(),
        priority: task.priority,
        memory_bytes: limits.get(Budget::MemoryBytes),
        durable: task.durable.unwrap_or(true),
    };
    let begins = may_be(app, caller, &task, &needed, &grants).and_then(|()| {
        app.health.poisoned().map_or(Ok(()), |why| Err(task_store::Error::Poisoned(why)))?;
        Ok(app.scheduler.would_begin(candidate)?)
    });
    let admission = match begins {
        Ok(true) => json!({"state": "admitted"}),
        Ok(false) => {
            let load = app.scheduler.load();
            json!({"state": "queued", "reason": format!("{} tasks run and {} wait", load.running, load.pending)})
        }
        Err(problem) => {
            json!({"state": "refused", "reason": problem.code(), "detail": problem.told().get("detail")})
        }
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
