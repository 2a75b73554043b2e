//! `omnimind watch`: builds a project and runs it on its sample input, again after each change.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::super::input::Work;
use super::super::sandbox::Sandbox;
use super::super::terminal::{self, TerminalJournal, note};
use super::super::{Exit, Failed};
use super::{Project, build};
use crate::config::Config;
use crate::executor::Job;
use crate::limits::{Budget, Limits, Requested};
use crate::task::TaskId;

/// Between two looks at the files.
const INTERVAL: Duration = Duration::from_millis(250);

/// Most files that are looked at.
const MAX_FILES: usize = 10_000;

/// What tools write, and nobody edits.
const MADE: [&str; 4] = ["build", "target", "node_modules", "__pycache__"];

#[derive(Debug, clap::Args)]
#[command(after_help = "Ctrl-C ends it. A guest that still runs when a file changes is ended.")]
pub struct Args {
    /// The project's directory
    #[arg(default_value = ".")]
    dir: PathBuf,

    #[command(flatten)]
    work: Work,
}

/// Watches until Ctrl-C.
pub fn run(mut args: Args, config: &Config) -> Result<Exit, Failed> {
    let mut requested = Requested::default();
    for (name, amount) in &args.work.limits {
        requested.ask(name, *amount).map_err(Failed::usage)?;
    }
    let limits = requested.effective(config.limits).map_err(Failed::usage)?;
    // What is wrong at the start is no project; what goes wrong later is being edited.
    let project = Project::load(&args.dir)?;
    args.work.or_input(project.input.as_deref());
    let sandbox = Sandbox::new(config)?;
    loop {
        let seen = Snapshot::of(&args.dir);
        if let Err(Failed { error, .. }) = round(&args, &sandbox, &limits, &seen) {
            note!("error: {error:#}");
        }
        note!("-- waiting for a change in {} (Ctrl-C ends this)", args.dir.display());
        sandbox.runtime.block_on(seen.changed(&args.dir));
        note!();
    }
}

/// Builds and runs once.
fn round(args: &Args, sandbox: &Sandbox, limits: &Limits, seen: &Snapshot) -> Result<(), Failed> {
    let project = Project::load(&args.dir)?;
    let output = project.output();
    let bytes = build::make(&project, &output)?;
    let most = limits.get(Budget::InputBytes);
    let input = args.work.read_input(most, |size| limits.admit_input(size)).map_err(Failed::usage)?;
    sandbox.runtime.block_on(async {
        let prepared = sandbox.prepare(bytes).await.map_err(|refusal| build::refused(&output, &refusal))?;
        let journal = Arc::new(TerminalJournal::default());
        let mut job =
            Job::new(TaskId::generate(), prepared, input, *limits, journal).map_err(Failed::usage)?;
        job.args.clone_from(&args.work.args);
        job.env.clone_from(&args.work.env);
        job.deterministic = args.work.deterministic;
        let control = job.control.clone();
        let mut running = std::pin::pin!(sandbox.executor.execute(job));
        let outcome = tokio::select! {
            outcome = &mut running => outcome,
            () = seen.changed(&args.dir) => {
                control.cancel(Duration::ZERO);
                running.await
            }
        };
        terminal::print_tail(&outcome.log);
        terminal::print_outcome(&outcome).map_err(Failed::runtime)
    })
}

/// The files of a project, as they are at one moment.
#[derive(Debug, PartialEq, Eq)]
struct Snapshot(BTreeMap<PathBuf, (Option<SystemTime>, u64)>);

impl Snapshot {
    fn of(dir: &Path) -> Snapshot {
        let mut files = BTreeMap::new();
        let mut directories = vec![dir.to_owned()];
        while let Some(directory) = directories.pop() {
            for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
                let name = entry.file_name();
                let name = name.to_string_lossy();
                let made = MADE.contains(&&*name) || name.ends_with(".wasm") || name.ends_with(".wasm.tmp");
                if made || name.starts_with('.') || files.len() >= MAX_FILES {
                    continue;
                }
                // Links are not followed.
                match entry.metadata() {
                    Ok(about) if about.is_dir() => directories.push(entry.path()),
                    Ok(about) => drop(files.insert(entry.path(), (about.modified().ok(), about.len()))),
                    Err(_) => {}
                }
            }
        }
        Snapshot(files)
    }

    /// Returns when the files are others, and have been left alone for a moment.
    async fn changed(&self, dir: &Path) {
        let mut last = None;
        loop {
            tokio::time::sleep(INTERVAL).await;
            let now = Snapshot::of(dir);
            if now != *self && last.as_ref() == Some(&now) {
                return;
            }
            last = Some(now);
        }
    }
}
