//! What language models wrote for one task, by model: for its receipt.

use std::time::Duration;

use parking_lot::Mutex;

use crate::metrics::{Answered, OTHERS};
use crate::task::ModelUse;

/// Models of one task that have a line of their own.
const MOST_MODELS: usize = 16;

/// What was written so far.
#[derive(Debug, Default)]
pub struct ModelUses(Mutex<Vec<Sum>>);

#[derive(Debug, Default)]
struct Sum {
    told: ModelUse,
    queued: Duration,
    first: Duration,
    /// Of the answers whose speed is known.
    tokens: f64,
    writing: Duration,
}

impl ModelUses {
    /// One answer more.
    pub fn add(&self, answered: &Answered) {
        let mut all = self.0.lock();
        let known = all.iter().any(|sum| sum.told.model == answered.model);
        let model = if known || all.len() < MOST_MODELS { &answered.model } else { OTHERS };
        let place = all.iter().position(|sum| sum.told.model == *model).unwrap_or(all.len());
        if place == all.len() {
            all.push(Sum {
                told: ModelUse { model: model.to_owned(), ..ModelUse::default() },
                ..Sum::default()
            });
        }
        let Some(sum) = all.get_mut(place) else { return };
        sum.told.answers += 1;
        sum.told.cached += u64::from(answered.end == "cached");
        sum.told.prompt_tokens = sum.told.prompt_tokens.saturating_add(answered.prompt_tokens);
        sum.told.completion_tokens = sum.told.completion_tokens.saturating_add(answered.completion_tokens);
        sum.queued = sum.queued.saturating_add(answered.queued);
        sum.first = sum.first.saturating_add(answered.first.unwrap_or_default());
        if let Some(speed) = answered.speed() {
            sum.tokens += speed * answered.writing.as_secs_f64();
            sum.writing = sum.writing.saturating_add(answered.writing);
        }
    }

    /// By model, in the order in which they were asked first.
    pub fn all(&self) -> Vec<ModelUse> {
        let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let told = |sum: &Sum| ModelUse {
            queue_ms: milliseconds(sum.queued),
            first_token_ms: milliseconds(sum.first),
            tokens_per_second: (!sum.writing.is_zero())
                .then(|| (sum.tokens / sum.writing.as_secs_f64()).round() as u64),
            ..sum.told.clone()
        };
        self.0.lock().iter().map(told).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_add_up_by_model() {
        let uses = ModelUses::default();
        let answered = |model: &str, end, tokens| Answered {
            model: model.to_owned(),
            end,
            prompt_tokens: 7,
            completion_tokens: tokens,
            queued: Duration::from_millis(3),
            first: Some(Duration::from_millis(20)),
            writing: Duration::from_millis(500),
        };
        assert!(uses.all().is_empty());
        uses.add(&answered("m", "stop", 6));
        uses.add(&answered("m", "cancelled", 16));
        let kept = Answered { prompt_tokens: 0, first: None, ..answered("m", "cached", 0) };
        uses.add(&kept);
        let wanted = ModelUse {
            model: "m".to_owned(),
            answers: 3,
            cached: 1,
            prompt_tokens: 14,
            completion_tokens: 22,
            queue_ms: 9,
            first_token_ms: 40,
            tokens_per_second: Some(20),
        };
        assert_eq!(uses.all(), [wanted]);
        for model in 0..100 {
            uses.add(&answered(&format!("m{model}"), "stop", 1));
        }
        let all = uses.all();
        assert_eq!(all.len(), MOST_MODELS + 1);
        let others = &all[MOST_MODELS];
        assert_eq!((&*others.model, others.answers, others.tokens_per_second), (OTHERS, 85, None));
    }
}
