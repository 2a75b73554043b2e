//! What omnimind is told: defaults, mode, files, environment and flags, one over the other, checked.
//!
//! `keys` is the one table: what is read from files and the environment, what `omnimind config show` prints,
//! the sample files and docs/configuration.md all come from it. A key is there only once something reads it.
//! Nothing is guessed: what is not known, or not in its range, stops the start, with its place.
//!
//! ```text
//! files ─ yaml ─┐
//! environment ──┼─ load: keys by path ─ reconcile ─ check ─▶ Config, and where each value came from
//! flags ────────┘
//! ```

mod check;
mod document;
mod environment;
mod expand;
mod keys;
mod list;
mod load;
mod mistake;
mod sample;
mod value;
mod yaml;

#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use tracing::level_filters::LevelFilter;

pub use document::document;
pub use environment::Environment;
pub use keys::{File, Key, keys};
pub use load::{Flag, Loaded, Setting, Sources, load};
pub use mistake::{Mistake, Mistakes, Origin};
pub use sample::sample;
pub use value::{Kind, Value, is_model_name, parse_number, parse_size};

use crate::limits::{InMode, Mode, Policy, Thresholds};
use crate::tenants::Token;

/// Everything omnimind is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which defaults apply.
    pub mode: Mode,
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// Where `python-run.wasm` and `js-run.wasm` are; else beside the binary.
    pub interpreters: Option<PathBuf>,
    /// The server.
    pub server: Server,
    /// WebSockets.
    pub websocket: WebSocket,
    /// Who may come in.
    pub authentication: Authentication,
    /// How often.
    pub rate_limiting: RateLimiting,
    /// What one task may have.
    pub limits: Policy,
    /// What the machine's other users keep.
    pub protection: Protection,
    /// What would hold in each of [`Mode::ALL`]: the mode can be switched.
    pub modes: [InMode; 3],
    /// Tasks.
    pub performance: Performance,
    /// Texts to vectors.
    pub embedding: Embedding,
    /// How much at once.
    pub batch_limits: BatchLimits,
    /// Where models are served.
    pub model: Model,
    /// What is kept.
    pub store: Store,
    /// The runtime's own log.
    pub logging: Logging,
    /// Answers that are kept.
    pub cache: Cache,
    /// Figures.
    pub metrics: Metrics,
}

/// Where and how it listens.
#[derive(Clone, Debug)]
pub struct Server {
    /// The address to listen on.
    pub host: IpAddr,
    /// The port; 0 is any free one.
    pub port: u16,
    /// Threads that serve HTTP; none: as many as cores, two at least.
    pub workers: Option<usize>,
    /// How long a connection may be without a request's head.
    pub keep_alive: Duration,
    /// Whether HTTP/2 is spoken.
    pub http2: bool,
    /// Requests that are worked on at one time.
    pub limit_concurrency: usize,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether a proxy before it speaks TLS.
    pub tls_proxy: bool,
    /// What TLS is spoken with.
    pub tls: Tls,
    /// How long requests and tasks may go on after a SIGTERM. A flag's alone.
    pub drain: Duration,
}

/// WebSockets.
#[derive(Clone, Debug)]
pub struct WebSocket {
    /// Open at one time, as far as there are descriptors.
    pub max_connections: usize,
    /// Channels that one of them listens to.
    pub max_subscriptions_per_client: usize,
}

/// The files that TLS is spoken with: both, or none where it is not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// The certificate, those of its issuers behind it.
    pub cert: Option<PathBuf>,
    /// Its private key.
    pub key: Option<PathBuf>,
}

/// Who may come in.
#[derive(Clone, Debug)]
pub struct Authentication {
    /// Whether credentials are asked for; where not, everybody is the default tenant.
    pub enabled: bool,
    /// The credentials to use instead of those in the data directory.
    pub credentials: Option<Credentials>,
    /// Tokens besides those in the data directory.
    pub tokens: Vec<Token>,
}

/// How many requests are answered, of each tenant and of each address.
#[derive(Clone, Debug)]
pub struct RateLimiting {
    /// Whether they are counted; those of a token with a rate of its own always are.
    pub enabled: bool,
    /// In the long run.
    pub requests_per_minute: u32,
    /// At once.
    pub burst_limit: u32,
}

/// How the machine is watched, and how much of it the runtime may take.
#[derive(Clone, Debug)]
pub struct Protection {
    /// Time between two samples.
    pub interval: Duration,
    /// The same, while something is short.
    pub pressed_interval: Duration,
    /// Whether guests are held to their share of the processors while nobody else wants them.
    pub strict_cpu_cap: bool,
    /// The mode's, and what was put in their place.
    pub thresholds: Thresholds,
}

/// How many tasks run, and how often.
#[derive(Clone, Debug)]
pub struct Performance {
    /// Tasks that run at one time; none: as many as the mode has instances.
    pub max_concurrent_tasks: Option<usize>,
    /// Executions in all, where a submission does not say.
    pub retry_attempts: u32,
}

/// What makes vectors of texts.
#[derive(Clone, Debug)]
pub struct Embedding {
    /// Which backend.
    pub provider: EmbeddingProvider,
    /// Which model.
    pub model: String,
    /// The folder with its files; none: where `omnimind model pull` puts it.
    pub path: Option<PathBuf>,
    /// Texts that are embedded together.
    pub batch_size: usize,
    /// Vectors that are kept.
    pub cache_size: usize,
    /// How long.
    pub cache_ttl: Duration,
}

