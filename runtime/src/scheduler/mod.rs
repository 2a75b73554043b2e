//! From a stored task to a running one, and back.
//!
//! A place is held from the start of an attempt to its stored end, so that there are never more instances
//! than the mode allows, and never more ends in memory than could be stored. Everything that a client was
//! told is in the store first; every change of a task that has not ended goes through its [`Live`].
//!
//! A submission, once begun, does not depend on the client that sent it: when that goes, it runs on.

mod admission;
mod attempt;
mod clock;
mod fair;
mod live;
mod places;
mod protect;
mod queue;
mod submission;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::Notify;

pub use admission::{Candidate, Room};
pub use live::{Ended, Live};
pub use protect::{Affected, Held};
pub use submission::{Accepted, Submission, Submitted};

use clock::Clock;
use places::Inner;

use crate::events::Bus;
use crate::executor::TaskExecutor;
use crate::metrics::Metrics;
use crate::task::{Digest, Next, Spec, State, Status, Task, TaskId};
use crate::task_store::{self, Query, Summary, TaskStore, WithOutput};

/// How long a client waits until its wish to cancel is stored: on a full disk that is not to be foreseen.
const NOTE_WAIT: Duration = Duration::from_secs(2);

/// How long an ended attempt may take to be put back, at a shutdown.
const LAST_GRACE: Duration = Duration::from_secs(5);

/// Looks for a task between its commit and its place here, and the time between two of them.
const LOOKS: u32 = 50;
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Time between two looks at what still runs, at a shutdown.
const CANCEL_AGAIN: Duration = Duration::from_millis(50);

/// How the scheduler is set up.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Tasks that run at one time.
    pub places: usize,
    /// Tasks that may wait.
    pub max_pending: usize,
    /// Bytes of memory that tasks which wait may take, about.
    pub max_pending_bytes: usize,
}

/// A submission that was not accepted. Nothing of it is stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// As much waits as may.
    #[error("{tasks} tasks with {} MiB wait already, which is as much as may: try again later", bytes >> 20)]
    QueueFull {
        /// Tasks that wait.
        tasks: usize,
        /// Bytes that they take, about.
        bytes: usize,
    },
    /// The machine has not the memory for it.
    #[error(
        "the machine is short of memory: a task that may take {} MiB does not fit into the {} MiB that are left to \
         tasks: try again later, or with less limits.memory_bytes", memory_bytes >> 20, left_bytes >> 20
    )]
    MachineMemory {
        /// What it may take.
        memory_bytes: u64,
        /// What is left.
        left_bytes: u64,
    },
    /// The component was deleted this moment.
    #[error("there is no component {0} any more")]
    ComponentGone(Digest),
    /// The server is ending.
    #[error("the server is shutting down: try again when it is back")]
    ShuttingDown,
    /// It could not be stored.
    #[error(transparent)]
    Store(#[from] task_store::Error),
}

/// What became of a wish to cancel.
pub enum Cancelled {
    /// It is under way; wait for the end.
    Asked(Arc<Live>),
    /// The task had ended before.
    HadEnded(Status),
    /// There is no such task.
    NotFound,
}

/// How busy it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Tasks that have a place.
    pub running: usize,
    /// Tasks that wait for one, or for their time.
    pub pending: usize,
    /// Places.
    pub places: usize,
    /// Tasks that may wait.
    pub max_pending: usize,
}

/// Schedules tasks; clones are the same scheduler.
#[derive(Clone)]
pub struct Scheduler(Arc<Shared>);

struct Shared {
    durable: Arc<dyn TaskStore>,
    ephemeral: Arc<dyn TaskStore>,
    executor: Arc<dyn TaskExecutor>,
    bus: Bus,
    metrics: Metrics,
    settings: Settings,
    clock: Clock,
    state: Mutex<Inner>,
    /// Something was queued, a place is free, more may begin, or the end has begun.
    wake: Notify,
    /// The last place is free.
    idle: Notify,
}

impl Scheduler {
    /// A scheduler that keeps tasks in `durable`, or for those that want it in `ephemeral`, and runs them
    /// with `executor`; what happens to them is told to `bus` and counted in `metrics`. Nothing runs before
    /// [`Scheduler::start`].
    pub fn new(
        durable: Arc<dyn TaskStore>,
        ephemeral: Arc<dyn TaskStore>,
        executor: Arc<dyn TaskExecutor>,
        bus: Bus,
        metrics: Metrics,
        settings: Settings,
    ) -> Scheduler {
        Scheduler(Arc::new(Shared {
            durable,
            ephemeral,
            executor,
            bus,
            metrics,
            state: Mutex::new(Inner::new(settings.places)),
            settings,
            clock: Clock::start(),
            wake: Notify::new(),
            idle: Notify::new(),
        }))
    }

