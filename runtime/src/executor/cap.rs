//! What guests together may take of the processors: a bucket of CPU time that fills as time passes.
//!
//! A slice of time is charged when it is over, so the bucket may hold less than nothing: then nobody computes
//! until the debt is paid. Over seconds the share is exact; how far a moment is off is bounded by [`BURST`].

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::backend::work::thread_cpu;

/// What may be saved up while guests compute less than they may, for each core.
const BURST: Duration = Duration::from_millis(10);

/// CPU time that guests may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    /// CPU time that comes in for each unit of time.
    cores: f64,
    /// The most that it holds, in seconds.
    most: f64,
    /// What is left, in seconds of CPU time.
    left: f64,
    filled: Instant,
}

impl Bucket {
    /// A bucket for `percent` of `cores`, empty as yet.
    pub fn new(percent: f64, cores: usize, now: Instant) -> Bucket {
        let cores = cores as f64;
        Bucket { cores: cores * percent / 100.0, most: cores * BURST.as_secs_f64(), left: 0.0, filled: now }
    }

    /// With what it holds or owes, and from now on filled as `new` is.
    pub fn at_rate_of(mut self, new: Bucket) -> Bucket {
        self.wait(new.filled);
        Bucket { left: self.left.min(new.most), ..new }
    }

    /// Takes what a slice of time has cost.
    pub fn charge(&mut self, time: Duration) {
        self.left -= time.as_secs_f64();
    }

    /// How long until there is something in it; zero when there is.
    pub fn wait(&mut self, now: Instant) -> Duration {
        let passed = now.saturating_duration_since(self.filled);
        self.left = passed.as_secs_f64().mul_add(self.cores, self.left).min(self.most);
        self.filled = self.filled.max(now);
        match self.left > 0.0 {
            true => Duration::ZERO,
            // Never zero: that would mean now.
            false => {
                let wait = Duration::try_from_secs_f64(-self.left / self.cores).unwrap_or(Duration::MAX);
                wait.saturating_add(Duration::from_micros(1))
            }
        }
    }
}

thread_local! {
    /// Under which cap this thread's CPU time was last looked at, and what it was.
    static SEEN: Cell<(u64, Duration)> = const { Cell::new((0, Duration::ZERO)) };
}

/// CPU time of this thread since it was last asked under the cap `number`; zero at the first time. So whatever
/// a guest's thread does is charged, the hand-over between short tasks too.
pub(super) fn thread_cpu_since_last(number: u64) -> Duration {
    let now = thread_cpu();
    match SEEN.replace((number, now)) {
        (last, at) if last == number => now.saturating_sub(at),
        _ => Duration::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn over_seconds_the_share_is_exact_whatever_a_slice_costs() {
        // 75 % of 2 cores: two guests that would always compute, in slices from 0.1 to 300 ms.
        for slice in [MS / 10, MS, MS * 5, MS * 300] {
            let (begun, mut now, mut taken) = (Instant::now(), Instant::now(), Duration::ZERO);
            let mut bucket = Bucket::new(75.0, 2, begun);
            while now.duration_since(begun) < Duration::from_secs(10) {
                match bucket.wait(now) {
                    Duration::ZERO => {
                        bucket.charge(slice * 2);
                        taken += slice * 2;
                        now += slice;
                    }
                    wait => now += wait,
                }
            }
            let share = taken.as_secs_f64() / now.duration_since(begun).as_secs_f64() / 2.0;
            assert!((0.72..0.78).contains(&share), "{slice:?}: {share}");
        }
    }

    #[test]
    fn little_is_saved_up() {
        let begun = Instant::now();
        let mut bucket = Bucket::new(50.0, 4, begun);
        let now = begun + Duration::from_secs(3600);
        assert_eq!(bucket.wait(now), Duration::ZERO);
        bucket.charge(BURST * 4);
        assert!(bucket.wait(now) > Duration::ZERO);
        assert_eq!(bucket.wait(now + MS), Duration::ZERO);
    }

    #[test]
    fn a_cap_that_is_said_again_forgives_nothing() {
        let begun = Instant::now();
        let mut bucket = Bucket::new(50.0, 2, begun);
        bucket.charge(MS * 500);
        let mut again = bucket.at_rate_of(Bucket::new(25.0, 2, begun + MS * 100));
        let wait = again.wait(begun + MS * 100);
        assert!((MS * 800..MS * 801).contains(&wait), "{wait:?}: 400 ms are left, at half a core");
        let mut whole = again.at_rate_of(Bucket::new(99.0, 2, begun + MS * 901));
        assert_eq!(whole.wait(begun + MS * 901), Duration::ZERO);
    }

    #[test]
    fn a_debt_is_waited_for() {
        let begun = Instant::now();
        let mut bucket = Bucket::new(50.0, 2, begun);
        bucket.charge(MS * 500);
        let wait = bucket.wait(begun);
        assert!((MS * 500..MS * 501).contains(&wait), "{wait:?}");
        assert_eq!(bucket.wait(begun + wait), Duration::ZERO);
    }

    #[test]
    fn a_thread_is_charged_for_what_it_did_since_the_last_time() {
        let spin = || {
            let begun = thread_cpu();
            while thread_cpu() - begun < MS * 5 {}
        };
        spin();
        assert_eq!(thread_cpu_since_last(1), Duration::ZERO, "what was before the cap is free");
        spin();
        assert!(thread_cpu_since_last(1) >= MS * 5);
        spin();
        assert_eq!(thread_cpu_since_last(2), Duration::ZERO, "another cap");
    }
}
