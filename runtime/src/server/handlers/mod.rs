//! One file for each group of routes: from a request to an answer, with the work done elsewhere.

pub mod components;
pub mod events;
pub mod health;
pub mod output;
mod received;
pub mod submit;
pub mod tasks;

use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;

/// The media type of a request, without its parameters, in lower case.
fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}
