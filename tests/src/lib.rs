//! What tests and benches share: where the guests are, and a runtime to run them in.

pub mod bombs;
pub mod checkpoint;
pub mod disk;
pub mod exposition;
pub mod languages;
pub mod lines;
pub mod ollama;
pub mod power_cut;
pub mod random;
pub mod server;
pub mod usage;
pub mod web;
pub mod web_socket;
pub mod wire;
pub mod wrong_clock;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;

use omnimind::backend::Backends;
use omnimind::engine::{Component, Engines, Refusal, Settings};
use omnimind::executor::{Control, Executor, GuestThreads, Job, Prepared};
use omnimind::limits::{Mode, Requested};
use omnimind::task::{End, Failure, FailureKind, Journal, MemoryJournal, Outcome, TaskId};

/// Text of components that import what fails with our `error`: the line `;; include types` of hostile guests.
pub const TYPES: &str = include_str!("../../guest-tasks/hostile/types.inc");

/// The target directory that this test was built into.
pub fn target_dir() -> &'static Path {
    static DIR: LazyLock<PathBuf> = LazyLock::new(|| {
        // TARGET/PROFILE/deps/THIS
        let exe = std::env::current_exe().expect("the test's own path");
        exe.ancestors().nth(3).expect("a target directory").to_owned()
    });
    &DIR
}

/// The checkout.
pub fn checkout() -> &'static Path {
    static DIR: LazyLock<PathBuf> = LazyLock::new(|| {
        // At run time: one target directory may serve several checkouts, and cargo does not tell them apart.
        let manifest_dir = std::env::var_os("CARGO_MANIFEST_DIR").expect("run this by cargo");
        Path::new(&manifest_dir).parent().expect("the workspace").to_owned()
    });
    &DIR
}

/// The `omnimind` binary of this build. Made up to date first: cargo builds a package's binary only
/// for that package's own tests.
pub fn binary() -> &'static Path {
    static BINARY: LazyLock<PathBuf> = LazyLock::new(|| {
        let exe = std::env::current_exe().expect("the test's own path");
        let profile = exe.ancestors().nth(2).expect("a profile directory");
        let binary = profile.join("omnimind");
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--package", "omnimind", "--bin", "omnimind"]);
        if profile.ends_with("release") {
            cargo.arg("--release");
        }
        // What cargo tells this test of its own package, ring's build script takes for its own: it would be
        // built anew, and all that stands on it, here and by the next `cargo test` again.
        for (name, _) in std::env::vars_os() {
            let ours = |prefix| name.to_str().is_some_and(|name| name.starts_with(prefix));
            if ours("CARGO_PKG_") || ours("CARGO_MANIFEST_") {
                cargo.env_remove(&name);
            }
        }
        let status = cargo
            .current_dir(checkout())
            .env("CARGO_TARGET_DIR", target_dir())
            .status()
            .expect("cargo starts");
        assert!(status.success(), "the omnimind binary did not build");
        binary
    });
    &BINARY
}

/// The bytes of a built guest: `primes`, `hostile/grow`, …
pub fn guest(name: &str) -> Arc<[u8]> {
    let path = guest_path(name);
    std::fs::read(&path)
        .unwrap_or_else(|error| {
            panic!("{}: {error}\nbuild the guests first: cargo xtask guests", path.display())
        })
        .into()
}

/// Where a built guest lies.
pub fn guest_path(name: &str) -> PathBuf {
    target_dir().join("guests").join(format!("{name}.wasm"))
}

/// A runtime with its own cache of artefacts.
pub struct Lab {
    pub engines: Arc<Engines>,
    pub executor: Executor,
    // Dropped last: guests may still be ending.
    pub guests: GuestThreads,
}

impl Lab {
    /// A lab that keeps its artefacts in `artefacts` and runs at most `instances` tasks at once.
    pub fn new(artefacts: PathBuf, instances: u32) -> Lab {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Lab::with_slots(artefacts, instances, cores)
    }

    /// The same, where at most `slots` tasks compute at once.
    pub fn with_slots(artefacts: PathBuf, instances: u32, slots: usize) -> Lab {
        let settings = Settings { instances, artefacts, worker: binary().to_owned() };
        let engines = Arc::new(Engines::new(settings).expect("engines start"));
        let guests = GuestThreads::start(slots).expect("guests' threads start");
        let handle = guests.handle().expect("guests' threads run");
        Lab { executor: Executor::new(engines.clone(), handle), engines, guests }
    }

    /// The same, with what its tasks are lent.
    pub fn with_backends(artefacts: PathBuf, slots: usize, backends: Backends) -> Lab {
        let Lab { engines, executor, guests } = Lab::with_slots(artefacts, 8, slots);
        Lab { executor: executor.with(backends), engines, guests }
    }

