//! Lines that clients or a full disk could bring about without end.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Time between two lines of one kind.
const INTERVAL: Duration = Duration::from_secs(10);

/// Lets one line of a kind through in ten seconds, and counts the others.
pub struct Seldom(Mutex<(Option<Instant>, u64)>);

impl Seldom {
    /// One that lets the first through.
    #[allow(clippy::new_without_default, reason = "it is what a static begins as")]
    pub const fn new() -> Seldom {
        Seldom(Mutex::new((None, 0)))
    }

    /// If it is time for a line: how many were left out since the last one.
    pub fn left_out(&self) -> Option<u64> {
        let mut state = self.0.lock();
        let (last, left_out) = &mut *state;
        if last.is_some_and(|last| last.elapsed() < INTERVAL) {
            *left_out += 1;
            return None;
        }
        *last = Some(Instant::now());
        Some(std::mem::take(left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_ten_seconds() {
        let seldom = Seldom::new();
        assert_eq!(seldom.left_out(), Some(0));
        assert_eq!([(); 3].map(|()| seldom.left_out()), [None; 3]);
        seldom.0.lock().0 = Instant::now().checked_sub(INTERVAL);
        assert_eq!((seldom.left_out(), seldom.left_out()), (Some(3), None));
    }
}