    /// Takes up `unfinished` tasks of an earlier process, oldest first, and begins to run what waits. A full
    /// disk does not keep it from that: what cannot be stored yet is stored before anything follows from it.
    ///
    /// # Errors
    /// The store refused for another reason to note that a task was interrupted, is lost or cancelled.
    pub async fn start(&self, unfinished: Vec<Task>) -> Result<(), task_store::Error> {
        for mut task in unfinished {
            let was = task.state.clone();
            let next = task.state.recover(Timestamp::now(), &task.spec.retry);
            if next == Next::Ended {
                let log = Default::default();
                match self.0.durable.finish(&task.tenant, task.id, &task.state, None, log).await {
                    Err(task_store::Error::Full(_)) => self.end_later(task, was),
                    ended => {
                        ended?;
                        self.0.metrics.ended(&task.spec.component, &task.state);
                    }
                }
                continue;
            }
            if was.status != Status::Pending {
                match self.0.durable.update(&task.tenant, task.id, &task.state).await {
                    // Stored with the start of the next attempt, which waits for room.
                    Err(task_store::Error::Full(_)) => {}
                    updated => updated?,
                }
            }
            let since = match next {
                Next::Again(due) if due > Timestamp::now() => self.0.clock.at_ms(due),
                _ => self.0.clock.at_ms(task.created).min(self.0.clock.now_ms()),
            };
            let live = self.0.take_up(task, self.0.durable.clone(), None);
            let mut state = self.0.state.lock();
            state.live.insert(live.id, live.clone());
            state.push(live, since);
        }
        tokio::spawn(attempt::dispatch(self.0.clone()));
        Ok(())
    }

    /// Ends a task that an earlier process left as `was` once there is room to store that.
    fn end_later(&self, mut task: Task, was: State) {
        let ended = std::mem::replace(&mut task.state, was);
        let live = self.0.take_up(task, self.0.durable.clone(), None);
        self.0.state.lock().live.insert(live.id, live.clone());
        let shared = self.0.clone();
        tokio::spawn(async move { shared.end_as(&live, ended).await });
    }

