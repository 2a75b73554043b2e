//! Compression of answers, for who asks for it.
//!
//! Only of answers to `GET`: what has a secret in it (a link to sign in, a ticket, a token) is an answer to
//! `POST`, and its length must not tell what is in it. Only of text, and of no more than is compressed between
//! two turns of a serving thread. Each compressor takes a quarter of a megabyte: there are so many and no more,
//! and who comes then gets the answer as it is.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::{Method, Request, Response};
use http_body_util::BodyExt;
use tokio::sync::Semaphore;
use tower_http::CompressionLevel;
use tower_http::compression::Compression;
use tower_http::compression::predicate::Predicate;
use tower_service::Service;

/// Answers below are not worth it, those above would keep others waiting.
const MIN_BYTES: u64 = 1 << 10;
const MAX_BYTES: u64 = 1 << 20;

/// Answers that are being compressed at one time.
const MAX_COMPRESSORS: usize = 64;

/// Room for compressors; clones are the same.
#[derive(Clone)]
pub struct Compressors(Arc<Semaphore>);

impl Default for Compressors {
    fn default() -> Compressors {
        Compressors(Arc::new(Semaphore::new(MAX_COMPRESSORS)))
    }
}

/// What is worth it.
#[derive(Clone, Copy)]
struct Text;

impl Predicate for Text {
    fn should_compress<B: hyper::body::Body>(&self, response: &Response<B>) -> bool {
        let length = response.body().size_hint().exact();
        let media_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        length.is_some_and(|length| (MIN_BYTES..=MAX_BYTES).contains(&length))
            && media_type.is_some_and(is_text)
    }
}

fn is_text(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    match essence.split_once('/') {
        Some(("text", kind)) => kind != "event-stream",
        Some(("application", kind)) => kind == "javascript" || kind == "json" || kind.ends_with("+json"),
        Some(("image", kind)) => kind == "svg+xml",
        _ => false,
    }
}

/// The router's answer, compressed where that is asked for and worth it.
pub async fn answer(
    mut router: Router,
    compressors: &Compressors,
    mut request: Request<Body>,
) -> Response<Body> {
    // A router never fails, and is always ready.
    if request.method() != Method::GET {
        return router.call(request).await.unwrap_or_else(|never| match never {});
    }
    let wanted = request.headers().contains_key(ACCEPT_ENCODING);
    let room = wanted.then(|| compressors.0.clone().try_acquire_owned().ok()).flatten();
    if wanted && room.is_none() {
        request.headers_mut().remove(ACCEPT_ENCODING);
    }
    let router = Compression::new(router).compress_when(Text).quality(CompressionLevel::Fastest);
    let response = { router }.call(request).await.unwrap_or_else(|never| match never {});
    match response.headers().contains_key(CONTENT_ENCODING) {
        // The room is taken until the answer is.
        true => response.map(|body| {
            Body::new(body.map_frame(move |frame| {
                let _room = &room;
                frame
            }))
        }),
        false => response.map(Body::new),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The coding of an answer of 10 KB to who takes gzip.
    async fn coding(compressors: &Compressors) -> (Option<String>, Response<Body>) {
        let text = || async { ([(CONTENT_TYPE, "text/plain")], "a".repeat(10_000)) };
        let router = Router::new().route("/", axum::routing::get(text));
        let request = Request::get("/").header(ACCEPT_ENCODING, "gzip").body(Body::empty()).unwrap();
        let answer = answer(router, compressors, request).await;
        let coding = answer.headers().get(CONTENT_ENCODING).map(|coding| coding.to_str().unwrap().to_owned());
        (coding, answer)
    }

    #[tokio::test]
    async fn there_are_so_many_compressors_and_no_more() {
        let compressors = Compressors(Arc::new(Semaphore::new(1)));
        let (first, answer) = coding(&compressors).await;
        assert_eq!(first.as_deref(), Some("gzip"));
        let (second, plain) = coding(&compressors).await;
        assert_eq!(second, None, "the first answer is not taken yet");
        assert_eq!(plain.into_body().collect().await.unwrap().to_bytes().len(), 10_000);
        assert!(answer.into_body().collect().await.unwrap().to_bytes().len() < 1000);
        assert_eq!(coding(&compressors).await.0.as_deref(), Some("gzip"));
    }

    #[test]
    fn text_is_told_from_what_is_none() {
        for yes in [
            "application/json",
            "application/problem+json",
            "text/plain; charset=utf-8",
            "text/plain; version=0.0.4",
            "text/html",
            "image/svg+xml",
        ] {
            assert!(is_text(yes), "{yes}");
        }
        for no in ["text/event-stream", "application/octet-stream", "application/wasm", "image/png", ""] {
            assert!(!is_text(no), "{no}");
        }
    }
}
