//! Runs one task: makes its store, applies its limits, calls the guest, classifies the end.
//!
//! Every task gets a store and an instance of its own, used once and dropped: nothing of one task is
//! left for the next to find. Instantiation, the call and its post-return all run under the same fuel,
//! the same deadline and the same limiter.

mod call;
mod cap;
mod classify;
mod contention;
mod control;
mod last_words;
mod levers;
mod linked;
mod prepared;
mod slots;
mod store;
mod threads;
mod workers;

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::runtime::Handle;
use wasmtime::AsContextMut;
use wasmtime::component::Linker;

pub use contention::Tenant;
pub use control::{Control, OVERDUE};
pub use levers::Levers;
pub use linked::Linked;
pub use prepared::{Interface, Kind, Prepared};
pub use slots::{QUANTUM, Slots, Turns};
pub use store::Ctx;
pub use threads::GuestThreads;

use call::{Returned, call};
use classify::{Scene, Verdict};
use control::Ended;
use workers::TaskWorkers;

use crate::backend::Backends;
use crate::backend::inference::ModelUses;
use crate::engine::{Component, ENGINE_VERSION, Engines, Flavour, Refusal};
use crate::host::{HostCtx, Lent, LogSink, OutputSink, Stdio, TaskContext, VirtualClock};
use crate::limits::{self, Budget, Ledger, Limiter, Limits, MachineMemory};
use crate::task::{
    Digest, End, Failure, FailureKind, Grants, Journal, Outcome, Priority, Receipt, Spec, TaskId, Used,
};

/// One execution of a task, as whoever schedules it sees it.
pub struct Attempt {
    /// Which task.
    pub task_id: TaskId,
    /// Whose.
    pub tenant: Tenant,
    /// What it is.
    pub spec: Arc<Spec>,
    /// What it works on.
    pub input: Arc<[u8]>,
    /// Which execution, from 1.
    pub number: u32,
    /// How long it has waited for its place.
    pub queued: Duration,
    /// Where progress, checkpoints and the log's head go.
    pub journal: Arc<dyn Journal>,
    /// Ends and pauses it.
    pub control: Control,
}

/// Runs tasks, whatever that takes.
#[async_trait]
pub trait TaskExecutor: Send + Sync {
    /// Runs one to its end. What goes wrong on the way is an outcome too.
    async fn execute(&self, attempt: Attempt) -> Outcome;

    /// Bytes of memory that a task may take.
    fn memory_limit(&self, spec: &Spec) -> u64;

    /// Whether `tenant` has the component `digest`, without which nothing can be run.
    fn has_component(&self, tenant: &str, digest: &Digest) -> bool;
}

/// One execution to be made.
pub struct Job {
    prepared: Arc<Prepared>,
    input: Arc<[u8]>,
    limits: Limits,
    /// The task's id, as the guest sees it.
    pub task_id: TaskId,
    /// Executions so far, this one included.
    pub attempt: u32,
    /// The submission's metadata: JSON text.
    pub metadata: Cow<'static, str>,
    /// A command's arguments, without its name.
    pub args: Vec<String>,
    /// A command's environment.
    pub env: Vec<(String, String)>,
    /// Freeze clocks and seed randomness.
    pub deterministic: bool,
    /// Whose turn it is when several want to compute.
    pub priority: Priority,
    /// The same, where they are of several tenants.
    pub tenant: Tenant,
    /// What it may use; none: whatever there is.
    pub grants: Option<Grants>,
    /// How long it has waited already.
    pub queued: Duration,
    /// Where progress, checkpoints and the log's head go.
    pub journal: Arc<dyn Journal>,
    /// Ends the execution from outside.
    pub control: Control,
}

impl Job {
    /// A first execution of `prepared` on `input`, with nothing special about it.
    ///
    /// # Errors
    /// The input is larger than `limits` allow.
    pub fn new(
        task_id: TaskId,
        prepared: Arc<Prepared>,
        input: Arc<[u8]>,
        limits: Limits,
        journal: Arc<dyn Journal>,
    ) -> Result<Job, limits::Error> {
        limits.admit_input(input.len() as u64)?;
        Ok(Job {
            prepared,
            input,
            limits,
            task_id,
            attempt: 1,
            metadata: "null".into(),
            args: Vec::new(),
            env: Vec::new(),
            deterministic: false,
            priority: Priority::Medium,
            tenant: Tenant::default(),
            grants: None,
            queued: Duration::ZERO,
            journal,
            control: Control::default(),
        })
    }
}

