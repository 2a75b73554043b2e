//! Compression of answers, for who asks for it.
//!
//! Only of answers to `GET`: what has a secret in it (a link to sign in, a ticket, a token) is an answer to
//! `POST`, and its length must not tell what is in it. Only of text that is not long, by few at one time, in
//! turns with everything else: compressing is done by the threads that serve, and ten clients that have a
//! megabyte compressed each made everybody wait for 70 ms. Who comes while many are at it gets the answer as
//! it is; an answer that its client does not take is not among those.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, VARY};
use axum::http::{HeaderValue, Method, Request, Response};
use bytes::Bytes;
use hyper::body::Frame;
use parking_lot::Mutex;
use tower_http::CompressionLevel;
use tower_http::compression::Compression;
use tower_http::compression::predicate::Predicate;
use tower_service::Service;

/// Answers below are not worth it, those above would keep others waiting.
const MIN_BYTES: u64 = 1 << 10;
const MAX_BYTES: u64 = 256 << 10;

/// Answers that are being compressed at one time; each takes a quarter of a megabyte besides.
const MAX_COMPRESSORS: usize = 8;

/// An answer of which nothing is taken for so long has lost its place. It may go on; those that do are few: as
/// many as there are places begin in this time, and what is not taken at all is given up soon.
const STALLED: Duration = Duration::from_secs(1);

/// Room for compressors; clones are the same.
#[derive(Clone)]
pub struct Compressors {
    most: usize,
    stalled: Duration,
    /// Of each answer that there still is, when it was asked for a piece last.
    at_work: Arc<Mutex<Vec<Weak<Asked>>>>,
}

type Asked = Mutex<Instant>;

impl Default for Compressors {
    fn default() -> Compressors {
        Compressors { most: MAX_COMPRESSORS, stalled: STALLED, at_work: Arc::default() }
    }
}

impl Compressors {
    /// Room for one more, until what is returned is dropped, or not touched for a while.
    fn room(&self) -> Option<Arc<Asked>> {
        let mut at_work = self.at_work.lock();
        at_work.retain(|asked| asked.upgrade().is_some_and(|asked| asked.lock().elapsed() < self.stalled));
        let room = (at_work.len() < self.most).then(|| Arc::new(Mutex::new(Instant::now())));
        at_work.extend(room.as_ref().map(Arc::downgrade));
        room
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
pub async fn answer(mut router: Router, compressors: &Compressors, request: Request<Body>) -> Response<Body> {
    let is_get = request.method() == Method::GET;
    let wanted: Vec<HeaderValue> = request.headers().get_all(ACCEPT_ENCODING).iter().cloned().collect();
    // A router never fails, and is always ready.
    let mut response = router.call(request).await.unwrap_or_else(|never| match never {});
    if !is_get || response.headers().contains_key(CONTENT_ENCODING) || !Text.should_compress(&response) {
        return response;
    }
    response.headers_mut().append(VARY, HeaderValue::from_static("accept-encoding"));
    let Some(room) = (!wanted.is_empty()).then(|| compressors.room()).flatten() else { return response };
    let mut asked = Request::new(Body::empty());
    asked.headers_mut().extend(wanted.into_iter().map(|value| (ACCEPT_ENCODING, value)));
    let answered =
        Compression::new(Answered(response)).compress_when(Text).quality(CompressionLevel::Fastest);
    let response = { answered }.call(asked).await.unwrap_or_else(|never| match never {});
    match response.headers().contains_key(CONTENT_ENCODING) {
        true => response.map(|body| Body::new(Paced { body: Body::new(body), turn: false, room })),
        // By none that we know.
        false => response.map(Body::new),
    }
}

/// What was answered already.
struct Answered(Response<Body>);

impl Service<Request<Body>> for Answered {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        ready(Ok(std::mem::take(&mut self.0)))
    }
}

/// An answer that is being compressed: a piece, and then it is others' turn.
struct Paced {
    body: Body,
    turn: bool,
    room: Arc<Asked>,
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
            *self.room.lock() = Instant::now();
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
        asked(compressors, "/", "gzip").await
    }

    /// The same for a path, `/` being 10 KB and `/short` 10 bytes, and any header.
    async fn asked(
        compressors: &Compressors,
        path: &str,
        accepted: &str,
    ) -> (Option<String>, Response<Body>) {
        let text = |length: usize| async move { ([(CONTENT_TYPE, "text/plain")], "a".repeat(length)) };
        let router = Router::new().route("/", axum::routing::get(move || text(10_000)));
        let router = router.route("/short", axum::routing::get(move || text(10)));
        let request = Request::get(path).header(ACCEPT_ENCODING, accepted).body(Body::empty()).unwrap();
        let answer = answer(router, compressors, request).await;
        let coding = answer.headers().get(CONTENT_ENCODING).map(|coding| coding.to_str().unwrap().to_owned());
        (coding, answer)
    }

    fn of_one(stalled: Duration) -> Compressors {
        Compressors { most: 1, stalled, ..Compressors::default() }
    }

    #[tokio::test]
    async fn what_is_not_compressed_or_not_taken_has_no_place() {
        let compressors = of_one(Duration::from_secs(3600));
        let as_they_are = [
            asked(&compressors, "/short", "gzip").await,
            asked(&compressors, "/", "br").await,
            asked(&compressors, "/", "gzip;q=0").await,
        ];
        assert!(as_they_are.iter().all(|(coding, _)| coding.is_none()));
        assert_eq!(coding(&compressors).await.0.as_deref(), Some("gzip"), "the others are not taken yet");

        let compressors = of_one(Duration::from_millis(50));
        let (_, late) = coding(&compressors).await;
        tokio::time::sleep(Duration::from_millis(60)).await;
        assert_eq!(coding(&compressors).await.0.as_deref(), Some("gzip"), "the first one stalls");
        assert!(late.into_body().collect().await.unwrap().to_bytes().len() < 1000, "it goes on");
    }

    #[tokio::test]
    async fn there_are_so_many_compressors_and_no_more() {
        let compressors = of_one(Duration::from_secs(3600));
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
