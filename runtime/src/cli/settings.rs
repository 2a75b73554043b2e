//! From the command line's flags to the configuration.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use anyhow::anyhow;
use tracing::level_filters::LevelFilter;

use super::Failed;
use super::terminal::note;
use crate::config::{self, Environment, Flag, Loaded, Sources};
use crate::telemetry;

/// Flags of every subcommand.
#[derive(Clone, Debug, clap::Args)]
pub struct Global {
    /// The directory with omnimind.yaml and agent_config.yaml, or one file; may be given several times
    /// [default: $OMNIMIND_CONFIG, or ./config if it is there]
    #[arg(long, global = true, value_name = "PATH", help_heading = "Options of every command")]
    pub config: Vec<PathBuf>,

    /// Where everything is kept [default: omnimind in the user's data directory]
    #[arg(long, global = true, value_name = "DIR", help_heading = "Options of every command")]
    data_dir: Option<OsString>,

    /// The runtime's own log on standard error: error, warning, info, debug or trace
    #[arg(long, global = true, value_name = "LEVEL", help_heading = "Options of every command")]
    log_level: Option<OsString>,
}

/// Flags of `serve`, and of `config`, which tells what they would do.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Overrides {
    /// Which defaults and maxima apply: dev, test or prod [default: dev]
    #[arg(long)]
    mode: Option<OsString>,

    /// The address to listen on [default: 127.0.0.1]
    #[arg(long)]
    host: Option<OsString>,

    /// The port to listen on; 0 is any free one [default: 8000]
    #[arg(long)]
    port: Option<OsString>,

    /// Tasks that run at one time [default: as many as the mode has instances]
    #[arg(long, value_name = "N")]
    max_concurrent_tasks: Option<OsString>,

    /// Let submissions ask for "durable": false: faster, and gone with the process
    #[arg(long)]
    allow_ephemeral: bool,

    /// Days that a finished task is kept [default: 30]
    #[arg(long, value_name = "DAYS")]
    retention_days: Option<OsString>,

    /// Tasks that are kept; the oldest finished ones go first [default: 1000000]
    #[arg(long, value_name = "N")]
    max_tasks: Option<OsString>,

    /// Bytes of tasks that are kept, e.g. 20GiB; the oldest finished ones go first [default: 20GiB]
    #[arg(long, value_name = "SIZE")]
    max_bytes: Option<OsString>,
}

impl Global {
    /// The flags that say where something is, as they were given.
    pub fn places(&self) -> impl Iterator<Item = (&'static str, &OsStr)> {
        let configs = self.config.iter().map(|path| ("--config", path.as_os_str()));
        configs.chain(self.data_dir.iter().map(|dir| ("--data-dir", dir.as_os_str())))
    }

    fn flags(&self) -> impl Iterator<Item = Flag> {
        [
            flag("data_dir", "--data-dir", &self.data_dir),
            flag("logging.level", "--log-level", &self.log_level),
        ]
        .into_iter()
        .flatten()
    }
}

impl Overrides {
    /// As the loader takes them.
    pub fn flags(&self) -> Vec<Flag> {
        let ephemeral = self.allow_ephemeral.then(|| "true".into());
        let flags = [
            flag("mode", "--mode", &self.mode),
            flag("server.host", "--host", &self.host),
            flag("server.port", "--port", &self.port),
            flag("performance.max_concurrent_tasks", "--max-concurrent-tasks", &self.max_concurrent_tasks),
            flag("store.allow_ephemeral", "--allow-ephemeral", &ephemeral),
            flag("store.retention_days", "--retention-days", &self.retention_days),
            flag("store.max_tasks", "--max-tasks", &self.max_tasks),
            flag("store.max_bytes", "--max-bytes", &self.max_bytes),
        ];
        flags.into_iter().flatten().collect()
    }
}

/// A flag, if it was given, and the key that it sets.
pub fn flag(key: &'static str, name: &'static str, value: &Option<OsString>) -> Option<Flag> {
    value.clone().map(|value| Flag { key, name, value })
}

/// Loads the configuration. The one place that reads the process's environment.
pub fn load(global: &Global, flags: Vec<Flag>) -> Result<Loaded, Failed> {
    let sources = Sources {
        paths: global.config.clone(),
        environment: std::env::vars_os().collect::<Environment>(),
        flags: global.flags().chain(flags).collect(),
        data_dir: dirs::data_dir().map(|dir| dir.join("omnimind")),
    };
    config::load(&sources).map_err(Failed::usage)
}

/// The server that a client is to ask, where no flag says so.
pub fn url() -> Option<String> {
    std::env::var("OMNIMIND_URL").ok().filter(|url| !url.is_empty())
}

/// The token that a client is to show, if there is one; without the line's end that a file has.
///
/// # Errors
/// No header may carry it.
pub fn token() -> Result<Option<String>, Failed> {
    let Some(given) = std::env::var_os("OMNIMIND_TOKEN") else { return Ok(None) };
    // What is wrong is not repeated: most of it may be a secret.
    let token =
        given.to_str().map(str::trim).filter(|token| token.bytes().all(|byte| byte.is_ascii_graphic()));
    let token = token.ok_or_else(|| {
        Failed::usage(anyhow!(
            "OMNIMIND_TOKEN: a token is one word of visible ASCII characters, like om_ID_SECRET, as `omnimind token create` prints it"
        ))
    })?;
    Ok(Some(token.to_owned()).filter(|token| !token.is_empty()))
}

/// The variables of this process that are ours, or could be.
pub fn variables() -> impl Iterator<Item = OsString> {
    let names = std::env::vars_os().map(|(name, _)| name);
    names.filter(|name| name.to_string_lossy().starts_with("OMNIMIND_") || name == "LOG_LEVEL")
}

/// Loads it for a command that ends soon, and starts a log that says little unless it is told to say more. It
/// goes to standard error: the file is the server's.
pub fn load_quietly(global: &Global, flags: Vec<Flag>) -> Result<Loaded, Failed> {
    let mut loaded = load(global, flags)?;
    if !loaded.is_set("logging.level") {
        loaded.config.logging.level = LevelFilter::WARN;
    }
    loaded.config.logging.file = None;
    loaded.config.logging.is_async = false;
    // There is nothing in a buffer.
    drop(telemetry::init(&loaded.config.logging).map_err(Failed::runtime)?);
    Ok(loaded)
}

/// Prints what is odd in a configuration.
pub fn warn(loaded: &Loaded) {
    for warning in &loaded.warnings {
        note!("warning: {warning}");
    }
}
