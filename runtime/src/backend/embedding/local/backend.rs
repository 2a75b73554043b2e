//! The model as others use it: on threads of its own, as many at work as there are compute slots for them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rayon::{ThreadPool, ThreadPoolBuilder};
use tokio::sync::oneshot;

use super::{EncodeError, Encoding, Fault, ForwardError, LoadError, Model, Pass};
use crate::backend::embedding::{self, Embedded, EmbeddingBackend, Encoded, Error, Form, GoOn, check_length};
use crate::backend::work::{ComputeSlots, TakenSlots, be_nice};

/// Tokens that a slot is held for: with MiniLM some 50 ms of one core.
const SLOT_TOKENS: usize = 512;

/// Tokens of a batch for each thread: whoever comes meanwhile waits about twice as long as a slot is held.
const BATCH_TOKENS: u64 = 1024;

/// Tokens for which one more thread is worth its while.
const THREAD_TOKENS: usize = 16;

/// A checkpoint that is computed here.
pub struct Local {
    name: String,
    model: Arc<Model>,
    pool: ThreadPool,
}

impl Local {
    /// Loads the checkpoint `name` in `dir`, to be computed on up to `threads` threads.
    ///
    /// # Errors
    /// What is wrong with it; or there are no threads.
    pub fn load(dir: &Path, name: &str, threads: usize) -> Result<Local, LoadError> {
        let model = Arc::new(Model::load(dir)?);
        let pool = ThreadPoolBuilder::new()
            .num_threads(threads.max(1))
            .thread_name(|_| "embedding".to_owned())
            .start_handler(|_| be_nice())
            // Whoever waits for the result hears of it; without this the process would end.
            .panic_handler(|_| tracing::error!("a forward pass panicked"))
            .build()
            .map_err(|error| Fault::Threads(error).of(dir))?;
        Ok(Local { name: name.to_owned(), model, pool })
    }

    /// Bytes that its numbers take.
    pub fn bytes(&self) -> usize {
        self.model.describe().bytes
    }

    /// Slots for some of these texts, as many as are of use.
    async fn slots(&self, texts: &[Encoding], slots: &dyn ComputeSlots) -> Box<dyn TakenSlots> {
        let tokens: usize = texts.iter().map(Encoding::tokens).sum();
        slots.take(tokens.div_ceil(THREAD_TOKENS).clamp(1, self.pool.current_num_threads())).await
    }

    /// The vectors of texts that fit into the slots, one after another.
    async fn pass(
        &self,
        texts: Vec<Encoding>,
        taken: Box<dyn TakenSlots>,
        go_on: GoOn,
    ) -> Result<Pass, Error> {
        let (tell, told) = oneshot::channel();
        let model = self.model.clone();
        self.pool.spawn(move || {
            let pass = model.forward(&texts, taken.count(), &|| go_on());
            // The slots are the job's: whoever waits for it may be gone.
            drop(taken);
            let _ = tell.send(pass);
        });
        match told.await {
            Ok(pass) => Ok(pass?),
            Err(_) => Err(Error::Internal("a forward pass failed".to_owned())),
        }
    }
}

/// How many of `texts` fit into `slots`, one at least. With no more tokens than that a forward pass has no more
/// groups than slots, and so keeps no more threads at work.
fn fitting(texts: &[Encoding], slots: usize) -> usize {
    let mut tokens = 0;
    let fit = texts.iter().take_while(|text| {
        tokens += text.tokens();
        tokens <= slots.max(1) * SLOT_TOKENS
    });
    fit.count().max(1).min(texts.len())
}

impl From<EncodeError> for Error {
    fn from(error: EncodeError) -> Error {
        match error {
            EncodeError::TooLong { .. } => Error::Invalid(error.to_string()),
            EncodeError::Tokenizer(_) => Error::Internal(error.to_string()),
        }
    }
}

impl From<ForwardError> for Error {
    fn from(error: ForwardError) -> Error {
        match error {
            ForwardError::Stopped => Error::Stopped,
            ForwardError::Foreign | ForwardError::Shape(_) => Error::Internal(error.to_string()),
        }
    }
}

#[async_trait]
impl EmbeddingBackend for Local {
    fn describe(&self) -> embedding::Model {
        let super::Description { dimensions, max_tokens, .. } = self.model.describe();
        embedding::Model { name: self.name.clone(), dimensions, max_tokens, device: "cpu" }
    }

    fn encode(&self, text: &str) -> Result<Encoded, Error> {
        check_length(text, self.model.describe().max_tokens)?;
        let encoding = self.model.encode(text)?;
        Ok(Encoded { tokens: encoding.tokens() as u64, form: Form::Ids(encoding) })
    }

    fn batch_tokens(&self) -> u64 {
        BATCH_TOKENS * self.pool.current_num_threads() as u64
    }

