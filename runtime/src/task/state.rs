//! How far a task has come: the part of it that changes, and the rules by which it does.
//!
//! Pure: time is a parameter, and storing or telling a change is somebody else's work.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::named;
use super::{End, Failure, FailureKind, Receipt, Retry};

/// Executions that a crash may interrupt before the task is given up.
pub const MAX_INTERRUPTIONS: u32 = 3;

/// Longest wait before a task for which the machine had no memory is tried again.
const LONGEST_FOR_MEMORY_MS: u64 = 60_000;

/// Events kept in a history; of a task with more, the middle ones are left out.
const MAX_EVENTS: usize = 100;

named! {
    /// Where a task is in its life.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
    pub enum Status {
        /// It waits for a place, or for its next attempt.
        Pending = "pending",
        /// It runs.
        Running = "running",
        /// It has a place and does not run.
        Paused = "paused",
        /// It returned an output.
        Completed = "completed",
        /// It did not; `failure` tells why.
        Failed = "failed",
        /// A client asked for its end.
        Cancelled = "cancelled",
    }
}

impl Status {
    /// Whether nothing will change any more.
    pub fn is_final(self) -> bool {
        matches!(self, Status::Completed | Status::Failed | Status::Cancelled)
    }
}

/// What happened to a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// It was accepted.
    Submitted,
    /// An execution began.
    Started,
    /// The running execution was paused.
    Paused,
    /// It went on.
    Resumed,
    /// An execution failed and another one will follow.
    RetryScheduled,
    /// The runtime ended in the middle of an execution.
    Interrupted,
    /// The runtime was shut down in order in the middle of an execution.
    Requeued,
    /// A client asked for its end.
    CancelRequested,
    /// It returned an output.
    Completed,
    /// It failed.
    Failed,
    /// It was cancelled.
    Cancelled,
}

/// One line of a task's history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Happened {
    /// When. In JSON RFC 3339, UTC, milliseconds; made into text only there, because states are copied often.
    #[serde(with = "as_text")]
    pub at: Timestamp,
    /// What.
    pub event: What,
    /// The execution it happened in, from 1; 0 before the first.
    pub attempt: u32,
    /// More words, where there are any.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub detail: Option<String>,
}

/// The form of [`timestamp`](super::timestamp).
mod as_text {
    use std::borrow::Cow;

    use jiff::Timestamp;
    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::Serializer;

    pub fn serialize<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{at:.3}"))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        Cow::<str>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// The part of a task that changes.
#[derive(Clone, Debug)]
pub struct State {
    /// Where it is.
    pub status: Status,
    /// Executions begun; counted before each of them.
    pub attempts: u32,
    /// Executions that a crash interrupted.
    pub interruptions: u32,
    /// When the first execution began.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub completed: Option<Timestamp>,
    /// Not before this time, while it waits for its next attempt.
    pub due: Option<Timestamp>,
    /// 0 to 100, as the guest said.
    pub progress: f32,
    /// What the guest said with it.
    pub message: String,
    /// Whether a client asked for its end.
    pub cancel_asked: bool,
    /// Why the last execution failed, if it did.
    pub failure: Option<Box<Failure>>,
    /// What the last execution cost.
    pub receipt: Option<Arc<Receipt>>,
    /// Bytes of output, once there is one.
    pub output_bytes: Option<u64>,
    /// Whether the output was removed since, because the disk was nearly full.
    pub output_removed: bool,
    /// What happened, oldest first.
    pub history: Vec<Happened>,
}

/// What follows an execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing: the task has ended.
    Ended,
    /// Another execution, not before this time.
    Again(Timestamp),
}

impl State {
    /// A task that was just accepted.
    pub fn submitted(now: Timestamp) -> State {
        let mut state = State {
            status: Status::Pending,
            attempts: 0,
            interruptions: 0,
            started: None,
            completed: None,
            due: None,
            progress: 0.0,
            message: String::new(),
            cancel_asked: false,
            failure: None,
            receipt: None,
            output_bytes: None,
            output_removed: false,
            history: Vec::with_capacity(3),
        };
        state.note(now, What::Submitted, None);
        state
    }

    /// An execution begins. Store this before it does.
    pub fn start(&mut self, now: Timestamp) {
        self.status = Status::Running;
        self.attempts = self.attempts.saturating_add(1);
        self.started.get_or_insert(now);
        self.due = None;
        self.note(now, What::Started, None);
    }

    /// The running execution is paused, or goes on; false if it was so already.
    pub fn pause(&mut self, now: Timestamp, paused: bool, why: Option<&str>) -> bool {
        let (from, to, what) = match paused {
            true => (Status::Running, Status::Paused, What::Paused),
            false => (Status::Paused, Status::Running, What::Resumed),
        };
        if self.status != from {
            return false;
        }
        self.status = to;
        self.note(now, what, why.map(str::to_owned));
        true
    }

    /// A client asks for the end.
    pub fn ask_to_cancel(&mut self, now: Timestamp) {
        if !self.cancel_asked {
            self.cancel_asked = true;
            self.note(now, What::CancelRequested, None);
        }
    }

