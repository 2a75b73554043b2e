//! How many guests of each tenant want to compute.
//!
//! Pure. Every turn has a deadline, and the earliest goes first. A guest's is as far away as a *round* of its
//! tenant takes: the time in which each of the tenant's guests has one turn, where the tenant gets no more than
//! its share beside the others. So ten guests of one tenant come round as often as one of another.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Whose a guest is.
#[derive(Clone, Debug)]
pub struct Tenant {
    /// The name.
    pub name: Arc<str>,
    /// Its weight beside others, from 1 to 100.
    pub share: u8,
}

impl Default for Tenant {
    fn default() -> Tenant {
        Tenant { name: "".into(), share: 100 }
    }
}

/// Those that want to compute.
#[derive(Debug, Default)]
pub(super) struct Contention(HashMap<Arc<str>, Guests>);

#[derive(Debug)]
struct Guests {
    count: u32,
    /// What the last of them said.
    share: u8,
}

impl Contention {
    pub fn begin(&mut self, Tenant { name, share }: &Tenant) {
        let guests = self.0.entry(name.clone()).or_insert(Guests { count: 0, share: *share });
        guests.count += 1;
        guests.share = *share;
    }

    pub fn end(&mut self, tenant: &Tenant) {
        if let Some(guests) = self.0.get_mut(&tenant.name) {
            guests.count -= 1;
            if guests.count == 0 {
                self.0.remove(&tenant.name);
            }
        }
    }

    /// How long a round of `tenant` takes, with turns of length `turn` in as many slots.
    pub fn round(&self, tenant: &Tenant, turn: Duration, slots: usize) -> Duration {
        // Where there is nobody else all rounds are as long, and the order is the same without.
        let Some(guests) = self.0.get(&tenant.name).filter(|_| self.0.len() > 1) else {
            return Duration::ZERO;
        };
        let all: u32 = self.0.values().map(|guests| u32::from(guests.share)).sum();
        let round = turn * guests.count * all / u32::from(guests.share.max(1));
        round / u32::try_from(slots).unwrap_or(1).max(1)
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
