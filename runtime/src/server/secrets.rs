//! Secrets that are made here, told once and good for some time: tickets, sessions.
//!
//! Only their hashes are kept, so that nothing is compared byte by byte, and no more than so many.

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lru::LruCache;
use parking_lot::Mutex;

/// Secrets of one kind, each with what it stands for.
pub struct Secrets<T> {
    time: Duration,
    good: Mutex<Good<T>>,
}

/// By hash: until when it is good, and for what.
type Good<T> = LruCache<blake3::Hash, (Instant, T)>;

impl<T: Clone> Secrets<T> {
    /// None yet; each will be good for this `time`, and of more than `most` the ones used longest ago are
    /// forgotten.
    pub fn new(most: NonZeroUsize, time: Duration) -> Secrets<T> {
        Secrets { time, good: Mutex::new(LruCache::new(most)) }
    }

    /// A new one, that stands for `what`.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn issue(&self, what: T) -> Result<String, getrandom::Error> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret)?;
        let secret = URL_SAFE_NO_PAD.encode(secret);
        self.good.lock().put(hash(&secret), (Instant::now() + self.time, what));
        Ok(secret)
    }

    /// What a secret stands for, if it is good.
    pub fn get(&self, secret: &str) -> Option<T> {
        let found = self.good.lock().get(&hash(secret)).cloned();
        found.and_then(still_good)
    }

    /// The same, for the last time.
    pub fn take(&self, secret: &str) -> Option<T> {
        let found = self.good.lock().pop(&hash(secret));
        found.and_then(still_good)
    }

    /// How many of those that are good stand for something like this.
    pub fn count(&self, like: impl Fn(&T) -> bool) -> usize {
        let now = Instant::now();
        self.good.lock().iter().filter(|(_, (until, what))| *until >= now && like(what)).count()
    }
}

fn hash(secret: &str) -> blake3::Hash {
    blake3::hash(secret.as_bytes())
}

fn still_good<T>((until, what): (Instant, T)) -> Option<T> {
    (until >= Instant::now()).then_some(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: NonZeroUsize = NonZeroUsize::new(2).unwrap();

    #[test]
    fn a_secret_stands_for_what_it_was_made_for_until_it_is_taken() {
        let secrets = Secrets::new(TWO, Duration::from_secs(60));
        let [one, two] = [1, 2].map(|what| secrets.issue(what).unwrap());
        assert_eq!((secrets.get(&one), secrets.take(&one), secrets.take(&one)), (Some(1), Some(1), None));
        assert_eq!(secrets.get("").or(secrets.get(&one)), None);
        assert_eq!((secrets.count(|what| *what == 2), secrets.count(|what| *what == 1)), (1, 0));
        secrets.issue(3).unwrap();
        secrets.issue(4).unwrap();
        assert_eq!((secrets.get(&two), secrets.count(|_| true)), (None, 2), "no more than two");
    }

    #[test]
    fn what_is_too_old_is_not_good() {
        let secrets = Secrets::new(TWO, Duration::ZERO);
        let [one, two] = [1, 2].map(|what| secrets.issue(what).unwrap());
        std::thread::sleep(Duration::from_millis(2));
        assert_eq!((secrets.get(&one), secrets.take(&two), secrets.count(|_| true)), (None, None, 0));
    }
}
