//! What was decided, because of what, and what it did: the last of it, and counters of all of it.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;

use crate::limits::Mode;
use crate::protection::{Decision, Level};
use crate::scheduler::Affected;
use crate::task::{Priority, TaskId};

/// Rows that are kept.
const KEPT: usize = 1000;

/// Tasks that a row names.
const NAMED: usize = 100;

/// One decision. A part of the HTTP contract.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Counts up by one.
    pub seq: u64,
    /// When: RFC 3339, UTC, milliseconds.
    pub at: String,
    /// In which mode.
    pub mode: &'static str,
    /// What, and why.
    #[serde(flatten)]
    pub what: What,
    /// What it did.
    pub effect: Effect,
}

/// What a row is about.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum What {
    /// A decision of the policy.
    Decided(Decision),
    /// Somebody switched the mode.
    Switched {
        /// `switch_mode`
        action: &'static str,
        /// Before.
        from: &'static str,
        /// Now.
        to: &'static str,
    },
}

impl What {
    /// The mode was switched.
    pub fn switched(from: Mode, to: Mode) -> What {
        What::Switched { action: "switch_mode", from: from.name(), to: to.name() }
    }

    /// What is counted.
    fn name(&self) -> &'static str {
        match self {
            What::Decided(decision) => decision.action.name(),
            What::Switched { action, .. } => action,
        }
    }
}

/// What a decision did, as far as it is known yet.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Effect {
    /// Tasks that were paused, let go on or ended: a hundred at most.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<OnTask>,
    /// How many there were.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_count: Option<usize>,
    /// Logs and outputs that were removed, or linked components that were dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub removed: Option<u64>,
    /// Bytes that this freed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub freed_bytes: Option<u64>,
    /// Why it could not be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What was done to one task.
#[derive(Clone, Debug, Serialize)]
pub struct OnTask {
    /// Which.
    pub task_id: TaskId,
    /// How urgent it is.
    pub priority: Priority,
    /// Bytes of linear memory that it held.
    pub memory_bytes: u64,
    /// `paused`, `resumed` or `ended`
    pub done: &'static str,
}

impl Effect {
    /// On those tasks.
    pub fn on(tasks: impl IntoIterator<Item = (Affected, &'static str)>) -> Effect {
        let mut count = 0;
        let tasks = tasks.into_iter().inspect(|_| count += 1);
        let mut named: Vec<OnTask> = tasks
            .map(|(Affected { id, priority, memory_bytes, .. }, done)| OnTask {
                task_id: id,
                priority,
                memory_bytes,
                done,
            })
            .collect();
        named.truncate(NAMED);
        Effect { tasks: named, task_count: Some(count), ..Effect::default() }
    }
}

impl Row {
    /// Into the server's own log.
    pub fn log(&self) {
        let Row { seq, mode, what, effect, .. } = self;
        let tasks = effect.task_count.unwrap_or_default();
        match what {
            What::Switched { from, to, .. } => tracing::warn!(seq, from, to, "the mode was switched"),
            What::Decided(Decision { resource, level, action, evidence, .. }) => {
                let why: Vec<String> = evidence
                    .iter()
                    .map(|evidence| {
                        format!("{} {:.1} of {}", evidence.figure, evidence.value, evidence.limit)
                    })
                    .collect();
                let (resource, action, why) = (resource.name(), action.name(), why.join(", "));
                let critical = *level == Level::Critical;
                let level = level.name();
                match critical {
                    true => tracing::warn!(seq, mode, resource, level, action, tasks, why, "protection"),
                    false => tracing::info!(seq, mode, resource, level, action, tasks, why, "protection"),
                }
            }
        }
    }
}

/// The last rows, and counters.
#[derive(Debug, Default)]
pub struct Journal {
    rows: VecDeque<Row>,
    seq: u64,
    counts: BTreeMap<&'static str, u64>,
}

impl Journal {
    /// Adds a row.
    pub fn note(&mut self, at: String, mode: Mode, what: What, effect: Effect) -> Row {
        self.seq += 1;
        *self.counts.entry(what.name()).or_default() += 1;
        let row = Row { seq: self.seq, at, mode: mode.name(), what, effect };
        if self.rows.len() == KEPT {
            self.rows.pop_front();
        }
        self.rows.push_back(row.clone());
        row
    }

    /// Says what the row of that number did, once that is known.
    pub fn complete(&mut self, seq: u64, effect: Effect) {
        if let Some(row) = self.rows.iter_mut().rev().find(|row| row.seq == seq) {
            row.effect = effect;
        }
    }

    /// The last `limit`, newest first.
    pub fn newest(&self, limit: usize) -> Vec<Row> {
        self.rows.iter().rev().take(limit).cloned().collect()
    }

    /// How often each thing was decided since the start.
    pub fn counts(&self) -> &BTreeMap<&'static str, u64> {
        &self.counts
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::protection::{Action, Evidence, Resource};

    fn decision(action: Action) -> What {
        let evidence = vec![Evidence { figure: "outside_cpu_percent", value: 50.0, limit: 25.0 }];
        let (resource, level) = (Resource::Cpu, Level::Critical);
        What::Decided(Decision { at: Default::default(), resource, level, action, evidence })
    }

    #[test]
    fn the_last_rows_are_kept_and_all_are_counted() {
        let mut journal = Journal::default();
        for _ in 0..KEPT + 10 {
            journal.note(String::new(), Mode::Dev, decision(Action::Resume), Effect::default());
        }
        journal.note(String::new(), Mode::Dev, What::switched(Mode::Dev, Mode::Prod), Effect::default());
        assert_eq!(journal.newest(usize::MAX).len(), KEPT);
        assert_eq!(json!(journal.counts()), json!({"resume": KEPT + 10, "switch_mode": 1}));
        let newest = journal.newest(2);
        assert_eq!([newest[0].seq, newest[1].seq], [KEPT as u64 + 11, KEPT as u64 + 10]);
    }

    #[test]
    fn a_row_says_what_why_and_what_it_did() {
        let mut journal = Journal::default();
        let id = TaskId::generate();
        let task = Affected { id, priority: Priority::Low, memory_bytes: 7 };
        let pause = decision(Action::Pause { below: Priority::High });
        let row = journal.note("now".to_owned(), Mode::Test, pause, Effect::on([(task, "paused")]));
        assert_eq!(
            json!(row),
            json!({
                "seq": 1, "at": "now", "mode": "test", "resource": "cpu", "level": "critical", "action": "pause",
                "below": "high",
                "evidence": [{"figure": "outside_cpu_percent", "value": 50.0, "limit": 25.0}],
                "effect": {
                    "tasks": [{"task_id": id, "priority": "low", "memory_bytes": 7, "done": "paused"}],
                    "task_count": 1,
                },
            })
        );
        journal.complete(1, Effect { freed_bytes: Some(5), ..Effect::default() });
        assert_eq!(json!(journal.newest(1)[0].effect), json!({"freed_bytes": 5}));
    }
}
