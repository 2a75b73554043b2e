//! Answers wasmtime's questions about growth, over the *whole* task.
//!
//! wasmtime's own `StoreLimits` bounds each memory and each table by itself, so a component with a
//! hundred memories gets a hundred times the limit. Here the sum is what counts. A refusal is
//! invisible to the user otherwise (`memory.grow` returns -1 and the guest's allocator aborts a
//! moment later), so the last one is remembered and named when the task ends right after it.

use std::sync::Arc;

use wasmtime::ResourceLimiter;

use super::{Budget, Exhausted, Ledger, MachineMemory};

/// A growth that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// By the task's own limit.
    #[error("{} would have been {asked}", .budget.name())]
    Limit {
        /// Which one.
        budget: Budget,
        /// The sum that would have been needed.
        asked: u64,
    },
    /// A memory or a tensor, by the machine, which has not so much left for all tasks together.
    #[error("the machine is short of memory: {asked} bytes were refused")]
    Machine {
        /// By how many bytes it was to grow.
        asked: u64,
    },
}

/// Counts all memories and tables of one store into the task's ledger. They never shrink, so the sums are
/// also the peaks.
#[derive(Debug)]
pub struct Limiter {
    ledger: Arc<Ledger>,
    machine: MachineMemory,
    /// A growth that the machine refuses is the end: what comes out must not depend on the machine.
    deterministic: bool,
    refusal: Option<Refusal>,
    refusals: u64,
}

impl Limiter {
    /// A limiter for a store that holds nothing yet.
    pub fn new(ledger: Arc<Ledger>, machine: MachineMemory, deterministic: bool) -> Limiter {
        Limiter { ledger, machine, deterministic, refusal: None, refusals: 0 }
    }

    /// The refusal that nothing has succeeded after.
    pub fn refusal(&self) -> Option<Refusal> {
        self.refusal
    }

    /// Refusals so far.
    pub fn refusals(&self) -> u64 {
        self.refusals
    }

    /// One answer for memories and tables: grow the sum of `budget` by what `desired` is above `current`.
    fn grow(
        &mut self,
        budget: Budget,
        (current, desired, maximum): (usize, usize, Option<usize>),
    ) -> Result<bool, Refusal> {
        // A guest that outgrows the maximum its own module declares was not refused by us, and must
        // not be charged for growth that will not happen.
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let delta = desired.saturating_sub(current) as u64;
        let refusal = match self.ledger.reserve(budget, delta) {
            Ok(reserved) if budget != Budget::MemoryBytes || self.machine.take(delta) => {
                reserved.settle_all();
                // Growing by nothing is how a guest asks for its size: it says nothing about the refusal.
                if delta > 0 {
                    self.refusal = None;
                }
                return Ok(true);
            }
            Ok(_) => Refusal::Machine { asked: delta },
            Err(Exhausted { limit, remaining, .. }) => {
                Refusal::Limit { budget, asked: limit.saturating_sub(remaining).saturating_add(delta) }
            }
        };
        self.refused(refusal).map(|()| false)
    }

    /// Remembers that something was refused.
    ///
    /// # Errors
    /// It is the end of the task.
    pub fn refused(&mut self, refusal: Refusal) -> Result<(), Refusal> {
        self.refusal = Some(refusal);
        self.refusals += 1;
        match refusal {
            Refusal::Machine { .. } if self.deterministic => Err(refusal),
            _ => Ok(()),
        }
    }

    fn count(&self, budget: Budget) -> usize {
        usize::try_from(self.ledger.limits().get(budget)).unwrap_or(usize::MAX)
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(self.grow(Budget::MemoryBytes, (current, desired, maximum))?)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(self.grow(Budget::TableElements, (current, desired, maximum))?)
    }

    fn instances(&self) -> usize {
        self.count(Budget::Instances)
    }

    fn tables(&self) -> usize {
        self.count(Budget::Tables)
    }

    fn memories(&self) -> usize {
        self.count(Budget::Memories)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{Mode, Requested};

    const PAGE: usize = 64 << 10;

    fn limiter(pages: usize, machine: &MachineMemory, deterministic: bool) -> (Limiter, Arc<Ledger>) {
        let mut requested = Requested::default();
        requested.ask("memory_bytes", (pages * PAGE) as u64).unwrap();
        let ledger = Arc::new(Ledger::new(requested.effective(Mode::Dev).unwrap()));
        (Limiter::new(ledger.clone(), machine.clone(), deterministic), ledger)
    }

    #[test]
    fn what_the_machine_refuses_is_not_charged_and_is_told_apart() {
        let machine = MachineMemory::default();
        let (mut one, ledger) = limiter(10, &machine, false);
        let (mut other, _) = limiter(10, &machine, false);
        machine.leave(Some(5 * PAGE as u64));
        assert!(one.memory_growing(0, 3 * PAGE, None).unwrap());
        assert!(!other.memory_growing(0, 3 * PAGE, None).unwrap(), "together");
        assert!(other.memory_growing(0, 2 * PAGE, None).unwrap());
        assert!(!one.memory_growing(3 * PAGE, 4 * PAGE, None).unwrap());
        assert_eq!(one.refusal(), Some(Refusal::Machine { asked: PAGE as u64 }));
        assert_eq!(ledger.used(Budget::MemoryBytes), 3 * PAGE as u64);
        // Its own limit comes first, and takes nothing from the machine.
        machine.leave(Some(PAGE as u64));
        assert!(!one.memory_growing(3 * PAGE, 11 * PAGE, None).unwrap());
        let asked = 11 * PAGE as u64;
        assert_eq!(one.refusal(), Some(Refusal::Limit { budget: Budget::MemoryBytes, asked }));
        assert!(one.memory_growing(3 * PAGE, 4 * PAGE, None).unwrap());
        assert_eq!((one.refusal(), one.refusals()), (None, 2));
        assert!(one.table_growing(0, 1000, None).unwrap(), "tables are not counted in bytes");
    }

    #[test]
    fn a_deterministic_task_ends_at_the_machines_refusal_and_not_at_its_own() {
        let machine = MachineMemory::default();
        let (mut limiter, _) = limiter(10, &machine, true);
        assert!(!limiter.memory_growing(0, 11 * PAGE, None).unwrap());
        machine.leave(Some(0));
        let error = limiter.memory_growing(0, PAGE, None).unwrap_err();
        assert!(matches!(error.downcast_ref(), Some(Refusal::Machine { .. })));
    }

    #[test]
    fn growing_by_nothing_says_nothing_about_a_refusal() {
        let (mut limiter, _) = limiter(1, &MachineMemory::default(), false);
        assert!(!limiter.memory_growing(0, 2 * PAGE, None).unwrap());
        let refusal = limiter.refusal();
        assert!(limiter.memory_growing(PAGE, PAGE, None).unwrap());
        assert!(refusal.is_some() && limiter.refusal() == refusal);
        assert!(limiter.memory_growing(0, PAGE, None).unwrap());
        assert_eq!(limiter.refusal(), None);
    }
}
