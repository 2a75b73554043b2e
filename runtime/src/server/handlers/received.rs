//! The bodies of uploads and submissions: raw wasm, JSON, or several parts.

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, Request, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::FutureExt;

use super::media_type;
use crate::engine::prescan;
use crate::limits::{Budget, Policy};
use crate::server::App;
use crate::server::body::Whole;
use crate::server::heavy::heavy;
use crate::server::problem::{Problem, Result};
use crate::task::Digest;

/// Room beside the input in the JSON of a submission.
const MAX_WORDS: usize = 1 << 20;

/// Parts of a multipart body.
const MAX_PARTS: usize = 8;

/// A component may have so many bytes.
pub fn max_component() -> usize {
    prescan::Caps::default().bytes
}

/// An input may have so many bytes, whatever the task asks for.
fn max_input(limits: &Policy) -> usize {
    usize::try_from(limits.bounds(Budget::InputBytes).max).unwrap_or(usize::MAX)
}

/// One part of a multipart body.
#[derive(Debug)]
pub struct Part {
    /// Its name.
    pub name: String,
    /// Its content.
    pub bytes: Bytes,
}

/// A body that was read whole.
#[derive(Debug)]
pub enum Received {
    /// `application/wasm`
    Wasm(Whole),
    /// `application/json`
    Json(Whole),
    /// `multipart/form-data`
    Parts(Vec<Part>, Whole),
}

/// Reads the body of `request`.
///
/// # Errors
/// `413`, `415`, `408`, `422` for parts that cannot be told apart.
pub async fn receive(app: &App, request: Request<Body>) -> Result<Received> {
    let (head, body) = request.into_parts();
    let input = max_input(&app.modes.current().limits);
    match media_type(&head.headers).as_str() {
        "application/wasm" | "application/octet-stream" => {
            let limit = max_component();
            Ok(Received::Wasm(app.bodies.read(&head.headers, body, "the component", limit, 2).await?))
        }
        "application/json" => {
            // Base64 is a third longer.
            let limit = input / 3 * 4 + MAX_WORDS;
            Ok(Received::Json(app.bodies.read(&head.headers, body, "the body", limit, 4).await?))
        }
        "multipart/form-data" => {
            let limit = max_component() + input + MAX_WORDS;
            let whole = app.bodies.read(&head.headers, body, "the body", limit, 3).await?;
            let bytes = whole.bytes.clone();
            // It has all its bytes, so it never waits.
            let parts = heavy(bytes.len(), || split(&head.headers, bytes).now_or_never());
            let parts = parts.ok_or_else(|| Problem::internal("a form with all its bytes had to wait"))??;
            Ok(Received::Parts(parts, whole))
        }
        other => {
            let seen = if other.is_empty() { "none".to_owned() } else { other.escape_debug().to_string() };
            Err(Problem::unsupported(format!(
                "Content-Type is {seen}; application/json, application/wasm and multipart/form-data are understood"
            )))
        }
    }
}

async fn split(headers: &HeaderMap, bytes: Bytes) -> Result<Vec<Part>> {
    let wrong = |error: multer::Error| Problem::invalid("(the body)", error.to_string());
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let boundary = multer::parse_boundary(content_type).map_err(wrong)?;
    let stream = futures_util::stream::iter([Ok::<_, std::io::Error>(bytes)]);
    let mut multipart = multer::Multipart::new(stream, boundary);
    let mut parts: Vec<Part> = Vec::new();
    while let Some(field) = multipart.next_field().await.map_err(wrong)? {
        let name = field.name().unwrap_or_default().to_owned();
        if parts.len() == MAX_PARTS || parts.iter().any(|part| part.name == name) {
            return Err(Problem::invalid(
                name.escape_debug().to_string(),
                "a part that comes twice, or one too many",
            ));
        }
        parts.push(Part { name, bytes: field.bytes().await.map_err(wrong)? });
    }
    Ok(parts)
}

/// Takes the part `name`.
pub fn take(parts: &mut Vec<Part>, name: &str) -> Option<Bytes> {
    let at = parts.iter().position(|part| part.name == name)?;
    Some(parts.swap_remove(at).bytes)
}

/// No part may be left.
///
/// # Errors
/// `422` naming one.
pub fn end(parts: &[Part], known: &str) -> Result<()> {
    match parts.first() {
        None => Ok(()),
        Some(part) => Err(Problem::invalid(
            part.name.chars().take(64).collect::<String>().escape_debug().to_string(),
            format!("there is no such part here; there is {known}"),
        )),
    }
}

/// The digest of a component, checked to be the one that was meant: by `?digest=`, or by the header `Content-Digest`.
///
/// # Errors
/// `422 digest_mismatch`, or `invalid_request` for a declaration that is none.
pub fn digest(component: &Bytes, declared: Option<&str>, headers: Option<&HeaderMap>) -> Result<Digest> {
    let mut wanted = Vec::new();
    if let Some(declared) = declared {
        wanted
            .push(declared.parse::<Digest>().map_err(|error| Problem::invalid("digest", error.to_string()))?);
    }
    // RFC 9530; digests by other algorithms are not ours to check.
    let header =
        headers.and_then(|headers| headers.get("content-digest")).and_then(|value| value.to_str().ok());
    if let Some(encoded) =
        header.and_then(|value| value.split("sha-256=:").nth(1)).and_then(|rest| rest.split(':').next())
    {
        let bytes = STANDARD.decode(encoded).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        let bytes =
            bytes.ok_or_else(|| Problem::invalid("Content-Digest", "sha-256=:BASE64: of 32 bytes"))?;
        wanted.push(Digest::from_bytes(bytes));
    }
    let found = heavy(component.len(), || Digest::of(component));
    match wanted.into_iter().find(|wanted| *wanted != found) {
        None => Ok(found),
        Some(wanted) => Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "digest_mismatch",
            format!("the component was declared as {wanted}, its bytes are {found}"),
        )),
    }
}