    /// The lab that the tests of one process share. Its artefacts outlive it: compiling is tested
    /// elsewhere.
    pub fn shared() -> &'static Lab {
        static LAB: OnceLock<Lab> = OnceLock::new();
        LAB.get_or_init(|| Lab::new(Lab::artefacts(), 50))
    }

    /// Where its artefacts are: for this build alone, because what another build refused or compiled proves nothing
    /// about it.
    pub fn artefacts() -> PathBuf {
        let built = std::fs::metadata(binary()).and_then(|binary| binary.modified()).expect("the binary");
        let age = built.duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_nanos();
        let all = target_dir().join("test-artefacts");
        for old in std::fs::read_dir(&all).into_iter().flatten().flatten() {
            let unused = old.metadata().and_then(|old| old.modified()).map(|at| at.elapsed());
            if matches!(unused, Ok(Ok(unused)) if unused > Duration::from_secs(24 * 3600)) {
                let _ = std::fs::remove_dir_all(old.path());
            }
        }
        all.join(age.to_string())
    }

    /// Compiles (or finds) and links.
    pub fn prepare(&self, bytes: Arc<[u8]>) -> Result<Arc<Prepared>, Refusal> {
        let component: Arc<Component> = block_on(self.engines.component(bytes))?;
        self.executor.prepare(component)
    }
}

/// Runs a future on a runtime of its own.
pub fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}

/// One execution, described by what is special about it.
#[derive(Clone)]
pub struct Run {
    pub component: Arc<[u8]>,
    pub input: Vec<u8>,
    pub mode: Mode,
    pub limits: Vec<(&'static str, u64)>,
    pub deterministic: bool,
    pub args: Vec<String>,
    pub env: Vec<(String, String)>,
    pub journal: Arc<dyn Journal>,
    pub control: Control,
}

impl Run {
    /// A run of the built guest `name`.
    pub fn guest(name: &str) -> Run {
        Run::bytes(guest(name))
    }

    /// A run of a guest in `guest-tasks/hostile`.
    pub fn hostile(name: &str) -> Run {
        Run::guest(&format!("hostile/{name}"))
    }

    /// A run of these bytes.
    pub fn bytes(component: Arc<[u8]>) -> Run {
        Run {
            component,
            input: Vec::new(),
            mode: Mode::Dev,
            limits: Vec::new(),
            deterministic: false,
            args: Vec::new(),
            env: Vec::new(),
            journal: Arc::new(MemoryJournal::default()),
            control: Control::default(),
        }
    }

    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Run {
        self.input = input.into();
        self
    }

    /// The hostile guests take the number of units to consume.
    pub fn units(self, units: u64) -> Run {
        self.input(units.to_string())
    }

    pub fn limit(mut self, name: &'static str, amount: u64) -> Run {
        self.limits.push((name, amount));
        self
    }

    pub fn mode(mut self, mode: Mode) -> Run {
        self.mode = mode;
        self
    }

    pub fn deterministic(mut self) -> Run {
        self.deterministic = true;
        self
    }

    /// The job, ready to be executed by `lab`.
    pub fn job(self, lab: &Lab) -> Result<Job, Refusal> {
        let mut requested = Requested::default();
        for (name, amount) in &self.limits {
            requested.ask(name, *amount).expect("a limit of that name");
        }
        let limits = requested.effective(self.mode).expect("limits within the mode");
        let prepared = lab.prepare(self.component)?;
        let mut job = Job::new(TaskId::generate(), prepared, self.input.into(), limits, self.journal)
            .expect("an input within the limits");
        job.deterministic = self.deterministic;
        job.args = self.args;
        job.env = self.env;
        job.control = self.control;
        Ok(job)
    }

    /// Runs it in the shared lab.
    pub fn execute(self) -> Outcome {
        let lab = Lab::shared();
        let job = self.job(lab).unwrap_or_else(|refusal| panic!("refused: {refusal}"));
        block_on(lab.executor.execute(job))
    }

    /// The refusal that keeps it from running.
    pub fn refusal(self) -> Refusal {
        match self.job(Lab::shared()) {
            Ok(_) => panic!("it was not refused"),
            Err(refusal) => refusal,
        }
    }
}

/// Reads an outcome in a test.
pub trait OutcomeExt {
    /// The output; panics with the failure where there is none.
    fn output(&self) -> &[u8];
    /// The failure; panics where there is none.
    fn failure(&self) -> &Failure;
    /// What was used of a budget.
    fn used(&self, budget: &str) -> u64;
}

impl OutcomeExt for Outcome {
    fn output(&self) -> &[u8] {
        match &self.end {
            End::Completed(output) => output,
            other => panic!("not completed: {other:?}"),
        }
    }

    fn failure(&self) -> &Failure {
        match &self.end {
            End::Failed(failure) => failure,
            other => panic!("not failed: {}", describe(other)),
        }
    }

    fn used(&self, budget: &str) -> u64 {
        let line = self.receipt.budget(budget).expect("a line for every budget");
        line.used.unwrap_or_else(|| panic!("{budget} is not counted"))
    }
}

fn describe(end: &End) -> String {
    match end {
        End::Completed(output) => format!("completed with {} bytes", output.len()),
        other => format!("{other:?}"),
    }
}

/// Asserts that `outcome` failed in this way, because of this budget.
#[track_caller]
pub fn assert_stopped(outcome: &Outcome, kind: FailureKind, limit: &str) {
    let failure = outcome.failure();
    assert_eq!(failure.kind, kind, "{failure:?}");
    assert_eq!(failure.limit.as_deref(), Some(limit), "{failure:?}");
    assert_eq!(outcome.receipt.stopped_by.as_deref(), Some(limit));
    assert!(failure.hint.is_some(), "a limit comes with a hint: {failure:?}");
}

/// Waits a moment, in a test that watches something happen.
pub fn pause(duration: Duration) {
    std::thread::sleep(duration);
}
