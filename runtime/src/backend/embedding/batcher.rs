//! Texts of many tasks made into vectors together.
//!
//! One batch is at work at a time; what comes meanwhile waits for the next. That takes a text of each call in turn,
//! so that a call of one text never waits for all of a long one. What nobody waits for any more is left out.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::{Embedded, EmbeddingBackend, Encoded, Error, Vector};
use crate::backend::work::ComputeSlots;

/// How long a batch that is not full waits for calls that are on their way.
const WINDOW: Duration = Duration::from_millis(2);

/// Makes batches for one backend; clones are the same one.
#[derive(Clone)]
pub struct Batcher(Arc<Shared>);

struct Shared {
    backend: Arc<dyn EmbeddingBackend>,
    /// Texts of a batch.
    most: usize,
    /// And their tokens, unless one text has more.
    most_tokens: u64,
    state: Mutex<State>,
    /// A call has come, or is not to come any more.
    changed: Notify,
}

#[derive(Default)]
struct State {
    calls: VecDeque<Arc<Call>>,
    /// Whether somebody makes batches.
    at_work: bool,
    /// Calls whose texts are being counted.
    coming: usize,
}

/// One call, until all of its vectors are made.
struct Call {
    slots: Arc<dyn ComputeSlots>,
    gone: AtomicBool,
    work: Mutex<Work>,
}

struct Work {
    /// Texts that are in no batch yet, and where their vectors belong.
    todo: VecDeque<(usize, Encoded)>,
    made: Vec<Option<Vector>>,
    left: usize,
    tokens: u64,
    cpu: Duration,
    error: Option<Error>,
    tell: Option<oneshot::Sender<Outcome>>,
}

/// What a call came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// All vectors in order, or what is wrong with one text.
    pub vectors: Result<Vec<Vector>, Error>,
    /// Tokens of the vectors that were made, also where others were not.
    pub tokens: u64,
    /// CPU time that it took here.
    pub cpu: Duration,
}

/// A call that will have texts, soon.
pub struct Coming(Batcher);

impl Drop for Coming {
    fn drop(&mut self) {
        self.0.0.state.lock().coming -= 1;
        self.0.0.changed.notify_waiters();
    }
}

/// Somebody waits for a call, until this is dropped.
struct Waiting(Arc<Call>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.gone.store(true, Ordering::Relaxed);
    }
}

/// Some texts of some calls.
struct Batch {
    texts: Vec<Encoded>,
    places: Vec<(Arc<Call>, usize)>,
}

impl Call {
    fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    /// Puts a vector in its place.
    fn put(&self, place: usize, made: Result<Embedded, Error>) {
        let mut work = self.work.lock();
        match made {
            Ok(Embedded { vector, tokens, cpu }) => {
                work.left -= 1;
                work.tokens = work.tokens.saturating_add(tokens);
                work.cpu += cpu;
                if let Some(place) = work.made.get_mut(place) {
                    *place = Some(vector);
                }
            }
            Err(error) => _ = work.error.get_or_insert(error),
        }
    }

    /// After a batch: ends the call if all is made, or if something could not be.
    fn end_if_done(&self) {
        let mut work = self.work.lock();
        if work.left > 0 && work.error.is_none() {
            return;
        }
        let Some(tell) = work.tell.take() else { return };
        let all: Option<Vec<Vector>> = std::mem::take(&mut work.made).into_iter().collect();
        let vectors = match work.error.take() {
            Some(error) => Err(error),
            None => all.ok_or_else(|| Error::Internal("a vector is missing".to_owned())),
        };
        let _ = tell.send(Outcome { vectors, tokens: work.tokens, cpu: work.cpu });
        self.gone.store(true, Ordering::Relaxed);
    }
}

impl Batcher {
    /// Batches of `most` texts for `backend`.
    pub fn new(backend: Arc<dyn EmbeddingBackend>, most: usize) -> Batcher {
        let (state, changed) = (Mutex::default(), Notify::new());
        let (most, most_tokens) = (most.max(1), backend.batch_tokens());
        Batcher(Arc::new(Shared { backend, most, most_tokens, state, changed }))
    }

    /// Says that a call is on its way: a batch that has room waits a little for it.
    pub fn coming(&self) -> Coming {
        self.0.state.lock().coming += 1;
        Coming(self.clone())
    }

    /// The vectors of `texts`, in order. Dropped, it leaves out what is not made yet.
    pub async fn embed(&self, texts: Vec<Encoded>, slots: Arc<dyn ComputeSlots>, coming: Coming) -> Outcome {
        let (tell, told) = oneshot::channel();
        let count = texts.len();
        let work = Work {
            todo: texts.into_iter().enumerate().collect(),
            made: vec![None; count],
            left: count,
            tokens: 0,
            cpu: Duration::ZERO,
            error: None,
            tell: Some(tell),
        };
        let call = Arc::new(Call { slots, gone: AtomicBool::new(false), work: Mutex::new(work) });
        let _waiting = Waiting(call.clone());
        let starts = {
            let mut state = self.0.state.lock();
            state.calls.push_back(call);
            !std::mem::replace(&mut state.at_work, true)
        };
        drop(coming);
        if starts {
            tokio::spawn(self.clone().work());
        }
        let lost = || Error::Internal("a batch was lost".to_owned());
        told.await.unwrap_or_else(|_| Outcome { vectors: Err(lost()), tokens: 0, cpu: Duration::ZERO })
    }

