//! `omnimind task submit`

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::Path;
use std::time::Duration;

use anyhow::{anyhow, bail};
use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::super::input::{Work, read_component};
use super::super::script::Script;
use super::super::terminal::{self, note};
use super::form::Form;
use super::table::{self, shown};
use super::wait::{finish, is_final, time, to_the_end};
use super::{Connection, Exit, Failed, component};
use crate::components::Interpreter;
use crate::limits::{Budget, Mode};
use crate::task::Priority;

/// A task that ends within this time is answered by its submission.
const FIRST_WAIT: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
pub struct Args {
    /// A component on the server, by name or digest; or a file: what has a `/` in it or ends in .wasm,
    /// or a script: what ends in .py or .js (a component of such a name is submitted by its digest)
    component: String,

    #[command(flatten)]
    work: Work,

    /// low, medium, high or critical [default: medium]
    #[arg(long, value_parser = Priority::ALL.map(Priority::name))]
    priority: Option<String>,

    /// Wait for the end, at most so long: its output goes to standard output, its receipt to standard error
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, value_parser = time)]
    #[allow(clippy::option_option)]
    wait: Option<Option<Duration>>,

    /// Keep it in memory only: faster, and gone with the server, which must allow it
    #[arg(long)]
    ephemeral: bool,

    /// Executions in all, where one fails in a way that may pass
    #[arg(long, value_name = "N")]
    retry: Option<u32>,

    /// What it may use, e.g. '{"tensor": true}'
    #[arg(long, value_name = "JSON", value_parser = grants)]
    grants: Option<Box<RawValue>>,

    /// Words of your own, shown with the task
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,

    /// A JSON object of your own, kept with the task
    #[arg(long, value_name = "JSON", value_parser = json)]
    metadata: Option<Box<RawValue>>,

    /// Submitted again with the same key, it is the same task
    #[arg(long, value_name = "KEY", value_parser = key)]
    idempotency_key: Option<String>,

    /// Say what it needs and whether it would run, and run nothing
    #[arg(long, conflicts_with = "wait")]
    dry_run: bool,

    /// Print the server's JSON
    #[arg(long)]
    json: bool,
}

fn json(text: &str) -> anyhow::Result<Box<RawValue>> {
    serde_json::from_str(text).map_err(|error| anyhow!("not JSON: {error}"))
}

fn grants(text: &str) -> anyhow::Result<Box<RawValue>> {
    json(text).map_err(|error| anyhow!("{error}; it is written like '{{\"tensor\": true}}'"))
}

fn key(text: &str) -> anyhow::Result<String> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        bail!("a key is visible ASCII without blanks");
    }
    Ok(text.to_owned())
}

/// The part `task` of the form.
#[derive(Serialize)]
struct Task<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    component: Option<&'a str>,
    args: &'a [String],
    env: BTreeMap<&'a str, &'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<&'a str>,
    limits: BTreeMap<&'a str, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    grants: Option<&'a RawValue>,
    retry: Retry,
    deterministic: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    durable: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct Retry {
    #[serde(skip_serializing_if = "Option::is_none")]
    max_attempts: Option<u32>,
}

impl Args {
    /// A file where it looks like one; what lies in the current directory does not decide it.
    fn file(&self) -> Option<&Path> {
        let path = Path::new(&self.component);
        let is_file = self.component.contains('/') || self.component.ends_with(".wasm");
        (is_file || Interpreter::of(path).is_some()).then_some(path)
    }

    fn task<'a>(&'a self, component: Option<&'a str>) -> Task<'a> {
        Task {
            component,
            args: &self.work.args,
            env: self.work.env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
            priority: self.priority.as_deref(),
            limits: self.work.limits.iter().map(|(name, amount)| (name.as_str(), *amount)).collect(),
            grants: self.grants.as_deref(),
            retry: Retry { max_attempts: self.retry },
            deterministic: self.work.deterministic,
            durable: self.ephemeral.then_some(false),
            description: self.description.as_deref(),
            metadata: self.metadata.as_deref(),
        }
    }

    /// Everything in one form: the input's bytes arrive as they are.
    fn form(&self) -> Result<Form, Failed> {
        // The server knows its mode; no mode allows more than this.
        let most = Mode::ALL.map(|mode| Budget::InputBytes.bounds(mode).max).into_iter().max().unwrap_or(0);
        let script = self.file().map(Script::read).transpose()?.flatten();
        let file = self.file().filter(|_| script.is_none());
        let component = match file.map(read_component).transpose()? {
            Some(Err(refusal)) => return Err(Failed { exit: Exit::Refused, error: anyhow!("{refusal}") }),
            Some(Ok(bytes)) => Some(bytes),
            None => None,
        };
        let mut input = self.work.read_input(most, |_| Ok(())).map_err(Failed::usage)?;
        let name = match &script {
            Some(script) => {
                input = script.input(&self.work, &input).map_err(Failed::usage)?;
                Some(script.interpreter.name)
            }
            None => component.is_none().then_some(self.component.as_str()),
        };
        let task = serde_json::to_vec(&self.task(name)).map_err(Failed::runtime)?;
        let mut form = Form::new().map_err(Failed::runtime)?.part("task", "application/json", &task);
        if !input.is_empty() {
            form = form.part("input", "application/octet-stream", &input);
        }
        Ok(match component {
            Some(component) => form.part("component", "application/wasm", &component),
            None => form,
        })
    }
}

