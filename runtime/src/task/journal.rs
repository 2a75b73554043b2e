//! A running task's line to the outside: progress, checkpoints, log.

use std::collections::HashMap;

use async_trait::async_trait;
use parking_lot::Mutex;

/// Where a running task's progress, log and checkpoints go.
///
/// Called from the guest's thread: what is not async must not block on anything slow.
#[async_trait]
pub trait Journal: Send + Sync {
    /// `percent` is finite and within 0 to 100.
    fn progress(&self, percent: f32, message: &str);

    /// Bytes just logged, as long as they are part of the log's head.
    fn log(&self, bytes: &[u8]);

    /// Keeps `data` under `name`; the last write wins. When this returns it is kept.
    async fn save_checkpoint(&self, name: &str, data: Vec<u8>) -> Result<(), CheckpointError>;

    /// What was saved under `name`, by this attempt or an earlier one.
    async fn load_checkpoint(&self, name: &str) -> Result<Option<Vec<u8>>, CheckpointError>;

    /// Bytes kept under `name`, if there is such a checkpoint.
    fn checkpoint_size(&self, name: &str) -> Option<u64>;

    /// Bytes of all checkpoints kept, names included.
    fn checkpoint_bytes(&self) -> u64;
}

/// The checkpoint store failed.
#[derive(Debug, thiserror::Error)]
#[error("checkpoint `{name}`: {reason}")]
pub struct CheckpointError {
    /// Which one.
    pub name: String,
    /// What went wrong, safe to show to the guest.
    pub reason: String,
}

/// A journal that lives as long as the process: checkpoints in memory, progress forgotten.
#[derive(Debug, Default)]
pub struct MemoryJournal {
    checkpoints: Mutex<HashMap<String, Vec<u8>>>,
}

impl MemoryJournal {}

#[async_trait]
impl Journal for MemoryJournal {
    fn progress(&self, _percent: f32, _message: &str) {}

    fn log(&self, _bytes: &[u8]) {}

    async fn save_checkpoint(&self, name: &str, data: Vec<u8>) -> Result<(), CheckpointError> {
        self.checkpoints.lock().insert(name.to_owned(), data);
        Ok(())
    }

    async fn load_checkpoint(&self, name: &str) -> Result<Option<Vec<u8>>, CheckpointError> {
        Ok(self.checkpoints.lock().get(name).cloned())
    }

    fn checkpoint_size(&self, name: &str) -> Option<u64> {
        self.checkpoints.lock().get(name).map(|data| data.len() as u64)
    }

    fn checkpoint_bytes(&self) -> u64 {
        self.checkpoints.lock().iter().map(|(name, data)| (name.len() + data.len()) as u64).sum()
    }
}
