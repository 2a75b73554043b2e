//! Answers that are given again until something changes.

use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use super::{Bounded, Cache, Figures};
use crate::events::Changes;

/// Answers kept, and bytes of them; of one: larger ones are made anew.
const MAX_ANSWERS: usize = 256;
const MAX_BYTES: usize = 32 << 20;
const MAX_ANSWER: usize = 4 << 20;

/// Keeps answers `V` to questions `K`, none of them beyond the change that makes it old.
///
/// An answer belongs to the number of changes that had begun when it was looked for. It is given while no other
/// has begun, and kept only if none was under way then: what is being changed can be seen before or after.
pub struct Answers<K, V> {
    changes: Changes,
    /// With the number of changes that each belongs to.
    kept: Bounded<K, (u64, Arc<V>)>,
}

/// When an answer was begun: the number of changes until then; none if one was under way.
#[derive(Clone, Copy, Debug)]
pub struct Began(Option<u64>);

impl<K: Hash + Eq, V> Answers<K, V> {
    /// A cache that keeps answers for `expire`, if at all, and never beyond one of `changes`.
    pub fn new(name: &'static str, expire: Option<Duration>, changes: Changes) -> Answers<K, V> {
        Answers { changes, kept: Bounded::new(name, MAX_ANSWERS, MAX_BYTES, expire) }
    }

    /// The answer to `question`; or what is to be given to [`Answers::keep`] with a new one. Take it before you
    /// look.
    ///
    /// # Errors
    /// There is none that is still true.
    pub fn find(&self, question: &K) -> Result<Arc<V>, Began> {
        if !self.kept.is_enabled() {
            return Err(Began(None));
        }
        let version = self.changes.begun();
        let found = self.kept.find(question, |(of, _)| *of == version);
        found.map(|(_, value)| value).ok_or_else(|| Began(self.changes.settled()))
    }

    /// Keeps the answer to `question`, `bytes` of memory with the question, if it is still true.
    pub fn keep(&self, began: Began, question: K, bytes: usize, value: Arc<V>) {
        if let Began(Some(version)) = began
            && bytes <= MAX_ANSWER
            && self.changes.begun() == version
        {
            self.kept.keep(question, bytes, (version, value));
        }
    }
}

impl<K: Hash + Eq + Send, V: Send + Sync> Cache for Answers<K, V> {
    fn figures(&self) -> Figures {
        self.kept.figures()
    }

    fn clear(&self) -> usize {
        self.kept.clear()
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
    fn what_is_too_large_is_not_kept_and_nothing_is_where_that_is_off() {
        let (kept, _) = answers(LONG);
        for (bytes, there) in [(MAX_ANSWER, true), (MAX_ANSWER + 1, false)] {
            let Err(began) = kept.find(&(bytes as u32)) else { panic!("it is new") };
            kept.keep(began, bytes as u32, bytes, Arc::new("large"));
            assert_eq!(kept.find(&(bytes as u32)).is_ok(), there);
        }
        for expire in [None, Some(Duration::ZERO)] {
            let (answers, _) = answers(expire);
            assert_eq!([ask(&answers, 1, "a"), ask(&answers, 1, "b")], ["a", "b"]);
        }
    }
}
