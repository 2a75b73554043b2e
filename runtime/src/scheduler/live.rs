//! A task that has not ended, as the scheduler holds it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;

use super::admission::Candidate;
use crate::events::Bus;
use crate::executor::Control;
use crate::task::{CheckpointError, Journal, Spec, State, Task, TaskId};
use crate::task_store::{Query, TaskStore};

/// Inputs up to this size stay in memory while their task waits; larger ones are read again.
pub(super) const SMALL_INPUT: usize = 4 << 10;

/// What a task takes besides its words and its input, in bytes.
const OVERHEAD: usize = 2 << 10;

/// A task that has not ended.
pub struct Live {
    /// Which.
    pub id: TaskId,
    /// Whose.
    pub tenant: Arc<str>,
    /// What it is.
    pub spec: Arc<Spec>,
    /// Bytes of memory that it may take.
    pub memory_bytes: u64,
    pub(super) created: jiff::Timestamp,
    pub(super) store: Arc<dyn TaskStore>,
    /// Held over every change that is also stored, so that changes are stored in their order.
    pub(super) changing: tokio::sync::Mutex<()>,
    pub(super) inner: Mutex<Inner>,
    /// Bytes logged so far by the running attempt.
    logged: watch::Sender<usize>,
    ended: watch::Sender<Option<Arc<Ended>>>,
}

pub(super) struct Inner {
    /// As it is stored, but for progress and pauses.
    pub state: State,
    /// Of the attempt that runs.
    pub control: Option<Control>,
    /// Since when it waits for its next attempt, or will.
    pub waits_since: Instant,
    /// Kept while it waits, where it is small or nowhere else.
    pub input: Option<Arc<[u8]>>,
    log: Vec<u8>,
    /// The attempt that it is the log of.
    log_attempt: u32,
    /// Names and sizes of the checkpoints.
    checkpoints: HashMap<String, u64>,
}

/// A task that has just ended.
#[derive(Debug)]
pub struct Ended {
    /// The task, in its final state.
    pub task: Task,
    /// Its output, if it completed.
    pub output: Option<Arc<[u8]>>,
}

impl Live {
    pub(super) fn new(
        task: Task,
        memory_bytes: u64,
        store: Arc<dyn TaskStore>,
        input: Option<Arc<[u8]>>,
    ) -> Live {
        let Task { id, tenant, created, spec, state } = task;
        let waits_since = instant(state.due.unwrap_or(created));
        let inner = Inner {
            state,
            control: None,
            waits_since,
            input,
            log: Vec::new(),
            log_attempt: 0,
            checkpoints: HashMap::new(),
        };
        Live {
            id,
            tenant: tenant.into(),
            spec,
            memory_bytes,
            created,
            store,
            changing: tokio::sync::Mutex::default(),
            inner: Mutex::new(inner),
            logged: watch::Sender::new(0),
            ended: watch::Sender::new(None),
        }
    }

    /// What decides whether it may begin.
    pub(super) fn candidate(&self) -> Candidate<'_> {
        let Spec { priority, durable, .. } = *self.spec;
        Candidate { tenant: &self.tenant, priority, durable, memory_bytes: self.memory_bytes }
    }

    /// Bytes of memory that it takes while it waits, about.
    pub(super) fn weight(&self) -> usize {
        let input = self.inner.lock().input.as_ref().map_or(0, |input| input.len());
        OVERHEAD + self.spec.words() + input
    }

    /// The task as it is now.
    pub fn task(&self) -> Task {
        self.task_in(self.inner.lock().state.clone())
    }

    /// Whether it is one of those that `query` asks for, its age aside.
    pub(super) fn is_wanted(&self, query: &Query) -> bool {
        query.admits(&self.tenant, &self.spec, self.inner.lock().state.status)
    }

    pub(super) fn task_in(&self, state: State) -> Task {
        Task {
            id: self.id,
            tenant: self.tenant.as_ref().to_owned(),
            created: self.created,
            spec: self.spec.clone(),
            state,
        }
    }

    /// Waits for its end.
    pub async fn ended(&self) -> Arc<Ended> {
        let mut ended = self.ended.subscribe();
        loop {
            if let Some(ended) = ended.borrow_and_update().clone() {
                return ended;
            }
            // The sender lives in `self`.
            let _ = ended.changed().await;
        }
    }

    pub(super) fn end(&self, ended: Ended) {
        self.ended.send_replace(Some(Arc::new(ended)));
        self.logged.send_modify(|_| {});
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.ended.borrow().is_some()
    }

    /// Which attempt logged last, and what from `offset` on: the head of its log.
    pub fn log_from(&self, offset: usize) -> (u32, Vec<u8>) {
        let inner = self.inner.lock();
        (inner.log_attempt, inner.log.get(offset..).unwrap_or_default().to_vec())
    }

    /// Tells whenever more was logged, and when the task has ended.
    pub fn watch_log(&self) -> watch::Receiver<usize> {
        self.logged.subscribe()
    }

    /// An attempt failed and another will follow: until then nothing large is kept that is also stored.
    pub(super) fn wait_again(&self) {
        let mut inner = self.inner.lock();
        inner.waits_since = inner.state.due.map_or_else(Instant::now, instant);
        inner.log = Vec::new();
        if self.spec.durable && inner.input.as_ref().is_some_and(|input| input.len() > SMALL_INPUT) {
            inner.input = None;
        }
    }

    /// An attempt begins: its log is empty, its checkpoints are those that are stored.
    pub(super) fn begin(&self, control: Control, checkpoints: Vec<(String, u64)>) {
        let mut inner = self.inner.lock();
        inner.control = Some(control);
        inner.log.clear();
        inner.log_attempt = inner.state.attempts;
        inner.checkpoints = checkpoints.into_iter().collect();
    }
}

