//! The linked components that are kept: a task of one of them begins without linking.

use std::num::NonZeroUsize;
use std::sync::Arc;

use lru::LruCache;
use parking_lot::Mutex;

use super::Prepared;
use crate::cache::{Cache, Figures, Hits};
use crate::task::Digest;

/// Linked components kept.
const MAX_PREPARED: NonZeroUsize = NonZeroUsize::new(256).unwrap();

/// The components that were linked last.
pub struct Linked {
    kept: Mutex<LruCache<Digest, Arc<Prepared>>>,
    hits: Hits,
}

impl Linked {
    pub(super) fn new() -> Linked {
        Linked { kept: Mutex::new(LruCache::new(MAX_PREPARED)), hits: Hits::default() }
    }

    /// One that a task is to be made of.
    pub(super) fn find(&self, digest: &Digest) -> Option<Arc<Prepared>> {
        let found = self.get(digest);
        self.hits.count(found.is_some());
        found
    }

    pub(super) fn get(&self, digest: &Digest) -> Option<Arc<Prepared>> {
        self.kept.lock().get(digest).cloned()
    }

    pub(super) fn put(&self, digest: Digest, prepared: Arc<Prepared>) {
        self.kept.lock().put(digest, prepared);
    }
}

impl Cache for Linked {
    fn figures(&self) -> Figures {
        Figures::of_components("linked_components", self.kept.lock().len(), MAX_PREPARED.get(), &self.hits)
    }

    fn clear(&self) -> usize {
        let mut kept = self.kept.lock();
        let unused = kept.iter().filter(|(_, prepared)| Arc::strong_count(prepared) == 1);
        let unused: Vec<Digest> = unused.map(|(digest, _)| *digest).collect();
        for digest in &unused {
            kept.pop(digest);
        }
        unused.len()
    }
}
