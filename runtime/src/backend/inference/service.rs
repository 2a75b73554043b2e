//! What all tasks ask language models with: one backend, the queue before it, and what is kept of its answers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::breaker::Breaker;
use super::kept::{Kept, Key};
use super::schema::{Schema, repaired};
use super::stream::{Finished, Progress, Stream};
use super::{
    Abilities, Answer, Completion, Ending, Error, Finish, InferenceBackend, ModelInfo, ModelUses, Most,
    Piece, Place, Queue, Request, Wanted, about,
};
use crate::limits::{Budget, Ledger};
use crate::metrics::{self, Answered};
use crate::task::Priority;

/// Tries at a server that is too busy, and the wait before the second one, which doubles.
const BUSY_TRIES: u32 = 6;
const BUSY_WAIT: Duration = Duration::from_millis(200);

/// Bytes of a prompt for each token of a model's context: a longer one need not be sent.
const MAX_TOKEN_BYTES: u64 = 32;

/// Time between two looks at whether the backend is there.
const LOOK_INTERVAL: Duration = Duration::from_secs(15);

/// Within this time tasks are told what was seen before.
const RECENT: Duration = Duration::from_secs(5);

/// How it is to be done.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The model of a call that names none.
    pub model: String,
    /// The model that is asked where another one is missing or failing.
    pub fallback: Option<String>,
    /// The temperature of a call that says none.
    pub temperature: f32,
    /// Tokens of an answer of a call that does not say.
    pub max_tokens: u64,
    /// Tokens of prompt and answer together.
    pub context: u64,
    /// Answers at one time.
    pub most: Most,
    /// Answers that are kept.
    pub kept: usize,
    /// Whether prompts and answers are in the log.
    pub log_texts: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            model: String::new(),
            fallback: None,
            temperature: 0.7,
            max_tokens: 2048,
            context: 4096,
            most: Most { in_all: 8, of_model: 4 },
            kept: 0,
            log_texts: false,
        }
    }
}

/// Who asks, and pays.
#[derive(Clone)]
pub struct Caller {
    /// Whose task it is: what is kept is a tenant's own.
    pub tenant: Arc<str>,
    /// How urgent it is.
    pub priority: Priority,
    /// Where tokens are counted.
    pub ledger: Arc<Ledger>,
    /// Where the receipt's lines are.
    pub models: Arc<ModelUses>,
}

/// How it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    /// The backend; none where there is none.
    pub provider: Option<&'static str>,
    /// The models that were there when somebody last looked.
    pub models: Vec<ModelInfo>,
    /// Why there are no answers, if that is so.
    pub error: Option<String>,
}

/// One backend, for all tasks.
pub struct Inference {
    settings: Settings,
    /// With where answers are waited for; or why there is none.
    backend: Result<(Arc<dyn InferenceBackend>, Handle), Error>,
    queue: Queue,
    breaker: Breaker,
    kept: Arc<Kept>,
    /// Where answers are counted for everybody.
    counted: Option<Arc<metrics::Inference>>,
    looked: Mutex<Looked>,
}

/// What was seen of a backend.
#[derive(Clone, Default)]
struct Looked {
    /// By the last look.
    last: Option<Result<Vec<ModelInfo>, Error>>,
    /// When.
    at: Option<Instant>,
    /// Whether it ever was there: a server that never was is not missed.
    was_there: bool,
}

impl Inference {
    /// What `settings` say, with this backend; answers are waited for on `io`.
    pub fn new(settings: Settings, backend: Arc<dyn InferenceBackend>, io: Handle) -> Inference {
        Inference::with(settings, Ok((backend, io)))
    }

    /// No language model, for this reason.
    pub fn none(why: &str) -> Inference {
        Inference::with(Settings::default(), Err(Error::Unavailable(why.to_owned())))
    }

    fn with(settings: Settings, backend: Result<(Arc<dyn InferenceBackend>, Handle), Error>) -> Inference {
        let (queue, kept) = (Queue::new(settings.most), Arc::new(Kept::new(settings.kept)));
        let (breaker, looked) = (Breaker::default(), Mutex::default());
        Inference { settings, backend, queue, breaker, kept, counted: None, looked }
    }

    /// The same, counted there.
    pub fn counted(self, counted: Arc<metrics::Inference>) -> Inference {
        Inference { counted: Some(counted), ..self }
    }

