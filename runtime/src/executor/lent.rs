//! What the machine lends a task.

use std::sync::Arc;

use crate::backend::Backends;
use crate::backend::work::{ComputeSlots, Inline, Workers};
use crate::host::{Embeddings, Tensors};
use crate::limits::MachineMemory;
use crate::task::{Capability, Grants};

/// What one task computes with besides its guest.
#[derive(Clone)]
pub(super) struct Lent {
    pub memory: MachineMemory,
    pub backends: Backends,
    /// For work of the task's own.
    pub workers: Arc<dyn Workers>,
    /// For work of many tasks together.
    pub slots: Arc<dyn ComputeSlots>,
    /// Whose the task is.
    pub tenant: Arc<str>,
    /// What it may use; none: whatever there is.
    pub grants: Option<Grants>,
}

impl Default for Lent {
    /// For one that has the machine to itself.
    fn default() -> Lent {
        Lent {
            memory: MachineMemory::default(),
            backends: Backends::default(),
            workers: Arc::new(Inline),
            slots: Arc::new(Inline),
            tenant: Arc::default(),
            grants: None,
        }
    }
}

impl Lent {
    fn is_granted(&self, capability: Capability) -> bool {
        self.grants.as_ref().is_none_or(|grants| grants.allow(capability))
    }

    pub fn tensors(&self) -> Tensors {
        let Lent { memory, backends, workers, .. } = self;
        Tensors {
            granted: self.is_granted(Capability::Tensor),
            backend: backends.tensor.clone(),
            workers: workers.clone(),
            memory: memory.clone(),
        }
    }

    pub fn embeddings(&self) -> Embeddings {
        let Lent { backends, workers, slots, tenant, .. } = self;
        Embeddings {
            granted: self.is_granted(Capability::Embedding),
            embedder: backends.embedding.clone(),
            workers: workers.clone(),
            slots: slots.clone(),
            tenant: tenant.clone(),
        }
    }
}
