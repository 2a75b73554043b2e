//! `/api/tokens`: what people come in with. The operator's alone.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::{Request, Response, StatusCode};
use axum::response::IntoResponse;
use serde_json::{Value, json};

use super::{Segment, media_type};
use crate::server::App;
use crate::server::caller::Caller;
use crate::server::json;
use crate::server::problem::{Problem, Result};
use crate::task::Object;
use crate::tenants::{Error, New, Token};

/// Longest body of a request.
const MAX_BODY: usize = 64 << 10;

/// `POST /api/tokens/`: the token itself is in this answer and nowhere else.
pub async fn create(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    request: Request<Body>,
) -> Result<Response<Body>> {
    caller.comes_without_token()?;
    let (head, body) = request.into_parts();
    if media_type(&head.headers) != "application/json" {
        return Err(Problem::unsupported("the body is application/json: {\"tenant\": \"acme\"}"));
    }
    let whole = app.bodies.read(&head.headers, body, "the body", MAX_BODY, 2).await?;
    let Object(new): Object<New> = json::parse(&whole.bytes)?;
    app.health.admit_new()?;
    // Hashing takes its time, and so does the disk.
    let made = {
        let app = app.clone();
        // To its end, whether the client waits or not.
        tokio::task::spawn_blocking(move || {
            app.auth.tokens.create(new).inspect(|(token, _)| changed(&app, "token_created", token))
        })
        .await
    };
    let (token, secret) = made.map_err(Problem::internal)??;
    let mut body = token.shown();
    if let Some(body) = body.as_object_mut() {
        body.insert("token".to_owned(), secret.into());
    }
    Ok(json::answer(StatusCode::CREATED, &body))
}

/// `GET /api/tokens/`
pub async fn list(State(app): State<Arc<App>>) -> Response<Body> {
    let tokens: Vec<Value> = app.auth.tokens.list().iter().map(|token| token.shown()).collect();
    json::tagged(&json!({"tokens": tokens}))
}

/// `DELETE /api/tokens/{id}`: good no more from the answer on.
pub async fn revoke(State(app): State<Arc<App>>, Segment(id): Segment) -> Result<Response<Body>> {
    let revoked = {
        let app = app.clone();
        tokio::task::spawn_blocking(move || {
            app.auth.tokens.revoke(&id).inspect(|token| changed(&app, "token_revoked", token))
        })
        .await
    };
    revoked.map_err(Problem::internal)??;
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn changed(app: &App, event: &'static str, token: &Token) {
    tracing::info!(id = token.id, tenant = token.tenant, "{event}");
    app.scheduler.set_shares(app.auth.tokens.shares());
    app.bus.security(|| json!({"event": event, "id": token.id, "tenant": token.tenant}));
}

impl From<Error> for Problem {
    fn from(error: Error) -> Problem {
        let detail = error.to_string();
        match error {
            Error::Invalid(invalid) => Problem::invalid(invalid.field, invalid.rule),
            Error::Unknown(_) => Problem::not_found(detail),
            Error::TooMany | Error::Configured(_) => Problem::conflict(detail),
            Error::Unwritten(error) => Problem::unwritten(error),
            Error::Impossible(_) => Problem::internal(detail),
        }
    }
}
