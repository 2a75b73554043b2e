//! An Ollama: asked by what it documents, and not trusted with more than a text.
//!
//! Whatever comes back is bounded in bytes and time. No redirect is followed and no proxy used: requests go to the
//! configured address and nowhere else. After its answer has begun Ollama can only say in a line of it that something
//! went wrong, or end without the last line: both are failures here, never a short answer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::{Client, RequestBuilder, Response, StatusCode, Url};
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long it may take to say what a model is.
const SHOW_TIMEOUT: Duration = Duration::from_secs(10);

/// What it says of a model has its licence in it.
const MAX_SHOW_BYTES: usize = 16 << 20;

/// Lines of an answer that wait to be taken.
const LINES_AHEAD: usize = 32;

/// An Ollama; clones are the same one.
#[derive(Clone, Debug)]
pub struct Server {
    base: Url,
    client: Client,
    /// Where there is a network.
    io: Handle,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is not there, is too busy, or does not say what it should.
    #[error("{0}")]
    Unavailable(String),
    /// The model is computed by somebody else.
    #[error("the model is computed on another machine: texts are not sent there")]
    Elsewhere,
    /// It said no: with this status, in these words.
    #[error("Ollama answers {0}: {1}")]
    Refused(u16, String),
    /// It took too long.
    #[error("{0}")]
    TimedOut(String),
    /// A fault of the runtime.
    #[error("{0}")]
    Internal(String),
}

impl Fault {
    /// It is not there, for this reason.
    pub fn unavailable(why: &str) -> Fault {
        Fault::Unavailable(why.to_owned())
    }

    /// Whether there is no such thing as was asked for.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Fault::Refused(404, _))
    }
}

/// How much of an answer is waited for, and taken.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Until its first line.
    pub first: Duration,
    /// From one byte to the next after that.
    pub idle: Duration,
    /// All of it.
    pub total: Duration,
    /// Bytes of a line.
    pub line_bytes: usize,
    /// Bytes in all.
    pub bytes: usize,
}

/// What `/api/show` says, as far as it matters.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Shown {
    model_info: BTreeMap<String, Value>,
    /// What it can do; empty where the server is too old to say.
    pub capabilities: Vec<String>,
    remote_host: String,
    remote_model: String,
}

impl Shown {
    /// Whether it can do that, as far as Ollama says.
    pub fn can(&self, capability: &str) -> bool {
        self.capabilities.is_empty() || self.capabilities.iter().any(|can| can == capability)
    }

    /// A number of its architecture: `context_length`, `embedding_length`.
    pub fn number(&self, key: &str) -> Option<usize> {
        let architecture = self.model_info.get("general.architecture")?.as_str()?;
        let number = self.model_info.get(&format!("{architecture}.{key}"))?.as_u64()?;
        usize::try_from(number).ok().filter(|number| (1..1 << 24).contains(number))
    }
}

/// What it says when it will not.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Refusal {
    error: String,
}

/// Whether a model of that name is computed on somebody else's machine.
pub fn is_remote(name: &str) -> bool {
    // Ollama does not tell large letters from small ones.
    name.to_ascii_lowercase().ends_with("cloud")
}

