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

use tracing::level_filters::LevelFilter;

pub use document::document;
pub use environment::Environment;
pub use keys::{File, Key, keys};
pub use load::{Flag, Loaded, Setting, Sources, load};
pub use mistake::{Mistake, Mistakes, Origin};
pub use sample::sample;
pub use value::{Kind, Value, parse_number, parse_size};

use crate::limits::{InMode, Mode, Policy, Thresholds};

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
    /// Who may come in.
    pub authentication: Authentication,
    /// What one task may have.
    pub limits: Policy,
    /// What the machine's other users keep.
    pub protection: Protection,
    /// What would hold in each of [`Mode::ALL`]: the mode can be switched.
    pub modes: [InMode; 3],
    /// Tasks.
    pub performance: Performance,
    /// What is kept.
    pub store: Store,
    /// The runtime's own log.
    pub logging: Logging,
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
    /// What TLS is spoken with.
    pub tls: Tls,
    /// How long requests and tasks may go on after a SIGTERM. A flag's alone.
    pub drain: Duration,
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
                tls: Tls::default(),
                drain: Duration::from_secs(10),
            },
            authentication: Authentication { enabled: true, credentials: None },
            limits: mode.into(),
            protection: Protection {
                interval: Duration::ZERO,
                pressed_interval: Duration::ZERO,
                strict_cpu_cap: false,
                thresholds: mode.into(),
            },
            modes: Mode::ALL.map(InMode::from),
            performance: Performance { max_concurrent_tasks: None, retry_attempts: 0 },
            store: Store { retention: Duration::ZERO, max_tasks: 0, max_bytes: 0, allow_ephemeral: false },
            logging: Logging { level: LevelFilter::OFF, format: Format::Auto },
        }
    }
}
