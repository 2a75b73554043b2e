//! `omnimind run`: one component, one input, one receipt; no server.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use serde_json::value::RawValue;

use super::terminal::{self, TerminalJournal};
use super::{Exit, Failed, settings};
use crate::config::{self, Config, Flag};
use crate::engine::{self, Code, Engines, Refusal, prescan};
use crate::executor::{Control, Executor, GuestThreads, Job};
use crate::limits::{Budget, Limits, Requested};
use crate::task::{
    Digest, End, FailureKind, Grants, Outcome, Priority, Record, Retry, Spec, State, Task, TaskId,
};

/// Ctrl-C lets the guest see `cancelled()` for this long before it is ended.
const CANCEL_GRACE: Duration = Duration::from_secs(1);

const EXIT_CODES: &str = "\
Exit codes:
    0  the task completed
    1  the task failed by its own doing (guest_error, trap, abi_violation)
    2  the command line is wrong, or a file cannot be read
    3  the component was refused (not wasm, too complex, an unknown import, …)
    4  a limit ended the task (fuel_exhausted, deadline_exceeded, memory_limit, …)
    5  the runtime itself failed
  130  cancelled with Ctrl-C

Examples:
  omnimind run text-stats.wasm --input @README.md
  omnimind run primes.wasm --input 1000000 --limit fuel=1000000000
  echo hello | omnimind run command.wasm --input - -- --flag argument";

#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub struct Args {
    /// The component: a .wasm file exporting `run`, a wasi:cli command, or a WASI 0.1 command module
    file: PathBuf,

    /// The input: JSON text, @FILE for a file's bytes, or - for standard input [default: empty]
    #[arg(long, value_name = "JSON|@FILE|-")]
    input: Option<String>,

    /// The input as this very text
    #[arg(long, value_name = "TEXT", conflicts_with = "input")]
    input_text: Option<String>,

    /// Raise or lower a limit, e.g. fuel=1000000 or memory_bytes=256MiB; may be given several times
    #[arg(long = "limit", value_name = "NAME=N", value_parser = parse_limit)]
    limits: Vec<(String, u64)>,

    /// Which defaults and maxima apply: dev, test or prod [default: dev]
    #[arg(long)]
    mode: Option<OsString>,

    /// Freeze the clocks and seed randomness: same input, same output, same fuel
    #[arg(long)]
    deterministic: bool,

    /// Print the task's record as JSON on standard output, instead of its output
    #[arg(long)]
    json: bool,

    /// An environment variable for a command; may be given several times
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_env)]
    env: Vec<(String, String)>,

    /// Arguments for a command
    #[arg(last = true)]
    args: Vec<String>,
}

impl Args {
    /// The flags that are keys of the configuration.
    pub fn flags(&self) -> Vec<Flag> {
        settings::flag("mode", "--mode", &self.mode).into_iter().collect()
    }
}

fn parse_limit(text: &str) -> anyhow::Result<(String, u64)> {
    let (name, amount) = text.split_once('=').context("a limit is written NAME=N, e.g. fuel=1000000")?;
    let amount = match name.ends_with("_bytes") {
        true => config::parse_size(amount).map_err(anyhow::Error::msg)?,
        false if amount.ends_with(|c: char| c.is_ascii_alphabetic()) => {
            bail!("{name} is a plain number, `{amount}` has a unit")
        }
        false => config::parse_number(amount)
            .ok_or_else(|| anyhow!("`{amount}` is not a whole number from 0 to {}", u64::MAX))?,
    };
    Ok((name.to_owned(), amount))
}

