//! The command line: one file for each subcommand, and the exit codes they share.

mod client;
mod compile_worker;
mod completions;
mod input;
mod run;
mod serve;
mod serving_file;
mod store;
mod terminal;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::task::FailureKind;
use crate::telemetry;

/// Runs untrusted WebAssembly components under limits that hold.
#[derive(Debug, Parser)]
#[command(name = "omnimind", version, max_term_width = 100)]
struct Cli {
    /// Where everything is kept [default: omnimind in the user's data directory]
    #[arg(long, global = true, env = "OMNIMIND_DATA_DIR", value_name = "DIR", hide_env_values = true)]
    data_dir: Option<PathBuf>,

    /// The runtime's own log on standard error: error, warn, info, debug or trace [default: warn]
    #[arg(long, global = true, env = "LOG_LEVEL", value_name = "LEVEL", hide_env_values = true)]
    log_level: Option<String>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show what this is, in half a minute: a server, tasks, and guests that are stopped
    Demo,
    /// Run a component on an input, here and now, and print its output and receipt
    Run(run::Args),
    /// Serve the HTTP API until SIGTERM or Ctrl-C
    Serve(serve::Args),
    /// Upload components to a server, and look after those that are there
    Component(client::component::Args),
    /// Submit tasks to a server, wait for them, and look after them
    Task(client::task::Args),
    /// Check, back up or repair the task store
    Store(store::Args),
    /// Print a script that completes this command line in a shell
    Completions(completions::Args),
    #[command(hide = true)]
    CompileWorker(compile_worker::Args),
}

/// How a process ends. The numbers are documented in `omnimind run --help` and `omnimind task --help`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Exit {
    /// The task completed.
    Completed = 0,
    /// The task failed by its own doing: an error, a trap, a broken ABI.
    TaskFailed = 1,
    /// The command line, a limit or a file given on it is wrong.
    Usage = 2,
    /// The component was refused.
    Refused = 3,
    /// A limit ended the task.
    Limit = 4,
    /// The runtime's own fault.
    Runtime = 5,
    /// The server cannot be reached.
    Unreachable = 6,
    /// The server does not know these credentials.
    Unauthorized = 7,
    /// There is no such task or component.
    NotFound = 8,
    /// What is asked for does not go with what there is: a task that has ended, a component in use.
    Conflict = 9,
    /// The server takes nothing now; later it may.
    Busy = 10,
    /// The task had not ended when the waiting did.
    NotEnded = 11,
    /// Ctrl-C.
    Cancelled = 130,
}

impl Exit {
    /// Of a task that failed.
    fn of(kind: FailureKind) -> Exit {
        match kind {
            FailureKind::GuestError | FailureKind::Trap | FailureKind::AbiViolation => Exit::TaskFailed,
            FailureKind::HostError | FailureKind::Lost => Exit::Runtime,
            _ => Exit::Limit,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// An error and the exit code that goes with it.
#[derive(Debug)]
struct Failed {
    exit: Exit,
    error: anyhow::Error,
}

impl Failed {
    fn usage(error: impl Into<anyhow::Error>) -> Failed {
        Failed { exit: Exit::Usage, error: error.into() }
    }

    fn runtime(error: impl Into<anyhow::Error>) -> Failed {
        Failed { exit: Exit::Runtime, error: error.into() }
    }
}

/// Parses the command line and runs it.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    if !matches!(cli.command, Command::CompileWorker(_)) {
        telemetry::init(cli.log_level.as_deref());
    }
    let result = match cli.command {
        // Before anything else: the worker gives up its rights first thing.
        Command::CompileWorker(args) => return compile_worker::run(&args),
        Command::Demo => client::demo::run(),
        Command::Run(args) => data_dir(cli.data_dir).and_then(|dir| run::run(args, &dir)),
        Command::Serve(args) => data_dir(cli.data_dir).and_then(|dir| serve::run(args, dir)),
        Command::Component(args) => data_dir(cli.data_dir).and_then(|dir| client::component::run(args, &dir)),
        Command::Task(args) => data_dir(cli.data_dir).and_then(|dir| client::task::run(args, &dir)),
        Command::Completions(args) => completions::run(&args),
        Command::Store(args) => data_dir(cli.data_dir).and_then(|dir| store::run(&args, &dir)),
    };
    match result {
        Ok(exit) => exit.into(),
        Err(Failed { exit, error }) => {
            terminal::note!("error: {error:#}");
            exit.into()
        }
    }
}

fn data_dir(given: Option<PathBuf>) -> Result<PathBuf, Failed> {
    given.or_else(|| dirs::data_dir().map(|dir| dir.join("omnimind"))).ok_or_else(|| {
        Failed::usage(anyhow::anyhow!("there is no home directory to keep anything in: give --data-dir DIR"))
    })
}