/// Links components and runs jobs on the guests' threads.
pub struct Executor {
    engines: Arc<Engines>,
    guests: Handle,
    slots: Slots,
    memory: MachineMemory,
    backends: Backends,
    linkers: [OnceLock<Linker<Ctx>>; 2],
    prepared: Arc<Linked>,
}

impl Executor {
    /// An executor that runs guests on `guests`, as many at one time as it has threads.
    pub fn new(engines: Arc<Engines>, guests: Handle) -> Executor {
        Executor {
            engines,
            slots: Slots::new(guests.metrics().num_workers()),
            guests,
            memory: MachineMemory::default(),
            backends: Backends::default(),
            linkers: [OnceLock::new(), OnceLock::new()],
            prepared: Arc::new(Linked::new()),
        }
    }

    /// The same, with these backends.
    pub fn with(self, backends: Backends) -> Executor {
        Executor { backends, ..self }
    }

    /// What holds its guests back when the machine is short of something.
    pub fn levers(&self) -> Levers {
        Levers::new(&self.guests, &self.slots, &self.memory)
    }

    /// The linked components that it keeps.
    pub fn cache(&self) -> Arc<Linked> {
        self.prepared.clone()
    }

    /// Checks `component` against the contract and links it, once for each digest.
    ///
    /// # Errors
    /// `missing_export`, `type_mismatch` and `unknown_import`, naming the thing.
    pub fn prepare(&self, component: Arc<Component>) -> Result<Arc<Prepared>, Refusal> {
        let digest = component.digest;
        if let Some(prepared) = self.prepared.get(&digest) {
            return Ok(prepared);
        }
        let linker = self.linker(component.flavour)?;
        let prepared = Arc::new(Prepared::link(component, linker)?);
        self.prepared.put(digest, prepared.clone());
        Ok(prepared)
    }

    /// Checks a component that need not run now: what it wants that is not there may be another server's.
    ///
    /// # Errors
    /// As [`Executor::prepare`], but for capabilities that are not offered.
    pub fn inspect(&self, component: Arc<Component>) -> Result<Interface, Refusal> {
        let interface = Interface::of(&component)?;
        if interface.capabilities.iter().all(|capability| capability.is_offered()) {
            // Its interfaces are known; whether their functions are, and of what type, linking tells.
            self.prepare(component)?;
        }
        Ok(interface)
    }

    /// The component of that digest, if it is linked.
    pub fn linked(&self, digest: &Digest) -> Option<Arc<Prepared>> {
        self.prepared.find(digest)
    }

    /// Runs `job` to its end. Dropping the future ends the guest.
    ///
    /// The answer is never later than the end by more than [`OVERDUE`], even where the guest's thread is
    /// caught in an operation that nothing can interrupt (a bulk memory operation, the lifting of a long
    /// string): the store and its place in the pool are then given up when that operation is done.
    pub async fn execute(&self, job: Job) -> Outcome {
        let queued = Instant::now();
        let control = job.control.clone();
        let turns = self.slots.turns(job.priority, job.tenant.clone());
        let wall = Duration::from_millis(job.limits.get(Budget::WallMs));
        let permit = tokio::select! {
            place = self.engines.permits().acquire_owned() => place,
            // Cancelled while it waited.
            ended = control.overdue(wall) => return Execution::of(&job, queued).overdue(ended),
        };
        let execution = Arc::new(Execution::of(&job, queued));
        let permit = match permit {
            Ok(permit) => permit,
            Err(error) => return execution.failed(format!("no place to run in: {error}")),
        };
        let (running, lent) = (execution.clone(), self.lend(&job));
        let mut guest = AbortOnDrop(self.guests.spawn(async move {
            // The permit goes when the store is gone, not when the answer is.
            let _permit = permit;
            running.run(job, lent, turns).await
        }));
        tokio::select! {
            biased;
            joined = &mut guest.0 => {
                joined.unwrap_or_else(|error| execution.failed(format!("the task's thread: {error}")))
            }
            ended = execution.control.overdue(wall) => execution.overdue(ended),
        }
    }

