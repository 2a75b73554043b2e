//! Compression of answers, for who asks for it.
//!
//! Only of answers to `GET`: what has a secret in it (a link to sign in, a ticket, a token) is an answer to
//! `POST`, and its length must not tell what is in it. Only of text that is not long, by few at one time, in
//! turns with everything else: compressing is done by the threads that serve, and ten clients that have a
//! megabyte compressed each made everybody wait for 70 ms. Who comes while many are at it gets the answer as
//! it is.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::Router;
use axum::body::Body;
use axum::http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::{Method, Request, Response};
use bytes::Bytes;
use hyper::body::Frame;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower_http::CompressionLevel;
use tower_http::compression::Compression;
use tower_http::compression::predicate::Predicate;
use tower_service::Service;

/// Answers below are not worth it, those above would keep others waiting.
const MIN_BYTES: u64 = 1 << 10;
const MAX_BYTES: u64 = 256 << 10;

/// Answers that are being compressed at one time; each takes a quarter of a megabyte besides.
const MAX_COMPRESSORS: usize = 8;

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
        true => response.map(|body| Body::new(Paced { body: Body::new(body), turn: false, _room: room })),
        false => response.map(Body::new),
    }
}

/// An answer that is being compressed: a piece, and then it is others' turn.
struct Paced {
    body: Body,
    turn: bool,
    /// Taken until the answer is.
    _room: Option<OwnedSemaphorePermit>,
}

impl hyper::body::Body for Paced {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if !self.turn {
            self.turn = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        self.turn = false;
        Poll::Ready(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;
    use http_body_util::BodyExt;

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
        let (first, mut answer) = coding(&compressors).await;
        assert_eq!(first.as_deref(), Some("gzip"));
        assert!(answer.body_mut().frame().now_or_never().is_none(), "others have their turn before a piece");
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
