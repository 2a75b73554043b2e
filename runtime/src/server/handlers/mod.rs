//! One file for each group of routes: from a request to an answer, with the work done elsewhere.

pub mod browser;
pub mod caches;
pub mod components;
pub mod events;
pub mod health;
pub mod limits;
pub mod listed;
pub mod logging;
pub mod metrics;
pub mod output;
pub mod protection;
mod received;
pub mod submit;
pub mod tasks;
pub mod tokens;
pub mod ws;

use axum::extract::{FromRequestParts, Path};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;

pub use listed::TaskList;

use crate::server::problem::Problem;

/// What stands in a path where the route has a name; what is not UTF-8 names nothing.
pub struct Segment(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Segment, Problem> {
        let segment = Path::<String>::from_request_parts(parts, state).await;
        segment.map(|Path(text)| Segment(text)).map_err(|error| Problem::not_found(error.body_text()))
    }
}

/// The media type of a request, without its parameters, in lower case.
fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}
