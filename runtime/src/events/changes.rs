//! Whether anything changed: for whoever keeps what was told.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts changes of tasks, from before they can be seen until they are told; clones count the same ones.
///
/// One count for all tenants: to keep a task that is not durable, one of somebody else may have to go.
#[derive(Clone, Debug, Default)]
pub struct Changes(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    begun: AtomicU64,
    done: AtomicU64,
}

/// A change that is under way, until it is dropped.
#[must_use]
pub struct Change(Arc<Counts>);

impl Changes {
    /// A change begins: nothing of it can be seen yet.
    pub fn begin(&self) -> Change {
        self.0.begun.fetch_add(1, Ordering::SeqCst);
        Change(self.0.clone())
    }

    /// How many have begun.
    pub fn begun(&self) -> u64 {
        self.0.begun.load(Ordering::SeqCst)
    }

    /// The same, unless one is under way.
    pub fn settled(&self) -> Option<u64> {
        // In this order: where both are equal, none was under way when the first was read, nor has begun since.
        let done = self.0.done.load(Ordering::SeqCst);
        Some(self.begun()).filter(|begun| *begun == done)
    }
}

impl Drop for Change {
    fn drop(&mut self) {
        self.0.done.fetch_add(1, Ordering::SeqCst);
    }
}