impl Server {
    /// The Ollama at `base_url`; requests are made on `io`.
    ///
    /// # Errors
    /// That is no URL, or there is nothing to know an https server by.
    pub fn new(base_url: &str, io: Handle) -> Result<Server, Fault> {
        let base = Url::parse(base_url).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let base = base.ok_or_else(|| Fault::unavailable("model.base_url is no http or https URL"))?;
        let mut roots = RootCertStore::empty();
        if base.scheme() == "https" {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| Fault::Internal(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .build()
            .map_err(|error| Fault::Internal(error.to_string()))?;
        Ok(Server { base, client, io })
    }

    fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path().trim_end_matches('/')));
        url
    }

    fn post(&self, path: &str, body: String) -> RequestBuilder {
        self.client.post(self.url(path)).header("content-type", "application/json").body(body)
    }

    /// The answer to a `GET` of `path`, no more than `most` bytes of it.
    ///
    /// # Errors
    /// There is none, or none like that.
    pub async fn get<T: DeserializeOwned>(&self, path: &str, most: usize) -> Result<T, Fault> {
        self.whole(self.client.get(self.url(path)), path, most, SHOW_TIMEOUT).await
    }

    /// The answer to `body` at `path`, no more than `most` bytes of it.
    ///
    /// # Errors
    /// There is none, or none like that.
    pub async fn ask<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &Value,
        most: usize,
        timeout: Duration,
    ) -> Result<T, Fault> {
        self.whole(self.post(path, body.to_string()), path, most, timeout).await
    }

    async fn whole<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
        path: &str,
        most: usize,
        timeout: Duration,
    ) -> Result<T, Fault> {
        let asked = async move {
            let mut response = request.send().await.map_err(gone)?;
            let (status, mut bytes) = (response.status(), Vec::new());
            while let Some(piece) = response.chunk().await.map_err(gone)? {
                if bytes.len() + piece.len() > most {
                    return Err(too_long());
                }
                bytes.extend_from_slice(&piece);
            }
            Ok((status, bytes))
        };
        // Dropped, it closes the connection.
        let mut running = JoinSet::new();
        running.spawn_on(async move { tokio::time::timeout(timeout, asked).await }, &self.io);
        let (status, bytes) = match running.join_next().await {
            Some(Ok(Ok(answer))) => answer?,
            Some(Ok(Err(_))) => return Err(late()),
            _ => return Err(Fault::Internal("a request to Ollama failed".to_owned())),
        };
        if status != StatusCode::OK {
            return Err(refused(status, &bytes));
        }
        serde_json::from_slice(&bytes)
            .map_err(|_| Fault::Unavailable(format!("Ollama's answer is not what {path} answers")))
    }

    /// The answer to `body`, which is JSON, at `path`, line by line. Dropped, it closes the connection.
    pub fn lines<T: DeserializeOwned + Send + 'static>(
        &self,
        path: &str,
        body: String,
        bounds: Bounds,
    ) -> Lines<T> {
        let (lines, taken) = mpsc::channel(LINES_AHEAD);
        let (request, path) = (self.post(path, body), path.to_owned());
        let mut reading = JoinSet::new();
        let read = async move {
            let read =
                Reading { lines: &lines, path: &path, bounds, begun: Instant::now(), left: bounds.bytes };
            if let Err(fault) = read.all(request).await {
                // Nobody takes it who has gone.
                let _ = lines.send(Err(fault)).await;
            }
        };
        reading.spawn_on(read, &self.io);
        Lines { taken, _reading: reading }
    }

    /// What the model `name` is; none if there is none of that name.
    ///
    /// # Errors
    /// Ollama does not say, or it is computed on another machine.
    pub async fn show(&self, name: &str) -> Result<Option<Shown>, Fault> {
        let asked = json!({"model": name});
        let shown: Shown = match self.ask("/api/show", &asked, MAX_SHOW_BYTES, SHOW_TIMEOUT).await {
            Err(fault) if fault.is_not_found() => return Ok(None),
            shown => shown?,
        };
        if !shown.remote_host.is_empty() || !shown.remote_model.is_empty() || is_remote(name) {
            return Err(Fault::Elsewhere);
        }
        Ok(Some(shown))
    }
}

fn gone(error: reqwest::Error) -> Fault {
    tracing::debug!(error = %error.without_url(), "Ollama");
    Fault::unavailable("Ollama does not answer: start it with `ollama serve`, or see model.base_url")
}

fn late() -> Fault {
    let text = "Ollama did not answer in time: is it loading the model, or busy with others?";
    Fault::TimedOut(text.to_owned())
}

fn too_long() -> Fault {
    Fault::unavailable("Ollama's answer is longer than any can be")
}

