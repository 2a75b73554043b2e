//! What the machine lends a task, and who pays for it.

use std::sync::Arc;

use crate::backend::Backends;
use crate::backend::inference::ModelUses;
use crate::backend::work::{ComputeSlots, Inline, Workers};
use crate::bindings::omnimind::runtime::types::Error;
use crate::limits::{Ledger, MachineMemory};
use crate::task::{Capability, Grants, Priority};

/// What one task computes with besides its guest.
pub struct Lent {
    /// What the machine has left for all tasks together.
    pub memory: MachineMemory,
    /// Who computes, for all tasks.
    pub backends: Backends,
    /// For work of the task's own.
    pub workers: Arc<dyn Workers>,
    /// For work of many tasks together.
    pub slots: Arc<dyn ComputeSlots>,
    /// Whose the task is.
    pub tenant: Arc<str>,
    /// How urgent it is.
    pub priority: Priority,
    /// What it may use; none: whatever there is.
    pub grants: Option<Grants>,
    /// What language models write for it.
    pub models: Arc<ModelUses>,
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
            priority: Priority::default(),
            grants: None,
            models: Arc::default(),
        }
    }
}

impl Lent {
    /// Whether the task may use `capability`.
    pub(super) fn is_granted(&self, capability: Capability) -> bool {
        self.grants.as_ref().is_none_or(|grants| grants.allow(capability))
    }
}

/// What a call takes, and who pays.
#[derive(Clone, Copy)]
pub(super) struct Account<'a> {
    pub lent: &'a Lent,
    pub ledger: &'a Arc<Ledger>,
}

impl Account<'_> {
    /// Refuses what the task was not granted: interpreters import whatever there is, for scripts that may need it.
    pub fn check(&self, capability: Capability) -> Result<(), Error> {
        match self.lent.is_granted(capability) {
            true => Ok(()),
            false => {
                let (name, grants) = (capability.name(), capability.example());
                Err(Error::AccessDenied(format!(
                    "the task was not granted {name}: submit it with \"grants\": {grants}"
                )))
            }
        }
    }
}
