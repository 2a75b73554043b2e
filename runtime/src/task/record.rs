//! The record of a task: the JSON object of docs/api.md.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::named;
use super::{Digest, Failure, Receipt, Status, Task, TaskId};

named! {
    /// How urgent a task is.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
    pub enum Priority {
        /// Whenever there is nothing else.
        Low = "low",
        /// What a submission gets that does not ask.
        #[default]
        Medium = "medium",
        /// Before the others.
        High = "high",
        /// Before everything.
        Critical = "critical",
    }
}

/// What clients see of a task.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// The task.
    pub task_id: TaskId,
    /// The component as it was named in the submission.
    pub component: String,
    /// sha256 of the component's bytes as they were submitted.
    pub digest: Digest,
    /// The submission's own words.
    pub description: Option<String>,
    /// Where it is.
    pub status: Status,
    /// How urgent it is.
    pub priority: Priority,
    /// 0 to 100.
    pub progress: f32,
    /// RFC 3339, UTC, milliseconds.
    pub created_at: String,
    /// When the first execution began.
    pub started_at: Option<String>,
    /// When it ended.
    pub completed_at: Option<String>,
    /// Executions so far.
    pub attempts: u32,
    /// Whether the record survives the process.
    pub durable: bool,
    /// The output, where it is JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<Box<RawValue>>,
    /// The output, where it is UTF-8 but not JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result_text: Option<String>,
    /// The output, where it is neither.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result_base64: Option<String>,
    /// Whether it had an output that was removed since, because the disk was nearly full.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub output_removed: bool,
    /// Why it failed, if it did.
    pub failure: Option<Box<Failure>>,
    /// What it cost.
    pub receipt: Option<Arc<Receipt>>,
    /// The submission's own notes.
    pub metadata: Box<RawValue>,
}

impl Record {
    /// The record of `task`, without its output.
    pub fn of(task: &Task) -> Record {
        let Task { id, created, spec, state, .. } = task;
        Record {
            task_id: *id,
            component: spec.component.clone(),
            digest: spec.digest,
            description: spec.description.clone(),
            status: state.status,
            priority: spec.priority,
            progress: state.progress,
            created_at: timestamp(*created),
            started_at: state.started.map(timestamp),
            completed_at: state.completed.map(timestamp),
            attempts: state.attempts,
            durable: spec.durable,
            result: None,
            result_text: None,
            result_base64: None,
            output_removed: state.output_removed,
            failure: state.failure.clone(),
            receipt: state.receipt.clone(),
            metadata: spec.metadata.clone(),
        }
    }

    /// The same with its output, if it has one.
    pub fn with_output(mut self, output: Option<Vec<u8>>) -> Record {
        if let Some(output) = output {
            self.set_output(output);
        }
        self
    }

    /// Puts the output where it belongs: JSON, else text, else base64.
    fn set_output(&mut self, output: Vec<u8>) {
        match String::from_utf8(output) {
            Ok(text) => match serde_json::from_str::<&RawValue>(&text) {
                Ok(json) => self.result = Some(json.to_owned()),
                Err(_) => self.result_text = Some(text),
            },
            Err(bytes) => self.result_base64 = Some(STANDARD.encode(bytes.as_bytes())),
        }
    }
}

/// RFC 3339, UTC, with milliseconds.
pub fn timestamp(at: jiff::Timestamp) -> String {
    format!("{at:.3}")
}