fn refused(status: StatusCode, body: &[u8]) -> Fault {
    let Refusal { error } = serde_json::from_slice(body).unwrap_or_default();
    Fault::Refused(status.as_u16(), shown(&error))
}

/// What it says, as it may be shown.
fn shown(said: &str) -> String {
    said.chars().filter(|c| !c.is_control()).take(200).collect()
}

/// The lines of an answer, as they come.
pub struct Lines<T> {
    taken: mpsc::Receiver<Result<T, Fault>>,
    _reading: JoinSet<()>,
}

impl<T> Lines<T> {
    /// The next one; none after the last.
    ///
    /// # Errors
    /// There is no next one though there should be.
    pub async fn next(&mut self) -> Result<Option<T>, Fault> {
        self.taken.recv().await.transpose()
    }
}

/// An answer that is being read.
struct Reading<'a, T> {
    lines: &'a mpsc::Sender<Result<T, Fault>>,
    path: &'a str,
    bounds: Bounds,
    begun: Instant,
    /// Bytes that it may still have.
    left: usize,
}

impl<T: DeserializeOwned> Reading<'_, T> {
    async fn all(mut self, request: RequestBuilder) -> Result<(), Fault> {
        let mut response = self.within(self.bounds.first, request.send()).await?;
        if response.status() != StatusCode::OK {
            return Err(self.refusal(response).await);
        }
        // What has come of the next line, and how much of that is known to hold no end of one.
        let (mut rest, mut looked_at) = (Vec::new(), 0);
        let mut patience = self.bounds.first;
        while let Some(piece) = self.within(patience, response.chunk()).await? {
            self.left = self.left.checked_sub(piece.len()).ok_or_else(too_long)?;
            rest.extend_from_slice(&piece);
            while let Some(length) = rest.iter().skip(looked_at).position(|byte| *byte == b'\n') {
                let after = rest.split_off(looked_at + length + 1);
                patience = self.bounds.idle;
                if !self.hand_over(&rest).await? {
                    return Ok(());
                }
                (rest, looked_at) = (after, 0);
            }
            looked_at = rest.len();
            if rest.len() > self.bounds.line_bytes {
                return Err(too_long());
            }
        }
        // The last line may come without its end.
        self.hand_over(&rest).await.map(|_| ())
    }

    /// What `wait` comes to within `patience`, and within the time that the whole answer has.
    async fn within<R>(
        &self,
        patience: Duration,
        wait: impl Future<Output = reqwest::Result<R>>,
    ) -> Result<R, Fault> {
        let patience = patience.min(self.bounds.total.saturating_sub(self.begun.elapsed()));
        tokio::time::timeout(patience, wait).await.map_err(|_| late())?.map_err(gone)
    }

    async fn refusal(&self, mut response: Response) -> Fault {
        let (status, mut bytes) = (response.status(), Vec::new());
        while let Ok(Some(piece)) = self.within(self.bounds.idle, response.chunk()).await {
            bytes.extend_from_slice(&piece);
            if bytes.len() > self.bounds.line_bytes {
                break;
            }
        }
        refused(status, &bytes)
    }

    /// Hands a line over; whether somebody takes them.
    async fn hand_over(&self, line: &[u8]) -> Result<bool, Fault> {
        if line.trim_ascii().is_empty() {
            return Ok(true);
        }
        if line.len() > self.bounds.line_bytes {
            return Err(too_long());
        }
        if let Ok(Refusal { error }) = serde_json::from_slice(line)
            && !error.is_empty()
        {
            return Err(Fault::Refused(StatusCode::INTERNAL_SERVER_ERROR.as_u16(), shown(&error)));
        }
        let line = serde_json::from_slice(line);
        let line = line.map_err(|_| {
            Fault::Unavailable(format!("a line of Ollama's answer is not what {} answers", self.path))
        })?;
        Ok(self.lines.send(Ok(line)).await.is_ok())
    }
}