    /// Makes batches until there is nothing to do.
    async fn work(self) {
        while let Some(batch) = self.next().await {
            let Batch { texts, places } = batch;
            let calls: Vec<Arc<Call>> = places.iter().map(|(call, _)| call.clone()).collect();
            let Some(slots) = calls.first().map(|call| call.slots.clone()) else { continue };
            let go_on = Arc::new(move || calls.iter().any(|call| !call.is_gone()));
            let backend = self.0.backend.clone();
            // On a task of its own: a panic is that batch's alone.
            let made = tokio::spawn(async move { backend.embed(texts, &*slots, go_on).await }).await;
            let mut made = made.unwrap_or_default().into_iter();
            for (call, place) in &places {
                let lost = || Err(Error::Internal("a batch failed".to_owned()));
                call.put(*place, made.next().unwrap_or_else(lost));
            }
            places.iter().for_each(|(call, _)| call.end_if_done());
        }
    }

    /// The next batch; none once there is nothing to do.
    async fn next(&self) -> Option<Batch> {
        let begun = Instant::now();
        loop {
            let changed = self.0.changed.notified();
            {
                let mut state = self.0.state.lock();
                state.calls.retain(|call| !call.is_gone());
                if state.calls.is_empty() {
                    state.at_work = false;
                    return None;
                }
                let texts: usize = state.calls.iter().map(|call| call.work.lock().todo.len()).sum();
                if texts >= self.0.most || state.coming == 0 || begun.elapsed() >= WINDOW {
                    return Some(take(&mut state.calls, self.0.most, self.0.most_tokens));
                }
            }
            let _ = tokio::time::timeout(WINDOW.saturating_sub(begun.elapsed()), changed).await;
        }
    }
}

