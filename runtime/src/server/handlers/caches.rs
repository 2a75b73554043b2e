//! `/api/cache`: what is kept in memory, how often that was of use, and how to let it go.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{Response, StatusCode};
use serde_json::json;

use super::Segment;
use crate::cache::Cache;
use crate::server::App;
use crate::server::json;
use crate::server::problem::{Problem, Result};

/// `GET /api/cache/`
pub async fn list(State(app): State<Arc<App>>) -> Response<Body> {
    json::answer(StatusCode::OK, &json!({"caches": app.cache_figures()}))
}

/// `DELETE /api/cache/`
pub async fn clear_all(State(app): State<Arc<App>>) -> Response<Body> {
    cleared(app.caches.iter())
}

/// `DELETE /api/cache/{name}`
pub async fn clear(State(app): State<Arc<App>>, Segment(name): Segment) -> Result<Response<Body>> {
    match app.caches.iter().find(|cache| cache.figures().name == name) {
        Some(cache) => Ok(cleared([cache].into_iter())),
        None => {
            let names: Vec<&str> = app.cache_figures().iter().map(|figures| figures.name).collect();
            Err(Problem::not_found(format!("no such cache; there is {}", names.join(", "))))
        }
    }
}

fn cleared<'a>(caches: impl Iterator<Item = &'a Arc<dyn Cache>>) -> Response<Body> {
    let cleared = caches.map(|cache| {
        let removed = cache.clear();
        json!({"name": cache.figures().name, "removed": removed})
    });
    json::answer(StatusCode::OK, &json!({"cleared": cleared.collect::<Vec<_>>()}))
}