    async fn embed(
        &self,
        texts: Vec<Encoded>,
        slots: &dyn ComputeSlots,
        go_on: GoOn,
    ) -> Vec<Result<Embedded, Error>> {
        let mut encodings: Vec<Encoding> = Vec::with_capacity(texts.len());
        for Encoded { form, .. } in texts {
            match form {
                Form::Ids(encoding) => encodings.push(encoding),
                // The forward pass refuses it.
                Form::Text(_) => encodings.push(Encoding { ids: Vec::new() }),
            }
        }
        let dimensions = self.model.describe().dimensions;
        let mut made = Vec::with_capacity(encodings.len());
        while !encodings.is_empty() {
            let taken = self.slots(&encodings, slots).await;
            let later = encodings.split_off(fitting(&encodings, taken.count()));
            let now = std::mem::replace(&mut encodings, later);
            let tokens: Vec<u64> = now.iter().map(|text| text.tokens() as u64).collect();
            match self.pass(now, taken, go_on.clone()).await {
                Ok(Pass { vectors, cpu }) => {
                    let each = vectors.chunks_exact(dimensions).zip(tokens);
                    let all: u64 = each.clone().map(|(_, tokens)| tokens).sum();
                    let part = |tokens: u64| cpu.mul_f64(tokens as f64 / all.max(1) as f64);
                    made.extend(each.map(|(vector, tokens)| of_model(vector, tokens, part(tokens))));
                }
                Err(error) => made.extend(tokens.iter().map(|_| Err(error.clone()))),
            }
        }
        made
    }
}

/// The model has brought it to length 1, unless its numbers are of no use.
fn of_model(vector: &[f32], tokens: u64, cpu: Duration) -> Result<Embedded, Error> {
    let squares: f32 = vector.iter().map(|number| number * number).sum();
    match (squares - 1.0).abs() < 1e-3 {
        true => Ok(Embedded { vector: vector.into(), tokens, cpu }),
        false => Err(Error::Internal("the model's vector of a text has no direction".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use parking_lot::Mutex;

    use super::super::testing::Tiny;
    use super::*;

    /// Slots that remember how many were taken at most, and how often.
    #[derive(Default)]
    struct Counted {
        free: usize,
        times: AtomicUsize,
        most: Mutex<usize>,
    }

    struct Taken(usize);

    impl TakenSlots for Taken {
        fn count(&self) -> usize {
            self.0
        }
    }

    #[async_trait]
    impl ComputeSlots for Counted {
        async fn take(&self, most: usize) -> Box<dyn TakenSlots> {
            self.times.fetch_add(1, Ordering::Relaxed);
            let mut highest = self.most.lock();
            *highest = most.max(*highest);
            Box::new(Taken(most.min(self.free)))
        }
    }

    #[tokio::test]
    async fn slots_are_given_back_between_parts_of_a_batch() {
        let tiny = Tiny::new();
        let local = Local::load(tiny.dir(), "tiny", 2).unwrap();
        let text = local.encode(&"abc ".repeat(100)).unwrap();
        let slots = Counted { free: 2, ..Counted::default() };
        let made = local.embed(vec![text.clone(); 64], &slots, Arc::new(|| true)).await;
        assert!(made.iter().all(Result::is_ok) && made.len() == 64);
        let cpu = |made: &Result<Embedded, Error>| made.as_ref().unwrap().cpu;
        assert!(made.iter().all(|made| cpu(made) > Duration::ZERO), "each has its part");
        // 102 tokens: ten texts for two slots.
        assert_eq!((slots.times.load(Ordering::Relaxed), *slots.most.lock()), (7, 2));
        // A short text is no work for two.
        let slots = Counted { free: 2, ..Counted::default() };
        local.embed(vec![local.encode("abc").unwrap()], &slots, Arc::new(|| true)).await;
        assert_eq!(*slots.most.lock(), 1);
    }

    #[tokio::test]
    async fn a_text_is_not_looked_at_if_it_is_longer_than_any() {
        let tiny = Tiny::new();
        let local = Local::load(tiny.dir(), "tiny", 2).unwrap();
        assert_eq!(local.batch_tokens(), 2048);
        // Marks and zeros are no tokens, and words that are looked up letter by letter and then unknown are one each.
        let worst = format!("{}{} ", "a".repeat(99), '\u{4e8}').repeat(62);
        local.encode(&worst).unwrap();
        let marks = format!("abc ab [UNK] {}x{}", "\u{0}".repeat(3_000), "\u{301}".repeat(1_500));
        assert_eq!(local.encode(&marks).unwrap(), local.encode("abc ab [UNK] x").unwrap());
        for text in ["\u{301}".repeat(3201), " ".repeat(6401), worst.repeat(2), "\u{0}".repeat(10 << 20)] {
            let error = local.encode(&text).unwrap_err().to_string();
            assert!(error.contains("6400 may be"), "{error}");
        }
    }

    #[tokio::test]
    async fn one_slot_is_enough_and_nobody_waiting_ends_it() {
        let tiny = Tiny::new();
        let local = Local::load(tiny.dir(), "tiny", 8).unwrap();
        let text = local.encode(&"abc ".repeat(100)).unwrap();
        let slots = Counted { free: 1, ..Counted::default() };
        let made = local.embed(vec![text.clone(); 3], &slots, Arc::new(|| true)).await;
        assert!(made.iter().all(|made| made == &made.clone().map(|made| Embedded { tokens: 102, ..made })));
        let made = local.embed(vec![text; 3], &slots, Arc::new(|| false)).await;
        assert_eq!(made, vec![Err(Error::Stopped); 3]);
    }
}
