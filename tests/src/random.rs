//! Chance that can be repeated: a test that fails must be able to fail again.

use std::time::{SystemTime, UNIX_EPOCH};

/// xorshift64*.
pub struct Random(u64);

impl Random {
    /// What follows from `seed`.
    pub fn from(seed: u64) -> Random {
        Random(seed | 1)
    }

    /// A number under `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % end
    }

    /// Another one, for another thread.
    pub fn another(&mut self) -> Random {
        Random::from(self.below(u64::MAX))
    }
}

/// What a test's chance follows from; printed if the test fails.
pub struct Seed(pub u64);

impl Seed {
    /// `OMNIMIND_TEST_SEED`, or the time.
    pub fn given_or_new() -> Seed {
        let given = std::env::var("OMNIMIND_TEST_SEED").ok().map(|seed| seed.parse().expect("a number"));
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos() as u64;
        Seed(given.unwrap_or_else(now) | 1)
    }
}

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("to do this again: OMNIMIND_TEST_SEED={}", self.0);
        }
    }
}
