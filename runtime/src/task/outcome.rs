//! What one execution of a task leaves behind.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Failure;

/// How an execution ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The guest returned this output.
    Completed(Vec<u8>),
    /// It did not.
    Failed(Box<Failure>),
    /// A client asked for the end.
    Cancelled,
}

/// Everything that is known after one execution.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How it ended.
    pub end: End,
    /// What it cost.
    pub receipt: Receipt,
    /// What it logged.
    pub log: Log,
}

impl Outcome {
    /// Of an execution that could not begin.
    pub fn not_begun(failure: Failure, attempts: u32, engine: &'static str) -> Outcome {
        let receipt = Receipt {
            budgets: Vec::new(),
            stopped_by: failure.limit.clone(),
            wall_ms: 0,
            cpu_ms: 0,
            queue_ms: 0,
            paused_ms: 0,
            attempts,
            inference: Vec::new(),
            engine: engine.into(),
        };
        Outcome { end: End::Failed(Box::new(failure)), receipt, log: Log::default() }
    }
}

/// A log of bounded size: its head and its tail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// What was logged first.
    pub head: Vec<u8>,
    /// What was logged last, if that did not fit behind the head.
    pub tail: Vec<u8>,
    /// Bytes between the two that were dropped.
    pub dropped: u64,
}

/// One budget's line of a [`Receipt`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used {
    /// What the submission asked for, if it did.
    pub asked: Option<u64>,
    /// What was spent, or for things that are held the most that was held at once; null where the
    /// engine enforces the limit without counting.
    pub used: Option<u64>,
    /// The effective limit.
    pub limit: u64,
}

/// What one language model wrote for a task.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelUse {
    /// Its name; `(other)` for those that came after the first few.
    pub model: String,
    /// Answers, those that were cut, cancelled or failed among them.
    pub answers: u64,
    /// Answers of these that had been made before.
    pub cached: u64,
    /// Tokens that were charged for prompts.
    pub prompt_tokens: u64,
    /// Tokens that were charged for answers.
    pub completion_tokens: u64,
    /// Waiting for turns at the model, all answers together.
    pub queue_ms: u64,
    /// From the turn to the first piece, all answers that had one together.
    pub first_token_ms: u64,
    /// Tokens per second from the first piece of an answer to its end; null where there were too few to tell.
    pub tokens_per_second: Option<u64>,
}

/// What a task spent, against what it was allowed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// By budget name, in the order of docs/limits.md; in JSON an object.
    #[serde(with = "as_object")]
    pub budgets: Vec<(Cow<'static, str>, Used)>,
    /// The budget that ended the task, if one did.
    pub stopped_by: Option<String>,
    /// From start to end, host waits included.
    pub wall_ms: u64,
    /// CPU time of the thread while it ran this task.
    pub cpu_ms: u64,
    /// Waiting for a place.
    pub queue_ms: u64,
    /// Paused by the runtime: not counted in `wall_ms`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub paused_ms: u64,
    /// Executions so far, this one included.
    pub attempts: u32,
    /// What language models wrote for it, by model.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inference: Vec<ModelUse>,
    /// The engine that priced the fuel: figures of two versions do not compare.
    pub engine: Cow<'static, str>,
}

impl Receipt {
    /// The line of the budget called `name`.
    pub fn budget(&self, name: &str) -> Option<&Used> {
        self.budgets.iter().find(|(budget, _)| budget == name).map(|(_, used)| used)
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A receipt is made for every task, so its lines are a list of borrowed names; JSON has them by name.
mod as_object {
    use super::{BTreeMap, Cow, Deserialize, Used};
    use serde::{Deserializer, Serializer};

    type Lines = Vec<(Cow<'static, str>, Used)>;

    pub fn serialize<S: Serializer>(lines: &Lines, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(lines.iter().map(|(name, used)| (name, used)))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Lines, D::Error> {
        let lines = BTreeMap::<String, Used>::deserialize(deserializer)?;
        Ok(lines.into_iter().map(|(name, used)| (Cow::Owned(name), used)).collect())
    }
}