/// Which backend makes vectors of texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmbeddingProvider {
    /// The first of the others that is there.
    Auto,
    /// Computed here, from files.
    Local,
    /// Ollama.
    Ollama,
    /// No model.
    Hashing,
}

/// How much goes to a backend at once; none: as much as suits it.
#[derive(Clone, Copy, Debug)]
pub struct BatchLimits {
    /// Texts.
    pub embeddings: Option<usize>,
    /// Answers of language models.
    pub llm_inference: Option<usize>,
    /// Rows and columns of one piece of a product.
    pub matrix_operations: Option<usize>,
}

/// Language models.
#[derive(Clone, Debug)]
pub struct Model {
    /// Whether there are any.
    pub is_on: bool,
    /// The one of a call that names none.
    pub name: String,
    /// Ollama's URL.
    pub base_url: String,
    /// The temperature of a call that says none.
    pub temperature: f32,
    /// Tokens of an answer of a call that does not say.
    pub max_tokens: u64,
    /// Tokens of prompt and answer together.
    pub context_window: u64,
    /// The one that is asked where another is missing or failing.
    pub fallback: Option<String>,
    /// Answers that are kept.
    pub cache_size: usize,
    /// Whether prompts and answers are in the log.
    pub log_texts: bool,
    /// Layers on the GPU; none: Ollama decides.
    pub gpu_layers: Option<u64>,
}

impl Model {
    /// Those that are configured.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let all = [Some(self.name.as_str()), self.fallback.as_deref()];
        all.into_iter().flatten().filter(|_| self.is_on)
    }
}

/// What is kept, and how long.
#[derive(Clone, Debug)]
pub struct Store {
    /// How long a finished task is kept.
    pub retention: Duration,
    /// How many tasks are kept.
    pub max_tasks: u64,
    /// Bytes of all that is kept of tasks.
    pub max_bytes: u64,
    /// Whether a submission may ask for `"durable": false`.
    pub allow_ephemeral: bool,
}

/// The runtime's own log.
#[derive(Clone, Debug)]
pub struct Logging {
    /// What is too unimportant to be said.
    pub level: LevelFilter,
    /// How it is written.
    pub format: Format,
    /// Whether a thread of its own writes it; else each line is written by whoever says it.
    pub is_async: bool,
    /// Lines that may wait for that thread.
    pub buffer_size: usize,
    /// The file that it goes to; else to standard error.
    pub file: Option<PathBuf>,
    /// Bytes of the file, above which another is begun.
    pub max_size: u64,
    /// Older files that are kept.
    pub max_files: u32,
}

/// Answers that are kept because they are asked for again.
#[derive(Clone, Copy, Debug)]
pub struct Cache {
    /// Whether any are.
    pub enabled: bool,
    /// How long.
    pub expire: Duration,
}

/// Figures.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Whether `/metrics` asks for no credentials.
    pub open: bool,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Text on a terminal, else JSON.
    Auto,
    /// For people.
    Text,
    /// An object on each line.
    Json,
}

/// A user's name and password.
#[derive(Clone, Default)]
pub struct Credentials {
    /// The name.
    pub user: String,
    /// The password.
    pub password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

impl Config {
    /// What the rows of the table are written over: every one of them has a default.
    fn blank(mode: Mode) -> Config {
        Config {
            mode,
            data_dir: PathBuf::new(),
            interpreters: None,
            server: Server {
                host: IpAddr::from([127, 0, 0, 1]),
                port: 0,
                workers: None,
                keep_alive: Duration::ZERO,
                http2: false,
                limit_concurrency: 1,
                trusted_proxies: Vec::new(),
                tls_proxy: false,
                tls: Tls::default(),
                drain: Duration::from_secs(10),
            },
            websocket: WebSocket { max_connections: 0, max_subscriptions_per_client: 0 },
            authentication: Authentication { enabled: true, credentials: None, tokens: Vec::new() },
            rate_limiting: RateLimiting { enabled: false, requests_per_minute: 1, burst_limit: 1 },
            limits: mode.into(),
            protection: Protection {
                interval: Duration::ZERO,
                pressed_interval: Duration::ZERO,
                strict_cpu_cap: false,
                thresholds: mode.into(),
            },
            modes: Mode::ALL.map(InMode::from),
            performance: Performance { max_concurrent_tasks: None, retry_attempts: 0 },
            embedding: Embedding {
                provider: EmbeddingProvider::Auto,
                model: String::new(),
                path: None,
                batch_size: 0,
                cache_size: 0,
                cache_ttl: Duration::ZERO,
            },
            batch_limits: BatchLimits { embeddings: None, llm_inference: None, matrix_operations: None },
            model: Model {
                is_on: false,
                name: String::new(),
                base_url: String::new(),
                temperature: 0.0,
                max_tokens: 1,
                context_window: 1,
                fallback: None,
                cache_size: 0,
                log_texts: false,
                gpu_layers: None,
            },
            store: Store { retention: Duration::ZERO, max_tasks: 0, max_bytes: 0, allow_ephemeral: false },
            logging: Logging {
                level: LevelFilter::OFF,
                format: Format::Auto,
                is_async: false,
                buffer_size: 0,
                file: None,
                max_size: 0,
                max_files: 0,
            },
            cache: Cache { enabled: false, expire: Duration::ZERO },
            metrics: Metrics { open: false },
        }
    }
}
