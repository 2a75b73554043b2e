//! How many connections there may be: each is a descriptor, and HTTP and WebSockets are not to starve each other.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;

/// Connections that speak HTTP, at one time.
const MAX_HTTP: usize = 8192;

/// Descriptors for everything else: blobs, artefacts, the database and its readers.
const OTHER_DESCRIPTORS: usize = 512;

/// Connections of each kind at one time.
#[derive(Debug, PartialEq, Eq)]
pub struct Shares {
    /// Those that speak HTTP.
    pub http: usize,
    /// WebSockets.
    pub web_sockets: usize,
}

impl Shares {
    /// As many as this process has descriptors for, where so many WebSockets are wanted.
    pub fn new(web_sockets: usize) -> Shares {
        let descriptors = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let descriptors = descriptors.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
        Shares::of(descriptors, web_sockets)
    }

    /// Half of the descriptors are for connections at the least, and half of those for HTTP.
    fn of(descriptors: usize, wanted: usize) -> Shares {
        let room = descriptors.saturating_sub(OTHER_DESCRIPTORS).max(descriptors / 2);
        let http = room.saturating_sub(wanted).max(room / 2).min(MAX_HTTP);
        Shares { http, web_sockets: wanted.min(room - http) }
    }
}

/// What one may have of `all`, so that there is something left for others.
pub fn half(all: usize) -> usize {
    all.div_ceil(2)
}

/// How many of something each key has; clones are the same count.
pub struct Counts<K>(Arc<Mutex<HashMap<K, usize>>>);

impl<K> Default for Counts<K> {
    fn default() -> Counts<K> {
        Counts(Arc::default())
    }
}

/// One that is counted, for as long as this lives.
pub struct Counted<K: Eq + Hash> {
    counts: Arc<Mutex<HashMap<K, usize>>>,
    key: K,
}

impl<K: Eq + Hash + Clone> Counts<K> {
    /// One more of `key`, if it has not as many as it may.
    pub fn count(&self, key: K, most: usize) -> Option<Counted<K>> {
        let mut counts = self.0.lock();
        let count = counts.entry(key.clone()).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Counted { counts: self.0.clone(), key })
    }
}

impl<K: Eq + Hash> Drop for Counted<K> {
    fn drop(&mut self) {
        let mut counts = self.counts.lock();
        if let Some(count) = counts.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_http_nor_web_sockets_take_all_descriptors() {
        let of = |descriptors, wanted| {
            let Shares { http, web_sockets } = Shares::of(descriptors, wanted);
            (http, web_sockets)
        };
        assert_eq!(of(1 << 20, 10_000), (8192, 10_000));
        assert_eq!(of(20_000, 10_000), (8192, 10_000));
        assert_eq!(of(10_000, 10_000), (4744, 4744));
        assert_eq!(of(1024, 10_000), (256, 256));
        assert_eq!(of(1024, 10), (502, 10));
        assert_eq!(of(usize::MAX, 1), (8192, 1));
    }

    #[test]
    fn what_is_counted_is_given_back() {
        let counts = Counts::default();
        let (one, two) = (counts.count("a", 2), counts.count("a", 2));
        assert!(one.is_some() && two.is_some() && counts.count("a", 2).is_none());
        assert!(counts.count("b", 2).is_some());
        drop(one);
        assert!(counts.count("a", 2).is_some());
        drop(two);
        assert!(counts.0.lock().is_empty(), "nothing is kept of who has none");
    }
}
