//! What the machine has left for all tasks together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// So much that it is not counted.
const ENOUGH: u64 = u64::MAX;

/// Bytes that linear memories may still grow by; clones are the same count.
///
/// It is set anew with every look at the machine. In between it only falls: what a task gives back shows in
/// the next look.
#[derive(Clone, Debug)]
pub struct MachineMemory(Arc<AtomicU64>);

impl Default for MachineMemory {
    /// Enough for everybody.
    fn default() -> MachineMemory {
        MachineMemory(Arc::new(AtomicU64::new(ENOUGH)))
    }
}

impl MachineMemory {
    /// From now on there are so many bytes; none: enough for everybody.
    pub fn leave(&self, bytes: Option<u64>) {
        self.0.store(bytes.unwrap_or(ENOUGH), Ordering::Relaxed);
    }

    /// What there is, as far as it is known.
    pub fn left(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Takes `bytes`, if there are so many.
    pub fn take(&self, bytes: u64) -> bool {
        // The usual case costs a look and no write.
        self.0.load(Ordering::Relaxed) == ENOUGH
            || self
                .0
                .try_update(Ordering::Relaxed, Ordering::Relaxed, |left| match left {
                    ENOUGH => Some(ENOUGH),
                    left => left.checked_sub(bytes),
                })
                .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_taken_once_and_is_enough_again_when_it_is_said() {
        let memory = MachineMemory::default();
        assert!(memory.take(u64::MAX) && memory.take(u64::MAX), "not counted");
        memory.leave(Some(100));
        let other = memory.clone();
        assert!(memory.take(60) && !other.take(41) && other.take(40) && !memory.take(1));
        assert!(memory.take(0));
        memory.leave(Some(10));
        assert!(memory.take(10));
        memory.leave(None);
        assert!(memory.take(u64::MAX));
    }
}
