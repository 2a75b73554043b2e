//! Every route, in one place. Each answers with and without a slash at its end.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Extension;
use axum::http::{Method, Request, Response, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::IntoResponse;
use axum::routing::{MethodRouter, delete, get, post, put};

use super::App;
use super::caller::Caller;
use super::handlers::{
    browser, caches, components, events, health, limits, listed, logging, metrics, models, output,
    protection, submit, tasks, tokens, ws,
};
use super::observe::Routes;
use super::problem::Problem;
use super::query::Query;
use super::{sessions, websocket};

/// Where something may be asked after the path; everywhere else that is a mistake.
const WITH_QUERY: [(Method, &str); 10] = [
    (Method::POST, "/api/components"),
    (Method::POST, "/api/tasks"),
    (Method::GET, "/api/tasks"),
    (Method::GET, "/tasks"),
    (Method::DELETE, "/api/tasks/{id}"),
    (Method::GET, "/api/tasks/{id}/logs"),
    (Method::GET, "/api/events"),
    (Method::GET, websocket::PATH),
    (Method::GET, "/api/v1/health/{check}/trend"),
    (Method::GET, "/api/v1/protection/decisions"),
];

/// Finds the handler of a request that was admitted; and for any path the route that it is of.
pub fn router(app: Arc<App>) -> (Router, Routes) {
    // What is a tenant's own.
    let tenants: [(&'static str, MethodRouter<Arc<App>>); 20] = [
        ("/api/components", post(components::upload).get(components::list)),
        ("/api/components/{reference}", get(components::show).delete(components::remove)),
        ("/api/tasks", post(submit::submit).get(tasks::list)),
        ("/tasks", get(listed::list)),
        ("/api/tasks/analytics/summary", get(tasks::summary)),
        ("/api/tasks/{id}", get(tasks::show).delete(tasks::cancel)),
        ("/api/tasks/{id}/progress", get(tasks::progress)),
        ("/api/tasks/{id}/history", get(tasks::history)),
        ("/api/tasks/{id}/analytics", get(tasks::analytics)),
        ("/api/tasks/{id}/output", get(output::output)),
        ("/api/tasks/{id}/logs", get(output::logs)),
        ("/api/events", get(events::events)),
        ("/api/ws-ticket", post(ws::ticket)),
        (websocket::PATH, get(ws::upgrade)),
        ("/api/v1/health", get(health::all)),
        ("/api/v1/health/summary", get(health::summary)),
        ("/api/v1/health/{check}", get(health::one)),
        ("/api/v1/health/{check}/trend", get(health::trend)),
        ("/api/models", get(models::list)),
        ("/api/v1/limits", get(limits::show)),
    ];
    // What is the machine's.
    let operators: [(&'static str, MethodRouter<Arc<App>>); 13] = [
        ("/api/tokens", post(tokens::create).get(tokens::list)),
        ("/api/tokens/{id}", delete(tokens::revoke)),
        ("/api/cache", get(caches::list).delete(caches::clear_all)),
        ("/api/cache/{name}", delete(caches::clear)),
        ("/api/sign-in", post(browser::link)),
        ("/api/metrics", get(metrics::all)),
        ("/api/omnimind/metrics/real", get(metrics::all)),
        ("/api/v1/performance/summary", get(metrics::in_short)),
        ("/api/v1/limits/attestation", put(limits::attest)),
        ("/api/v1/logging/level", get(logging::level).put(logging::set_level)),
        ("/api/v1/protection", get(protection::status)),
        ("/api/v1/protection/decisions", get(protection::decisions)),
        ("/api/v1/protection/mode", put(protection::switch)),
    ];
    let operators = operators.map(|(path, methods)| (path, methods.route_layer(from_fn(operator_only))));
    // What is nobody's, or decides by itself who may see it.
    let open: [(&'static str, MethodRouter<Arc<App>>); 3] =
        [("/livez", get(health::alive)), ("/readyz", get(health::ready)), ("/metrics", get(metrics::text))];
    let pages: [(&'static str, MethodRouter<Arc<App>>); 4] = [
        ("/", get(welcome).fallback(wrong_method)),
        ("/favicon.ico", get(|| async { StatusCode::NO_CONTENT })),
        (sessions::PATH, get(browser::sign_in).fallback(wrong_method)),
        ("/sign-out", post(browser::sign_out).fallback(wrong_method)),
    ];
    let (mut router, mut routes) = (Router::new(), Routes::default());
    for (path, methods) in pages {
        router = router.route(path, methods);
        routes.add(path, path);
    }
    for (path, methods) in tenants.into_iter().chain(operators).chain(open) {
        let methods = methods
            .route_layer(from_fn(move |request: Request<Body>, next: Next| known_only(path, request, next)));
        let (methods, with_slash) = (methods.fallback(wrong_method), format!("{path}/"));
        routes.add(&with_slash, path);
        routes.add(path, path);
        router = router.route(&with_slash, methods.clone()).route(path, methods);
    }
    (router.fallback(no_such_path).with_state(app), routes)
}

/// Refuses what is asked where nobody would look at it.
async fn known_only(path: &'static str, request: Request<Body>, next: Next) -> Response<Body> {
    let is_read = WITH_QUERY.iter().any(|(method, with)| method == request.method() && *with == path);
    let asked = match is_read {
        true => Ok(()),
        false => Query::of(request.uri(), &[]).and_then(|query| query.end("nothing")),
    };
    match asked {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

async fn operator_only(
    Extension(caller): Extension<Caller>,
    request: Request<Body>,
    next: Next,
) -> Response<Body> {
    match caller.operates() {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

async fn welcome(caller: Option<Extension<Caller>>) -> impl IntoResponse {
    let rest = match caller {
        Some(_) => "You are signed in. GET /api/tasks/ and /api/components/ show what there is.",
        None => {
            "GET /api/v1/health/ tells how it is; everything else needs credentials: see \
             DATA_DIR/credentials.json, or open a link that `omnimind sign-in` prints."
        }
    };
    let text = format!("OmniMind runs WebAssembly components under limits that hold.\n{rest}\n");
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text)
}

async fn no_such_path(request: Request<Body>) -> Response<Body> {
    let path: String = request.uri().path().chars().take(200).collect();
    Problem::not_found(format!("there is nothing at {}", path.escape_debug())).into_response()
}

/// axum puts the methods that there are into the header `Allow`.
async fn wrong_method() -> Problem {
    Problem::method_not_allowed()
}
