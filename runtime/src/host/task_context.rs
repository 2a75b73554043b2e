//! `omnimind:runtime/task-context`: the running task itself.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use wasmtime::component::{HasData, Linker};

use super::{HostView, Stop, VirtualClock};
use crate::bindings::omnimind::runtime::task_context::{self, Info};
use crate::bindings::omnimind::runtime::types::{self, Error};
use crate::limits::{Budget, Exhausted, Ledger};
use crate::task::{Journal, TaskId, escape_guest_text};

/// Longest name of a checkpoint, in bytes.
const MAX_NAME: usize = 128;

/// Progress reports passed on in a second; the others are dropped, even the last one.
const PROGRESS_PER_SECOND: u32 = 20;

/// Checkpoints kept in a second; a guest that saves faster waits.
const CHECKPOINTS_PER_SECOND: u32 = 50;

/// One task, as its guest sees it.
pub struct TaskContext {
    /// The task's id.
    pub task_id: TaskId,
    /// This execution, from 1.
    pub attempt: u32,
    /// JSON text.
    pub metadata: Cow<'static, str>,
    /// How much of `wall_ms` has passed.
    pub elapsed: Box<dyn Fn() -> Duration + Send + Sync>,
    /// Set once a client asked for the end.
    pub cancelled: Arc<AtomicBool>,
    /// Where progress and checkpoints go.
    pub journal: Arc<dyn Journal>,
    progress: Bucket,
    checkpoints: Bucket,
}

impl TaskContext {
    /// The context of one execution.
    pub fn new(
        task_id: TaskId,
        attempt: u32,
        metadata: Cow<'static, str>,
        cancelled: Arc<AtomicBool>,
        elapsed: Box<dyn Fn() -> Duration + Send + Sync>,
        journal: Arc<dyn Journal>,
    ) -> TaskContext {
        TaskContext {
            task_id,
            attempt,
            metadata,
            elapsed,
            cancelled,
            journal,
            progress: Bucket::new(PROGRESS_PER_SECOND),
            checkpoints: Bucket::new(CHECKPOINTS_PER_SECOND),
        }
    }
}

/// Lets a burst of one second's worth through, then one at a time.
struct Bucket {
    interval: Duration,
    burst: Duration,
    /// When the bucket is full again; in the past when nothing was taken for a while.
    full_at: Option<Instant>,
}

impl Bucket {
    fn new(per_second: u32) -> Bucket {
        Bucket { interval: Duration::from_secs(1) / per_second, burst: Duration::from_secs(1), full_at: None }
    }

    /// How long the next one has to wait.
    fn wait(&self, now: Instant) -> Duration {
        self.full_at
            .map(|full_at| (full_at + self.interval).saturating_duration_since(now + self.burst))
            .unwrap_or_default()
    }

    fn take(&mut self, now: Instant) {
        self.full_at = Some(self.full_at.map_or(now, |full_at| full_at.max(now)) + self.interval);
    }
}

struct TaskContextView<'a> {
    task: &'a mut TaskContext,
    ledger: &'a Ledger,
    clock: Option<&'a VirtualClock>,
}

struct TaskContexts;

impl HasData for TaskContexts {
    type Data<'a> = TaskContextView<'a>;
}

impl From<Exhausted> for Error {
    fn from(exhausted: Exhausted) -> Error {
        Error::BudgetExhausted(types::BudgetExhausted {
            budget: exhausted.budget.name().to_owned(),
            requested: exhausted.requested,
            remaining: exhausted.remaining,
        })
    }
}

