//! How many guests of each tenant want to compute.
//!
//! Pure. Every turn has a deadline, and the earliest goes first. A guest's is as far away as a *round* of its
//! tenant takes: the time in which each of the tenant's guests has one turn, where the tenant gets no more than
//! its share beside the others. So ten guests of one tenant come round as often as one of another. Where several
//! compute for one task they are one guest together: the round of each is as many times as long.

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

/// What a guest weighs; whoever computes for one with others is a part of it.
const GUEST: u32 = 720_720;

/// Those that want to compute.
#[derive(Debug, Default)]
pub(super) struct Contention(HashMap<Arc<str>, Guests>);

#[derive(Debug)]
struct Guests {
    /// Guests and parts of some.
    count: u32,
    /// How many are parts.
    parts: u32,
    /// What they weigh together.
    weight: u64,
    /// What the last of them said.
    share: u8,
}

impl Contention {
    /// A guest of `tenant`, or one of `parts` of it.
    pub fn begin(&mut self, Tenant { name, share }: &Tenant, parts: u32) {
        let none = Guests { count: 0, parts: 0, weight: 0, share: *share };
        let guests = self.0.entry(name.clone()).or_insert(none);
        guests.count += 1;
        guests.parts += u32::from(parts > 1);
        guests.weight += u64::from(GUEST / parts.max(1));
        guests.share = *share;
    }

    /// The opposite.
    pub fn end(&mut self, tenant: &Tenant, parts: u32) {
        if let Some(guests) = self.0.get_mut(&tenant.name) {
            guests.count -= 1;
            guests.parts -= u32::from(parts > 1);
            guests.weight -= u64::from(GUEST / parts.max(1));
            if guests.count == 0 {
                self.0.remove(&tenant.name);
            }
        }
    }

    /// How long a round of one of `tenant` takes, or of one of `parts`, with turns of length `turn` in as many slots.
    pub fn round(&self, tenant: &Tenant, parts: u32, turn: Duration, slots: usize) -> Duration {
        // Where there is nobody else all rounds are as long, and the order is the same without.
        let alike = |guests: &Guests| self.0.len() == 1 && guests.parts == 0;
        let Some(guests) = self.0.get(&tenant.name).filter(|guests| !alike(guests)) else {
            return Duration::ZERO;
        };
        let all: u32 = self.0.values().map(|guests| u32::from(guests.share)).sum();
        let guests_together = guests.weight as f64 / f64::from(GUEST);
        let others = f64::from(all) / f64::from(guests.share.max(1));
        turn.mul_f64(guests_together * f64::from(parts.max(1)) * others / slots.max(1) as f64)
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
