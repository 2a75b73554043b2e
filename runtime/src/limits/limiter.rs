//! Answers wasmtime's questions about growth, over the *whole* task.
//!
//! wasmtime's own `StoreLimits` bounds each memory and each table by itself, so a component with a
//! hundred memories gets a hundred times the limit. Here the sum is what counts. A refusal is
//! invisible to the user otherwise (`memory.grow` returns -1 and the guest's allocator aborts a
//! moment later), so the last one is remembered and named when the task ends right after it.

use wasmtime::ResourceLimiter;

use super::{Budget, Limits};

/// The growth that was last refused, if nothing has grown since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The limit that refused it.
    pub budget: Budget,
    /// The sum that would have been needed.
    pub asked: u64,
}

/// Live and peak sums over all memories and tables of one store.
#[derive(Debug)]
pub struct Limiter {
    memory_limit: u64,
    table_limit: u64,
    instances: usize,
    tables: usize,
    memories: usize,
    memory_bytes: u64,
    table_elements: u64,
    refusal: Option<Refusal>,
    refusals: u64,
}

impl Limiter {
    /// A limiter for a store that holds nothing yet.
    pub fn new(limits: &Limits) -> Limiter {
        let count = |budget| usize::try_from(limits.get(budget)).unwrap_or(usize::MAX);
        Limiter {
            memory_limit: limits.get(Budget::MemoryBytes),
            table_limit: limits.get(Budget::TableElements),
            instances: count(Budget::Instances),
            tables: count(Budget::Tables),
            memories: count(Budget::Memories),
            memory_bytes: 0,
            table_elements: 0,
            refusal: None,
            refusals: 0,
        }
    }

    /// The refusal that nothing has succeeded after.
    pub fn refusal(&self) -> Option<Refusal> {
        self.refusal
    }

    /// Refusals so far.
    pub fn refusals(&self) -> u64 {
        self.refusals
    }

    /// Bytes of all linear memories. They never shrink, so this is also the peak.
    pub fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    /// Elements of all tables; also the peak.
    pub fn table_elements(&self) -> u64 {
        self.table_elements
    }

    /// One answer for memories and tables: grow `sum` from `current` to `desired`, up to `limit`.
    fn grow(&mut self, budget: Budget, (current, desired, maximum): (usize, usize, Option<usize>)) -> bool {
        // A guest that outgrows the maximum its own module declares was not refused by us, and must
        // not be charged for growth that will not happen.
        if maximum.is_some_and(|maximum| desired > maximum) {
            return false;
        }
        let (sum, limit) = match budget {
            Budget::MemoryBytes => (&mut self.memory_bytes, self.memory_limit),
            _ => (&mut self.table_elements, self.table_limit),
        };
        let delta = desired.saturating_sub(current) as u64;
        let asked = sum.saturating_add(delta);
        if asked > limit {
            self.refusal = Some(Refusal { budget, asked });
            self.refusals += 1;
            return false;
        }
        *sum = asked;
        // Growing by nothing is how a guest asks for its size: it says nothing about the refusal.
        if delta > 0 {
            self.refusal = None;
        }
        true
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(self.grow(Budget::MemoryBytes, (current, desired, maximum)))
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(self.grow(Budget::TableElements, (current, desired, maximum)))
    }

    fn instances(&self) -> usize {
        self.instances
    }

    fn tables(&self) -> usize {
        self.tables
    }

    fn memories(&self) -> usize {
        self.memories
    }
}