fn parse_env(text: &str) -> anyhow::Result<(String, String)> {
    let (name, value) = text.split_once('=').context("a variable is written NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Runs the component to its end and prints what there is to print.
pub fn run(args: Args, config: &Config) -> Result<Exit, Failed> {
    let mut requested = Requested::default();
    for (name, amount) in &args.limits {
        requested.ask(name, *amount).map_err(Failed::usage)?;
    }
    let limits = requested.effective(config.limits).map_err(Failed::usage)?;
    let bytes = match read_component(&args.file, args.json) {
        Ok(bytes) => bytes,
        Err(failed) => return failed,
    };
    let input = read_input(&args, &limits).map_err(Failed::usage)?;

    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failed::runtime)?;
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let guests = GuestThreads::start(workers).map_err(Failed::runtime)?;
    let settings = engine::Settings {
        instances: 1,
        artefacts: config.data_dir.join("artefacts"),
        // Not its name: that may lead to another version by the time it is started.
        worker: "/proc/self/exe".into(),
    };
    let engines = Arc::new(Engines::new(settings).map_err(Failed::runtime)?);
    let handle = guests.handle().ok_or_else(|| Failed::runtime(anyhow!("the guests' threads are gone")))?;
    let executor = Executor::new(engines.clone(), handle);
    runtime.block_on(async {
        let prepared = match engines.component(bytes).await.and_then(|component| executor.prepare(component))
        {
            Ok(prepared) => prepared,
            Err(refusal) => return refused(&refusal, args.json),
        };
        let digest = prepared.component.digest;
        let task_id = TaskId::generate();
        let journal = Arc::new(TerminalJournal::default());
        let mut job = Job::new(task_id, prepared, input, limits, journal.clone()).map_err(Failed::usage)?;
        job.args.clone_from(&args.args);
        job.env.clone_from(&args.env);
        job.deterministic = args.deterministic;
        let limits_asked = args.limits.iter().cloned().collect();
        let begun = jiff::Timestamp::now();
        cancel_on_interrupt(job.control.clone());
        let outcome = executor.execute(job).await;
        terminal::print_tail(&outcome.log);
        let exit = exit(&outcome);
        if args.json {
            let record = record(&args, task_id, digest, limits_asked, begun, journal.percent(), outcome);
            terminal::print_json(&record).map_err(Failed::runtime)?;
        } else {
            terminal::print_outcome(&outcome).map_err(Failed::runtime)?;
        }
        Ok(exit)
    })
}

/// Reads the file, unless it is larger than any component may be.
fn read_component(file: &Path, json: bool) -> Result<Arc<[u8]>, Result<Exit, Failed>> {
    let cap = prescan::Caps::default().bytes as u64;
    let unreadable = |error: std::io::Error| {
        Err(Failed::usage(anyhow!("{}: {error}; give the path of a .wasm file", file.display())))
    };
    let opened = std::fs::File::open(file).map_err(unreadable)?;
    let mut bytes = Vec::new();
    opened.take(cap + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > cap {
        let message = format!("{} is larger than {} MiB, the most that is read", file.display(), cap >> 20);
        return Err(refused(&Refusal::new(Code::TooLarge, message), json));
    }
    Ok(bytes.into())
}

/// Reads the input, but not more of it than the task may have.
fn read_input(args: &Args, limits: &Limits) -> anyhow::Result<Arc<[u8]>> {
    if let Some(text) = &args.input_text {
        return Ok(text.as_bytes().into());
    }
    let Some(given) = &args.input else {
        return Ok(Arc::default());
    };
    // One byte more than the limit shows that there is too much.
    let most = limits.get(Budget::InputBytes) + 1;
    let mut bytes = Vec::new();
    if given == "-" {
        std::io::stdin().lock().take(most).read_to_end(&mut bytes).context("reading standard input")?;
    } else if let Some(path) = given.strip_prefix('@') {
        let file = std::fs::File::open(path).with_context(|| format!("--input @{path}"))?;
        let size = file.metadata().map_or(0, |metadata| metadata.len());
        limits.admit_input(size)?;
        file.take(most).read_to_end(&mut bytes).with_context(|| format!("--input @{path}"))?;
    } else {
        serde_json::from_str::<serde::de::IgnoredAny>(given).map_err(|error| {
            anyhow!("--input is not JSON ({error}); give @FILE for a file, - for standard input, or use --input-text")
        })?;
        bytes = given.as_bytes().to_vec();
    }
    limits.admit_input(bytes.len() as u64)?;
    Ok(bytes.into())
}

fn refused(refusal: &Refusal, json: bool) -> Result<Exit, Failed> {
    if json {
        terminal::print_json(refusal).map_err(Failed::runtime)?;
    }
    let exit = match refusal.code {
        Code::Internal => Exit::Runtime,
        _ => Exit::Refused,
    };
    Err(Failed { exit, error: anyhow!("{refusal}") })
}

/// The record of a task that ran once, here and now.
fn record(
    args: &Args,
    id: TaskId,
    digest: Digest,
    limits: BTreeMap<String, u64>,
    begun: jiff::Timestamp,
    progress: f32,
    outcome: Outcome,
) -> Record {
    let spec = Spec {
        component: args.file.display().to_string(),
        digest,
        description: None,
        metadata: RawValue::NULL.to_owned(),
        priority: Priority::Medium,
        limits,
        args: args.args.clone(),
        env: args.env.iter().cloned().collect(),
        retry: Retry { max_attempts: 1, on: Vec::new(), backoff_ms: 0 },
        grants: Grants::default(),
        deterministic: args.deterministic,
        durable: false,
    };
    let mut state = State::submitted(begun);
    state.start(begun);
    state.progress = progress;
    let Outcome { end, receipt, .. } = outcome;
    state.end(jiff::Timestamp::now(), &end, receipt, &spec.retry, 0.0);
    let output = match end {
        End::Completed(output) => Some(output),
        _ => None,
    };
    let task = Task { id, tenant: String::new(), created: begun, spec: Arc::new(spec), state };
    Record::of(&task).with_output(output)
}

fn cancel_on_interrupt(control: Control) {
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            if std::io::stderr().is_terminal() {
                terminal::note!("cancelling …");
            }
            control.cancel(CANCEL_GRACE);
            // Once more means now.
            if tokio::signal::ctrl_c().await.is_ok() {
                control.cancel(Duration::ZERO);
            }
        }
    });
}

fn exit(outcome: &Outcome) -> Exit {
    match &outcome.end {
        End::Completed(_) => Exit::Completed,
        End::Cancelled => Exit::Cancelled,
        End::Failed(failure) => match failure.kind {
            FailureKind::GuestError | FailureKind::Trap | FailureKind::AbiViolation => Exit::TaskFailed,
            FailureKind::HostError | FailureKind::Lost => Exit::Runtime,
            _ => Exit::Limit,
        },
    }
}
