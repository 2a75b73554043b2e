//! `omnimind:runtime/task-context`: the running task itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use wasmtime::component::{HasData, Linker};

use super::HostView;
use crate::bindings::omnimind::runtime::task_context::{self, Info};
use crate::bindings::omnimind::runtime::types::{self, Error};
use crate::limits::{Budget, Exhausted, Ledger};
use crate::task::{Journal, escape_guest_text};

/// Longest name of a checkpoint, in bytes.
const MAX_NAME: usize = 128;

/// Progress reports passed on in a second; the others are dropped, the next one says more.
const PROGRESS_PER_SECOND: u32 = 20;

/// Checkpoints kept in a second; a guest that saves faster waits.
const CHECKPOINTS_PER_SECOND: u32 = 50;

/// One task, as its guest sees it.
pub struct TaskContext {
    /// The task's id.
    pub task_id: String,
    /// This execution, from 1.
    pub attempt: u32,
    /// JSON text.
    pub metadata: String,
    /// When `wall_ms` began to run.
    pub started: Instant,
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
        task_id: String,
        attempt: u32,
        metadata: String,
        cancelled: Arc<AtomicBool>,
        journal: Arc<dyn Journal>,
    ) -> TaskContext {
        TaskContext {
            task_id,
            attempt,
            metadata,
            started: Instant::now(),
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
    /// Pays for bytes that came in or go out.
    fn carry(&self, bytes: usize) -> Result<(), Error> {
        Ok(self.ledger.spend(Budget::HostCallBytes, bytes as u64)?)
    }
}

fn checked_name(name: &str) -> Result<(), Error> {
    if name.is_empty() || name.len() > MAX_NAME {
        return Err(Error::InvalidInput(format!(
            "a checkpoint's name has 1 to {MAX_NAME} bytes, this one {}",
            name.len()
        )));
    }
    Ok(())
}

impl task_context::Host for TaskContextView<'_> {
    fn describe(&mut self) -> Info {
        // Not worth a refusal, and the guest has no way to be told of one.
        let _ = self.carry(self.task.metadata.len());
        Info {
            task_id: self.task.task_id.clone(),
            attempt: self.task.attempt,
            plan_id: None,
            step: None,
            metadata: self.task.metadata.clone(),
        }
    }

    fn report_progress(&mut self, percent: f32, message: String) {
        let _ = self.carry(message.len());
        let now = Instant::now();
        if !self.task.progress.wait(now).is_zero() {
            return;
        }
        self.task.progress.take(now);
        let percent = if percent.is_nan() { 0.0 } else { percent.clamp(0.0, 100.0) };
        self.task.journal.progress(percent, &escape_guest_text(&message));
    }

    async fn save_checkpoint(&mut self, name: String, data: Vec<u8>) -> Result<(), Error> {
        checked_name(&name)?;
        self.carry(name.len() + data.len())?;
        let before = self.task.journal.checkpoint_size(&name);
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
        self.task.journal.save_checkpoint(&name, data).map_err(|error| Error::Internal(error.to_string()))?;
        reservation.settle_all();
        self.ledger.release(Budget::CheckpointBytes, before.saturating_sub(after));
        Ok(())
    }

    fn load_checkpoint(&mut self, name: String) -> Result<Option<Vec<u8>>, Error> {
        checked_name(&name)?;
        self.carry(self.task.journal.checkpoint_size(&name).unwrap_or(0) as usize)?;
        self.task.journal.load_checkpoint(&name).map_err(|error| Error::Internal(error.to_string()))
    }

    fn remaining(&mut self, budget: String) -> Option<u64> {
        let budget = Budget::from_name(&budget)?;
        if budget == Budget::WallMs {
            let elapsed = u64::try_from(self.task.started.elapsed().as_millis()).unwrap_or(u64::MAX);
            return Some(self.ledger.limits().get(budget).saturating_sub(elapsed));
        }
        Some(self.ledger.remaining(budget))
    }

    fn cancelled(&mut self) -> bool {
        self.task.cancelled.load(Ordering::Relaxed)
    }
}

pub(super) fn add_to_linker<T: HostView>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    task_context::add_to_linker::<T, TaskContexts>(linker, |t| {
        let host = t.host().call();
        TaskContextView { task: &mut host.task, ledger: &host.ledger }
    })
}