    /// An execution ended. `jitter` is from 0 to 1.
    pub fn end(&mut self, now: Timestamp, end: &End, receipt: Receipt, retry: &Retry, jitter: f64) -> Next {
        self.receipt = Some(Arc::new(receipt));
        match end {
            End::Completed(output) => {
                self.progress = 100.0;
                self.output_bytes = Some(output.len() as u64);
                self.failure = None;
                self.finish(now, Status::Completed, What::Completed, None)
            }
            End::Cancelled => self.cancelled(now),
            End::Failed(failure) => {
                self.failure = Some(failure.clone());
                if !self.cancel_asked && self.is_tried_again(failure.kind, retry) {
                    return self.again(now, failure.kind, retry, jitter);
                }
                let kind = Some(failure.kind.name().to_owned());
                self.finish(now, Status::Failed, What::Failed, kind)
            }
        }
    }

    /// It was cancelled: before it began, between two attempts, or in one.
    pub fn cancelled(&mut self, now: Timestamp) -> Next {
        self.failure = None;
        self.finish(now, Status::Cancelled, What::Cancelled, None)
    }

    /// It cannot be executed at all.
    pub fn give_up(&mut self, now: Timestamp, failure: Failure) {
        let kind = failure.kind.name().to_owned();
        self.failure = Some(Box::new(failure));
        self.finish(now, Status::Failed, What::Failed, Some(kind));
    }

    /// The runtime starts again and finds the task as it was left. A wait that it finds longer than `retry` has
    /// any was noted by a clock that was put back since.
    pub fn recover(&mut self, now: Timestamp, retry: &Retry) -> Next {
        if matches!(self.status, Status::Running | Status::Paused) {
            self.interruptions = self.interruptions.saturating_add(1);
            self.note(now, What::Interrupted, None);
            if self.interruptions >= MAX_INTERRUPTIONS && !self.cancel_asked {
                let message = format!(
                    "the runtime ended {} times while this task ran; it is not tried again",
                    self.interruptions
                );
                self.give_up(now, Failure::new(FailureKind::Lost, message));
                return Next::Ended;
            }
        }
        if self.cancel_asked {
            return self.cancelled(now);
        }
        self.status = Status::Pending;
        if let Some(due) = &mut self.due {
            let wait = retry.backoff_ms(self.attempts.saturating_sub(self.interruptions));
            let longest = jiff::SignedDuration::from_millis(i64::try_from(wait).unwrap_or(i64::MAX));
            *due = now.saturating_add(longest).map_or(*due, |longest| longest.min(*due));
        }
        Next::Again(self.due.unwrap_or(now))
    }

    /// The runtime is shut down in order: the execution counts for nothing.
    pub fn requeue(&mut self, now: Timestamp) {
        self.attempts = self.attempts.saturating_sub(1);
        self.status = Status::Pending;
        self.note(now, What::Requeued, None);
    }

    fn is_tried_again(&self, kind: FailureKind, retry: &Retry) -> bool {
        let counted = self.attempts.saturating_sub(self.interruptions);
        // The machine's need is not the task's failure: it costs no attempt.
        retry.on.contains(&kind) && (kind == FailureKind::MachineMemory || counted < retry.max_attempts)
    }

    fn again(&mut self, now: Timestamp, kind: FailureKind, retry: &Retry, jitter: f64) -> Next {
        let wait = match kind {
            // These cost no attempt, so there may be many: as often as that happened, but soon enough to find room.
            FailureKind::MachineMemory => {
                let before =
                    self.history.iter().filter(|line| line.detail.as_deref() == Some(kind.name())).count();
                let number = u32::try_from(before).unwrap_or(u32::MAX).saturating_add(1);
                retry.backoff_ms(number).min(LONGEST_FOR_MEMORY_MS)
            }
            _ => retry.backoff_ms(self.attempts.saturating_sub(self.interruptions)),
        } as f64;
        // Half of the wait is sure, so that tasks that failed together do not come back together.
        let wait = (wait * (0.5 + jitter.clamp(0.0, 1.0) / 2.0)) as i64;
        let due = now.saturating_add(jiff::SignedDuration::from_millis(wait)).unwrap_or(now);
        if kind == FailureKind::MachineMemory {
            self.attempts = self.attempts.saturating_sub(1);
        }
        self.status = Status::Pending;
        self.due = Some(due);
        self.note(now, What::RetryScheduled, Some(kind.name().to_owned()));
        Next::Again(due)
    }

    fn finish(&mut self, now: Timestamp, status: Status, what: What, detail: Option<String>) -> Next {
        self.status = status;
        self.completed = Some(now);
        self.due = None;
        self.note(now, what, detail);
        Next::Ended
    }

    fn note(&mut self, now: Timestamp, event: What, detail: Option<String>) {
        if self.history.len() >= MAX_EVENTS {
            self.history.remove(MAX_EVENTS / 2);
        }
        self.history.push(Happened { at: now, event, attempt: self.attempts, detail });
    }
}

#[cfg(test)]
mod tests;
