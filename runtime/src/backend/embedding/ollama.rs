//! Vectors that Ollama makes.
//!
//! It is asked for by what it documents: `/api/show` for the model, `/api/embed` with `truncate: false` for vectors.
//! What comes back is not trusted: it is bounded in bytes and time, no redirect is followed, and numbers are checked.
//! A model that Ollama would compute somewhere else is refused: texts stay on this machine.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use reqwest::{Client, StatusCode, Url};
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use super::{
    Embedded, EmbeddingBackend, Encoded, Error, Form, GoOn, MAX_DIMENSIONS, Model, check_length, normalized,
};
use crate::backend::work::ComputeSlots;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long it may take to say what a model is.
const SHOW_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a batch may take, however many requests it comes to; Ollama may load the model first.
const EMBED_TIMEOUT: Duration = Duration::from_secs(120);

/// Time between two looks at whether somebody still waits.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// What it says of a model has its licence in it.
const MAX_SHOW_BYTES: usize = 16 << 20;

/// Bytes of an answer for each number, and beside them.
const NUMBER_BYTES: usize = 32;
const MAX_ANSWER_BYTES: usize = 64 << 10;

/// Bytes of a text that are a token, about: it is charged what Ollama counts.
const TOKEN_BYTES: usize = 4;

/// An Ollama.
#[derive(Clone, Debug)]
pub struct Server {
    base: Url,
    client: Client,
    /// Where there is a network.
    io: Handle,
}

/// A model of an Ollama.
#[derive(Clone, Debug)]
pub struct Ollama {
    server: Server,
    model: Model,
}

/// What `/api/show` says, as far as it matters.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Shown {
    model_info: BTreeMap<String, Value>,
    capabilities: Vec<String>,
    remote_host: String,
    remote_model: String,
}

/// What `/api/embed` says.
#[derive(Deserialize)]
struct Answer {
    embeddings: Vec<Vec<f32>>,
    #[serde(default)]
    prompt_eval_count: Option<u64>,
}

/// What it says when it will not.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Refusal {
    error: String,
}

fn unavailable(text: &str) -> Error {
    Error::Unavailable(text.to_owned())
}

impl Server {
    /// The Ollama at `base_url`; requests are made on `io`.
    ///
    /// # Errors
    /// That is no URL, or there is nothing to know an https server by.
    pub fn new(base_url: &str, io: Handle) -> Result<Server, Error> {
        let base = Url::parse(base_url).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let base = base.ok_or_else(|| unavailable("model.base_url is no http or https URL"))?;
        let mut roots = RootCertStore::empty();
        if base.scheme() == "https" {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::Internal(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .build()
            .map_err(|error| Error::Internal(error.to_string()))?;
        Ok(Server { base, client, io })
    }

    /// The answer to `body` at `path`: its status, and no more than `most` bytes of it.
    async fn ask(
        &self,
        path: &str,
        body: &Value,
        most: usize,
        timeout: Duration,
    ) -> Result<(StatusCode, Vec<u8>), Error> {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path().trim_end_matches('/')));
        let request = self.client.post(url).header("content-type", "application/json").body(body.to_string());
        let asked = async move {
            let mut response = request.send().await?;
            let (status, mut bytes) = (response.status(), Vec::new());
            while let Some(piece) = response.chunk().await? {
                if bytes.len() + piece.len() > most {
                    return Ok(None);
                }
                bytes.extend_from_slice(&piece);
            }
            Ok::<_, reqwest::Error>(Some((status, bytes)))
        };
        // Dropped, it closes the connection.
        let mut running = JoinSet::new();
        running.spawn_on(async move { tokio::time::timeout(timeout, asked).await }, &self.io);
        match running.join_next().await {
            Some(Ok(Ok(Ok(Some(answer))))) => Ok(answer),
            Some(Ok(Ok(Ok(None)))) => Err(unavailable("Ollama's answer is longer than any can be")),
            Some(Ok(Ok(Err(error)))) => {
                tracing::debug!(error = %error.without_url(), "Ollama");
                Err(unavailable(
                    "Ollama does not answer: start it with `ollama serve`, or see model.base_url",
                ))
            }
            Some(Ok(Err(_))) => Err(Error::TimedOut(
                "Ollama did not answer in time: is it loading the model, or busy with others?".to_owned(),
            )),
            _ => Err(Error::Internal("a request to Ollama failed".to_owned())),
        }
    }

    /// What the model `name` is; none if there is none of that name.
    async fn show(&self, name: &str) -> Result<Option<Model>, Error> {
        let asked = json!({"model": name});
        let (status, body) = self.ask("/api/show", &asked, MAX_SHOW_BYTES, SHOW_TIMEOUT).await?;
        match status {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            _ => return Err(refused(status, &body)),
        }
        let shown: Shown = serde_json::from_slice(&body)
            .map_err(|_| unavailable("Ollama's answer is not what /api/show answers"))?;
        if !shown.remote_host.is_empty() || !shown.remote_model.is_empty() || name.ends_with("cloud") {
            return Err(unavailable("the model is computed on another machine: texts are not sent there"));
        }
        if !shown.capabilities.is_empty() && !shown.capabilities.iter().any(|can| can == "embedding") {
            return Err(unavailable("the model of embedding.model makes no embeddings"));
        }
        let number = |key: &str| {
            let architecture = shown.model_info.get("general.architecture")?.as_str()?;
            let number = shown.model_info.get(&format!("{architecture}.{key}"))?.as_u64()?;
            usize::try_from(number).ok().filter(|number| (1..1 << 24).contains(number))
        };
        let dimensions = number("embedding_length").filter(|dimensions| *dimensions <= MAX_DIMENSIONS);
        match (dimensions, number("context_length")) {
            (Some(dimensions), Some(max_tokens)) => {
                Ok(Some(Model { name: name.to_owned(), dimensions, max_tokens, device: "ollama" }))
            }
            _ => Err(unavailable("Ollama does not say how long the model's vectors and texts are")),
        }
    }
}

