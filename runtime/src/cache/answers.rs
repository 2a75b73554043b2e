//! Answers that are given again until something changes.

use std::hash::Hash;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lru::LruCache;

use super::{Cache, Figures, Hits, Kind};
use crate::events::Changes;

/// Answers kept, and bytes of them; of one: larger ones are made anew.
const MAX_ANSWERS: NonZeroUsize = NonZeroUsize::new(256).unwrap();
const MAX_BYTES: usize = 32 << 20;
const MAX_ANSWER: usize = 4 << 20;

/// Keeps answers `V` to questions `K`, none of them beyond the change that makes it old.
///
/// An answer belongs to the number of changes that had begun when it was looked for. It is given while no other
/// has begun, and kept only if none was under way then: what is being changed can be seen before or after.
pub struct Answers<K, V> {
    name: &'static str,
    /// How long, if at all.
    expire: Option<Duration>,
    changes: Changes,
    kept: Mutex<Kept<K, V>>,
    hits: Hits,
}

struct Kept<K, V> {
    answers: LruCache<K, Answer<V>>,
    bytes: usize,
}

struct Answer<V> {
    value: Arc<V>,
    bytes: usize,
    since: Instant,
    version: u64,
}

/// When an answer was begun: the number of changes until then; none if one was under way.
#[derive(Clone, Copy, Debug)]
pub struct Began(Option<u64>);

impl<K: Hash + Eq, V> Answers<K, V> {
    /// A cache that keeps answers for `expire`, if at all, and never beyond one of `changes`.
    pub fn new(name: &'static str, expire: Option<Duration>, changes: Changes) -> Answers<K, V> {
        let kept = Kept { answers: LruCache::new(MAX_ANSWERS), bytes: 0 };
        Answers { name, expire, changes, kept: Mutex::new(kept), hits: Hits::default() }
    }

    /// The answer to `question`; or what is to be given to [`Answers::keep`] with a new one. Take it before you
    /// look.
    ///
    /// # Errors
    /// There is none that is still true.
    pub fn find(&self, question: &K) -> Result<Arc<V>, Began> {
        let Some(expire) = self.expire else { return Err(Began(None)) };
        let version = self.changes.begun();
        let mut kept = self.kept();
        let found = kept.answers.get(question);
        let good = found.filter(|answer| answer.version == version && answer.since.elapsed() < expire);
        let good = good.map(|answer| answer.value.clone());
        if good.is_none() {
            kept.remove(question);
        }
        drop(kept);
        self.hits.count(good.is_some());
        good.ok_or_else(|| Began(self.changes.settled()))
    }

    /// Keeps the answer to `question`, `bytes` of memory with the question, if it is still true.
    pub fn keep(&self, began: Began, question: K, bytes: usize, value: Arc<V>) {
        let Began(Some(version)) = began else { return };
        if bytes > MAX_ANSWER || self.expire.is_none() || self.changes.begun() != version {
            return;
        }
        let mut kept = self.kept();
        kept.remove(&question);
        while kept.bytes + bytes > MAX_BYTES || kept.answers.len() >= MAX_ANSWERS.get() {
            let Some((_, oldest)) = kept.answers.pop_lru() else { break };
            kept.bytes -= oldest.bytes;
        }
        kept.bytes += bytes;
        kept.answers.put(question, Answer { value, bytes, since: Instant::now(), version });
    }

    fn kept(&self) -> MutexGuard<'_, Kept<K, V>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Hash + Eq, V> Kept<K, V> {
    fn remove(&mut self, question: &K) {
        if let Some(answer) = self.answers.pop(question) {
            self.bytes -= answer.bytes;
        }
    }
}

impl<K: Hash + Eq + Send, V: Send + Sync> Cache for Answers<K, V> {
    fn figures(&self) -> Figures {
        let (hits, misses, hit_rate) = self.hits.read();
        let kept = self.kept();
        Figures {
            name: self.name,
            kind: Kind::Answers,
            enabled: self.expire.is_some(),
            entries: kept.answers.len(),
            bytes: Some(kept.bytes),
            capacity: MAX_ANSWERS.get(),
            capacity_bytes: Some(MAX_BYTES),
            hits,
            misses,
            hit_rate,
        }
    }

    fn clear(&self) -> usize {
        let mut kept = self.kept();
        let count = kept.answers.len();
        kept.answers.clear();
        kept.bytes = 0;
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(expire: Option<Duration>) -> (Answers<u32, &'static str>, Changes) {
        let changes = Changes::default();
        (Answers::new("test", expire, changes.clone()), changes)
    }

    const LONG: Option<Duration> = Some(Duration::from_secs(3600));

    /// What is found, and if that is nothing, kept from now on.
    fn ask(answers: &Answers<u32, &'static str>, question: u32, new: &'static str) -> &'static str {
        match answers.find(&question) {
            Ok(value) => *value,
            Err(began) => {
                answers.keep(began, question, 10, Arc::new(new));
                new
            }
        }
    }

    #[test]
    fn an_answer_is_given_until_something_changes() {
        let (answers, changes) = answers(LONG);
        assert_eq!([ask(&answers, 1, "a"), ask(&answers, 1, "b"), ask(&answers, 2, "c")], ["a", "a", "c"]);
        let figures = answers.figures();
        assert_eq!((figures.entries, figures.bytes, figures.hits, figures.misses), (2, Some(20), 1, 2));
        assert!(figures.hit_rate.is_some_and(|rate| rate > 0.3 && rate < 0.4));
        let change = changes.begin();
        assert_eq!(ask(&answers, 1, "new"), "new", "from its beginning on");
        assert_eq!(ask(&answers, 1, "newer"), "newer", "and nothing is kept meanwhile");
        drop(change);
        assert_eq!([ask(&answers, 1, "d"), ask(&answers, 1, "e")], ["d", "d"]);
        assert_eq!((answers.clear(), answers.figures().bytes), (2, Some(0)), "what is old goes too");
    }

    #[test]
    fn what_was_looked_for_before_a_change_is_not_kept_after_it() {
        let (answers, changes) = answers(LONG);
        let Err(before) = answers.find(&1) else { panic!("there is nothing yet") };
        drop(changes.begin());
        answers.keep(before, 1, 10, Arc::new("old"));
        assert_eq!(answers.figures().entries, 0);
        let change = changes.begin();
        let Err(amid) = answers.find(&1) else { panic!("there is nothing yet") };
        drop(change);
        answers.keep(amid, 1, 10, Arc::new("either"));
        assert_eq!(answers.figures().entries, 0);
    }

    #[test]
    fn what_is_kept_is_bounded_in_number_bytes_and_time() {
        let (answers, _) = answers(LONG);
        for question in 0..1000 {
            ask(&answers, question, "a");
        }
        assert_eq!(answers.figures().entries, MAX_ANSWERS.get());
        for question in 0..100 {
            let Err(began) = answers.find(&(2000 + question)) else { panic!("it is new") };
            answers.keep(began, 2000 + question, MAX_ANSWER, Arc::new("large"));
        }
        assert_eq!((answers.figures().entries, answers.figures().bytes), (8, Some(MAX_BYTES)));
        let Err(began) = answers.find(&1) else { panic!("it is gone") };
        answers.keep(began, 1, MAX_ANSWER + 1, Arc::new("too large"));
        assert!(answers.find(&1).is_err());

        for expire in [None, Some(Duration::ZERO)] {
            let (answers, _) = super::tests::answers(expire);
            assert_eq!([ask(&answers, 1, "a"), ask(&answers, 1, "b")], ["a", "b"]);
        }
    }
}
