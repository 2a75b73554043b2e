//! Reads request bodies: never more than may be, never slower than is bearable, and never more of them at
//! one time than memory allows. Large answers share that memory.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, EXPECT};
use axum::http::{HeaderMap, StatusCode};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

use super::problem::{Problem, Result};

/// Longest wait for the next bytes of a body.
const IDLE: Duration = Duration::from_secs(10);

/// A whole body takes no longer than this and a second for each [`MIN_RATE`].
const BASE: Duration = Duration::from_secs(20);

/// Bytes a second below which a long body is given up.
pub const MIN_RATE: u64 = 64 << 10;

/// Bytes of bodies held at one time, in KiB.
const BUDGET_KIB: usize = 1 << 20;

/// Bodies up to this size are not counted.
const SMALL: u64 = 64 << 10;

/// Copies of an output that making JSON of it takes.
const ANSWER_COPIES: u64 = 3;

/// Least that a body takes at once, in KiB.
const STEP_KIB: u64 = 256;

/// What is read of a body that is refused, so that a client that writes before it reads sees the answer.
const DRAIN: usize = 4 << 20;

/// Memory for bodies; clones are the same.
#[derive(Clone, Debug)]
pub struct Bodies(Arc<Semaphore>);

impl Default for Bodies {
    fn default() -> Bodies {
        Bodies(Arc::new(Semaphore::new(BUDGET_KIB)))
    }
}

/// A body, and its place in memory.
#[derive(Debug)]
pub struct Whole {
    /// The bytes.
    pub bytes: Bytes,
    _place: Option<OwnedSemaphorePermit>,
}

impl Whole {
    /// Lets go of the bytes, and keeps their place for what was made of them.
    pub fn without_bytes(self) -> Whole {
        Whole { bytes: Bytes::new(), ..self }
    }
}

impl Bodies {
    /// A place for an answer with `bytes` of output; none is needed for a small one.
    ///
    /// # Errors
    /// `503` where many are being sent.
    pub fn answer(&self, bytes: usize) -> Result<Option<OwnedSemaphorePermit>> {
        let mut place = Place { budget: self.0.clone(), copies: ANSWER_COPIES, held: None };
        place.cover(bytes as u64)?;
        Ok(place.held)
    }

    /// What an answer of `bytes` needs of the place that was taken before its size was known.
    pub fn answer_of(
        &self,
        place: Option<OwnedSemaphorePermit>,
        bytes: usize,
    ) -> Option<OwnedSemaphorePermit> {
        let mut place = place.filter(|_| bytes as u64 > SMALL)?;
        let needed = (bytes as u64).div_ceil(1 << 10).saturating_mul(ANSWER_COPIES);
        let needed = usize::try_from(needed).unwrap_or(usize::MAX);
        drop(place.split(place.num_permits().saturating_sub(needed)));
        Some(place)
    }

    /// Reads the whole of `body`, which is `what`, may have `limit` bytes, and of which there will be so many
    /// `copies` while it is worked on.
    ///
    /// # Errors
    /// `413`, `408`, `415` for an encoded one, `503` where many are being read.
    pub async fn read(
        &self,
        headers: &HeaderMap,
        body: Body,
        what: &str,
        limit: usize,
        copies: u64,
    ) -> Result<Whole> {
        if headers.contains_key(CONTENT_ENCODING) {
            return Err(Problem::unsupported(format!("{what} has a Content-Encoding: send it as it is")));
        }
        let declared =
            headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if declared.is_some_and(|length| length > limit as u64) {
            // Who asks before sending has sent nothing.
            if !headers.contains_key(EXPECT) {
                drain(body).await;
            }
            return Err(Problem::too_large(what, limit));
        }
        let mut place = Place { budget: self.0.clone(), copies, held: None };
        place.cover(declared.unwrap_or_default())?;
        let bytes = read(body, what, limit, &mut place).await?;
        Ok(Whole { bytes, _place: place.held })
    }
}

/// What a body has of the memory for bodies.
struct Place {
    budget: Arc<Semaphore>,
    copies: u64,
    held: Option<OwnedSemaphorePermit>,
}

impl Place {
    /// Sees that a body of `bytes` has its place; one of unknown length gets it as it grows.
    fn cover(&mut self, bytes: u64) -> Result<()> {
        let held = self.held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits) as u64;
        let wanted = bytes.div_ceil(1 << 10).saturating_mul(self.copies);
        if bytes <= SMALL || wanted <= held {
            return Ok(());
        }
        let more = u32::try_from((wanted - held).max(STEP_KIB)).unwrap_or(u32::MAX);
        let more = self.budget.clone().try_acquire_many_owned(more);
        let more = more
            .map_err(|_| Problem::overloaded("many large bodies and answers are in memory at this moment"))?;
        match &mut self.held {
            Some(held) => held.merge(more),
            None => self.held = Some(more),
        }
        Ok(())
    }
}

async fn read(mut body: Body, what: &str, limit: usize, place: &mut Place) -> Result<Bytes> {
    let begun = Instant::now();
    let mut whole = BytesMut::new();
    let mut first = None::<Bytes>;
    loop {
        let pace = Duration::from_secs((whole.len() as u64) / MIN_RATE);
        let deadline = (begun + BASE + pace).min(Instant::now() + IDLE);
        let frame = timeout_at(deadline, body.frame()).await.map_err(|_| {
            Problem::timeout(format!(
                "{what} came too slowly: after {} bytes nothing more came in time",
                whole.len()
            ))
        })?;
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|error| {
            let detail = format!("{what} cannot be read: {error}");
            Problem::new(StatusCode::BAD_REQUEST, "bad_request", detail)
        })?;
        let Ok(data) = frame.into_data() else { continue };
        let length = whole.len() + first.as_ref().map_or(0, Bytes::len) + data.len();
        if length > limit {
            drain(body).await;
            return Err(Problem::too_large(what, limit));
        }
        if let Err(problem) = place.cover(length as u64) {
            drain(body).await;
            return Err(problem);
        }
        // Most bodies come in one piece, which need not be copied.
        match first.take() {
            None if whole.is_empty() => first = Some(data),
            None => whole.extend_from_slice(&data),
            Some(piece) => {
                whole.extend_from_slice(&piece);
                whole.extend_from_slice(&data);
            }
        }
    }
    Ok(first.unwrap_or_else(|| whole.freeze()))
}

/// Reads on for a moment. Closing at once would reset the connection, and the answer with it.
async fn drain(mut body: Body) {
    let some = async {
        let mut read = 0;
        while let Some(Ok(frame)) = body.frame().await {
            read += frame.data_ref().map_or(0, Bytes::len);
            if read > DRAIN {
                break;
            }
        }
    };
    let _ = timeout(Duration::from_secs(1), some).await;
}
