//! The streams of one HTTP/2 connection: what nobody uses, and what nobody takes, is not kept.
//!
//! A connection that only answers pings would stay for ever, and so would an answer whose window stays shut:
//! hyper does not ask for more of it, so nothing in the answer itself can notice.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{Response, Version};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use parking_lot::Mutex;

/// A connection without a stream is closed after this time.
const IDLE: Duration = Duration::from_secs(60);

/// An answer of which nothing is taken for so long is given up, and its connection with it.
const UNTAKEN: Duration = Duration::from_secs(60);

/// Time between two looks.
const LOOK: Duration = Duration::from_secs(5);

/// The streams of one connection; clones are the same.
#[derive(Clone)]
pub struct Streams(Arc<Mutex<Known>>);

struct Known {
    /// HTTP/1 has timeouts of its own.
    http1: bool,
    next: u64,
    open: usize,
    /// When the last one ended.
    since: Instant,
    /// Answers of which there is more to take, and since when.
    untaken: BTreeMap<u64, Instant>,
}

/// Why a connection is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// Nobody uses it.
    Idle,
    /// An answer is not taken.
    Untaken,
}

impl Streams {
    /// Of a connection that begins.
    pub fn new() -> Streams {
        let (since, untaken) = (Instant::now(), BTreeMap::new());
        Streams(Arc::new(Mutex::new(Known { http1: false, next: 0, open: 0, since, untaken })))
    }

    /// A request has come.
    pub fn begin(&self, version: Version) -> Stream {
        let mut known = self.0.lock();
        known.http1 = version != Version::HTTP_2;
        known.open += 1;
        known.next += 1;
        Stream { streams: self.clone(), id: known.next, http1: known.http1 }
    }

    /// Waits until the connection is to end.
    pub async fn over(&self) -> Over {
        loop {
            tokio::time::sleep(LOOK).await;
            if let Some(over) = self.look(Instant::now()) {
                return over;
            }
        }
    }

    fn look(&self, now: Instant) -> Option<Over> {
        let known = self.0.lock();
        if known.http1 {
            return None;
        }
        let waited = |since: &Instant| now.saturating_duration_since(*since);
        if known.untaken.values().any(|since| waited(since) >= UNTAKEN) {
            return Some(Over::Untaken);
        }
        (known.open == 0 && waited(&known.since) >= IDLE).then_some(Over::Idle)
    }
}

/// A request and its answer, for as long as there is anything of them.
pub struct Stream {
    streams: Streams,
    id: u64,
    http1: bool,
}

impl Stream {
    /// The answer, which is watched from now on.
    pub fn watch(self, response: Response<Body>) -> Response<Body> {
        match self.http1 {
            true => response,
            false => {
                self.offered();
                response.map(|body| Body::new(Watched { body, stream: self }))
            }
        }
    }

    fn offered(&self) {
        self.streams.0.lock().untaken.insert(self.id, Instant::now());
    }

    fn taken(&self) {
        self.streams.0.lock().untaken.remove(&self.id);
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut known = self.streams.0.lock();
        known.untaken.remove(&self.id);
        known.open = known.open.saturating_sub(1);
        known.since = Instant::now();
    }
}

struct Watched {
    body: Body,
    stream: Stream,
}

impl hyper::body::Body for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        // While there is nothing to take, nobody is late.
        self.stream.taken();
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if matches!(frame, Some(Ok(_))) {
            self.stream.offered();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    #[test]
    fn a_connection_is_over_once_it_has_had_no_stream_for_a_while() {
        let streams = Streams::new();
        let later = || Instant::now() + IDLE;
        assert_eq!((streams.look(Instant::now()), streams.look(later())), (None, Some(Over::Idle)));
        let stream = streams.begin(Version::HTTP_2);
        assert_eq!(streams.look(later()), None, "a request is worked on");
        drop(stream);
        assert_eq!((streams.look(Instant::now()), streams.look(later())), (None, Some(Over::Idle)));
        drop(streams.begin(Version::HTTP_11));
        assert_eq!(streams.look(later()), None, "of HTTP/1 others take care");
    }

    #[tokio::test]
    async fn an_answer_that_is_not_taken_ends_its_connection() {
        let streams = Streams::new();
        let later = || Instant::now() + UNTAKEN;
        let (mut sender, channel) = http_body_util::channel::Channel::<Bytes>::new(2);
        let mut answer = streams.begin(Version::HTTP_2).watch(Response::new(Body::new(channel)));
        assert_eq!(streams.look(later()), Some(Over::Untaken), "not even the first piece");
        sender.send_data(Bytes::from_static(b"x")).await.unwrap();
        assert!(answer.body_mut().frame().await.unwrap().is_ok());
        assert_eq!(streams.look(later()), Some(Over::Untaken), "there may be more");
        // Taken as fast as it comes, and nothing comes.
        let waits = tokio::time::timeout(Duration::from_millis(20), answer.body_mut().frame()).await;
        assert!(waits.is_err());
        assert_eq!(streams.look(later()), None);
        drop(answer);
        assert_eq!(streams.look(later()), Some(Over::Idle));
    }
}
