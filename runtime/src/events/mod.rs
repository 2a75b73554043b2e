//! What happens, told to whoever listens: the bus behind the event streams.
//!
//! Telling never waits. A listener that is slower than events come loses the oldest and is told how many.

mod changes;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::broadcast;

pub use changes::{Change, Changes};

use crate::task::{FailureKind, Status, Task, TaskId, timestamp};

/// Events that a listener may be behind before it loses some.
const RING: usize = 4096;

/// Something that happened.
#[derive(Debug)]
pub struct Event {
    /// Counts up by one for each event of this process.
    pub seq: u64,
    /// RFC 3339, UTC, milliseconds.
    pub timestamp: String,
    /// Whose it is: others never see it. What is nobody's is for whoever may see the machine.
    pub tenant: Option<String>,
    /// What.
    pub update: Update,
    /// JSON, made when it is first asked for: an event has many listeners.
    data: OnceLock<String>,
}

impl Event {
    /// How it is called.
    pub fn name(&self) -> &'static str {
        match &self.update {
            Update::Task(_) => "task_update",
            Update::Protection(_) => "protection_event",
            Update::Metrics(_) => "metrics_update",
            Update::Security(_) => "security_event",
        }
    }

    /// What happened, as JSON.
    pub fn data(&self) -> &str {
        self.data.get_or_init(|| match &self.update {
            Update::Task(update) => serde_json::to_string(update).unwrap_or_else(|_| "null".to_owned()),
            Update::Protection(value) | Update::Metrics(value) | Update::Security(value) => value.to_string(),
        })
    }
}

/// What happened.
#[derive(Debug)]
pub enum Update {
    /// To a task.
    Task(TaskUpdate),
    /// To the machine, and what was decided then: a row of `GET /api/v1/protection/decisions`.
    Protection(Value),
    /// To the machine's figures: what `GET /api/v1/performance/summary` answers.
    Metrics(Value),
    /// To credentials and rights: `{event, …}`.
    Security(Value),
}

/// A task changed: the `data` of a `task_update`.
#[derive(Clone, Debug, Serialize)]
pub struct TaskUpdate {
    /// Which.
    pub task_id: TaskId,
    /// Its component, as it was named.
    pub component: String,
    /// Where it is now.
    pub status: Status,
    /// 0 to 100.
    pub progress: f32,
    /// What the guest said with its progress.
    pub message: String,
    /// Executions begun.
    pub attempts: u32,
    /// Why it failed, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_kind: Option<FailureKind>,
}

impl TaskUpdate {
    /// Where `task` is now.
    pub fn of(task: &Task) -> TaskUpdate {
        let Task { id, spec, state, .. } = task;
        TaskUpdate {
            task_id: *id,
            component: spec.component.clone(),
            status: state.status,
            progress: state.progress,
            message: state.message.clone(),
            attempts: state.attempts,
            failure_kind: state.failure.as_ref().map(|failure| failure.kind),
        }
    }
}

/// Where events are told and heard; clones are the same bus.
#[derive(Clone, Debug)]
pub struct Bus {
    sender: broadcast::Sender<Arc<Event>>,
    seq: Arc<AtomicU64>,
    /// Held from the counting of an event to its sending, so that listeners hear them in their order.
    order: Arc<Mutex<()>>,
    changes: Changes,
}

impl Default for Bus {
    fn default() -> Bus {
        Bus {
            sender: broadcast::Sender::new(RING),
            seq: Arc::default(),
            order: Arc::default(),
            changes: Changes::default(),
        }
    }
}

impl Bus {
    /// Tells that a task changed. `task` is called only when somebody listens.
    pub fn task_changed(&self, task: impl FnOnce() -> Task) {
        self.tell(|| {
            let task = task();
            let update = TaskUpdate::of(&task);
            (Some(task.tenant), Update::Task(update))
        });
    }

    /// Changes of tasks. Whoever makes one, tells that it begins before anybody can see it.
    pub fn changes(&self) -> &Changes {
        &self.changes
    }

    /// Tells what was decided to protect the machine.
    pub fn protection(&self, row: impl FnOnce() -> Value) {
        self.tell(|| (None, Update::Protection(row())));
    }

    /// Tells the machine's figures.
    pub fn metrics(&self, figures: impl FnOnce() -> Value) {
        self.tell(|| (None, Update::Metrics(figures())));
    }

    /// Tells what happened to credentials and rights; `what` names no secret.
    pub fn security(&self, what: impl FnOnce() -> Value) {
        self.tell(|| (None, Update::Security(what())));
    }

    fn tell(&self, what: impl FnOnce() -> (Option<String>, Update)) {
        if self.sender.receiver_count() == 0 {
            self.seq.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let (tenant, update) = what();
        let timestamp = timestamp(jiff::Timestamp::now());
        let _order = self.order.lock();
        let seq = self.seq.fetch_add(1, Ordering::Relaxed) + 1;
        // Nobody may listen any more by now.
        let _ = self.sender.send(Arc::new(Event { seq, timestamp, tenant, update, data: OnceLock::new() }));
    }

    /// The number of the last event.
    pub fn seq(&self) -> u64 {
        self.seq.load(Ordering::Relaxed)
    }

    /// Listens from now on.
    pub fn listen(&self) -> broadcast::Receiver<Arc<Event>> {
        self.sender.subscribe()
    }
}
