//! What `run` and `task submit` take alike: a component's file, an input, limits, words for a command.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, anyhow, bail};

use super::Failed;
use crate::config;
use crate::engine::{Code, Refusal, prescan};
use crate::executor::{Job, Prepared};
use crate::limits::{self, Budget, Limits, Requested};
use crate::task::{Journal, TaskId};

/// What a task is given, besides its component.
#[derive(Clone, Debug, clap::Args)]
pub struct Work {
    /// The input: JSON text, @FILE for a file's bytes, or - for standard input [default: empty]
    #[arg(long, value_name = "JSON|@FILE|-")]
    input: Option<String>,

    /// The input as this very text
    #[arg(long, value_name = "TEXT", conflicts_with = "input")]
    input_text: Option<String>,

    /// Raise or lower a limit, e.g. fuel=1000000 or memory_bytes=256MiB; may be given several times
    #[arg(long = "limit", value_name = "NAME=N", value_parser = parse_limit)]
    pub limits: Vec<(String, u64)>,

    /// Freeze the clocks and seed randomness: same input, same output, same fuel; but for the last digits of
    /// vectors of texts, and embed_tokens, which depend on what others embed
    #[arg(long)]
    pub deterministic: bool,

    /// An environment variable for a command; may be given several times
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_env)]
    pub env: Vec<(String, String)>,

    /// Arguments for a command
    #[arg(last = true)]
    pub args: Vec<String>,
}

impl Work {
    /// The limits that it asks for, within what `policy` allows.
    pub fn effective_limits(&self, policy: limits::Policy) -> Result<Limits, limits::Error> {
        let mut requested = Requested::default();
        for (name, amount) in &self.limits {
            requested.ask(name, *amount)?;
        }
        requested.effective(policy)
    }

    /// An execution of `prepared` on `input`, which was read from this.
    pub fn job(
        &self,
        prepared: Arc<Prepared>,
        input: Arc<[u8]>,
        limits: Limits,
        journal: Arc<dyn Journal>,
    ) -> Result<Job, limits::Error> {
        let mut job = Job::new(TaskId::generate(), prepared, input, limits, journal)?;
        job.args.clone_from(&self.args);
        job.env.clone_from(&self.env);
        job.deterministic = self.deterministic;
        Ok(job)
    }

    /// Takes `file` for the input, where none was given.
    pub fn or_input(&mut self, file: Option<&Path>) {
        if self.input.is_none() && self.input_text.is_none() {
            self.input = file.map(|file| format!("@{}", file.display()));
        }
    }

    /// The file that the input is in.
    pub fn input_file(&self) -> Option<PathBuf> {
        self.input.as_ref()?.strip_prefix('@').map(PathBuf::from)
    }

    /// Whether the input was given as a text, whatever it looks like.
    pub fn is_text(&self) -> bool {
        self.input_text.is_some()
    }

    /// Reads the input, up to one byte more than the `most` that `admit` lets through. A file that is too
    /// large is not read at all.
    pub fn read_input(
        &self,
        most: u64,
        admit: impl Fn(u64) -> Result<(), limits::Error>,
    ) -> anyhow::Result<Arc<[u8]>> {
        if let Some(text) = &self.input_text {
            admit(text.len() as u64)?;
            return Ok(text.as_bytes().into());
        }
        let Some(given) = &self.input else {
            return Ok(Arc::default());
        };
        // One byte more than the limit shows that there is too much.
        let most = most.saturating_add(1);
        let mut bytes = Vec::new();
        if given == "-" {
            std::io::stdin().lock().take(most).read_to_end(&mut bytes).context("reading standard input")?;
        } else if let Some(path) = given.strip_prefix('@') {
            let file = std::fs::File::open(path).with_context(|| format!("--input @{path}"))?;
            admit(file.metadata().map_or(0, |metadata| metadata.len()))?;
            file.take(most).read_to_end(&mut bytes).with_context(|| format!("--input @{path}"))?;
        } else {
            serde_json::from_str::<serde::de::IgnoredAny>(given).map_err(|error| {
                anyhow!("--input is not JSON ({error}); give @FILE for a file, - for standard input, or use --input-text")
            })?;
            bytes = given.as_bytes().to_vec();
        }
        admit(bytes.len() as u64)?;
        Ok(bytes.into())
    }
}

/// Reads a component's file, unless it is larger than any component may be.
///
/// # Errors
/// It cannot be read.
pub fn read_component(file: &Path) -> Result<Result<Arc<[u8]>, Refusal>, Failed> {
    let cap = prescan::Caps::default().bytes as u64;
    let unreadable = |error: std::io::Error| {
        Failed::usage(anyhow!("{}: {error}; give the path of a .wasm file or a script", file.display()))
    };
    let opened = std::fs::File::open(file).map_err(unreadable)?;
    let mut bytes = Vec::new();
    opened.take(cap + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > cap {
        let message = format!("{} is larger than {} MiB, the most that is read", file.display(), cap >> 20);
        return Ok(Err(Refusal::new(Code::TooLarge, message)));
    }
    Ok(Ok(bytes.into()))
}

/// `NAME=N`, as on the command line.
pub fn parse_limit(text: &str) -> anyhow::Result<(String, u64)> {
    let (name, amount) = text.split_once('=').context("a limit is written NAME=N, e.g. fuel=1000000")?;
    let amount = match name.ends_with("_bytes") {
        true => config::parse_size(amount).map_err(anyhow::Error::msg)?,
        false => match (config::parse_number(amount), Budget::from_name(name)) {
            (Some(number), _) => number,
            // Not of its number: that is not what is wrong.
            (None, None) => return Err(limits::Error::Unknown { name: name.to_owned() }.into()),
            (None, Some(budget)) => bail!(
                "{name}: `{amount}` is not a whole number of {} such as 10_000_000, without a unit and up to {}",
                budget.unit().replace("count", "them"),
                u64::MAX
            ),
        },
    };
    Ok((name.to_owned(), amount))
}

fn parse_env(text: &str) -> anyhow::Result<(String, String)> {
    let (name, value) = text.split_once('=').context("a variable is written NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}
