//! `/api/components`

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::{Request, Response, StatusCode};
use axum::response::IntoResponse;
use serde_json::json;

use super::Segment;
use super::received::{self, Received};
use crate::components;
use crate::engine::{Code, Metadata};
use crate::server::App;
use crate::server::caller::Caller;
use crate::server::json;
use crate::server::problem::{Problem, Result};
use crate::server::query::{Query, preference};
use crate::server::submission::check_name;

/// `POST /api/components/?name=&digest=`
pub async fn upload(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    request: Request<Body>,
) -> Result<Response<Body>> {
    let mut query = Query::of(request.uri(), &[])?;
    let (mut name, declared) = (query.take("name"), query.take("digest"));
    query.end("name, digest")?;
    let headers = request.headers().clone();
    let mut metadata = None;
    let (bytes, body, form) = match received::receive(&app, request).await? {
        Received::Wasm(whole) => (whole.bytes.clone(), whole, false),
        Received::Parts(mut parts, whole) => {
            let component = received::take(&mut parts, "component");
            if let Some(given) = received::take(&mut parts, "metadata") {
                metadata = Some(Metadata::parse(&given)?);
            }
            if let Some(given) = received::take(&mut parts, "name") {
                name = Some(String::from_utf8_lossy(&given).into_owned());
            }
            received::end(&parts, "component, metadata, name")?;
            let component = component
                .ok_or_else(|| Problem::invalid("component", "the part with the component is missing"))?;
            (component, whole, true)
        }
        Received::Json(_) => {
            return Err(Problem::unsupported(
                "a component is application/wasm, or a part of multipart/form-data",
            ));
        }
    };
    if let Some(name) = &name {
        check_name("name", name)?;
    }
    if bytes.len() > received::max_component() {
        return Err(Problem::too_large("the component", received::max_component()));
    }
    let digest = received::digest(&bytes, declared.as_deref(), (!form).then_some(&headers))?;
    let components = app.components.clone();
    let waits = preference(&headers, "respond-async").is_none();
    if !waits {
        // Before it begins: a refusal that comes at once must find it noted.
        app.components.compiling(caller.tenant(), digest);
    }
    // To its end, whether the client waits or not: it is kept or it is not.
    let upload = tokio::spawn(async move {
        let uploaded = components.upload(caller.tenant(), digest, Arc::from(&*bytes), name, metadata).await;
        components.compiled(caller.tenant(), digest, uploaded.as_ref().err());
        drop(body);
        uploaded
    });
    if !waits {
        return Ok(json::answer(StatusCode::ACCEPTED, &json!({"digest": digest, "status": "compiling"})));
    }
    let (info, new) = upload.await.map_err(Problem::internal)??;
    Ok(json::answer(if new { StatusCode::CREATED } else { StatusCode::OK }, &info))
}

/// `GET /api/components/`
pub async fn list(State(app): State<Arc<App>>, Extension(caller): Extension<Caller>) -> Response<Body> {
    json::tagged(&json!({"components": app.components.list(caller.tenant())}))
}

/// Sees that an interpreter is there, if `reference` is the name of one.
pub async fn provide(app: &App, caller: &Caller, reference: &str) -> Result<()> {
    let Some(interpreter) = app.components.to_provide(caller.tenant(), reference) else { return Ok(()) };
    // To its end, whether the client waits or not: compiling Python takes some seconds, once.
    let components = app.components.clone();
    let tenant = caller.tenant().to_owned();
    let providing = tokio::spawn(async move { components.provide(&tenant, interpreter).await });
    match providing.await.map_err(Problem::internal)? {
        // Where it is looked for is the operator's business.
        Err(components::Error::Refused(refusal)) if caller.operates().is_err() => {
            let word = refusal.code.name();
            let detail = format!("{reference} is not installed here: its operator can do that");
            match refusal.code {
                Code::CapabilityUnavailable => {
                    Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, word, detail))
                }
                _ => Err(refusal.into()),
            }
        }
        provided => Ok(provided?),
    }
}

/// `GET /api/components/{digest or name}`
pub async fn show(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Segment(reference): Segment,
) -> Result<Response<Body>> {
    provide(&app, &caller, &reference).await?;
    if let Some(info) = app.components.find(caller.tenant(), &reference) {
        return Ok(json::tagged(&info));
    }
    match app.components.compilation(caller.tenant(), &reference) {
        Some(Ok(digest)) => {
            Ok(json::answer(StatusCode::OK, &json!({"digest": digest, "status": "compiling"})))
        }
        Some(Err(refusal)) => Err(refusal.into()),
        None => Err(no_component(&caller, &reference)),
    }
}

/// `DELETE /api/components/{digest or name}`
pub async fn remove(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Segment(reference): Segment,
) -> Result<Response<Body>> {
    let (digest, _) = app
        .components
        .resolve(caller.tenant(), &reference)
        .ok_or_else(|| no_component(&caller, &reference))?;
    // To its end, whether the client waits or not.
    let removing = tokio::spawn(async move {
        app.components.remove(caller.tenant(), digest, || app.scheduler.uses(caller.tenant(), &digest)).await
    });
    removing.await.map_err(Problem::internal)??;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `404` for a component that `reference` does not lead to.
pub fn no_component(caller: &Caller, reference: &str) -> Problem {
    let shown: String = reference.chars().take(80).collect();
    let whose = match caller.is_operator() {
        true => "",
        // Whoever is told of one that the operator uploaded looks for it in vain.
        false => "each tenant has components of its own; ",
    };
    Problem::not_found(format!(
        "there is no component `{}`: {whose}upload it with POST /api/components/, or look at GET /api/components/",
        shown.escape_debug()
    ))
}
