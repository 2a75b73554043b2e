//! `omnimind serve`: the server, until it is told to end.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::anyhow;

use super::terminal::note;
use super::{Exit, Failed, serving_file};
use crate::app;
use crate::config::{Config, Credentials};
use crate::limits::Mode;

const AFTER_HELP: &str = "\
Everything the server keeps is in the data directory; a second server on the same one is refused. On the
first start it makes DATA_DIR/credentials.json and, for curl, DATA_DIR/netrc. While it runs,
DATA_DIR/server.json tells `omnimind task` and `omnimind component` where it listens.

SIGTERM or Ctrl-C: no new connections, running tasks and requests may finish for 10 s (--drain), what still
runs then is taken up again by the next start. A second signal does not wait.

Exit codes: 0 ended in order; 2 the command line or the data directory cannot be used; 5 the runtime failed.";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// Which defaults and maxima apply: dev, test or prod
    #[arg(long, default_value = "dev", env = "OMNIMIND_MODE", hide_env_values = true)]
    mode: Mode,

    /// The address to listen on
    #[arg(long, default_value = "127.0.0.1", env = "OMNIMIND_SERVER__HOST", hide_env_values = true)]
    host: IpAddr,

    /// The port to listen on; 0 is any free one
    #[arg(long, default_value_t = 8000, env = "OMNIMIND_SERVER__PORT", hide_env_values = true)]
    port: u16,

    /// Tasks that run at one time [default: as many as the mode has instances]
    #[arg(
        long,
        value_name = "N",
        env = "OMNIMIND_PERFORMANCE__MAX_CONCURRENT_TASKS",
        hide_env_values = true
    )]
    max_concurrent_tasks: Option<std::num::NonZeroUsize>,

    /// Let submissions ask for "durable": false: faster, and gone with the process
    #[arg(long, env = "OMNIMIND_STORE__ALLOW_EPHEMERAL", hide_env_values = true)]
    allow_ephemeral: bool,

    /// Days that a finished task is kept
    #[arg(
        long,
        value_name = "DAYS",
        default_value_t = 30,
        env = "OMNIMIND_STORE__RETENTION_DAYS",
        hide_env_values = true
    )]
    retention_days: u32,

    /// Tasks that are kept; the oldest finished ones go first
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1_000_000,
        env = "OMNIMIND_STORE__MAX_TASKS",
        hide_env_values = true
    )]
    max_tasks: u64,

    /// Bytes of tasks that are kept, e.g. 20GiB; the oldest finished ones go first
    #[arg(long, value_name = "SIZE", default_value = "20GiB", value_parser = super::input::parse_size, env = "OMNIMIND_STORE__MAX_BYTES", hide_env_values = true)]
    max_bytes: u64,

    /// Seconds that requests and tasks may go on after a SIGTERM
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    drain: u32,

    /// The user's name, instead of the one in DATA_DIR/credentials.json
    #[arg(long, env = "OMNIMIND_DASHBOARD_USER", hide = true, hide_env_values = true, requires = "password")]
    user: Option<String>,

    /// The password; better in the environment than on a command line that others can see
    #[arg(long, env = "OMNIMIND_DASHBOARD_PASS", hide = true, hide_env_values = true, requires = "user")]
    password: Option<String>,
}

/// Starts and serves.
pub fn run(args: Args, data_dir: PathBuf) -> Result<Exit, Failed> {
    let mut config = Config::new(args.mode, data_dir);
    config.server.host = args.host;
    config.server.port = args.port;
    config.server.drain = Duration::from_secs(args.drain.into());
    config.performance.max_concurrent_tasks = args.max_concurrent_tasks.map(Into::into);
    config.store.allow_ephemeral = args.allow_ephemeral;
    config.store.retention = Duration::from_secs(u64::from(args.retention_days) * 24 * 3600);
    config.store.max_tasks = args.max_tasks;
    config.store.max_bytes = args.max_bytes;
    config.credentials = args.user.zip(args.password).map(|(user, password)| Credentials { user, password });
    if args.mode == Mode::Prod && !args.host.is_loopback() {
        return Err(Failed::usage(anyhow!(
            "mode prod listens on loopback only, because this release has no TLS: put a proxy before it"
        )));
    }
    let serving = app::start(config).map_err(Failed::usage)?;
    let _there = serving_file::announce(&serving.data_dir, &serving.url).map_err(Failed::runtime)?;
    let (address, dir) = (serving.address, serving.data_dir.display());
    note!("omnimind listens on http://{address}");
    note!("  data directory  {dir}");
    note!("  mode            {}", args.mode);
    note!("  credentials     {dir}/credentials.json (user {})", serving.user);
    note!("  in a browser    {} (once, within 15 minutes)", serving.sign_in);
    note!("try it: curl --netrc-file '{dir}/netrc' http://{address}/api/v1/health/");
    serving.run().map_err(Failed::runtime)?;
    Ok(Exit::Completed)
}