impl TaskContextView<'_> {
    /// Pays for bytes that came in or go out, before anything is done with them.
    fn carry(&self, bytes: usize) -> Result<(), Stop> {
        super::carry(self.ledger, bytes as u64)
    }

    async fn save(&mut self, name: &str, data: Vec<u8>) -> Result<(), Error> {
        checked_name(name)?;
        let before = self.task.journal.checkpoint_size(name);
        // A name is kept too: empty checkpoints under a million names are not free.
        let new_name = if before.is_none() { name.len() as u64 } else { 0 };
        let (before, after) = (before.unwrap_or(0), data.len() as u64);
        let growth = after.saturating_sub(before) + new_name;
        let reservation = self.ledger.reserve(Budget::CheckpointBytes, growth)?;
        let wait = self.task.checkpoints.wait(Instant::now());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        self.task.checkpoints.take(Instant::now());
        let saved = self.task.journal.save_checkpoint(name, data).await;
        saved.map_err(|error| Error::Internal(error.to_string()))?;
        reservation.settle_all();
        self.ledger.release(Budget::CheckpointBytes, before.saturating_sub(after));
        Ok(())
    }

    async fn load(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        checked_name(name)?;
        let loaded = self.task.journal.load_checkpoint(name).await;
        loaded.map_err(|error| Error::Internal(error.to_string()))
    }
}

fn checked_name(name: &str) -> Result<(), Error> {
    if name.is_empty() || name.len() > MAX_NAME || name.contains(char::is_control) {
        return Err(Error::InvalidInput(format!(
            "a checkpoint's name has 1 to {MAX_NAME} bytes and no control characters, this one has {} bytes",
            name.len()
        )));
    }
    Ok(())
}

impl task_context::Host for TaskContextView<'_> {
    fn describe(&mut self) -> wasmtime::Result<Info> {
        self.carry(self.task.metadata.len())?;
        Ok(Info {
            task_id: self.task.task_id.to_string(),
            attempt: self.task.attempt,
            plan_id: None,
            step: None,
            metadata: self.task.metadata.to_string(),
        })
    }

    fn report_progress(&mut self, percent: f32, message: String) -> wasmtime::Result<()> {
        self.carry(message.len())?;
        let now = Instant::now();
        if self.task.progress.wait(now).is_zero() {
            self.task.progress.take(now);
            let percent = if percent.is_nan() { 0.0 } else { percent.clamp(0.0, 100.0) };
            self.task.journal.progress(percent, &escape_guest_text(&message));
        }
        Ok(())
    }

    async fn save_checkpoint(&mut self, name: String, data: Vec<u8>) -> wasmtime::Result<Result<(), Error>> {
        self.carry(name.len().saturating_add(data.len()))?;
        let saved = self.save(&name, data).await;
        Ok(super::told(self.ledger, saved))
    }

    async fn load_checkpoint(&mut self, name: String) -> wasmtime::Result<Result<Option<Vec<u8>>, Error>> {
        let size = self.task.journal.checkpoint_size(&name).unwrap_or(0);
        self.carry(name.len().saturating_add(usize::try_from(size)?))?;
        if let Err(error) = super::has_room(self.ledger, size) {
            return Ok(super::told(self.ledger, Err(error)));
        }
        let loaded = self.load(&name).await;
        Ok(super::told(self.ledger, loaded))
    }

    fn remaining(&mut self, budget: String) -> wasmtime::Result<Option<u64>> {
        self.carry(budget.len())?;
        let Some(budget) = Budget::from_name(&budget).filter(|budget| budget.is_counted()) else {
            return Ok(None);
        };
        if budget == Budget::WallMs {
            // In deterministic mode only sleeping takes time.
            let elapsed = self.clock.map_or_else(&self.task.elapsed, VirtualClock::elapsed);
            let elapsed = u64::try_from(elapsed.as_millis())?;
            return Ok(Some(self.ledger.limits().get(budget).saturating_sub(elapsed)));
        }
        Ok(Some(self.ledger.remaining(budget)))
    }

    fn cancelled(&mut self) -> wasmtime::Result<bool> {
        Ok(self.task.cancelled.load(Ordering::Relaxed))
    }
}

pub(super) fn add_to_linker<T: HostView>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    task_context::add_to_linker::<T, TaskContexts>(linker, |t| {
        let host = t.host().call();
        TaskContextView { task: &mut host.task, ledger: &host.ledger, clock: host.clock.as_deref() }
    })
}
