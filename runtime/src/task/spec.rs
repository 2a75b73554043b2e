//! What a task is: the submission, checked and completed. It never changes.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Digest, Grants, Priority, Retry, State, TaskId};

/// A submission as it was accepted; enough to run it again after a restart.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Spec {
    /// The component as it was named in the submission.
    pub component: String,
    /// The component's bytes.
    pub digest: Digest,
    /// The submission's own words.
    pub description: Option<String>,
    /// The submission's own notes: any JSON.
    pub metadata: Box<RawValue>,
    /// How urgent it is.
    pub priority: Priority,
    /// The mode it was accepted in: its defaults are the task's.
    #[serde(default)]
    pub mode: Cow<'static, str>,
    /// The limits it asked for, by budget.
    pub limits: BTreeMap<String, u64>,
    /// A command's arguments, without its name.
    pub args: Vec<String>,
    /// A command's environment.
    pub env: BTreeMap<String, String>,
    /// When it is tried again.
    pub retry: Retry,
    /// What it may use: effective, not what was asked for.
    pub grants: Grants,
    /// Frozen clocks and seeded randomness.
    pub deterministic: bool,
    /// Whether it survives the process.
    pub durable: bool,
}

impl Spec {
    /// Bytes of its words, about as many as it takes in memory.
    pub fn words(&self) -> usize {
        let Grants { inference, vector_memory, http, keyvalue, config, .. } = &self.grants;
        let collections = vector_memory.iter().flat_map(|memory| &memory.collections);
        let lists = [inference, http, keyvalue, config];
        let strings = lists.into_iter().flatten().chain(collections).chain(&self.args);
        let words = strings.chain(self.env.iter().flat_map(|(name, value)| [name, value]));
        let words = words.map(|word| word.len() + size_of::<String>()).sum::<usize>();
        let description = self.description.as_ref().map_or(0, String::len);
        self.component.len() + description + self.metadata.get().len() + words
    }
}

/// A task: what it is, and how far it has come.
#[derive(Clone, Debug)]
pub struct Task {
    /// Its id.
    pub id: TaskId,
    /// Whose it is.
    pub tenant: String,
    /// When it was submitted.
    pub created: jiff::Timestamp,
    /// What it is.
    pub spec: std::sync::Arc<Spec>,
    /// How far it has come.
    pub state: State,
}
