//! The queue's time: it only goes forward, whatever somebody does to the machine's clock.

use std::time::Instant;

use jiff::Timestamp;

/// Milliseconds since the scheduler was made. What was before is negative.
pub struct Clock(Instant);

impl Clock {
    pub fn start() -> Clock {
        Clock(Instant::now())
    }

    /// Now.
    pub fn now_ms(&self) -> i64 {
        i64::try_from(self.0.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    /// What the machine's clock calls `at`, as it stands this moment.
    pub fn at_ms(&self, at: Timestamp) -> i64 {
        let from_now = at.duration_since(Timestamp::now());
        self.now_ms().saturating_add(i64::try_from(from_now.as_millis()).unwrap_or(i64::MAX))
    }
}
