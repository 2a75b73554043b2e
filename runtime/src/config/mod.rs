//! What the server is told at its start, with the defaults of the mode it runs in.
//!
//! Plain values. Where they come from (files, environment, flags) is the command line's business; a key is
//! here only once something reads it.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::limits::Mode;

/// Everything the server is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which limits apply.
    pub mode: Mode,
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// The server.
    pub server: Server,
    /// Tasks.
    pub performance: Performance,
    /// What is kept.
    pub store: Store,
    /// The credentials to use instead of those in the data directory.
    pub credentials: Option<Credentials>,
}

/// Where and how it listens.
#[derive(Clone, Debug)]
pub struct Server {
    /// The address to listen on.
    pub host: IpAddr,
    /// The port; 0 is any free one.
    pub port: u16,
    /// How long requests and tasks may go on after a SIGTERM.
    pub drain: Duration,
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

/// A user's name and password.
#[derive(Clone)]
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
    /// The defaults of `mode`.
    pub fn new(mode: Mode, data_dir: PathBuf) -> Config {
        Config {
            mode,
            data_dir,
            server: Server { host: IpAddr::from([127, 0, 0, 1]), port: 8000, drain: Duration::from_secs(10) },
            performance: Performance { max_concurrent_tasks: None, retry_attempts: 3 },
            store: Store {
                retention: Duration::from_secs(30 * 24 * 3600),
                max_tasks: 1_000_000,
                max_bytes: 20 << 30,
                allow_ephemeral: false,
            },
            credentials: None,
        }
    }
}
