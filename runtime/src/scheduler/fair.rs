//! Between tenants: who has how many places, and whose turn it is.
//!
//! Pure. Priorities and waiting order one tenant's tasks; between tenants the one goes first that has the fewest
//! places for its share, and of those with as many the one that was served longest ago. So whoever submits ten
//! thousand tasks keeps nobody else waiting behind them, and a place that others do not want is anybody's.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::tenants::WHOLE;

/// Tenants that hold nothing and are remembered for their turn.
const MAX_REMEMBERED: usize = 10_000;

/// What the tenants have.
#[derive(Debug, Default)]
pub(super) struct Fair {
    /// Percent of the places that a tenant may hold; who is not named may hold all.
    shares: BTreeMap<String, u8>,
    tenants: HashMap<Arc<str>, Served>,
    turns: u64,
}

#[derive(Debug, Default)]
struct Served {
    held: usize,
    /// Counts up over all tenants.
    last_turn: u64,
}

/// The smallest is first.
pub(super) type Rank = (usize, u64);

impl Fair {
    /// From now on tenants may hold this much of the places; who holds more keeps it.
    pub fn set_shares(&mut self, shares: BTreeMap<String, u8>) {
        self.shares = shares;
    }

    /// Percent of the places that `tenant` may hold.
    pub fn share(&self, tenant: &str) -> u8 {
        self.shares.get(tenant).copied().unwrap_or(WHOLE)
    }

    /// Whether `tenant` may hold one more of `places`. One is everybody's.
    pub fn may_begin(&self, tenant: &str, places: usize) -> bool {
        let held = self.tenants.get(tenant).map_or(0, |served| served.held);
        held < (places.saturating_mul(self.share(tenant).into()) / usize::from(WHOLE)).max(1)
    }

    /// How soon it is `tenant`'s turn.
    pub fn rank(&self, tenant: &str) -> Rank {
        let served = self.tenants.get(tenant);
        let (held, last_turn) = served.map_or((0, 0), |served| (served.held, served.last_turn));
        // Places for each percent, as a whole number.
        (held.saturating_mul(1_000_000) / usize::from(self.share(tenant).max(1)), last_turn)
    }

    pub fn begin(&mut self, tenant: &str) {
        self.turns += 1;
        if !self.tenants.contains_key(tenant) {
            if self.tenants.len() >= MAX_REMEMBERED {
                self.tenants.retain(|_, served| served.held > 0);
            }
            self.tenants.insert(tenant.into(), Served::default());
        }
        if let Some(served) = self.tenants.get_mut(tenant) {
            served.held += 1;
            served.last_turn = self.turns;
        }
    }

    pub fn end(&mut self, tenant: &str) {
        if let Some(served) = self.tenants.get_mut(tenant) {
            served.held = served.held.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_has_its_share_of_the_places_and_one_at_least() {
        let mut fair = Fair::default();
        fair.set_shares([("small".to_owned(), 25), ("tiny".to_owned(), 1)].into());
        for (tenant, places, most) in [("small", 8, 2), ("tiny", 8, 1), ("other", 8, 8), ("small", 1, 1)] {
            let mut held = 0;
            while fair.may_begin(tenant, places) {
                fair.begin(tenant);
                held += 1;
                assert!(held <= most, "{tenant}");
            }
            assert_eq!(held, most, "{tenant}");
            (0..held).for_each(|_| fair.end(tenant));
        }
    }

    #[test]
    fn the_one_with_the_fewest_for_its_share_goes_first_and_equals_take_turns() {
        let mut fair = Fair::default();
        fair.set_shares([("half".to_owned(), 50)].into());
        let first = |fair: &Fair| if fair.rank("whole") < fair.rank("half") { "whole" } else { "half" };
        let mut begun = Vec::new();
        for _ in 0..6 {
            let next = first(&fair);
            fair.begin(next);
            begun.push(next);
        }
        assert_eq!(begun.iter().filter(|tenant| **tenant == "whole").count(), 4, "{begun:?}");
        for tenant in begun {
            fair.end(tenant);
        }
        // With one place, which is free again each time.
        let turns = (0..6).map(|_| {
            let next = first(&fair);
            fair.begin(next);
            fair.end(next);
            next
        });
        let turns: Vec<_> = turns.collect();
        assert!(turns.windows(2).all(|two| two[0] != two[1]), "{turns:?}");
    }

    #[test]
    fn tenants_that_are_gone_are_forgotten() {
        let mut fair = Fair::default();
        for n in 0..3 * MAX_REMEMBERED {
            fair.begin(&format!("t{n}"));
            fair.end(&format!("t{n}"));
        }
        assert!(fair.tenants.len() <= MAX_REMEMBERED);
    }
}