    /// The answers that it keeps.
    pub fn cache(&self) -> Arc<Kept> {
        self.kept.clone()
    }

    /// The model of a call that names none.
    pub fn default_model(&self) -> &str {
        &self.settings.model
    }

    /// How it was when somebody last looked, or asked it: that it is there does not mean that it answers.
    pub fn status(&self) -> Status {
        let Ok((backend, _)) = &self.backend else { return Status::default() };
        let Looked { last, was_there, .. } = self.looked.lock().clone();
        let (models, missed) = match last {
            Some(Ok(models)) => (models, None),
            Some(Err(error)) => (Vec::new(), Some(error).filter(|_| was_there)),
            None => (Vec::new(), None),
        };
        let error = self.breaker.open().or(missed);
        Status { provider: Some(backend.name()), models, error: error.map(|error| error.to_string()) }
    }

    /// Looks again and again whether the backend is there, until the future is dropped.
    pub async fn watch(&self) {
        loop {
            self.look().await;
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// Looks which models are there.
    pub async fn look(&self) {
        if let Ok((backend, _)) = &self.backend {
            let found = backend.models().await;
            if found.is_ok() {
                self.breaker.is_there();
            }
            let mut looked = self.looked.lock();
            looked.was_there |= found.is_ok();
            (looked.last, looked.at) = (Some(found), Some(Instant::now()));
        }
    }

    /// Whether there is a backend.
    ///
    /// # Errors
    /// Why there is none.
    pub fn is_there(&self) -> Result<(), Error> {
        self.backend.as_ref().map(|_| ()).map_err(Clone::clone)
    }

    /// The models that are there now.
    ///
    /// # Errors
    /// There is no backend, or it does not answer.
    pub async fn models(&self) -> Result<Vec<ModelInfo>, Error> {
        self.backend.as_ref().map_err(Clone::clone)?.0.models().await
    }

    /// The models that are there now, or were a few seconds ago.
    ///
    /// # Errors
    /// There is no backend, or it does not answer.
    pub async fn recent(&self) -> Result<Vec<ModelInfo>, Error> {
        self.is_there()?;
        if self.looked.lock().at.is_none_or(|at| at.elapsed() > RECENT) {
            self.look().await;
        }
        self.looked.lock().last.clone().unwrap_or_else(|| Ok(Vec::new()))
    }

    /// What `model` can do.
    ///
    /// # Errors
    /// There is no such model, no backend, or it does not answer.
    pub async fn abilities(&self, model: &str) -> Result<Abilities, Error> {
        self.backend.as_ref().map_err(Clone::clone)?.0.abilities(model).await
    }

    /// A whole answer: one that is kept, else a new one; that fits its schema, if it has one.
    ///
    /// # Errors
    /// Whatever can be wrong.
    pub async fn complete(
        self: &Arc<Inference>,
        wanted: Wanted,
        caller: Caller,
    ) -> Result<Completion, Error> {
        let (wanted, schema) = self.checked(wanted)?;
        let Some(key) = self.key(&wanted, &caller) else { return self.fitting(wanted, caller, schema).await };
        // Whoever asks for the same meanwhile waits for this one.
        let _only = self.kept.only(&key).await;
        if let Some(kept) = self.find(&key, &caller) {
            return Ok(kept);
        }
        let asked = self.model(&wanted).to_owned();
        let made = self.fitting(wanted, caller, schema).await?;
        self.keep(key, &asked, &made);
        Ok(made)
    }

    /// Begins an answer, and returns before there is any of it. Its tokens are set aside: those of the prompt, about,
    /// and as many as the answer may have and the task has left. One that is kept is there at once.
    ///
    /// # Errors
    /// The prompt is too long, or the task has not so many tokens left. Whatever else is wrong is told at its end: that
    /// there is no model, or that the answer does not fit its schema.
    pub fn begin(self: &Arc<Inference>, wanted: Wanted, caller: Caller) -> Result<Stream, Error> {
        let (wanted, schema) = self.checked(wanted)?;
        let key = self.key(&wanted, &caller);
        if let Some(kept) = key.and_then(|key| self.find(&key, &caller)) {
            return Ok(Stream::kept(kept));
        }
        let (service, asked) = (self.clone(), self.model(&wanted).to_owned());
        let finish = move |made: Completion| {
            if let (Some(schema), Finish::Stop | Finish::Length) = (&schema, made.finish) {
                schema.check(&made.text).map_err(Error::Misfit)?;
            }
            if let Some(key) = key {
                service.keep(key, &asked, &made);
            }
            Ok(made)
        };
        self.start(wanted, caller, Some(Box::new(finish)))
    }

    /// The same with the temperature that it has where it says none, and its schema, if that is one.
    fn checked(&self, mut wanted: Wanted) -> Result<(Wanted, Option<Schema>), Error> {
        let context = self.settings.context;
        let (bytes, most_bytes) = (wanted.prompt.bytes() as u64, context.saturating_mul(MAX_TOKEN_BYTES));
        if bytes > most_bytes {
            return Err(Error::Invalid(format!(
                "the prompt has {bytes} bytes and {most_bytes} may be, as a context has {context} tokens: shorten it"
            )));
        }
        wanted.sampling.temperature.get_or_insert(self.settings.temperature);
        let schema = wanted.schema.as_deref().map(Schema::new).transpose()?;
        Ok((wanted, schema))
    }

    fn key(&self, wanted: &Wanted, caller: &Caller) -> Option<Key> {
        self.kept.key(&caller.tenant, self.model(wanted), wanted, self.settings.context)
    }

    fn find(&self, key: &Key, caller: &Caller) -> Option<Completion> {
        let begun = Instant::now();
        let kept = self.kept.find(key)?;
        let answered = Answered {
            model: kept.model.clone(),
            end: "cached",
            prompt_tokens: 0,
            completion_tokens: 0,
            queued: Duration::ZERO,
            first: None,
            writing: Duration::ZERO,
        };
        self.ended(caller, &answered, &kept.text);
        Some(Completion { took: begun.elapsed(), cached: true, ..kept })
    }

    fn keep(&self, key: Key, asked: &str, made: &Completion) {
        // What was cut by somebody's budget is not the answer, nor what another model wrote.
        if matches!(made.finish, Finish::Stop | Finish::Length) && made.model == asked {
            self.kept.keep(key, made.clone());
        }
    }

    /// An answer has ended.
    pub(super) fn ended(&self, caller: &Caller, answered: &Answered, text: &str) {
        let Answered { model, end, prompt_tokens, completion_tokens, .. } = answered;
        let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        caller.models.add(answered);
        if let Some(counted) = &self.counted {
            counted.answered(answered);
        }
        tracing::debug!(
            ?model,
            end,
            tenant = &*caller.tenant,
            prompt_tokens,
            completion_tokens,
            queue_ms = milliseconds(answered.queued),
            first_token_ms = answered.first.map(milliseconds),
            writing_ms = milliseconds(answered.writing),
            "an answer ended"
        );
        if self.settings.log_texts {
            tracing::info!(?model, tenant = &*caller.tenant, answer = ?text, "answer of a language model");
        }
    }

    /// An answer that fits; one that does not is told so, once.
    async fn fitting(
        self: &Arc<Inference>,
        wanted: Wanted,
        caller: Caller,
        schema: Option<Schema>,
    ) -> Result<Completion, Error> {
        let Some(schema) = schema else { return self.start(wanted, caller, None)?.whole().await };
        let first = self.start(wanted.clone(), caller.clone(), None)?.whole().await?;
        if first.finish == Finish::Budget {
            // There is nothing left to repair it with.
            return Ok(first);
        }
        let Err(misfit) = schema.check(&first.text) else { return Ok(first) };
        let repair = Wanted { prompt: repaired(wanted.prompt.clone(), &first.text, &misfit), ..wanted };
        let second = self.start(repair, caller, None)?.whole().await?;
        let both = Completion {
            prompt_tokens: first.prompt_tokens.saturating_add(second.prompt_tokens),
            completion_tokens: first.completion_tokens.saturating_add(second.completion_tokens),
            took: first.took.saturating_add(second.took),
            ..second
        };
        match schema.check(&both.text) {
            Err(misfit) if both.finish != Finish::Budget => Err(Error::Misfit(misfit)),
            _ => Ok(both),
        }
    }

    fn model<'a>(&'a self, wanted: &'a Wanted) -> &'a str {
        wanted.model.as_deref().unwrap_or(&self.settings.model)
    }

    /// Begins a new answer; `finish` has the last word on one that was written to its end.
    fn start(
        self: &Arc<Inference>,
        wanted: Wanted,
        caller: Caller,
        finish: Option<Finished>,
    ) -> Result<Stream, Error> {
        let model = self.model(&wanted).to_owned();
        let Wanted { prompt, sampling, schema, max_tokens, .. } = wanted;
        let of_prompt = about(prompt.bytes()).max(1);
        let asked = max_tokens.unwrap_or(self.settings.max_tokens).min(self.settings.context);
        let left = caller.ledger.remaining(Budget::LlmTokens).saturating_sub(of_prompt);
        let most = asked.min(left).max(1);
        let reserved = caller.ledger.set_aside(Budget::LlmTokens, of_prompt.saturating_add(most))?;
        if self.settings.log_texts {
            tracing::info!(?model, tenant = &*caller.tenant, ?prompt, "prompt for a language model");
        }
        let request = Request { model, prompt, sampling, schema, max_tokens: most };
        let of_budget = most < asked;
        let progress = Progress::new(self.clone(), caller.clone(), reserved, of_prompt, &request, of_budget);
        let progress = Arc::new(progress);
        // As many as come: one that a guest does not take holds nobody up, and has `most` tokens at most.
        let (pieces, taken) = mpsc::unbounded_channel();
        let (tell, told) = oneshot::channel();
        let mut writing = JoinSet::new();
        match self.backend.clone() {
            Err(none) => drop(tell.send(progress.settle(Err(none)))),
            Ok((backend, io)) => {
                let (service, writer) = (self.clone(), progress.clone());
                let write = async move {
                    let written = service.write(backend, request, &caller, &writer, &pieces).await;
                    let _ = tell.send(writer.settle(written));
                };
                writing.spawn_on(write, &io);
            }
        }
        Ok(Stream::new(taken, told, progress, writing, finish))
    }

    /// Writes an answer to its end.
    async fn write(
        &self,
        backend: Arc<dyn InferenceBackend>,
        mut request: Request,
        caller: &Caller,
        progress: &Progress,
        pieces: &mpsc::UnboundedSender<String>,
    ) -> Result<Ending, Error> {
        let mut place = self.turn(&request.model, caller, progress).await;
        let begun = match (self.first(&*backend, &request, progress).await, &self.settings.fallback) {
            (Err(error), Some(fallback)) if error.is_of_the_model() && *fallback != request.model => {
                // As often as a guest likes, so no warning.
                tracing::debug!(model = request.model, fallback, %error, "another model is asked");
                drop(place);
                request.model.clone_from(fallback);
                progress.is_of(fallback);
                place = self.turn(fallback, caller, progress).await;
                self.first(&*backend, &request, progress).await
            }
            (begun, _) => begun,
        };
        let (mut answer, mut piece) = begun?;
        let _place = place;
        loop {
            match piece {
                Piece::End(ending) => return Ok(ending),
                Piece::Silent => progress.is_silent(),
                Piece::Text(text) => {
                    progress.add(&text);
                    if pieces.send(text).is_err() {
                        // Nobody takes it any more; who wants the whole keeps the other end.
                        return Ok(Ending { is_cut: true, ..Ending::default() });
                    }
                }
            }
            // What takes too long now may be the guest's own doing.
            piece = answer.next().await.inspect_err(|error| {
                if matches!(error, Error::Unavailable(_)) {
                    self.breaker.failed(error);
                }
            })?;
        }
    }

    async fn turn(&self, model: &str, caller: &Caller, progress: &Progress) -> Place {
        let since = Instant::now();
        let place = self.queue.turn(model, &caller.tenant, caller.priority).await;
        progress.waited(since);
        place
    }

    /// The beginning of an answer; of a server that is too busy after a few tries.
    async fn first(
        &self,
        backend: &dyn InferenceBackend,
        request: &Request,
        progress: &Progress,
    ) -> Result<(Box<dyn Answer>, Piece), Error> {
        let mut tries = 0;
        loop {
            self.breaker.check()?;
            progress.asks();
            let mut answer = backend.begin(request);
            match answer.next().await {
                Ok(piece) => {
                    self.breaker.answered();
                    return Ok((answer, piece));
                }
                Err(Error::Busy(_)) if tries + 1 < BUSY_TRIES => {
                    progress.was_refused();
                    tokio::time::sleep(BUSY_WAIT * 2_u32.pow(tries)).await;
                    tries += 1;
                }
                Err(error) => {
                    if !matches!(error, Error::TimedOut(_)) {
                        progress.was_refused();
                    }
                    self.breaker.failed(&error);
                    return Err(error);
                }
            }
        }
    }
}
