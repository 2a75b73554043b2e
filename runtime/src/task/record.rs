//! The record of a task: the JSON object of docs/api.md.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{End, Failure, Outcome, Receipt, TaskId};

/// Where a task is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It returned an output.
    Completed,
    /// It did not; `failure` tells why.
    Failed,
    /// A client asked for its end.
    Cancelled,
}

/// How urgent a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// What a submission gets that does not ask.
    Medium,
}

/// What clients see of a task.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// The task.
    pub task_id: TaskId,
    /// The component as it was named in the submission.
    pub component: String,
    /// sha256 of the component's bytes as they were submitted.
    pub digest: String,
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
    /// Why it failed, if it did.
    pub failure: Option<Box<Failure>>,
    /// What it cost.
    pub receipt: Option<Receipt>,
    /// The submission's own notes.
    pub metadata: serde_json::Value,
}

impl Record {
    /// The record of a task that ran once, here and now.
    pub fn of_run(
        task_id: TaskId,
        component: String,
        digest: String,
        begun: jiff::Timestamp,
        progress: f32,
        outcome: Outcome,
    ) -> Record {
        let mut record = Record {
            task_id,
            component,
            digest,
            description: None,
            status: Status::Cancelled,
            priority: Priority::Medium,
            progress,
            created_at: timestamp(begun),
            started_at: Some(timestamp(begun)),
            completed_at: Some(timestamp(jiff::Timestamp::now())),
            attempts: outcome.receipt.attempts,
            durable: false,
            result: None,
            result_text: None,
            result_base64: None,
            failure: None,
            receipt: Some(outcome.receipt),
            metadata: serde_json::Value::Null,
        };
        match outcome.end {
            End::Completed(output) => {
                record.status = Status::Completed;
                record.progress = 100.0;
                record.set_output(output);
            }
            End::Failed(failure) => {
                record.status = Status::Failed;
                record.failure = Some(failure);
            }
            End::Cancelled => {}
        }
        record
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
