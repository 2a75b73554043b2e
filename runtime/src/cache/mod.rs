//! Caches: what is kept in memory because it may be asked for again, and could be made again.
//!
//! Each is bounded, tells how it does, and can be emptied: by its operator, and by the guard when memory is
//! short. Compiled components on the disk are none of them: they are what an uploaded component is here.

mod answers;
mod bounded;

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

pub use answers::{Answers, Began};
pub use bounded::Bounded;

/// Something that keeps what could be made again.
pub trait Cache: Send + Sync {
    /// How it does.
    fn figures(&self) -> Figures;

    /// Forgets what nobody uses at the moment; says how many entries that were.
    fn clear(&self) -> usize;
}

/// What a cache is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Answers, which `cache.enabled` switches: what they tell could change, or who asks may want each made anew.
    Answers,
    /// Components that are ready to run, and of which nothing ever changes.
    Components,
}

/// How a cache does.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Figures {
    /// Its name.
    pub name: &'static str,
    /// What it is of.
    pub kind: Kind,
    /// Whether it keeps anything.
    pub enabled: bool,
    /// What it keeps now.
    pub entries: usize,
    /// Bytes of that, where they are known.
    pub bytes: Option<usize>,
    /// Entries that it keeps at most.
    pub capacity: usize,
    /// Bytes that it keeps at most, where they are bounded.
    pub capacity_bytes: Option<usize>,
    /// What was asked for and was there, since the start.
    pub hits: u64,
    /// What was asked for and was not there.
    pub misses: u64,
    /// Hits among all that was asked for, 0 to 1; none where nothing was.
    pub hit_rate: Option<f64>,
}

/// Counts how often something was there.
#[derive(Debug, Default)]
pub struct Hits {
    hits: AtomicU64,
    misses: AtomicU64,
}

impl Hits {
    /// Counts one that was asked for.
    pub fn count(&self, was_there: bool) {
        let counter = if was_there { &self.hits } else { &self.misses };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// How many were there, how many not, and the share of the first.
    pub fn read(&self) -> (u64, u64, Option<f64>) {
        let (hits, misses) = (self.hits.load(Ordering::Relaxed), self.misses.load(Ordering::Relaxed));
        let all = hits + misses;
        (hits, misses, (all > 0).then(|| hits as f64 / all as f64))
    }
}

impl Figures {
    /// Those of a cache of components: its name, what it keeps, and how many at most.
    pub fn of_components(name: &'static str, entries: usize, capacity: usize, counted: &Hits) -> Figures {
        let (hits, misses, hit_rate) = counted.read();
        Figures {
            name,
            kind: Kind::Components,
            enabled: true,
            entries,
            bytes: None,
            capacity,
            capacity_bytes: None,
            hits,
            misses,
            hit_rate,
        }
    }
}