    fn lend(&self, job: &Job) -> Lent {
        let workers = Arc::new(TaskWorkers {
            guests: self.guests.clone(),
            slots: self.slots.clone(),
            priority: job.priority,
            tenant: job.tenant.clone(),
            control: job.control.clone(),
        });
        let (memory, backends) = (self.memory.clone(), self.backends.clone());
        let tenant = job.tenant.name.clone();
        let grants = job.grants.clone();
        let (priority, models) = (job.priority, Arc::default());
        Lent { memory, backends, slots: workers.clone(), workers, tenant, priority, grants, models }
    }

    fn linker(&self, flavour: Flavour) -> Result<&Linker<Ctx>, Refusal> {
        let [plain, concurrent] = &self.linkers;
        let cell = match flavour {
            Flavour::Plain => plain,
            Flavour::Concurrent => concurrent,
        };
        if let Some(linker) = cell.get() {
            return Ok(linker);
        }
        let engine = self.engines.engine(flavour).map_err(|error| Refusal::internal("linking", error))?;
        let linker =
            store::linker(engine).map_err(|error| Refusal::internal("linking", format!("{error:#}")))?;
        Ok(cell.get_or_init(|| linker))
    }
}

struct AbortOnDrop<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Runs `job` on the current thread. [`Executor::execute`] is this behind a permit and in turns, elsewhere.
pub async fn run(job: Job) -> Outcome {
    Execution::of(&job, Instant::now()).run(job, Lent::default(), Turns::unlimited()).await
}

/// What of one execution outlives its store.
struct Execution {
    prepared: Arc<Prepared>,
    ledger: Arc<Ledger>,
    control: Control,
    log: LogSink,
    attempt: u32,
    /// How long it had waited when this was made, and when that was.
    queued: (Duration, Instant),
    queue_ns: AtomicU64,
    /// What language models write for it.
    models: Arc<ModelUses>,
}

impl Execution {
    fn of(job: &Job, since: Instant) -> Execution {
        let ledger = Arc::new(Ledger::new(job.limits));
        ledger.record(Budget::InputBytes, job.input.len() as u64);
        // What earlier attempts kept is still kept.
        ledger.record(Budget::CheckpointBytes, job.journal.checkpoint_bytes());
        Execution {
            prepared: job.prepared.clone(),
            log: LogSink::new(ledger.clone(), job.journal.clone()),
            ledger,
            control: job.control.clone(),
            attempt: job.attempt,
            queued: (job.queued, since),
            queue_ns: AtomicU64::new(0),
            models: Arc::default(),
        }
    }

    async fn run(&self, job: Job, lent: Lent, mut turns: Turns) -> Outcome {
        let lent = Lent { models: self.models.clone(), ..lent };
        let Execution { prepared, ledger, control, log, .. } = self;
        let command = prepared.kind() == Kind::Command;
        let output = command.then(|| OutputSink::new(ledger.clone()));
        let stdio = Stdio {
            // A task gets its input as an argument; on standard input it would be a second copy.
            input: if command { job.input.clone() } else { Arc::default() },
            output: output.clone(),
            log: log.clone(),
            args: job.args,
            env: job.env,
            ledger: ledger.clone(),
        };
        let clock = job.deterministic.then(|| Arc::new(VirtualClock::default()));
        let task_id = match job.deterministic {
            true => deterministic_id(prepared, &job.input),
            false => job.task_id,
        };
        let limiter = Limiter::new(ledger.clone(), lent.memory.clone(), job.deterministic);
        let host = {
            let control = control.clone();
            let elapsed = Box::new(move || control.elapsed());
            let asked = self.control.asked();
            let task = TaskContext::new(task_id, self.attempt, job.metadata, asked, elapsed, job.journal);
            HostCtx::new(ledger.clone(), stdio, task, lent, clock)
        };

        // Until now it was queueing; the instance and its time begin with the first turn.
        if let Err(ended) = control.begin(&mut turns, ledger).await {
            return self.overdue(ended);
        }
        let (waited, since) = self.queued;
        self.queue_ns.store(nanoseconds(waited + since.elapsed()), Ordering::Relaxed);
        let ctx = Ctx::new(ledger.clone(), host, limiter);
        let mut store = match store::new(prepared.component.code.engine(), ctx, control.clone()) {
            Ok(store) => store,
            Err(error) => return self.failed(format!("making the store: {error:#}")),
        };
        let called = control.supervise(&mut turns, call(&mut store, prepared, &job.input)).await;
        // In a store that was ended in the middle the count of fuel may be a little old.
        let _ = store::record(&mut store.as_context_mut(), ledger);
        self.record();
        let scene = Scene { refusal: store.data().blamed_refusal(), ..self.scene() };
        let written = || output.as_ref().map(OutputSink::take).unwrap_or_default();
        let end = match called {
            Err(ended) => scene.ended(ended),
            Ok(Ok(Returned::Output(output))) => self.checked(output),
            Ok(Ok(Returned::Exited)) => End::Completed(written()),
            Ok(Ok(Returned::Error(failure))) => End::Failed(Box::new(scene.gave_up(*failure))),
            Ok(Err(error)) => match scene.classify(&error) {
                Verdict::Exited => End::Completed(written()),
                Verdict::Ended(end) => end,
            },
        };
        // Answers that are still being written end with the task, and are charged.
        drop(store);
        self.outcome(end)
    }

