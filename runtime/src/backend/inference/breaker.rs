//! Leaves a server alone that fails again and again.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::Error;

/// Failures in a row after which it is left alone.
const FAILURES: u32 = 3;

/// For how long at first, and at most: it doubles with each further failure.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);

/// Whether a server is asked.
#[derive(Default)]
pub struct Breaker(Mutex<State>);

#[derive(Default)]
struct State {
    failures: u32,
    /// Until then nobody asks; after that one does.
    until: Option<Instant>,
    last: Option<Error>,
}

impl Breaker {
    /// Whether it may be asked now. Of those who come when the time is over one may; the others wait for what becomes
    /// of that.
    ///
    /// # Errors
    /// It failed again and again, in this way.
    pub fn check(&self) -> Result<(), Error> {
        let mut state = self.0.lock();
        let (Some(until), Some(last)) = (state.until, state.last.clone()) else { return Ok(()) };
        let now = Instant::now();
        if now < until {
            return Err(last);
        }
        state.until = Some(now + FIRST);
        Ok(())
    }

    /// It is there. What took too long may do so again: only an answer shows that it does not.
    pub fn is_there(&self) {
        let mut state = self.0.lock();
        if matches!(state.last, Some(Error::Unavailable(_))) {
            *state = State::default();
        }
    }

    /// It answered.
    pub fn answered(&self) {
        *self.0.lock() = State::default();
    }

    /// It failed; whether that is its own fault the error says.
    pub fn failed(&self, error: &Error) {
        if !matches!(error, Error::Unavailable(_) | Error::TimedOut(_)) {
            return;
        }
        let mut state = self.0.lock();
        state.failures = state.failures.saturating_add(1);
        state.last = Some(error.clone());
        if let Some(times) = state.failures.checked_sub(FAILURES) {
            let wait = FIRST.saturating_mul(2_u32.saturating_pow(times)).min(LONGEST);
            state.until = Some(Instant::now() + wait);
        }
    }

    /// Why it is left alone, if it is.
    pub fn open(&self) -> Option<Error> {
        let state = self.0.lock();
        state.until.and(state.last.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_fails_again_and_again_is_left_alone_and_asked_by_one_after_that() {
        let breaker = Breaker::default();
        let failure = Error::Unavailable("gone".to_owned());
        for _ in 1..FAILURES {
            breaker.failed(&failure);
            assert_eq!(breaker.check(), Ok(()));
        }
        breaker.failed(&Error::NoModel("m".to_owned()));
        assert_eq!((breaker.check(), breaker.open()), (Ok(()), None), "that is not the server's fault");
        breaker.failed(&failure);
        assert_eq!(breaker.check(), Err(failure.clone()));
        assert_eq!(breaker.open(), Some(failure.clone()));
        breaker.0.lock().until = Some(Instant::now());
        assert_eq!(breaker.check(), Ok(()), "the time is over");
        assert_eq!(breaker.check(), Err(failure), "and somebody asks already");
        breaker.answered();
        assert_eq!((breaker.check(), breaker.open()), (Ok(()), None));

        let late = Error::TimedOut("late".to_owned());
        for (failure, open) in [(Error::Unavailable("gone".to_owned()), None), (late.clone(), Some(late))] {
            (0..FAILURES).for_each(|_| breaker.failed(&failure));
            breaker.is_there();
            assert_eq!(breaker.open(), open, "{failure}");
        }
        breaker.answered();
        // Whoever names what cannot be does not close it to everybody.
        (0..9).for_each(|_| breaker.failed(&Error::Failed("too large".to_owned())));
        assert_eq!((breaker.check(), breaker.open()), (Ok(()), None));
    }
}
