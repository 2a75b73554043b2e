//! Answers that were made, by all that makes them what they are.
//!
//! Only those that would be the same again: with a seed, or at temperature 0. Tenants do not share them: that an answer
//! is there at once would tell one what another has asked.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::{Mutex as Turns, OwnedMutexGuard};

use super::{Completion, Message, Prompt, Sampling, Wanted};
use crate::cache::{Bounded, Cache, Figures};

/// How long an answer is kept at most: models of the same name are replaced now and then.
const TTL: Duration = Duration::from_secs(24 * 3600);

/// Bytes of answers kept at most.
const MAX_BYTES: usize = 64 << 20;

/// Bytes of an entry beside its text.
const ENTRY_BYTES: usize = 256;

/// A hash, so that no prompt is kept.
pub type Key = [u8; 32];

/// Answers, and who makes which just now.
pub struct Kept {
    answers: Bounded<Key, Completion>,
    making: Mutex<HashMap<Key, Weak<Turns<()>>>>,
}

/// As long as this is there, nobody else makes the same answer.
pub type Only = OwnedMutexGuard<()>;

impl Kept {
    /// Keeps `most` answers at most; 0 keeps none.
    pub fn new(most: usize) -> Kept {
        Kept { answers: Bounded::new("inference", most, MAX_BYTES, Some(TTL)), making: Mutex::default() }
    }

    /// What an answer of `model` is found by; none where it would not be the same again.
    pub fn key(&self, tenant: &str, model: &str, wanted: &Wanted, context: u64) -> Option<Key> {
        let Wanted { prompt, sampling, schema, max_tokens, .. } = wanted;
        let Sampling { temperature, top_p, seed, stop, extra } = sampling;
        if !self.answers.is_enabled() || seed.is_none() && *temperature != Some(0.0) {
            return None;
        }
        let message = |message: &Message| json!([message.role.name(), message.content, message.extra]);
        let prompt = match prompt {
            Prompt::Text(text) => json!(text),
            Prompt::Messages(messages) => messages.iter().map(message).collect(),
        };
        let all = json!([
            tenant,
            model,
            context,
            prompt,
            temperature,
            top_p,
            seed,
            stop,
            extra,
            schema,
            max_tokens
        ]);
        Some(blake3::hash(all.to_string().as_bytes()).into())
    }

    /// Waits until nobody else makes it.
    pub async fn only(&self, key: &Key) -> Only {
        let turns = {
            let mut making = self.making.lock();
            making.retain(|_, turns| turns.strong_count() > 0);
            let found = making.get(key).and_then(Weak::upgrade);
            found.unwrap_or_else(|| {
                let turns = Arc::new(Turns::new(()));
                making.insert(*key, Arc::downgrade(&turns));
                turns
            })
        };
        turns.lock_owned().await
    }

    /// The answer, if it is there.
    pub fn find(&self, key: &Key) -> Option<Completion> {
        self.answers.find(key, |_| true)
    }

    /// Keeps it.
    pub fn keep(&self, key: Key, answer: Completion) {
        self.answers.keep(key, ENTRY_BYTES + answer.text.len() + answer.model.len(), answer);
    }
}

impl Cache for Kept {
    fn figures(&self) -> Figures {
        self.answers.figures()
    }

    fn clear(&self) -> usize {
        self.answers.clear()
    }
}
