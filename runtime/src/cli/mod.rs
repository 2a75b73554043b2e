//! The command line: one file for each subcommand, and the exit codes they share.

mod client;
mod compile_worker;
mod completions;
mod config;
mod input;
mod model;
mod project;
mod run;
mod sandbox;
mod script;
mod serve;
mod serving_file;
mod settings;
mod store;
mod terminal;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::task::FailureKind;

const AFTER_HELP: &str = "\
Begin with:
  omnimind demo
A script, or a component of your own (docs/guests.md):
  omnimind run script.py --input '[1, 2, 3]'
  omnimind new shout --lang python
With a server of your own:
  omnimind serve
and in another terminal:
  omnimind component push guest-tasks/prebuilt/text-stats.wasm
  omnimind task submit text-stats --input @README.md --wait";

/// Runs untrusted WebAssembly components under limits that hold.
#[derive(Debug, Parser)]
#[command(name = "omnimind", version, max_term_width = 100, after_help = AFTER_HELP)]
struct Cli {
    #[command(flatten)]
    global: settings::Global,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show what this is: a server, tasks, and guests that are stopped
    Demo,
    /// Run a component or a script on an input, here and now, and print its output and receipt
    Run(run::Args),
    /// Write a small project to make a component of, in one of five languages
    New(project::new::Args),
    /// Build a project's component with its own toolchain, and check it against this runtime
    Build(project::build::Args),
    /// Build a project and run it on its sample input, again after each change
    Watch(project::watch::Args),
    /// Serve the HTTP API until SIGTERM or Ctrl-C
    Serve(serve::Args),
    /// Upload components to a server, and look after those that are there
    Component(client::component::Args),
    /// Submit tasks to a server, wait for them, and look after them
    Task(client::task::Args),
    /// Make tokens for people to come in with, list them, take them back
    Token(client::token::Args),
    /// Print a link that signs a browser in, once, within 15 minutes
    SignIn(client::sign_in::Args),
    /// Run hostile guests against a server, and show which of its limits hold
    Attest(client::attest::Args),
    /// Show what a server keeps in memory to be faster, or let it go
    Cache(client::cache::Args),
    /// Show how much a server's log says, or change it
    LogLevel(client::log_level::Args),
    /// Get models to be run here, list them, remove them
    Model(model::Args),
    /// Check, back up or repair the task store
    Store(store::Args),
    /// Check the configuration, or show what is in force and where it came from
    Config(config::Args),
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
    /// The task failed by its own doing: an error, a trap, a broken ABI. Of `attest`: a limit does not hold.
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
            FailureKind::GuestError
            | FailureKind::Trap
            | FailureKind::AbiViolation
            | FailureKind::CapabilityDenied
            | FailureKind::UpstreamUnavailable => Exit::TaskFailed,
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
    let Cli { global, command } = Cli::try_parse().unwrap_or_else(|error| client::explained(error).exit());
    let result =
        match command {
            // Before anything else: the worker gives up its rights first thing.
            Command::CompileWorker(args) => return compile_worker::run(&args),
            Command::Demo => client::demo::run(),
            Command::Run(args) => settings::load_quietly(&global, args.flags())
                .and_then(|loaded| run::run(args, &loaded.config)),
            Command::New(args) => project::new::run(&args),
            Command::Build(args) => settings::load_quietly(&global, Vec::new())
                .and_then(|loaded| project::build::run(&args, &loaded.config)),
            Command::Watch(args) => settings::load_quietly(&global, Vec::new())
                .and_then(|loaded| project::watch::run(args, &loaded.config)),
            Command::Serve(args) => serve::run(&args, &global),
            Command::Component(args) => client::component::run(args, &global),
            Command::Task(args) => client::task::run(args, &global),
            Command::Token(args) => client::token::run(args, &global),
            Command::SignIn(args) => client::sign_in::run(&args, &global),
            Command::Attest(args) => client::attest::run(&args, &global),
            Command::Cache(args) => client::cache::run(args, &global),
            Command::LogLevel(args) => client::log_level::run(&args, &global),
            Command::Store(args) => settings::load_quietly(&global, Vec::new())
                .and_then(|loaded| store::run(&args, &loaded.config.data_dir)),
            Command::Model(args) => settings::load_quietly(&global, Vec::new())
                .and_then(|loaded| model::run(&args, &loaded.config)),
            Command::Config(args) => config::run(args, global),
            Command::Completions(args) => completions::run(&args),
        };
    match result {
        Ok(exit) => exit.into(),
        Err(Failed { exit, error }) => {
            terminal::note!("error: {error:#}");
            exit.into()
        }
    }
}
