//! Where tasks are kept.
//!
//! Two stores, one trait: [`SqliteStore`] survives the process and the machine, [`MemoryStore`] holds the
//! tasks that were submitted with `"durable": false`. Whatever a method has returned `Ok` for is kept: by
//! the durable store on the disk, fsynced.

mod blobs;
mod data_dir;
mod memory;
mod sqlite;

use std::sync::Arc;

use async_trait::async_trait;

use crate::task::{Digest, Log, Priority, Spec, State, Status, Task, TaskId};

pub use data_dir::{DataDir, DataDirError};
pub use memory::MemoryStore;
pub use sqlite::{Freed, OpenError, Retention, Spared, SqliteStore, maintenance};

/// A store refused or failed. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no room. It works again when there is.
    #[error("there is no room to store it: {0}")]
    Full(String),
    /// A write failed in a way after which nobody knows what is on the disk.
    #[error("the task store stopped writing, because {0}: restart the server once the disk is sound")]
    Poisoned(String),
    /// A write failed before anything was in doubt: for lack of descriptors, say.
    #[error("it could not be stored: {0}")]
    Unwritten(String),
    /// Reading failed.
    #[error("the task store cannot be read: {0}")]
    Unreadable(String),
    /// The server is ending.
    #[error("the task store is closed")]
    Closed,
}

impl Error {
    /// There is room, and it is kept for what was accepted.
    pub(crate) fn nearly_full() -> Error {
        let limit = "the file system of the data directory is above protection.limits.disk_percent";
        Error::Full(format!("{limit}; free space, or wait until old outputs are pruned"))
    }
}

/// What a repeated submission is recognised by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// The client's `Idempotency-Key`.
    pub key: String,
    /// A hash of what was submitted with it.
    pub fingerprint: [u8; 32],
}

/// What became of a task that was to be inserted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// It is kept.
    New,
    /// The same was submitted before, as this task.
    Before(TaskId),
    /// Something else was submitted under this key.
    Conflict,
}

/// Which tasks to list: newest first, those of one tenant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Query {
    /// Whose.
    pub tenant: String,
    /// Only those older than this one.
    pub before: Option<TaskId>,
    /// Only these.
    pub status: Option<Status>,
    /// Only these.
    pub priority: Option<Priority>,
    /// Only those submitted with this name or digest.
    pub component: Option<String>,
    /// No more than this.
    pub limit: usize,
}

impl Query {
    /// Whether a task of this `tenant` is one of those asked for, its age aside.
    pub fn admits(&self, tenant: &str, spec: &Spec, status: Status) -> bool {
        tenant == self.tenant
            && self.status.is_none_or(|wanted| wanted == status)
            && self.priority.is_none_or(|priority| priority == spec.priority)
            && self
                .component
                .as_ref()
                .is_none_or(|component| *component == spec.component || component.parse() == Ok(spec.digest))
    }
}

/// Figures over many tasks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// How many there are of each status.
    pub counts: Vec<(Status, u64)>,
    /// Milliseconds from start to end of the tasks that ended last, a thousand at most.
    pub durations_ms: Vec<u64>,
}

/// A task, and its output if that was at hand.
pub type WithOutput = (Task, Option<Arc<[u8]>>);

/// Keeps tasks.
#[async_trait]
pub trait TaskStore: Send + Sync {
    /// Keeps a new task and its input.
    async fn insert(
        &self,
        task: &Task,
        input: Arc<[u8]>,
        idempotency: Option<Idempotency>,
    ) -> Result<Inserted, Error>;

    /// Keeps a new task that has ended already, of which nobody was told; in one write, where that matters.
    async fn insert_ended(
        &self,
        task: &Task,
        input: Arc<[u8]>,
        output: Option<Arc<[u8]>>,
        log: Log,
    ) -> Result<(), Error> {
        self.insert(task, input, None).await?;
        self.finish(&task.tenant, task.id, &task.state, output, log).await
    }

    /// What was submitted under a key before: the task, and the fingerprint of its submission.
    async fn recall(&self, tenant: &str, key: &str) -> Result<Option<(TaskId, [u8; 32])>, Error>;

    /// Keeps how far a task has come.
    async fn update(&self, tenant: &str, id: TaskId, state: &State) -> Result<(), Error>;

    /// Keeps a task's end; its checkpoints go.
    async fn finish(
        &self,
        tenant: &str,
        id: TaskId,
        state: &State,
        output: Option<Arc<[u8]>>,
        log: Log,
    ) -> Result<(), Error>;

    /// One task of `tenant`, with its output where that costs little: it is small, or in memory.
    async fn get(&self, tenant: &str, id: TaskId) -> Result<Option<WithOutput>, Error>;

    /// Some tasks, newest first.
    async fn list(&self, query: &Query) -> Result<Vec<Task>, Error>;

    /// Figures over all tasks of `tenant`.
    async fn summary(&self, tenant: &str) -> Result<Summary, Error>;

    /// A task's input.
    async fn input(&self, tenant: &str, id: TaskId) -> Result<Option<Arc<[u8]>>, Error>;

    /// A task's output, once it completed.
    async fn output(&self, tenant: &str, id: TaskId) -> Result<Option<Arc<[u8]>>, Error>;

    /// A task's log, once it ended.
    async fn log(&self, tenant: &str, id: TaskId) -> Result<Option<Log>, Error>;

    /// Keeps a checkpoint; the last write wins.
    async fn save_checkpoint(&self, tenant: &str, id: TaskId, name: &str, data: Vec<u8>)
    -> Result<(), Error>;

    /// A checkpoint.
    async fn load_checkpoint(&self, tenant: &str, id: TaskId, name: &str) -> Result<Option<Vec<u8>>, Error>;

    /// The names of a task's checkpoints, and their sizes.
    async fn checkpoints(&self, tenant: &str, id: TaskId) -> Result<Vec<(String, u64)>, Error>;
}

/// What is kept of a component besides its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredComponent {
    /// Whose.
    pub tenant: String,
    /// Its bytes.
    pub digest: Digest,
    /// When it was first uploaded, in milliseconds of Unix time.
    pub created_ms: i64,
    /// The names that lead to it.
    pub names: Vec<String>,
    /// What was found in it: JSON text.
    pub about: String,
}
