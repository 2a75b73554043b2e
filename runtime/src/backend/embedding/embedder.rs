//! What all tasks embed with: one backend, chosen once and loaded at the first use.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::OnceCell;

use super::batcher::{Batcher, Coming, Outcome};
use super::cache;
use super::{Choice, EmbeddingBackend, Encoded, Error, Hashing, Local, Model, Settings, Vector, Vectors};
use crate::backend::ollama::Server;
use crate::backend::work::{ComputeSlots, Inline, Share, Workers};
use crate::limits::{Budget, Ledger};

/// Texts that are so short together are made ready at once: some hundred microseconds.
const SHORT_BYTES: usize = 8 << 10;

/// How long a piece of counting tokens goes on.
const PIECE: Duration = Duration::from_millis(2);

/// How long after a failure loading is not tried again.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// How long a failure to make vectors shows, unless some were made after it.
const FAILURE_SHOWS: Duration = Duration::from_secs(60);

/// Time between two looks at whether the backend is there.
const LOOK_INTERVAL: Duration = Duration::from_secs(15);

/// One backend, for all tasks.
pub struct Embedder {
    settings: Settings,
    /// Ollama, or why it cannot be asked.
    server: Result<Server, Error>,
    choice: OnceCell<Choice>,
    ready: OnceCell<Arc<Ready>>,
    last_failure: Mutex<Option<(Instant, Error)>>,
    status: Mutex<Status>,
    vectors: Arc<Vectors>,
}

/// A backend that is loaded.
pub struct Ready {
    /// What it is.
    pub model: Model,
    backend: Arc<dyn EmbeddingBackend>,
    batcher: Batcher,
    /// Of the last call, if no vectors could be made.
    last_failure: Mutex<Option<(Instant, Error)>>,
}

/// Who wants vectors, and pays for them.
#[derive(Clone, Copy)]
pub struct Caller<'a> {
    /// Whose they are: what is kept is a tenant's own.
    pub tenant: &'a str,
    /// Where tokens are counted.
    pub ledger: &'a Ledger,
    /// What counts them.
    pub workers: &'a dyn Workers,
    /// What the model computes within.
    pub slots: &'a Arc<dyn ComputeSlots>,
}

/// How it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The backend, once it is chosen.
    pub provider: Option<&'static str>,
    /// The model's name: the loaded one's, else the configured one's.
    pub model: String,
    /// Numbers of a vector, once it is loaded.
    pub dimensions: Option<usize>,
    /// Why there are no vectors, if that is so.
    pub error: Option<String>,
}

impl Embedder {
    /// What `settings` say; `io` is where requests to Ollama are made, if there is such a place.
    pub fn new(settings: Settings, io: Option<Handle>) -> Embedder {
        let server = match io {
            Some(io) => Server::new(&settings.base_url, io).map_err(Error::from),
            None => Err(Error::Unavailable("there is no network here".to_owned())),
        };
        let vectors = Arc::new(cache::vectors(settings.cache_size, settings.cache_ttl));
        let status = Status { model: settings.model.clone(), ..Status::default() };
        Embedder {
            settings,
            server,
            choice: OnceCell::new(),
            ready: OnceCell::new(),
            last_failure: Mutex::default(),
            status: Mutex::new(status),
            vectors,
        }
    }

    /// The vectors that it keeps.
    pub fn cache(&self) -> Arc<Vectors> {
        self.vectors.clone()
    }

    /// How it was when somebody last looked, or asked it for vectors: that it answers does not mean that it makes any.
    pub fn status(&self) -> Status {
        let status = self.status.lock().clone();
        let failed = self.ready.get().and_then(|ready| ready.recent_failure());
        Status { error: status.error.or(failed.map(|error| error.to_string())), ..status }
    }

