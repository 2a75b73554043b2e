//! Large answers: they have a place in memory like large requests have, and a client that takes them too
//! slowly loses them.
//!
//! HTTP/2 is why the bytes go out in copies: a client that closes its window and keeps the stream would
//! hold whatever was handed to hyper, for as long as it likes.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::AbortHandle;

use super::body::MIN_RATE;

/// An answer is taken within this time, and a second for each [`MIN_RATE`].
const BASE: Duration = Duration::from_secs(30);

/// Bytes handed over at once.
const PIECE: usize = 64 << 10;

/// The body of an answer of these `bytes`, which have their `place`; small ones need none.
pub fn body(bytes: Vec<u8>, place: Option<OwnedSemaphorePermit>) -> Body {
    let Some(place) = place else { return Body::from(bytes) };
    let within = BASE + Duration::from_secs(bytes.len() as u64 / MIN_RATE);
    Body::new(Reply::new(bytes.into(), place, within))
}

/// What is not sent yet, until it is too late.
type Rest = Arc<Mutex<Option<(Bytes, OwnedSemaphorePermit)>>>;

struct Reply {
    rest: Rest,
    timer: AbortHandle,
}

impl Reply {
    fn new(bytes: Bytes, place: OwnedSemaphorePermit, within: Duration) -> Reply {
        let rest: Rest = Arc::new(Mutex::new(Some((bytes, place))));
        let expiring = rest.clone();
        let timer = tokio::spawn(async move {
            tokio::time::sleep(within).await;
            drop(lock(&expiring).take());
        });
        Reply { rest, timer: timer.abort_handle() }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        // The timer's own hold on it goes some time later.
        drop(lock(&self.rest).take());
        self.timer.abort();
    }
}

impl hyper::body::Body for Reply {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let mut rest = lock(&self.rest);
        let Some((bytes, _)) = &mut *rest else {
            let late = std::io::Error::new(std::io::ErrorKind::TimedOut, "the answer was taken too slowly");
            return Poll::Ready(Some(Err(late)));
        };
        if bytes.is_empty() {
            return Poll::Ready(None);
        }
        let piece = bytes.split_to(bytes.len().min(PIECE));
        Poll::Ready(Some(Ok(Frame::data(Bytes::copy_from_slice(&piece)))))
    }

    fn is_end_stream(&self) -> bool {
        lock(&self.rest).as_ref().is_some_and(|(bytes, _)| bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        lock(&self.rest)
            .as_ref()
            .map_or_else(SizeHint::default, |(bytes, _)| SizeHint::with_exact(bytes.len() as u64))
    }
}

fn lock(
    rest: &Mutex<Option<(Bytes, OwnedSemaphorePermit)>>,
) -> MutexGuard<'_, Option<(Bytes, OwnedSemaphorePermit)>> {
    rest.lock()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;
    use tokio::sync::Semaphore;

    async fn reply(within: Duration) -> (Arc<Semaphore>, Reply) {
        let budget = Arc::new(Semaphore::new(1));
        let place = budget.clone().acquire_owned().await.unwrap();
        (budget, Reply::new(Bytes::from(vec![7; 3 * PIECE + 1]), place, within))
    }

    #[tokio::test]
    async fn an_answer_comes_whole_and_gives_its_place_back() {
        let (budget, reply) = reply(Duration::from_secs(60)).await;
        assert_eq!(reply.collect().await.unwrap().to_bytes(), vec![7; 3 * PIECE + 1]);
        assert_eq!(budget.available_permits(), 1);
    }

    #[tokio::test]
    async fn an_answer_that_nobody_takes_is_given_up() {
        let (budget, mut reply) = reply(Duration::from_millis(10)).await;
        assert_eq!(reply.frame().await.unwrap().unwrap().into_data().unwrap().len(), PIECE);
        // Given back by the timer, while the reply is still held.
        drop(budget.acquire().await.unwrap());
        assert!(reply.frame().await.unwrap().is_err());
    }
}
