//! What holds guests back when the machine is short of something. Who decides when is `protection`.

use tokio::runtime::Handle;

use super::slots::Slots;
use crate::limits::MachineMemory;
use crate::protection::Shares;

/// The levers of one executor; clones are the same levers.
#[derive(Clone)]
pub struct Levers {
    guests: Handle,
    slots: Slots,
    memory: MachineMemory,
}

impl Levers {
    pub(super) fn new(guests: &Handle, slots: &Slots, memory: &MachineMemory) -> Levers {
        Levers { guests: guests.clone(), slots: slots.clone(), memory: memory.clone() }
    }

    /// What guests together may take of the processors from now on, in percent of all cores, 1 at least; none,
    /// or 100: all of them. It holds over a second; a guest that may not compute keeps its place in the order,
    /// and its `wall_ms` runs on.
    pub fn cap_cpu(&self, percent: Option<f64>) {
        if let Some(number) = self.slots.set_cap(percent) {
            self.guests.spawn(self.slots.clone().pace(number));
        }
    }

    /// How long turns are, by priority, in percent of [`super::QUANTUM`]. Turns end at ticks of 5 ms; what one
    /// is too long, the next is shorter.
    pub fn set_shares(&self, shares: Shares) {
        self.slots.set_shares(shares);
    }

    /// Bytes that linear memories and tensors may still take, together, until this is said again; none: as much as each
    /// may. What memories give back is not added: say it anew. A growth that does not fit is refused, and a guest
    /// that gives up because of it fails as `machine_memory`.
    pub fn leave_memory(&self, bytes: Option<u64>) {
        self.memory.leave(bytes);
    }
}
