//! `omnimind run`: one component, one input, one receipt; no server.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use serde_json::value::RawValue;

use super::input::{Work, read_component};
use super::sandbox::Sandbox;
use super::script::Script;
use super::terminal::{self, TerminalJournal};
use super::{Exit, Failed, settings};
use crate::config::{Config, Flag};
use crate::engine::{Code, Refusal};
use crate::executor::Control;
use crate::limits::Budget;
use crate::task::{Digest, End, Grants, Outcome, Priority, Record, Retry, Spec, State, Task, TaskId};

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
  omnimind run guest-tasks/prebuilt/text-stats.wasm --input @README.md
  omnimind run guest-tasks/prebuilt/primes.wasm --input 1000000 --limit fuel=1000000000
  omnimind run script.py --input '[1, 2, 3]'
  printf 'a,b\\n1,2\\n' | omnimind run guest-tasks/prebuilt/csv-summary.wasm --input -
What follows -- are the arguments of a command.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub struct Args {
    /// A .wasm file: a component that exports `run`, a wasi:cli command, or a WASI 0.1 command module;
    /// or a script: a .py or .js file
    file: PathBuf,

    #[command(flatten)]
    work: Work,

    /// Which defaults and maxima apply: dev, test or prod [default: dev]
    #[arg(long)]
    mode: Option<OsString>,

    /// Print the task's record as JSON on standard output, instead of its output
    #[arg(long)]
    json: bool,
}

impl Args {
    /// The flags that are keys of the configuration.
    pub fn flags(&self) -> Vec<Flag> {
        settings::flag("mode", "--mode", &self.mode).into_iter().collect()
    }
}

/// Runs the component to its end and prints what there is to print.
pub fn run(args: Args, config: &Config) -> Result<Exit, Failed> {
    let limits = args.work.effective_limits(config.limits).map_err(Failed::usage)?;
    let script = Script::read(&args.file)?;
    let file = match &script {
        None => Ok(args.file.clone()),
        Some(script) => script.interpreter.file(config.interpreters.as_deref()),
    };
    let bytes = match file.map(|file| read_component(&file)) {
        Ok(read) => match read? {
            Ok(bytes) => bytes,
            Err(refusal) => return refused(&refusal, args.json),
        },
        Err(refusal) => return refused(&refusal, args.json),
    };
    let most = limits.get(Budget::InputBytes);
    let mut input = args.work.read_input(most, |size| limits.admit_input(size)).map_err(Failed::usage)?;
    if let Some(script) = &script {
        input = script.input(&args.work, &input).map_err(Failed::usage)?;
    }

    let sandbox = Sandbox::new(config)?;
    sandbox.runtime.block_on(async {
        let prepared = match sandbox.prepare(bytes).await {
            Ok(prepared) => prepared,
            Err(refusal) => return refused(&is_no_component(&args.file, refusal), args.json),
        };
        let digest = prepared.component.digest;
        let journal = Arc::new(TerminalJournal::default());
        let job = args.work.job(prepared, input, limits, journal.clone()).map_err(Failed::usage)?;
        let task_id = job.task_id;
        let limits_asked = args.work.limits.iter().cloned().collect();
        let begun = jiff::Timestamp::now();
        cancel_on_interrupt(job.control.clone());
        let outcome = sandbox.execute(job).await;
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

/// What the file is not, in the words of who may have meant a script.
fn is_no_component(file: &Path, refusal: Refusal) -> Refusal {
    let named = file.extension().is_some_and(|extension| extension == "wasm");
    match refusal.message.starts_with("not WebAssembly") && !named {
        true => {
            let message = format!(
                "{}: {}; a script ends in .py or .js, and a project is built first",
                file.display(),
                refusal.message
            );
            Refusal { message, ..refusal }
        }
        false => refusal,
    }
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
        mode: "".into(),
        limits,
        args: args.work.args.clone(),
        env: args.work.env.iter().cloned().collect(),
        retry: Retry { max_attempts: 1, on: Vec::new(), backoff_ms: 0 },
        grants: Grants::default(),
        deterministic: args.work.deterministic,
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
        End::Failed(failure) => Exit::of(failure.kind),
    }
}
