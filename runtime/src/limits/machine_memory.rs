//! What the machine has left for all tasks together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// So much that it is not counted.
const ENOUGH: u64 = u64::MAX;

/// Bytes that linear memories and tensors may still take; clones are the same count.
///
/// It is set anew with every look at the machine. What a task's memory gives back shows in the next look.
#[derive(Clone, Debug)]
pub struct MachineMemory(Arc<Count>);

#[derive(Debug)]
struct Count {
    left: AtomicU64,
    /// How often the machine was looked at.
    looks: AtomicU64,
}

impl Default for MachineMemory {
    /// Enough for everybody.
    fn default() -> MachineMemory {
        MachineMemory(Arc::new(Count { left: AtomicU64::new(ENOUGH), looks: AtomicU64::new(0) }))
    }
}

/// Bytes that are taken until this is dropped.
#[derive(Debug)]
#[must_use]
pub struct Taken {
    memory: MachineMemory,
    bytes: u64,
    looks: u64,
}

impl Drop for Taken {
    fn drop(&mut self) {
        let Count { left, looks } = &*self.memory.0;
        // A look since then has seen what was taken, and the next one sees that it is given back.
        if looks.load(Ordering::Acquire) == self.looks {
            let _ = left.try_update(Ordering::Relaxed, Ordering::Relaxed, |left| match left {
                ENOUGH => None,
                left => Some(left.saturating_add(self.bytes)),
            });
        }
    }
}

impl MachineMemory {
    /// From now on there are so many bytes; none: enough for everybody.
    pub fn leave(&self, bytes: Option<u64>) {
        let Count { left, looks } = &*self.0;
        looks.fetch_add(1, Ordering::AcqRel);
        left.store(bytes.unwrap_or(ENOUGH), Ordering::Relaxed);
    }

    /// What there is, as far as it is known.
    pub fn left(&self) -> u64 {
        self.0.left.load(Ordering::Relaxed)
    }

    /// Takes `bytes`, if there are so many, until what is returned is dropped.
    pub fn hold(&self, bytes: u64) -> Option<Taken> {
        let looks = self.0.looks.load(Ordering::Acquire);
        self.take(bytes).then(|| Taken { memory: self.clone(), bytes, looks })
    }

    /// Takes `bytes`, if there are so many.
    pub fn take(&self, bytes: u64) -> bool {
        // The usual case costs a look and no write.
        self.0.left.load(Ordering::Relaxed) == ENOUGH
            || self
                .0
                .left
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

    #[test]
    fn what_is_held_is_given_back_unless_somebody_has_looked_since() {
        let memory = MachineMemory::default();
        drop(memory.hold(10));
        assert_eq!(memory.left(), ENOUGH, "not counted");
        memory.leave(Some(100));
        let held = memory.hold(60).unwrap();
        assert!(memory.hold(41).is_none());
        drop(held);
        assert_eq!(memory.left(), 100);
        let held = memory.hold(60).unwrap();
        memory.leave(Some(40));
        drop(held);
        assert_eq!(memory.left(), 40, "the next look will see it");
    }
}