/// What the machine's clock calls `at`, as it stands this moment.
fn instant(at: jiff::Timestamp) -> Instant {
    let now = Instant::now();
    let from_now = at.duration_since(jiff::Timestamp::now());
    let there = match from_now.is_negative() {
        true => now.checked_sub(from_now.unsigned_abs()),
        false => now.checked_add(from_now.unsigned_abs()),
    };
    there.unwrap_or(now)
}

/// The journal of one attempt.
///
/// A guest that is caught in an operation that nothing can interrupt may come back after its attempt was
/// settled: what it says then is nobody's.
pub(super) struct LiveJournal {
    pub live: Arc<Live>,
    pub bus: Bus,
    /// The attempt it is the journal of.
    pub attempt: u32,
}

impl LiveJournal {
    /// The task, unless the attempt is over.
    fn open(&self) -> Option<MutexGuard<'_, Inner>> {
        let inner = self.live.inner.lock();
        (inner.control.is_some() && inner.log_attempt == self.attempt).then_some(inner)
    }
}

#[async_trait]
impl Journal for LiveJournal {
    fn progress(&self, percent: f32, message: &str) {
        let _change = self.bus.changes().begin();
        {
            let Some(mut inner) = self.open() else { return };
            inner.state.progress = percent;
            message.clone_into(&mut inner.state.message);
        }
        self.bus.task_changed(|| self.live.task());
    }

    fn log(&self, bytes: &[u8]) {
        let length = {
            let Some(mut inner) = self.open() else { return };
            inner.log.extend_from_slice(bytes);
            inner.log.len()
        };
        self.live.logged.send_replace(length);
    }

    async fn save_checkpoint(&self, name: &str, data: Vec<u8>) -> Result<(), CheckpointError> {
        if self.open().is_none() {
            let reason = "the attempt is over".to_owned();
            return Err(CheckpointError { name: name.to_owned(), reason });
        }
        let size = data.len() as u64;
        // For a checkpoint in memory tasks that have ended may have to go.
        let _change = self.bus.changes().begin();
        let Live { id, tenant, store, .. } = &*self.live;
        store.save_checkpoint(tenant, *id, name, data).await.map_err(|error| failed(name, error))?;
        self.live.inner.lock().checkpoints.insert(name.to_owned(), size);
        Ok(())
    }

    async fn load_checkpoint(&self, name: &str) -> Result<Option<Vec<u8>>, CheckpointError> {
        let Live { id, tenant, store, .. } = &*self.live;
        store.load_checkpoint(tenant, *id, name).await.map_err(|error| failed(name, error))
    }

    fn checkpoint_size(&self, name: &str) -> Option<u64> {
        self.live.inner.lock().checkpoints.get(name).copied()
    }

    fn checkpoint_bytes(&self) -> u64 {
        let inner = self.live.inner.lock();
        inner.checkpoints.iter().map(|(name, size)| (name.len() as u64).saturating_add(*size)).sum()
    }
}

fn failed(name: &str, error: crate::task_store::Error) -> CheckpointError {
    CheckpointError { name: name.to_owned(), reason: error.to_string() }
}
