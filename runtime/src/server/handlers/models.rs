//! `/api/models`: which language models there are, and what they take.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::Response;
use serde_json::{Value, json};

use crate::backend::inference::{Loaded, ModelInfo};
use crate::limits::Mode;
use crate::server::App;
use crate::server::caller::Caller;
use crate::server::json;
use crate::task::is_same_model;

/// `GET /api/models/`: those that the caller's tasks may use; where the server of models does not answer, why.
pub async fn list(State(app): State<Arc<App>>, Extension(caller): Extension<Caller>) -> Response<Body> {
    let model = &app.config.model;
    let (found, error) = match app.inference.models().await {
        Ok(found) => (found, None),
        Err(error) => (Vec::new(), Some(error.to_string())),
    };
    let may = |found: &&ModelInfo| {
        let most = caller.grants();
        most.is_none_or(|most| most.inference.iter().any(|name| is_same_model(name, &found.name)))
    };
    // As admission has it for a submission that does not say.
    let lent = app.modes.mode() != Mode::Prod;
    let is =
        |name: Option<&str>, found: &ModelInfo| name.is_some_and(|name| is_same_model(name, &found.name));
    let shown = |found: &ModelInfo| {
        json!({
            "name": found.name, "size_bytes": found.size_bytes, "loaded": found.loaded.map(loaded),
            "family": found.family, "parameters": found.parameters, "quantization": found.quantization,
            "default": is(Some(&model.name), found), "fallback": is(model.fallback.as_deref(), found),
            "granted": lent && model.names().any(|name| is_same_model(name, &found.name)),
        })
    };
    let models: Vec<Value> = found.iter().filter(may).map(shown).collect();
    let provider = app.inference.status().provider;
    json::answer(axum::http::StatusCode::OK, &json!({"provider": provider, "models": models, "error": error}))
}

fn loaded(loaded: Loaded) -> Value {
    json!({"bytes": loaded.bytes, "vram_bytes": loaded.vram_bytes, "context": loaded.context})
}
