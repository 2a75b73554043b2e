//! How often somebody may ask: each address before it is known who asks, each tenant or token after that.
//!
//! A bucket (GCRA) for each, on the monotonic clock. Those that were not seen for longest are forgotten when
//! there are too many: whoever comes with a million addresses finds no more memory than that.

use std::net::IpAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use governor::clock::{Clock, MonotonicClock};
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use lru::LruCache;

use super::caller::Caller;
use super::problem::{Problem, Result};
use crate::config::RateLimiting;

/// Addresses, tenants and tokens that are remembered.
const MAX_REMEMBERED: NonZeroUsize = NonZeroUsize::new(20_000).unwrap();

/// Longest wait that is told.
const MAX_WAIT_S: u64 = 3600;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Who {
    Address(IpAddr),
    Tenant(String),
    Token(String),
}

type Bucket =
    RateLimiter<NotKeyed, InMemoryState, MonotonicClock, NoOpMiddleware<<MonotonicClock as Clock>::Instant>>;

/// Counts requests.
pub struct RateLimit {
    config: RateLimiting,
    buckets: Mutex<LruCache<Who, Bucket>>,
}

impl RateLimit {
    /// Nobody has asked yet.
    pub fn new(config: RateLimiting) -> RateLimit {
        RateLimit { config, buckets: Mutex::new(LruCache::new(MAX_REMEMBERED)) }
    }

    /// A request from `address`, a network.
    ///
    /// # Errors
    /// `429 rate_limited`
    pub fn admit_address(&self, address: IpAddr) -> Result<()> {
        match self.config.enabled {
            true => self.admit(Who::Address(address), self.config.requests_per_minute),
            false => Ok(()),
        }
    }

    /// A request of `caller`.
    ///
    /// # Errors
    /// `429 rate_limited`
    pub fn admit_caller(&self, caller: &Caller) -> Result<()> {
        if let Some(token) = caller.token()
            && let Some(rate) = token.requests_per_minute
        {
            self.admit(Who::Token(token.id.clone()), rate)?;
        }
        match self.config.enabled {
            true => self.admit(Who::Tenant(caller.tenant().to_owned()), self.config.requests_per_minute),
            false => Ok(()),
        }
    }

    fn admit(&self, who: Who, per_minute: u32) -> Result<()> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = buckets.get_or_insert(who, || {
            let per_minute = NonZeroU32::new(per_minute).unwrap_or(NonZeroU32::MIN);
            let burst = NonZeroU32::new(self.config.burst_limit).unwrap_or(NonZeroU32::MIN).min(per_minute);
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
        assert_eq!(limit.buckets.lock().unwrap().len(), MAX_REMEMBERED.get());
    }
}