    /// Looks again and again whether the backend is there, until the future is dropped.
    pub async fn watch(&self) {
        loop {
            self.look().await;
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// Looks whether the backend is there; loads nothing.
    pub async fn look(&self) {
        let choice = self.choice().await;
        let there = match choice {
            Choice::Hashing => Ok(()),
            Choice::Local => match self.settings.missing_file() {
                Some(_) if self.ready.get().is_none() => Err(self.no_files()),
                _ => match &*self.last_failure.lock() {
                    Some((_, error)) => Err(error.clone()),
                    None => Ok(()),
                },
            },
            Choice::Ollama => match &self.server {
                Ok(server) => self.settings.ask(server).await.map(|_| ()),
                Err(error) => Err(error.clone()),
            },
        };
        let ready = self.ready.get().map(|ready| &ready.model);
        *self.status.lock() = Status {
            provider: Some(choice.name()),
            model: match (ready, choice) {
                (Some(model), _) => model.name.clone(),
                (None, Choice::Hashing) => Hashing.describe().name,
                (None, _) => self.settings.model.clone(),
            },
            dimensions: ready.map(|model| model.dimensions),
            error: there.err().map(|error| error.to_string()),
        };
    }

    async fn choice(&self) -> Choice {
        let choose = async {
            let choice = self.settings.choose(self.server.as_ref()).await;
            tracing::info!(provider = choice.name(), "embeddings: the backend is chosen");
            choice
        };
        *self.choice.get_or_init(|| choose).await
    }

    /// The backend, which is loaded now if it is not.
    ///
    /// # Errors
    /// There is no model, or it cannot be used.
    pub async fn ready(self: &Arc<Embedder>) -> Result<Arc<Ready>, Error> {
        if let Some(ready) = self.ready.get() {
            return Ok(ready.clone());
        }
        let embedder = self.clone();
        // Whoever asked may end: the loading goes on, so that it is done once.
        let loading = tokio::spawn(async move {
            let ready = embedder.ready.get_or_try_init(|| embedder.load()).await.cloned();
            embedder.look().await;
            ready
        });
        loading.await.map_err(|error| Error::Internal(format!("loading the model: {error}")))?
    }

    async fn load(&self) -> Result<Arc<Ready>, Error> {
        if let Some((since, error)) = &*self.last_failure.lock()
            && since.elapsed() < RETRY_AFTER
        {
            return Err(error.clone());
        }
        let loaded = self.open().await;
        *self.last_failure.lock() = loaded.as_ref().err().map(|error| (Instant::now(), error.clone()));
        let backend = loaded?;
        let model = backend.describe();
        tracing::info!(
            model = model.name,
            dimensions = model.dimensions,
            max_tokens = model.max_tokens,
            "embeddings: ready"
        );
        let batcher = Batcher::new(backend.clone(), self.settings.batch);
        Ok(Arc::new(Ready { model, backend, batcher, last_failure: Mutex::default() }))
    }

    async fn open(&self) -> Result<Arc<dyn EmbeddingBackend>, Error> {
        match self.choice().await {
            Choice::Hashing => Ok(Arc::new(Hashing)),
            Choice::Ollama => match &self.server {
                Ok(server) => Ok(Arc::new(self.settings.ask(server).await?)),
                Err(error) => Err(error.clone()),
            },
            Choice::Local if self.settings.missing_file().is_some() => Err(self.no_files()),
            Choice::Local => {
                let Settings { folder, model, threads, .. } = self.settings.clone();
                let begun = Instant::now();
                let loading = tokio::task::spawn_blocking(move || Local::load(&folder, &model, threads));
                let local = match loading.await {
                    Ok(Ok(local)) => local,
                    Ok(Err(error)) => {
                        // Guests are not told of paths.
                        tracing::error!(%error, "embeddings: the model cannot be loaded");
                        let text = "the embedding model cannot be loaded: the runtime's log says why";
                        return Err(Error::Unavailable(text.to_owned()));
                    }
                    Err(error) => return Err(Error::Internal(format!("loading the model: {error}"))),
                };
                let (bytes, ms) = (local.bytes(), begun.elapsed().as_millis());
                tracing::info!(bytes, ms, threads, "embeddings: the model is in memory");
                Ok(Arc::new(local))
            }
        }
    }

    fn no_files(&self) -> Error {
        let model = &self.settings.model;
        Error::Unavailable(format!(
            "the embedding model is not installed: `omnimind model pull {model}`, or set embedding.path"
        ))
    }

    /// The vectors of texts in order: those that are kept, which cost nothing, and the others made together with those
    /// of others. Their tokens are counted and set aside first.
    ///
    /// # Errors
    /// Whatever can be wrong.
    pub async fn vectors(
        &self,
        ready: &Ready,
        texts: Vec<String>,
        caller: Caller<'_>,
    ) -> Result<Vec<Vector>, Error> {
        let Caller { tenant, ledger, workers, slots } = caller;
        let (mut vectors, mut missing, mut keys) = (Vec::with_capacity(texts.len()), Vec::new(), Vec::new());
        for (at, text) in texts.into_iter().enumerate() {
            let key = cache::key(tenant, &ready.model.name, &text);
            let kept = self.vectors.find(&key, |_| true);
            if kept.is_none() {
                missing.push((at, text));
                keys.push(key);
            }
            vectors.push(kept);
        }
        if !missing.is_empty() {
            let coming = ready.batcher.coming();
            let places: Vec<usize> = missing.iter().map(|(at, _)| *at).collect();
            let encoded = ready.encode(missing, workers).await?;
            let tokens = encoded.iter().fold(0_u64, |sum, text| sum.saturating_add(text.tokens));
            let reserved = ledger.reserve(Budget::EmbedTokens, tokens)?;
            let made = ready.embed(encoded, slots.clone(), coming).await;
            reserved.settle(made.tokens);
            workers.charge(made.cpu);
            for ((at, key), vector) in places.into_iter().zip(keys).zip(made.vectors?) {
                self.vectors.keep(key, cache::bytes_of(&vector), vector.clone());
                if let Some(place) = vectors.get_mut(at) {
                    *place = Some(vector);
                }
            }
        }
        let all: Option<Vec<Vector>> = vectors.into_iter().collect();
        all.ok_or_else(|| Error::Internal("a vector is missing".to_owned()))
    }
}

impl Ready {
    /// Makes texts ready, in turns with all guests. The number beside each is what errors call it.
    ///
    /// # Errors
    /// One of them breaks a rule; or the task has ended.
    async fn encode(
        &self,
        texts: Vec<(usize, String)>,
        workers: &dyn Workers,
    ) -> Result<Vec<Encoded>, Error> {
        let bytes: usize = texts.iter().map(|(_, text)| text.len()).sum();
        let done = Arc::new(Mutex::new(Ok(Vec::with_capacity(texts.len()))));
        let (backend, rest) = (self.backend.clone(), texts.into_iter());
        let share = vec![Box::new(Counting { backend, rest, done: done.clone() }) as Box<dyn Share>];
        match bytes <= SHORT_BYTES {
            true => Inline.work(share).await?,
            false => workers.work(share).await?,
        }
        std::mem::replace(&mut *done.lock(), Ok(Vec::new()))
    }

    /// The vectors of texts, together with those of others.
    async fn embed(&self, texts: Vec<Encoded>, slots: Arc<dyn ComputeSlots>, coming: Coming) -> Outcome {
        let outcome = self.batcher.embed(texts, slots, coming).await;
        match &outcome.vectors {
            Ok(_) => *self.last_failure.lock() = None,
            // These are about the text, or about who asked.
            Err(Error::Invalid(_) | Error::Stopped) => {}
            Err(error) => *self.last_failure.lock() = Some((Instant::now(), error.clone())),
        }
        outcome
    }

    fn recent_failure(&self) -> Option<Error> {
        let failure = self.last_failure.lock().clone();
        failure.filter(|(since, _)| since.elapsed() < FAILURE_SHOWS).map(|(_, error)| error)
    }
}

/// Texts whose tokens are to be counted.
struct Counting {
    backend: Arc<dyn EmbeddingBackend>,
    rest: std::vec::IntoIter<(usize, String)>,
    done: Arc<Mutex<Result<Vec<Encoded>, Error>>>,
}

impl Share for Counting {
    fn piece(&mut self) -> bool {
        let begun = Instant::now();
        let mut done = self.done.lock();
        let Ok(encoded) = &mut *done else { return false };
        for (number, text) in self.rest.by_ref() {
            match self.backend.encode(&text) {
                Ok(text) => encoded.push(text),
                Err(Error::Invalid(rule)) => {
                    *done = Err(Error::Invalid(format!("text {number}: {rule}")));
                    return false;
                }
                Err(error) => {
                    *done = Err(error);
                    return false;
                }
            }
            if begun.elapsed() >= PIECE {
                return true;
            }
        }
        false
    }
}
