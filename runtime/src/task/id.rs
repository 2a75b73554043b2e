//! Task identifiers.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Names one task. A UUIDv7, so that ids sort by the time of submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskId(uuid::Uuid);

impl TaskId {
    /// A new id, later than every one this process made before.
    pub fn generate() -> TaskId {
        TaskId(uuid::Uuid::now_v7())
    }

    /// The id that stands for the real one where a guest must see the same each time: a UUIDv8 of
    /// `material`.
    pub fn of(material: [u8; 16]) -> TaskId {
        TaskId(uuid::Uuid::new_v8(material))
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