    /// An output that is not larger than it may be.
    fn checked(&self, output: Vec<u8>) -> End {
        let size = output.len() as u64;
        self.ledger.record(Budget::OutputBytes, size);
        match size > self.ledger.limits().get(Budget::OutputBytes) {
            true => End::Failed(Box::new(self.scene().output_too_large(Some(size)))),
            false => End::Completed(output),
        }
    }

    /// The answer for a guest that never began, or whose thread cannot be reached.
    fn overdue(&self, ended: Ended) -> Outcome {
        self.record();
        self.outcome(self.scene().ended(ended))
    }

    /// The runtime's own fault.
    fn failed(&self, message: String) -> Outcome {
        self.outcome(End::Failed(Box::new(Failure::new(FailureKind::HostError, message))))
    }

    /// How long it waited for a place and a turn; for one that never began, until now.
    fn queue(&self) -> Duration {
        match self.queue_ns.load(Ordering::Relaxed) {
            0 => self.queued.0 + self.queued.1.elapsed(),
            queue => Duration::from_nanos(queue),
        }
    }

    fn scene(&self) -> Scene<'_> {
        Scene { prepared: &self.prepared, ledger: &self.ledger, refusal: None }
    }

    /// Brings into the ledger what neither the store nor the host functions count.
    fn record(&self) {
        let Execution { prepared, ledger, .. } = self;
        ledger.record(Budget::WallMs, milliseconds(self.control.elapsed()));
        ledger.record(Budget::Instances, prepared.component.core_instances);
        ledger.record(Budget::Memories, prepared.memories);
        ledger.record(Budget::Tables, prepared.tables);
    }

    /// The end, and everything that was counted until now.
    fn outcome(&self, mut end: End) -> Outcome {
        self.record();
        let log = self.log.take();
        let ledger = &self.ledger;
        let mut stopped_by = None;
        if let End::Failed(failure) = &mut end {
            last_words::add(failure, &log);
            stopped_by = failure.limit.clone();
            if failure.kind == FailureKind::FuelExhausted {
                ledger.record(Budget::Fuel, ledger.limits().get(Budget::Fuel));
            }
        }
        let limits = ledger.limits();
        let line = |budget: Budget| {
            let used = budget.is_counted().then(|| ledger.peak(budget));
            (budget.name().into(), Used { asked: limits.asked(budget), used, limit: limits.get(budget) })
        };
        let receipt = Receipt {
            budgets: Budget::ALL.into_iter().map(line).collect(),
            stopped_by,
            wall_ms: ledger.used(Budget::WallMs),
            cpu_ms: milliseconds(self.control.cpu()),
            queue_ms: milliseconds(self.queue()),
            paused_ms: milliseconds(self.control.paused()),
            attempts: self.attempt,
            inference: self.models.all(),
            engine: ENGINE_VERSION.into(),
        };
        Outcome { end, receipt, log }
    }
}

/// What a deterministic guest sees as its task's id: the same for the same component and input.
fn deterministic_id(prepared: &Prepared, input: &[u8]) -> TaskId {
    let mut hasher = blake3::Hasher::new();
    hasher.update(prepared.component.digest.as_bytes()).update(input);
    let mut material = [0; 16];
    hasher.finalize_xof().fill(&mut material);
    TaskId::of(material)
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
