//! Whether a secret is the one of a hash. Argon2 takes some 20 ms and 19 MiB on purpose: few at one time, few
//! that wait, and what was found good is remembered for a while, so that whoever sends a lot pays once.

use std::num::NonZeroUsize;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use argon2::Argon2;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use lru::LruCache;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

/// Hashes that are computed at one time.
const AT_ONE_TIME: usize = 2;

/// Secrets that may wait for that.
const MAX_WAITING: usize = 256;

/// How long a secret that was good is not looked at again, and how many are remembered.
const REMEMBERED: Duration = Duration::from_secs(60);
const MAX_REMEMBERED: NonZeroUsize = NonZeroUsize::new(1000).unwrap();

/// Bytes of a secret that are looked at.
const MAX_SECRET: usize = 256;

/// As many wait as may.
#[derive(Debug)]
pub struct Busy;

/// Looks at secrets.
pub(super) struct Verifier {
    key: [u8; 32],
    good: Mutex<LruCache<blake3::Hash, Instant>>,
    at_work: Arc<Semaphore>,
    waiting: Semaphore,
}

impl Verifier {
    pub fn new() -> Result<Verifier, getrandom::Error> {
        let mut key = [0; 32];
        getrandom::fill(&mut key)?;
        Ok(Verifier {
            key,
            good: Mutex::new(LruCache::new(MAX_REMEMBERED)),
            at_work: Arc::new(Semaphore::new(AT_ONE_TIME)),
            waiting: Semaphore::new(MAX_WAITING),
        })
    }

    /// Whether `secret` is the one of `hash`. Where there is none, the same work is done for nothing.
    pub async fn verify(&self, secret: &str, hash: Option<String>) -> Result<bool, Busy> {
        if secret.len() > MAX_SECRET {
            return Ok(false);
        }
        let remembers = || hash.as_ref().is_some_and(|hash| self.remembers(secret, hash));
        if remembers() {
            return Ok(true);
        }
        let _waiting = self.waiting.try_acquire().map_err(|_| Busy)?;
        let at_work = self.at_work.clone().acquire_owned().await.map_err(|_| Busy)?;
        // Somebody who came with the same secret may have waited before.
        if remembers() {
            return Ok(true);
        }
        let looked = {
            let (secret, hash) = (secret.to_owned(), hash.clone());
            tokio::task::spawn_blocking(move || {
                // To its end, whether the client waits or not.
                let _at_work = at_work;
                let of_nobody = hash.is_none();
                let hash = hash.as_deref().unwrap_or(&NOBODY);
                Argon2::default().verify_password(secret.as_bytes(), hash).is_ok() && !of_nobody
            })
        };
        let is_good = looked.await.unwrap_or(false);
        if let Some(hash) = hash.filter(|_| is_good) {
            self.good.lock().put(self.mark(secret, &hash), Instant::now());
        }
        Ok(is_good)
    }

    /// Whether they were found to belong together a moment ago.
    pub fn remembers(&self, secret: &str, hash: &str) -> bool {
        let mark = self.mark(secret, hash);
        self.good.lock().get(&mark).is_some_and(|since| since.elapsed() < REMEMBERED)
    }

    /// Keyed, so that it is no faster way to guess.
    fn mark(&self, secret: &str, hash: &str) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(hash.as_bytes()).update(&[0]).update(secret.as_bytes()).finalize()
    }
}

/// The hash of a secret that nobody has, with the parameters of all others.
static NOBODY: LazyLock<String> = LazyLock::new(|| {
    let hash = Argon2::default().hash_password_with_salt(b"nobody", &[0; 16]);
    hash.map(|hash| hash.to_string()).unwrap_or_default()
});

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn more_than_may_wait_are_refused_and_the_remembered_are_not() {
        let verifier = Arc::new(Verifier::new().unwrap());
        let hash = Argon2::default().hash_password_with_salt(b"secret", &[1; 16]).unwrap().to_string();
        assert!(verifier.verify("secret", Some(hash.clone())).await.unwrap());
        let _all = verifier.waiting.try_acquire_many(u32::try_from(MAX_WAITING).unwrap()).unwrap();
        assert!(verifier.verify("other", Some(hash.clone())).await.is_err());
        assert!(verifier.verify("secret", Some(hash)).await.unwrap());
        assert!(!verifier.verify(&"x".repeat(10_000), None).await.unwrap(), "not even looked at");
    }

    #[tokio::test]
    async fn nobody_comes_in_with_the_secret_of_nobody() {
        assert!(!Verifier::new().unwrap().verify("nobody", None).await.unwrap());
    }

    #[tokio::test]
    async fn many_with_the_same_secret_are_looked_at_once() {
        let verifier = Arc::new(Verifier::new().unwrap());
        let hash = Argon2::default().hash_password_with_salt(b"secret", &[1; 16]).unwrap().to_string();
        let begun = Instant::now();
        assert!(verifier.verify("secret", Some(hash.clone())).await.unwrap());
        let one = begun.elapsed();
        let verifier = Arc::new(Verifier::new().unwrap());
        let begun = Instant::now();
        let all = (0..200).map(|_| {
            let (verifier, hash) = (verifier.clone(), hash.clone());
            tokio::spawn(async move { verifier.verify("secret", Some(hash)).await.unwrap() })
        });
        for verified in all.collect::<Vec<_>>() {
            assert!(verified.await.unwrap());
        }
        assert!(begun.elapsed() < one * 50, "200 of them took {:?}, one {one:?}", begun.elapsed());
    }
}
