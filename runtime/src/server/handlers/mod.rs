//! One file for each group of routes: from a request to an answer, with the work done elsewhere.

pub mod components;
pub mod events;
pub mod health;
pub mod output;
mod received;
pub mod submit;
pub mod tasks;

use axum::extract::{FromRequestParts, Path};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;

use crate::server::problem::Problem;

/// The variable segment of a path. One that is not text names nothing.
pub struct Segment(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Segment, Problem> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        path.map(|Path(segment)| Segment(segment))
            .map_err(|_| Problem::not_found("there is nothing of that name"))
    }
}

/// The media type of a request, without its parameters, in lower case.
fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}
