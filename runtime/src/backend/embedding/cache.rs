//! Vectors that were made, by what they were made of.
//!
//! Tenants do not share them: the vector of a text is no secret, but that it is there at once, and costs nothing,
//! would tell one tenant what another has embedded.

use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lru::LruCache;

use super::Vector;
use crate::cache::{Cache, Figures, Hits, Kind};

/// Bytes of vectors kept at most.
const MAX_BYTES: usize = 64 << 20;

/// Bytes of an entry beside its numbers: the key, the place in the list and in the table, the counts.
const ENTRY_BYTES: usize = 160;

/// Tenant, model and text: as a hash, so that no text is kept.
pub type Key = [u8; 32];

/// Vectors by tenant, model and text: the last used, and none for longer than its time.
pub struct Vectors {
    most: usize,
    ttl: Duration,
    kept: Mutex<Kept>,
    hits: Hits,
}

struct Kept {
    vectors: LruCache<Key, (Vector, Instant)>,
    bytes: usize,
}

/// What a vector is found by.
pub fn key(tenant: &str, model: &str, text: &str) -> Key {
    let mut hasher = blake3::Hasher::new();
    for part in [tenant, model] {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
    }
    hasher.update(text.as_bytes()).finalize().into()
}

fn bytes_of(vector: &Vector) -> usize {
    ENTRY_BYTES + size_of_val(&**vector)
}

impl Vectors {
    /// Keeps `most` vectors at most, each for `ttl`; 0 keeps none.
    pub fn new(most: usize, ttl: Duration) -> Vectors {
        let kept = Kept { vectors: LruCache::unbounded(), bytes: 0 };
        Vectors { most, ttl, kept: Mutex::new(kept), hits: Hits::default() }
    }

    /// The vector of that key, if it is there.
    pub fn find(&self, key: &Key) -> Option<Vector> {
        if self.most == 0 {
            return None;
        }
        let mut kept = self.kept();
        let found = match kept.vectors.get(key) {
            Some((vector, since)) if since.elapsed() < self.ttl => Some(vector.clone()),
            Some(_) => {
                kept.remove(key);
                None
            }
            None => None,
        };
        drop(kept);
        self.hits.count(found.is_some());
        found
    }

    /// Keeps a vector.
    pub fn keep(&self, key: Key, vector: Vector) {
        let Some(most) = NonZeroUsize::new(self.most) else { return };
        let bytes = bytes_of(&vector);
        if bytes > MAX_BYTES {
            return;
        }
        let mut kept = self.kept();
        kept.remove(&key);
        while kept.bytes + bytes > MAX_BYTES || kept.vectors.len() >= most.get() {
            let Some((_, (oldest, _))) = kept.vectors.pop_lru() else { break };
            kept.bytes -= bytes_of(&oldest);
        }
        kept.bytes += bytes;
        kept.vectors.put(key, (vector, Instant::now()));
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn remove(&mut self, key: &Key) {
        if let Some((vector, _)) = self.vectors.pop(key) {
            self.bytes -= bytes_of(&vector);
        }
    }
}

impl Cache for Vectors {
    fn figures(&self) -> Figures {
        let (hits, misses, hit_rate) = self.hits.read();
        let kept = self.kept();
        Figures {
            name: "embeddings",
            kind: Kind::Answers,
            enabled: self.most > 0,
            entries: kept.vectors.len(),
            bytes: Some(kept.bytes),
            capacity: self.most,
            capacity_bytes: Some(MAX_BYTES),
            hits,
            misses,
            hit_rate,
        }
    }

    fn clear(&self) -> usize {
        let mut kept = self.kept();
        let count = kept.vectors.len();
        kept.vectors.clear();
        kept.bytes = 0;
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    fn vector(length: usize) -> Vector {
        vec![0.5; length].into()
    }

    #[test]
    fn what_is_found_is_of_this_tenant_model_and_text() {
        let vectors = Vectors::new(10, LONG);
        vectors.keep(key("a", "m", "text"), vector(3));
        assert_eq!(vectors.find(&key("a", "m", "text")), Some(vector(3)));
        for other in
            [key("b", "m", "text"), key("a", "n", "text"), key("a", "m", "texts"), key("am", "", "text")]
        {
            assert_eq!(vectors.find(&other), None);
        }
        let figures = vectors.figures();
        assert_eq!((figures.hits, figures.misses, figures.entries), (1, 4, 1));
        assert_eq!((vectors.clear(), vectors.figures().bytes), (1, Some(0)));
    }

    #[test]
    fn what_is_kept_is_bounded_in_number_bytes_and_time() {
        let text = |number: usize| key("", "m", &number.to_string());
        let vectors = Vectors::new(100, LONG);
        (0..1000).for_each(|number| vectors.keep(text(number), vector(4)));
        assert_eq!(vectors.figures().entries, 100);
        assert!(vectors.find(&text(999)).is_some() && vectors.find(&text(899)).is_none(), "the last");
        let large = (16 << 20) - ENTRY_BYTES;
        (0..10).for_each(|number| vectors.keep(text(number), vector(large / 4)));
        assert_eq!((vectors.figures().entries, vectors.figures().bytes), (4, Some(MAX_BYTES)));
        vectors.keep(text(0), vector(MAX_BYTES));
        assert_eq!(vectors.figures().entries, 4, "too large to be kept");

        let [none, short] = [Vectors::new(0, LONG), Vectors::new(10, Duration::ZERO)];
        for vectors in [&none, &short] {
            vectors.keep(text(1), vector(4));
            assert_eq!(vectors.find(&text(1)), None);
        }
        assert_eq!((none.figures().enabled, none.figures().misses), (false, 0));
        assert_eq!(short.figures().bytes, Some(0), "what is too old goes");
    }
}
