//! Values that were used last, bounded in number, bytes and time.

use std::hash::Hash;
use std::time::{Duration, Instant};

use lru::LruCache;
use parking_lot::Mutex;

use super::{Cache, Figures, Hits, Kind};

/// Keeps values `V` by keys `K`.
pub struct Bounded<K, V> {
    name: &'static str,
    /// Values at most.
    most: usize,
    /// Bytes at most.
    most_bytes: usize,
    /// How long, if at all.
    expire: Option<Duration>,
    kept: Mutex<Kept<K, V>>,
    hits: Hits,
}

struct Kept<K, V> {
    values: LruCache<K, Value<V>>,
    bytes: usize,
}

struct Value<V> {
    value: V,
    bytes: usize,
    since: Instant,
}

impl<K: Hash + Eq, V: Clone> Bounded<K, V> {
    /// Keeps `most` values and `most_bytes` at most, each for `expire`, if at all.
    pub fn new(
        name: &'static str,
        most: usize,
        most_bytes: usize,
        expire: Option<Duration>,
    ) -> Bounded<K, V> {
        let kept = Mutex::new(Kept { values: LruCache::unbounded(), bytes: 0 });
        Bounded { name, most, most_bytes, expire: expire.filter(|_| most > 0), kept, hits: Hits::default() }
    }

    /// Whether it keeps anything.
    pub fn is_enabled(&self) -> bool {
        self.expire.is_some()
    }

    /// The value of `key`, if it is there and still good.
    pub fn find(&self, key: &K, is_good: impl Fn(&V) -> bool) -> Option<V> {
        let expire = self.expire?;
        let mut kept = self.kept.lock();
        let found = kept.values.get(key);
        let good = found.filter(|found| is_good(&found.value) && found.since.elapsed() < expire);
        let good = good.map(|found| found.value.clone());
        if good.is_none() {
            kept.remove(key);
        }
        drop(kept);
        self.hits.count(good.is_some());
        good
    }

    /// Keeps a value that takes `bytes` with its key, unless that is more than all may take.
    pub fn keep(&self, key: K, bytes: usize, value: V) {
        if !self.is_enabled() || bytes > self.most_bytes {
            return;
        }
        let mut kept = self.kept.lock();
        kept.remove(&key);
        while kept.bytes + bytes > self.most_bytes || kept.values.len() >= self.most {
            let Some((_, oldest)) = kept.values.pop_lru() else { break };
            kept.bytes -= oldest.bytes;
        }
        kept.bytes += bytes;
        kept.values.put(key, Value { value, bytes, since: Instant::now() });
    }
}

impl<K: Hash + Eq, V> Kept<K, V> {
    fn remove(&mut self, key: &K) {
        if let Some(removed) = self.values.pop(key) {
            self.bytes -= removed.bytes;
        }
    }
}

impl<K: Hash + Eq + Send, V: Clone + Send> Cache for Bounded<K, V> {
    fn figures(&self) -> Figures {
        let (hits, misses, hit_rate) = self.hits.read();
        let kept = self.kept.lock();
        Figures {
            name: self.name,
            kind: Kind::Answers,
            enabled: self.is_enabled(),
            entries: kept.values.len(),
            bytes: Some(kept.bytes),
            capacity: self.most,
            capacity_bytes: Some(self.most_bytes),
            hits,
            misses,
            hit_rate,
        }
    }

    fn clear(&self) -> usize {
        let mut kept = self.kept.lock();
        let count = kept.values.len();
        kept.values.clear();
        kept.bytes = 0;
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Option<Duration> = Some(Duration::from_secs(3600));

    fn cache(most: usize, expire: Option<Duration>) -> Bounded<usize, char> {
        Bounded::new("test", most, 1000, expire)
    }

    #[test]
    fn what_is_kept_is_bounded_in_number_bytes_and_time() {
        let cache_of_100 = cache(100, LONG);
        (0..1000).for_each(|key| cache_of_100.keep(key, 2, 'a'));
        assert_eq!((cache_of_100.figures().entries, cache_of_100.figures().bytes), (100, Some(200)));
        let find = |key| cache_of_100.find(&key, |_| true);
        assert_eq!([find(899), find(900), find(999)], [None, Some('a'), Some('a')], "the last");
        // The one that was looked for is not the next to go.
        cache_of_100.keep(5, 802, 'b');
        assert_eq!((cache_of_100.figures().entries, find(900), find(901)), (100, Some('a'), None));
        cache_of_100.keep(6, 1000, 'c');
        assert_eq!((cache_of_100.figures().entries, cache_of_100.figures().bytes), (1, Some(1000)));
        cache_of_100.keep(6, 1001, 'd');
        assert_eq!(find(6), Some('c'), "too large to be kept");
        cache_of_100.keep(6, 10, 'e');
        assert_eq!((find(6), cache_of_100.figures().bytes), (Some('e'), Some(10)), "in its place");
        assert_eq!((cache_of_100.clear(), cache_of_100.figures().bytes), (1, Some(0)));

        let [none, never, short] = [cache(0, LONG), cache(10, None), cache(10, Some(Duration::ZERO))];
        for cache in [&none, &never, &short] {
            cache.keep(1, 1, 'a');
            assert_eq!(cache.find(&1, |_| true), None);
        }
        assert_eq!(
            (none.figures().enabled, never.figures().enabled, none.figures().misses),
            (false, false, 0)
        );
        assert_eq!((short.figures().misses, short.figures().bytes), (1, Some(0)), "what is too old goes");
    }

    #[test]
    fn what_is_not_good_any_more_goes() {
        let cache = cache(10, LONG);
        cache.keep(1, 1, 'a');
        assert_eq!(cache.find(&1, |value| *value == 'a'), Some('a'));
        assert_eq!(cache.find(&1, |value| *value == 'b'), None);
        assert_eq!((cache.figures().entries, cache.figures().hits, cache.figures().misses), (0, 1, 1));
    }
}