#[derive(Deserialize)]
struct Submitted {
    task_id: String,
    status: String,
}

/// Submits, and waits if that is wanted.
pub async fn run(connection: &Connection, args: Args) -> Result<Exit, Failed> {
    let mut content = args.form()?.finish();
    if let Some(key) = &args.idempotency_key {
        content.headers.push(("idempotency-key", key.clone()));
    }
    let wait = args.wait.map(|wait| wait.unwrap_or(Duration::MAX));
    let first = wait.map(|wait| format!("{}ms", wait.min(FIRST_WAIT).as_millis()));
    let mut query: Vec<(&str, &str)> = first.iter().map(|first| ("wait", first.as_str())).collect();
    if args.dry_run {
        query.push(("dry_run", "true"));
    }
    let sent = connection.send(Method::POST, &["api", "tasks", ""], &query, Some(content));
    let sent = terminal::while_waiting(sent, |seconds| {
        format!("the server works on it for {seconds} s: what is new is compiled once")
    });
    let sent = sent.await;
    let body = sent.map_err(|error| meant(connection, &args, error.status(), error.into()))?;
    if args.dry_run {
        return explain(connection, &body, args.json);
    }
    let Submitted { task_id, status } = connection.parse(&body)?;
    match wait {
        None if args.json => table::print_json(&body).map_err(Failed::runtime)?,
        None => {
            terminal::write_stdout(format!("{}\n", shown(&task_id)).as_bytes()).map_err(Failed::runtime)?;
            if std::io::stderr().is_terminal() {
                note!("wait for it: omnimind task wait {}{}", shown(&task_id), connection.flags());
            }
        }
        Some(_) if is_final(&status) => return finish(connection, &task_id, &body, args.json).await,
        Some(wait) => {
            let rest = (wait != Duration::MAX).then(|| wait.saturating_sub(FIRST_WAIT));
            return to_the_end(connection, &task_id, rest, args.json).await;
        }
    }
    Ok(Exit::Completed)
}

/// What a person meant who named a component that is not there.
fn meant(connection: &Connection, args: &Args, status: Option<u16>, failed: Failed) -> Failed {
    match &args.component {
        _ if status != Some(404) || args.file().is_some() => failed,
        name if Path::new(name).is_file() => {
            let Failed { exit, error } = failed;
            let error =
                anyhow!("{error:#}; there is a file of that name: to submit that one, write ./{name}");
            Failed { exit, error }
        }
        name => component::unknown(connection, name, failed),
    }
}

/// A command line that is wrong, with what was meant by `--wait 5s`: without the equals sign the time would be
/// the component.
pub fn explained(mut error: clap::Error) -> clap::Error {
    let given: Vec<OsString> = std::env::args_os().collect();
    let wrong = error.get(ContextKind::InvalidArg).map(ToString::to_string).unwrap_or_default();
    let after_wait = given.array_windows().any(|[flag, value]| flag == "--wait" && *value == *wrong);
    if error.kind() == ErrorKind::UnknownArgument && after_wait && time(&wrong).is_ok() {
        let tip = StyledStr::from(format!("write --wait={wrong}"));
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip]));
    }
    error
}

#[derive(Deserialize)]
struct Explained {
    component: String,
    capabilities: Capabilities,
    admission: Admission,
}

#[derive(Deserialize)]
struct Capabilities {
    needed: Vec<String>,
    missing: Vec<String>,
}

#[derive(Deserialize)]
struct Admission {
    state: String,
    reason: Option<String>,
    /// Of what is refused: why, and the way out.
    detail: Option<String>,
}

fn explain(connection: &Connection, body: &[u8], json: bool) -> Result<Exit, Failed> {
    let Explained { component, capabilities, admission } = connection.parse(body)?;
    if json {
        table::print_json(body).map_err(Failed::runtime)?;
    } else {
        let words = |words: &[String]| match words.is_empty() {
            true => "none".to_owned(),
            false => shown(&words.join(", ")),
        };
        let reason = [admission.reason, admission.detail].into_iter().flatten();
        let reason: String = reason.map(|reason| format!(": {}", shown(&reason))).collect();
        let text = format!(
            "component  {}\nneeds      {}\nmissing    {}\nit would be {}{reason}\n",
            shown(&component),
            words(&capabilities.needed),
            words(&capabilities.missing),
            shown(&admission.state),
        );
        terminal::write_stdout(text.as_bytes()).map_err(Failed::runtime)?;
    }
    Ok(if admission.state == "refused" { Exit::Refused } else { Exit::Completed })
}
