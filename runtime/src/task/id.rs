//! Task identifiers.

use std::fmt;
use std::str::FromStr;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use uuid::{ContextV7, Timestamp, Uuid};

/// The time of the last id, which never goes back.
static LAST: Mutex<ContextV7> = Mutex::new(ContextV7::new());

/// Names one task. A UUIDv7, so that ids sort by the time of submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskId(uuid::Uuid);

/// The text is not a task's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a task's id is a UUID, e.g. 01890f3e-7c4a-7cc1-98c5-4f6f0a2b1c3d")]
pub struct NotATaskId;

impl TaskId {
    /// A new id, later than every one this process made before, whatever the machine's clock says.
    pub fn generate() -> TaskId {
        let last = LAST.lock();
        TaskId(Uuid::new_v7(Timestamp::now(&*last)))
    }

    /// From now on every new id is later than this one, which an earlier process made.
    pub fn precede_all(self) {
        let Some(made) = self.0.get_timestamp() else { return };
        let (seconds, nanoseconds) = made.to_unix();
        // A millisecond more: within the same one, the order is a matter of chance.
        let after = std::time::Duration::new(seconds, nanoseconds) + std::time::Duration::from_millis(1);
        let last = LAST.lock();
        let _ = Timestamp::from_unix(&*last, after.as_secs(), after.subsec_nanos());
    }

    /// The id that stands for the real one where a guest must see the same each time: a UUIDv8 of
    /// `material`.
    pub fn of(material: [u8; 16]) -> TaskId {
        TaskId(uuid::Uuid::new_v8(material))
    }

    /// The id whose 16 bytes these are.
    pub fn from_bytes(bytes: [u8; 16]) -> TaskId {
        TaskId(uuid::Uuid::from_bytes(bytes))
    }

    /// The 16 bytes; they sort as the ids do.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for TaskId {
    type Err = NotATaskId;

    /// Reads the hyphenated form only: an id has one spelling.
    fn from_str(text: &str) -> Result<TaskId, NotATaskId> {
        if text.len() != uuid::fmt::Hyphenated::LENGTH {
            return Err(NotATaskId);
        }
        uuid::Uuid::try_parse(text).map(TaskId).map_err(|_| NotATaskId)
    }
}