/// A batch of `most` texts and `most_tokens`, but one text at least: of each call one in turn. Whoever came last in
/// this batch comes first in the next.
fn take(calls: &mut VecDeque<Arc<Call>>, most: usize, most_tokens: u64) -> Batch {
    let mut batch = Batch { texts: Vec::new(), places: Vec::new() };
    let mut tokens: u64 = 0;
    while batch.texts.len() < most {
        let Some(call) = calls.pop_front() else { break };
        let fits = |(_, text): &mut (usize, Encoded)| {
            batch.texts.is_empty() || tokens.saturating_add(text.tokens) <= most_tokens
        };
        let (next, rest) = {
            let mut work = call.work.lock();
            (work.todo.pop_front_if(fits), work.todo.len())
        };
        if next.is_none() && rest > 0 {
            calls.push_front(call);
            break;
        }
        if let Some((place, text)) = next {
            tokens = tokens.saturating_add(text.tokens);
            batch.texts.push(text);
            batch.places.push((call.clone(), place));
            calls.push_back(call);
        }
    }
    batch
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::task::Poll;

    use async_trait::async_trait;

    use super::super::{Form, GoOn, Hashing, Model};
    use super::*;
    use crate::backend::work::Inline;

    /// Takes its time, and remembers its batches.
    #[derive(Default)]
    struct Slow {
        batches: Mutex<Vec<Vec<String>>>,
        stopped: AtomicUsize,
        panics: AtomicBool,
    }

    #[async_trait]
    impl EmbeddingBackend for Slow {
        fn describe(&self) -> Model {
            Hashing.describe()
        }

        fn encode(&self, text: &str) -> Result<Encoded, Error> {
            Ok(Encoded { tokens: text.len() as u64, form: Form::Text(text.into()) })
        }

        fn batch_tokens(&self) -> u64 {
            10
        }

        async fn embed(
            &self,
            texts: Vec<Encoded>,
            _: &dyn ComputeSlots,
            go_on: GoOn,
        ) -> Vec<Result<Embedded, Error>> {
            let of = |text: &Encoded| match &text.form {
                Form::Text(text) => text.to_string(),
                Form::Ids(_) => panic!("a text"),
            };
            self.batches.lock().push(texts.iter().map(of).collect());
            assert!(!self.panics.swap(false, Ordering::Relaxed), "as it was told to");
            for _ in 0..50 {
                tokio::time::sleep(Duration::from_millis(2)).await;
                if !go_on() {
                    self.stopped.fetch_add(1, Ordering::Relaxed);
                    return texts.iter().map(|_| Err(Error::Stopped)).collect();
                }
            }
            let made = |text: &Encoded| match &*of(text) {
                "bad" => Err(Error::Invalid("bad".to_owned())),
                text => Ok(Embedded {
                    vector: Arc::new([text.parse().unwrap()]),
                    tokens: text.len() as u64,
                    cpu: Duration::ZERO,
                }),
            };
            texts.iter().map(made).collect()
        }
    }

    fn batcher(most: usize) -> (Batcher, Arc<Slow>) {
        let slow = Arc::new(Slow::default());
        (Batcher::new(slow.clone(), most), slow)
    }

    async fn outcome(batcher: &Batcher, texts: &[&str]) -> Outcome {
        let coming = batcher.coming();
        let texts = texts.iter().map(|text| Slow::default().encode(text).unwrap()).collect();
        batcher.embed(texts, Arc::new(Inline), coming).await
    }

    async fn embed(batcher: &Batcher, texts: &[&str]) -> Result<Vec<f32>, Error> {
        let vectors = outcome(batcher, texts).await.vectors?;
        Ok(vectors.iter().map(|vector| vector[0]).collect())
    }

    #[tokio::test]
    async fn calls_that_come_together_are_one_batch_and_each_gets_its_own() {
        let (batcher, slow) = batcher(64);
        let (one, two, bad) = tokio::join!(
            embed(&batcher, &["1", "2"]),
            embed(&batcher, &["3"]),
            embed(&batcher, &["4", "bad"]),
        );
        assert_eq!((one, two), (Ok(vec![1.0, 2.0]), Ok(vec![3.0])));
        assert_eq!(bad, Err(Error::Invalid("bad".to_owned())));
        let batches = slow.batches.lock().clone();
        assert_eq!(batches, [["1", "3", "4", "2", "bad"]], "one of each in turn");
    }

    #[tokio::test]
    async fn what_was_made_is_told_of_though_another_text_was_refused() {
        let (batcher, _) = batcher(64);
        for texts in [["bad", "12", "345"], ["12", "bad", "345"]] {
            let Outcome { vectors, tokens, .. } = outcome(&batcher, &texts).await;
            assert_eq!((vectors, tokens), (Err(Error::Invalid("bad".to_owned())), 5), "{texts:?}");
        }
    }

    #[tokio::test]
    async fn a_batch_has_no_more_tokens_than_the_backend_takes_at_once() {
        let (batcher, slow) = batcher(64);
        let long = "1".repeat(40);
        embed(&batcher, &["123456", "12345", "1", &long, "2", "12345678"]).await.unwrap();
        let batches = slow.batches.lock().clone();
        let expected = [vec!["123456"], vec!["12345", "1"], vec![&*long], vec!["2", "12345678"]];
        assert_eq!(batches, expected, "10 each, but one text at least");
    }

    #[tokio::test]
    async fn a_batch_waits_for_a_call_that_is_coming_but_not_for_long() {
        let (batcher, slow) = batcher(64);
        let coming = batcher.coming();
        let late = async {
            let texts = vec![slow.encode("2").unwrap()];
            batcher.embed(texts, Arc::new(Inline), coming).await.vectors
        };
        let (one, _) = tokio::join!(embed(&batcher, &["1"]), late);
        assert_eq!(one, Ok(vec![1.0]));
        assert_eq!(*slow.batches.lock(), [["1", "2"]]);
        let _never = batcher.coming();
        assert_eq!(embed(&batcher, &["3"]).await, Ok(vec![3.0]));
    }

    #[tokio::test]
    async fn a_long_call_is_split_and_does_not_hold_up_a_short_one() {
        let (batcher, slow) = batcher(2);
        let (long, short) =
            tokio::join!(embed(&batcher, &["1", "2", "3", "4", "5", "6"]), embed(&batcher, &["7"]));
        assert_eq!(long, Ok(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
        assert_eq!(short, Ok(vec![7.0]));
        let batches = slow.batches.lock().clone();
        assert!(batches.iter().all(|batch| batch.len() <= 2), "{batches:?}");
        assert!(batches.iter().position(|batch| batch.contains(&"7".to_owned())) <= Some(1), "{batches:?}");
    }

    #[tokio::test]
    async fn what_nobody_waits_for_is_left_out_and_stops_what_is_at_work() {
        let (batcher, slow) = batcher(64);
        let short = Duration::from_millis(20);
        assert!(tokio::time::timeout(short, embed(&batcher, &["1"])).await.is_err());
        let mut dropped = Box::pin(embed(&batcher, &["3"]));
        let begun = std::future::poll_fn(|cx| Poll::Ready(dropped.as_mut().poll(cx).is_pending()));
        assert!(begun.await);
        drop(dropped);
        let kept = embed(&batcher, &["2"]).await;
        assert_eq!(kept, Ok(vec![2.0]));
        assert_eq!(slow.stopped.load(Ordering::Relaxed), 1);
        assert!(!slow.batches.lock().iter().flatten().any(|text| text == "3"));
    }

    #[tokio::test]
    async fn a_batch_that_panics_is_an_error_and_the_next_is_none() {
        let (batcher, slow) = batcher(64);
        slow.panics.store(true, Ordering::Relaxed);
        assert!(matches!(embed(&batcher, &["1"]).await, Err(Error::Internal(_))));
        assert_eq!(embed(&batcher, &["2"]).await, Ok(vec![2.0]));
    }
}