    /// What was submitted before under this key: the task, and the fingerprint of its submission.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn recall(
        &self,
        tenant: &str,
        key: &str,
    ) -> Result<Option<(TaskId, [u8; 32])>, task_store::Error> {
        match self.0.durable.recall(tenant, key).await? {
            None => self.0.ephemeral.recall(tenant, key).await,
            found => Ok(found),
        }
    }

    /// One task that has not ended.
    pub fn live(&self, tenant: &str, id: TaskId) -> Option<Arc<Live>> {
        self.0.state.lock().live.get(&id).filter(|live| *live.tenant == *tenant).cloned()
    }

    /// One task of `tenant`, whether it has ended or not; with its output where that is at hand.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn task(&self, tenant: &str, id: TaskId) -> Result<Option<WithOutput>, task_store::Error> {
        if let Some(live) = self.live(tenant, id) {
            return Ok(Some((live.task(), None)));
        }
        match self.0.ephemeral.get(tenant, id).await? {
            Some(found) => Ok(Some(found)),
            None => self.0.durable.get(tenant, id).await,
        }
    }

    /// The store that `task` is kept in.
    pub fn store_of(&self, task: &Task) -> Arc<dyn TaskStore> {
        self.0.store(task.spec.durable)
    }

    /// Tasks, newest first.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn list(&self, query: &Query) -> Result<Vec<Task>, task_store::Error> {
        if query.status.is_some_and(|status| !status.is_final()) {
            return Ok(self.0.list_live(query));
        }
        let mut tasks = self.0.durable.list(query).await?;
        let ephemeral = self.0.ephemeral.list(query).await?;
        if !ephemeral.is_empty() {
            tasks.extend(ephemeral);
            tasks.sort_unstable_by_key(|task| std::cmp::Reverse(task.id));
            tasks.truncate(query.limit);
        }
        if query.status.is_some() {
            // An end is stored a moment before it is shown: a list of those that ended says what is stored.
            return Ok(tasks);
        }
        // What runs is further than what is stored of it.
        let state = self.0.state.lock();
        for task in &mut tasks {
            if let Some(live) = state.live.get(&task.id) {
                *task = live.task();
            }
        }
        Ok(tasks)
    }

    /// Figures over all tasks of `tenant`.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn summary(&self, tenant: &str) -> Result<Summary, task_store::Error> {
        let mut summary = self.0.durable.summary(tenant).await?;
        let ephemeral = self.0.ephemeral.summary(tenant).await?;
        for ((_, count), (_, more)) in summary.counts.iter_mut().zip(&ephemeral.counts) {
            *count += more;
        }
        summary.durations_ms.extend(ephemeral.durations_ms);
        Ok(summary)
    }

    /// Asks for the end of a task: one that waits never begins, one that runs sees `cancelled()` for `grace`.
    /// Returns once that is stored, so that a restart does not begin it again.
    ///
    /// # Errors
    /// The store cannot be read; or the task is being ended, and that could not be stored.
    pub async fn cancel(
        &self,
        tenant: &str,
        id: TaskId,
        grace: Duration,
    ) -> Result<Cancelled, task_store::Error> {
        let live = match self.live_or_ended(tenant, id).await? {
            Ok(live) => live,
            Err(ended) => return Ok(ended.map_or(Cancelled::NotFound, Cancelled::HadEnded)),
        };
        let now = Timestamp::now();
        let control = {
            let mut inner = live.inner.lock();
            inner.state.ask_to_cancel(now);
            inner.control.clone()
        };
        let waiting = self.0.state.lock().take_out(id);
        if let Some(control) = control {
            control.cancel(grace);
        }
        // To its end, whether the client waits or not. One that is being started this moment is noted after
        // that, and finds that it was asked to end.
        let (shared, asked) = (self.0.clone(), live.clone());
        let noted = tokio::spawn(async move {
            if waiting {
                shared.end_cancelled(&asked).await;
            }
            shared.note_cancel(&asked).await
        });
        match tokio::time::timeout(NOTE_WAIT, noted).await {
            Ok(Ok(noted)) => noted?,
            Ok(Err(_)) => return Err(task_store::Error::Closed),
            Err(_) => {
                let why = "the task is being ended, and that is not stored yet".to_owned();
                return Err(task_store::Error::Full(why));
            }
        }
        Ok(Cancelled::Asked(live))
    }

    /// A task that has not ended; else how it ended, if there is one.
    async fn live_or_ended(
        &self,
        tenant: &str,
        id: TaskId,
    ) -> Result<Result<Arc<Live>, Option<Status>>, task_store::Error> {
        for _ in 0..LOOKS {
            if let Some(live) = self.live(tenant, id) {
                return Ok(Ok(live));
            }
            match self.task(tenant, id).await?.map(|(task, _)| task.state.status) {
                // Stored, and not yet or no longer held: that lasts for a moment.
                Some(status) if !status.is_final() => tokio::time::sleep(LOOK_AGAIN).await,
                ended => return Ok(Err(ended)),
            }
        }
        Err(task_store::Error::Unwritten("the task is just being taken up: try again".to_owned()))
    }

    /// Whether a task that has not ended, or is being submitted, holds this component.
    pub fn uses(&self, tenant: &str, digest: &Digest) -> bool {
        let state = self.0.state.lock();
        state.arriving.contains_key(digest)
            || state.live.values().any(|live| *live.tenant == *tenant && live.spec.digest == *digest)
    }

    /// How busy it is.
    pub fn load(&self) -> Load {
        let max_pending = self.0.settings.max_pending;
        let state = self.0.state.lock();
        let (live, pending, places) = (state.live.len(), state.queue.waiting(), state.admission.places());
        Load { running: live.saturating_sub(pending), pending, places, max_pending }
    }

    /// Accepts and starts nothing more, and waits until what runs has ended, `grace` at most. Durable tasks
    /// that still run then are left for the next process; that costs them no attempt.
    pub async fn shut_down(&self, grace: Duration) {
        self.0.state.lock().shutting_down = true;
        self.0.wake.notify_one();
        if self.idle(grace).await {
            return;
        }
        let ending = async {
            loop {
                let running: Vec<_> = self.0.state.lock().live.values().cloned().collect();
                for live in running {
                    if let Some(control) = &live.inner.lock().control {
                        control.cancel(Duration::ZERO);
                    }
                }
                // Again: one that began a moment ago is known a moment later.
                if self.idle(CANCEL_AGAIN).await {
                    break;
                }
            }
        };
        let _ = tokio::time::timeout(LAST_GRACE, ending).await;
    }
}

impl Shared {
    /// What a task needs that is to begin.
    fn candidate<'a>(&self, Task { tenant, spec, .. }: &'a Task) -> Candidate<'a> {
        let Spec { priority, durable, .. } = **spec;
        Candidate { tenant, priority, durable, memory_bytes: self.executor.memory_limit(spec) }
    }

    /// A task as it is held until it ends.
    fn take_up(&self, task: Task, store: Arc<dyn TaskStore>, input: Option<Arc<[u8]>>) -> Arc<Live> {
        let memory_bytes = self.executor.memory_limit(&task.spec);
        Arc::new(Live::new(task, memory_bytes, store, input))
    }

    fn store(&self, durable: bool) -> Arc<dyn TaskStore> {
        match durable {
            true => self.durable.clone(),
            false => self.ephemeral.clone(),
        }
    }

    fn list_live(&self, query: &Query) -> Vec<Task> {
        let state = self.state.lock();
        let newest_first = match query.before {
            Some(before) => state.live.range(..before).rev(),
            None => state.live.range(..).rev(),
        };
        // Looked at where they are: of many thousands few are wanted, and everybody waits for this lock.
        let wanted = newest_first.map(|(_, live)| live).filter(|live| live.is_wanted(query));
        wanted.take(query.limit).map(|live| live.task()).collect()
    }
}
