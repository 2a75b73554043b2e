//! How often somebody may ask: each address before it is known who asks, each tenant or token after that.
//!
//! A bucket (GCRA) for each, on the monotonic clock. Those that were not seen for longest are forgotten when
//! there are too many of one kind: whoever comes with a million addresses finds no more memory than that, and
//! makes no tenant's bucket a full one again.

use std::borrow::Borrow;
use std::hash::Hash;
use std::net::IpAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use governor::clock::{Clock, MonotonicClock};
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use lru::LruCache;
use parking_lot::Mutex;

use super::caller::Caller;
use super::problem::{Problem, Result};
use crate::config::RateLimiting;

/// Addresses that are remembered; and tenants, and tokens.
const MAX_REMEMBERED: NonZeroUsize = NonZeroUsize::new(20_000).unwrap();

/// Longest wait that is told.
const MAX_WAIT_S: u64 = 3600;

type Bucket =
    RateLimiter<NotKeyed, InMemoryState, MonotonicClock, NoOpMiddleware<<MonotonicClock as Clock>::Instant>>;

/// Counts requests.
pub struct RateLimit {
    config: RateLimiting,
    addresses: Buckets<IpAddr>,
    tenants: Buckets<String>,
    tokens: Buckets<String>,
}

impl RateLimit {
    /// Nobody has asked yet.
    pub fn new(config: RateLimiting) -> RateLimit {
        RateLimit { config, addresses: Buckets::new(), tenants: Buckets::new(), tokens: Buckets::new() }
    }

    /// A request from `address`, a network.
    ///
    /// # Errors
    /// `429 rate_limited`
    pub fn admit_address(&self, address: IpAddr) -> Result<()> {
        let RateLimiting { enabled, requests_per_minute, burst_limit } = self.config;
        match enabled {
            true => self.addresses.admit(&address, requests_per_minute, burst_limit),
            false => Ok(()),
        }
    }

    /// A request of `caller`.
    ///
    /// # Errors
    /// `429 rate_limited`
    pub fn admit_caller(&self, caller: &Caller) -> Result<()> {
        let RateLimiting { enabled, requests_per_minute, burst_limit } = self.config;
        if let Some(token) = caller.token()
            && let Some(rate) = token.requests_per_minute
        {
            self.tokens.admit(token.id.as_str(), rate, burst_limit)?;
        }
        match enabled {
            true => self.tenants.admit(caller.tenant(), requests_per_minute, burst_limit),
            false => Ok(()),
        }
    }
}

/// Those of one kind.
struct Buckets<K>(Mutex<LruCache<K, Bucket>>);

impl<K: Hash + Eq> Buckets<K> {
    fn new() -> Buckets<K> {
        Buckets(Mutex::new(LruCache::new(MAX_REMEMBERED)))
    }

    fn admit<Q>(&self, who: &Q, per_minute: u32, burst: u32) -> Result<()>
    where
        K: Borrow<Q>,
        Q: ToOwned<Owned = K> + Hash + Eq + ?Sized,
    {
        let mut buckets = self.0.lock();
        let bucket = buckets.get_or_insert_ref(who, || {
            let per_minute = NonZeroU32::new(per_minute).unwrap_or(NonZeroU32::MIN);
            let burst = NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN).min(per_minute);
            RateLimiter::direct_with_clock(Quota::per_minute(per_minute).allow_burst(burst), MonotonicClock)
        });
        let Err(not_until) = bucket.check() else { return Ok(()) };
        let wait = not_until.wait_time_from(MonotonicClock.now()) + Duration::from_millis(999);
        let seconds = u32::try_from(wait.as_secs().clamp(1, MAX_WAIT_S)).unwrap_or(1);
        let detail = format!("more than {per_minute} requests in a minute: wait");
        Err(Problem::rate_limited(&detail, seconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(requests_per_minute: u32, burst_limit: u32) -> RateLimit {
        RateLimit::new(RateLimiting { enabled: true, requests_per_minute, burst_limit })
    }

    fn address(n: u32) -> IpAddr {
        std::net::Ipv4Addr::from_bits(n).into()
    }

    #[test]
    fn after_a_burst_the_next_have_to_wait_and_others_have_not() {
        let limit = limit(1, 3);
        assert!(limit.admit_address(address(1)).is_ok(), "the burst is no more than a minute's");
        let refused = limit.admit_address(address(1)).unwrap_err();
        assert_eq!(refused.code(), "rate_limited");
        assert!(limit.admit_address(address(2)).is_ok());
        let limit = RateLimit::new(RateLimiting { enabled: false, ..limit.config });
        assert!((0..100).all(|_| limit.admit_address(address(1)).is_ok()));
    }

    #[test]
    fn a_million_addresses_are_not_remembered() {
        let limit = limit(60, 2);
        (0..100_000).for_each(|n| drop(limit.admit_address(address(n))));
        assert_eq!(limit.addresses.0.lock().len(), MAX_REMEMBERED.get());
    }

    #[test]
    fn a_flood_of_addresses_gives_no_tenant_a_new_minute() {
        let limit = limit(60, 1);
        let caller = Caller::of("acme");
        assert!(limit.admit_caller(&caller).is_ok());
        (0..30_000).for_each(|n| drop(limit.admit_address(address(n))));
        assert!(limit.admit_caller(&caller).is_err(), "it is remembered");
        assert!(limit.admit_caller(&Caller::of("other")).is_ok());
    }
}
