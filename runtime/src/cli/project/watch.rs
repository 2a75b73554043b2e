//! `omnimind watch`: builds a project and runs it on its sample input, again after each change.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::super::input::Work;
use super::super::sandbox::Sandbox;
use super::super::terminal::{self, TerminalJournal, note};
use super::super::{Exit, Failed};
use super::{Project, build};
use crate::config::Config;
use crate::limits::{Budget, Limits};

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
pub fn run(args: Args, config: &Config) -> Result<Exit, Failed> {
    let Args { dir, work } = args;
    let limits = work.effective_limits(config.limits).map_err(Failed::usage)?;
    // What is wrong at the start is no project; what goes wrong later is being edited.
    let project = Project::load(&dir)?;
    let mut first = work.clone();
    first.or_input(project.input.as_deref());
    let mut files = Files::of(dir, first.input_file());
    let mut round = Round { work, limits, sandbox: Sandbox::new(config)? };
    loop {
        let seen = files.now();
        if let Err(Failed { error, .. }) = round.run(&mut files, &seen) {
            note!("error: {error:#}");
        }
        note!("-- waiting for a change in {} (Ctrl-C ends this)", files.dir.display());
        round.sandbox.runtime.block_on(files.changed(&seen));
        note!();
    }
}

/// What each build and run is made with.
struct Round {
    work: Work,
    limits: Limits,
    sandbox: Sandbox,
}

impl Round {
    fn run(&mut self, files: &mut Files, seen: &Snapshot) -> Result<(), Failed> {
        let Round { work, limits, sandbox } = self;
        let project = Project::load(&files.dir)?;
        let mut work = work.clone();
        work.or_input(project.input.as_deref());
        files.besides = work.input_file();
        let made = build::make(&project);
        files.built(seen);
        let bytes = made?;
        let most = limits.get(Budget::InputBytes);
        let input = work.read_input(most, |size| limits.admit_input(size)).map_err(Failed::usage)?;
        sandbox.runtime.block_on(async {
            let prepared = sandbox.prepare(bytes.clone()).await;
            let prepared = prepared.map_err(|refusal| build::refused(&project, &refusal))?;
            build::write(&project.output(), &bytes)?;
            let journal = Arc::new(TerminalJournal::default());
            let job = work.job(prepared, input, *limits, journal).map_err(Failed::usage)?;
            let control = job.control.clone();
            let mut running = std::pin::pin!(sandbox.execute(job));
            let outcome = tokio::select! {
                outcome = &mut running => outcome,
                () = files.changed(seen) => {
                    control.cancel(Duration::ZERO);
                    running.await
                }
            };
            terminal::print_tail(&outcome.log);
            terminal::print_outcome(&outcome).map_err(Failed::runtime)
        })
    }
}

/// Files as they are at one moment: when they were written, and their length.
type Snapshot = BTreeMap<PathBuf, (Option<SystemTime>, u64)>;

/// The files that are watched.
struct Files {
    dir: PathBuf,
    /// The input, which may lie elsewhere.
    besides: Option<PathBuf>,
    /// What changed while the last build ran: by the build, or by who edits it.
    changed: BTreeSet<PathBuf>,
    /// What changed during two builds after each other is what builds write.
    made: BTreeSet<PathBuf>,
}

impl Files {
    fn of(dir: PathBuf, besides: Option<PathBuf>) -> Files {
        Files { dir, besides, changed: BTreeSet::new(), made: BTreeSet::new() }
    }

    fn now(&self) -> Snapshot {
        let mut files: Snapshot = BTreeMap::new();
        let mut directories = vec![self.dir.clone()];
        let at = |path: &Path| std::fs::metadata(path).map(|about| (about.modified().ok(), about.len()));
        while let Some(directory) = directories.pop() {
            for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
                let (name, path) = (entry.file_name(), entry.path());
                let name = name.to_string_lossy();
                let made = MADE.contains(&&*name) || name.ends_with(".wasm") || name.ends_with(".wasm.tmp");
                if made || name.starts_with('.') || files.len() >= MAX_FILES || self.made.contains(&path) {
                    continue;
                }
                // Directories behind links are not entered.
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => directories.push(path),
                    _ => drop(at(&path).map(|about| files.insert(path, about))),
                }
            }
        }
        if let Some(path) = &self.besides {
            drop(at(path).map(|about| files.insert(path.clone(), about)));
        }
        files
    }

    /// A build has ended that began at `seen`: what it writes is no change.
    fn built(&mut self, seen: &Snapshot) {
        let now = self.now();
        let changed = now.iter().filter(|(path, about)| seen.get(*path) != Some(about));
        let changed: BTreeSet<PathBuf> = changed.map(|(path, _)| path.clone()).collect();
        let again = changed.intersection(&self.changed).filter(|path| Some(*path) != self.besides.as_ref());
        self.made.extend(again.cloned());
        self.changed = changed;
    }

    /// Returns when files are not as at `seen`, and have been left alone for a moment.
    async fn changed(&self, seen: &Snapshot) {
        let as_seen = |now: &Snapshot| {
            let is_left = |(path, _): &(&PathBuf, _)| !self.made.contains(*path);
            now.iter().eq(seen.iter().filter(is_left))
        };
        let mut last = None;
        loop {
            tokio::time::sleep(INTERVAL).await;
            let now = self.now();
            if !as_seen(&now) && last.as_ref() == Some(&now) {
                return;
            }
            last = Some(now);
        }
    }
}
