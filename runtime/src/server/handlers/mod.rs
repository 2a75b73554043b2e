//! One file for each group of routes: from a request to an answer, with the work done elsewhere.

mod admission;
pub mod browser;
pub mod caches;
pub mod components;
pub mod events;
pub mod health;
pub mod limits;
pub mod listed;
pub mod logging;
pub mod metrics;
pub mod models;
pub mod output;
pub mod protection;
mod received;
pub mod submit;
pub mod tasks;
pub mod tokens;
pub mod ws;

use axum::body::Body;
use axum::extract::{FromRequestParts, Path};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Request};

pub use listed::TaskList;

use crate::server::App;
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

/// Most bytes that are read of what should not have been sent.
const MAX_NOTHING: usize = 64 << 10;

/// Refuses what a request says where all is said by its path.
async fn nothing_sent(app: &App, request: Request<Body>) -> Result<(), Problem> {
    let (head, body) = request.into_parts();
    let whole = app.bodies.read(&head.headers, body, "the body", MAX_NOTHING, 1).await?;
    match whole.bytes.is_empty() {
        true => Ok(()),
        false => Err(Problem::invalid("(the body)", "nothing is read here: send no body")),
    }
}

/// The media type of a request, without its parameters, in lower case.
fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}