fn refused(status: StatusCode, body: &[u8]) -> Error {
    let Refusal { error } = serde_json::from_slice(body).unwrap_or_default();
    let said: String = error.chars().filter(|c| !c.is_control()).take(200).collect();
    Error::Unavailable(format!("Ollama answers {}: {said}", status.as_u16()))
}

impl Ollama {
    /// The first of these models that is there.
    ///
    /// # Errors
    /// Ollama does not answer, or has none of them.
    pub async fn find(server: &Server, names: &[&str]) -> Result<Ollama, Error> {
        for name in names {
            if let Some(model) = server.show(name).await? {
                return Ok(Ollama { server: server.clone(), model });
            }
        }
        let name = names.first().copied().unwrap_or_default();
        Err(Error::Unavailable(format!("Ollama has no such model: `ollama pull {name}`")))
    }

    /// The vectors of these texts, in one request. What is wrong with one of them is wrong with all.
    async fn request(&self, texts: &[(Box<str>, u64)], until: Instant) -> Result<Vec<Embedded>, Error> {
        let inputs: Vec<&str> = texts.iter().map(|(text, _)| &**text).collect();
        let body = json!({"model": self.model.name, "input": inputs, "truncate": false});
        let most = MAX_ANSWER_BYTES + texts.len() * self.model.dimensions * NUMBER_BYTES;
        let (status, body) = self
            .server
            .ask("/api/embed", &body, most, until.saturating_duration_since(Instant::now()))
            .await?;
        match status {
            StatusCode::OK => {}
            StatusCode::BAD_REQUEST => {
                let Model { max_tokens, .. } = self.model;
                return Err(Error::Invalid(format!(
                    "a text has more tokens than the {max_tokens} that the model takes: split the text"
                )));
            }
            StatusCode::NOT_FOUND => return Err(unavailable("Ollama has the model no more")),
            _ => return Err(refused(status, &body)),
        }
        let broken = || unavailable("Ollama's answer is not what /api/embed answers");
        let Answer { embeddings, prompt_eval_count } = serde_json::from_slice(&body).map_err(|_| broken())?;
        if embeddings.len() != texts.len() {
            return Err(broken());
        }
        let about: u64 = texts.iter().map(|(_, tokens)| tokens).sum();
        let counted = prompt_eval_count.unwrap_or(about);
        let of = |(vector, (_, tokens)): (Vec<f32>, &(Box<str>, u64))| {
            let vector = Some(vector).filter(|vector| vector.len() == self.model.dimensions);
            // It counts all texts together: each is charged its part.
            let tokens = (u128::from(counted) * u128::from(*tokens)).div_ceil(u128::from(about.max(1)));
            let vector = vector.and_then(normalized).ok_or_else(broken)?;
            Ok(Embedded { vector, tokens: u64::try_from(tokens).unwrap_or(u64::MAX), cpu: Duration::ZERO })
        };
        embeddings.into_iter().zip(texts).map(of).collect()
    }

    async fn all(&self, texts: Vec<(Box<str>, u64)>) -> Vec<Result<Embedded, Error>> {
        let until = Instant::now() + EMBED_TIMEOUT;
        match self.request(&texts, until).await {
            Ok(all) => all.into_iter().map(Ok).collect(),
            // One is too long: the others are not, and may be somebody else's.
            Err(Error::Invalid(_)) if texts.len() > 1 => {
                let mut each = Vec::with_capacity(texts.len());
                for text in texts {
                    let one = self.request(&[text], until).await;
                    each.push(one.and_then(|one| {
                        one.into_iter().next().ok_or_else(|| unavailable("Ollama gave no vector"))
                    }));
                }
                each
            }
            Err(error) => texts.iter().map(|_| Err(error.clone())).collect(),
        }
    }
}

#[async_trait]
impl EmbeddingBackend for Ollama {
    fn describe(&self) -> Model {
        self.model.clone()
    }

    fn encode(&self, text: &str) -> Result<Encoded, Error> {
        check_length(text, self.model.max_tokens)?;
        Ok(Encoded { tokens: text.len().div_ceil(TOKEN_BYTES) as u64, form: Form::Text(text.into()) })
    }

    async fn embed(
        &self,
        texts: Vec<Encoded>,
        _slots: &dyn ComputeSlots,
        go_on: GoOn,
    ) -> Vec<Result<Embedded, Error>> {
        let count = texts.len();
        let text = |Encoded { tokens, form }| match form {
            Form::Text(text) => Some((text, tokens)),
            Form::Ids(_) => None,
        };
        let Some(texts) = texts.into_iter().map(text).collect::<Option<Vec<_>>>() else {
            let foreign = Error::Internal("a text was encoded for another model".to_owned());
            return vec![Err(foreign); count];
        };
        let nobody = async {
            while go_on() {
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
        };
        tokio::select! {
            made = self.all(texts) => made,
            () = nobody => vec![Err(Error::Stopped); count],
        }
    }
}
