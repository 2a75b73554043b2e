//! Answers of language models: how they ended, what they cost, how long they took.

use std::collections::HashSet;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};

use super::{BUCKETS, Error, OTHERS, register};

/// Models that have a label of their own: the first that gave an answer.
const MOST_MODELS: usize = 30;

/// Upper bounds of the buckets of speed, in tokens per second.
const SPEEDS: [f64; 11] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0];

/// An answer that has ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Answered {
    /// The model that made it.
    pub model: String,
    /// `stop`, `length`, `budget`, `cancelled`, `failed`, or `cached`.
    pub end: &'static str,
    /// Tokens that were charged for the prompt, and for the answer.
    pub prompt_tokens: u64,
    /// See there.
    pub completion_tokens: u64,
    /// Waiting for a turn at the model.
    pub queued: Duration,
    /// From the turn to the first piece, if there was one.
    pub first: Option<Duration>,
    /// From there to the end.
    pub writing: Duration,
}

impl Answered {
    /// Tokens per second from the first piece to the end; none where there is not enough to tell.
    pub fn speed(&self) -> Option<f64> {
        let (tokens, seconds) = (self.completion_tokens.saturating_sub(1), self.writing.as_secs_f64());
        (self.first.is_some() && tokens > 0 && seconds > 0.0).then(|| tokens as f64 / seconds)
    }
}

/// All of them together.
pub struct Inference {
    answers: IntCounterVec,
    tokens: IntCounterVec,
    queue: HistogramVec,
    first: HistogramVec,
    speed: HistogramVec,
    models: Mutex<HashSet<String>>,
}

impl Inference {
    pub(super) fn new(registry: &Registry) -> Result<Inference, Error> {
        let counter = |name: &str, help: &str, labels: &[&str]| {
            register(registry, IntCounterVec::new(Opts::new(name, help), labels))
        };
        let histogram = |name: &str, help: &str, buckets: &[f64]| {
            let opts = HistogramOpts::new(name, help).buckets(buckets.to_vec());
            register(registry, HistogramVec::new(opts, &["model"]))
        };
        Ok(Inference {
            answers: counter(
                "omnimind_inference_answers_total",
                "Answers of language models that ended, and how.",
                &["model", "end"],
            )?,
            tokens: counter(
                "omnimind_inference_tokens_total",
                "Tokens that tasks were charged for.",
                &["model", "kind"],
            )?,
            queue: histogram(
                "omnimind_inference_queue_seconds",
                "How long answers had waited for a turn at their model.",
                &BUCKETS,
            )?,
            first: histogram(
                "omnimind_inference_first_token_seconds",
                "From the turn to the first piece of an answer.",
                &BUCKETS,
            )?,
            speed: histogram(
                "omnimind_inference_tokens_per_second",
                "How fast answers were written, from their first piece on.",
                &SPEEDS,
            )?,
            models: Mutex::default(),
        })
    }

    /// An answer has ended.
    pub fn answered(&self, answered: &Answered) {
        let Answered { end, prompt_tokens, completion_tokens, queued, first, .. } = answered;
        let model = self.label(answered);
        let add = |counter: &IntCounterVec, label: &str, count: u64| {
            if let Ok(counter) = counter.get_metric_with_label_values(&[model, label]) {
                counter.inc_by(count);
            }
        };
        let observe = |histogram: &HistogramVec, value: Option<f64>| {
            if let (Some(value), Ok(histogram)) = (value, histogram.get_metric_with_label_values(&[model])) {
                histogram.observe(value);
            }
        };
        add(&self.answers, end, 1);
        add(&self.tokens, "prompt", *prompt_tokens);
        add(&self.tokens, "completion", *completion_tokens);
        if *end != "cached" {
            observe(&self.queue, Some(queued.as_secs_f64()));
            observe(&self.first, first.map(|first| first.as_secs_f64()));
            observe(&self.speed, answered.speed());
        }
    }

    /// Guests name models: one that never gave an answer gets no label.
    fn label<'a>(&self, answered: &'a Answered) -> &'a str {
        let mut models = self.models.lock();
        if models.contains(&answered.model) {
            return &answered.model;
        }
        // Whoever asks says the name: one that a model has is told by what was written.
        let is_there = answered.first.is_some() || matches!(answered.end, "stop" | "length" | "budget");
        if !is_there || models.len() >= MOST_MODELS {
            return OTHERS;
        }
        models.insert(answered.model.clone());
        &answered.model
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(model: &str, end: &'static str) -> Answered {
        let writing = Duration::from_secs(2);
        let (model, queued, first) = (model.to_owned(), Duration::ZERO, Some(Duration::from_millis(3)));
        Answered { model, end, prompt_tokens: 7, completion_tokens: 11, queued, first, writing }
    }

    #[test]
    fn speed_is_of_what_came_after_the_first_token() {
        assert_eq!(answered("m", "stop").speed(), Some(5.0));
        assert_eq!(Answered { completion_tokens: 1, ..answered("m", "stop") }.speed(), None);
        assert_eq!(Answered { first: None, ..answered("m", "stop") }.speed(), None);
    }

    #[test]
    fn names_that_guests_make_up_get_no_label() {
        let registry = Registry::new();
        let inference = Inference::new(&registry).unwrap();
        let count = |model: &str, end: &str| inference.answers.with_label_values(&[model, end]).get();
        for made_up in 0..1000 {
            let end = if made_up % 2 == 0 { "failed" } else { "cancelled" };
            inference.answered(&Answered { first: None, ..answered(&format!("../{made_up}"), end) });
        }
        assert_eq!((count(OTHERS, "failed"), count(OTHERS, "cancelled")), (500, 500));
        for model in 0..100 {
            inference.answered(&answered(&format!("m{model}"), "stop"));
        }
        inference.answered(&answered("m0", "failed"));
        assert_eq!((count("m0", "stop"), count("m0", "failed"), count(OTHERS, "stop")), (1, 1, 70));
        assert_eq!(inference.tokens.with_label_values(&["m0", "prompt"]).get(), 14);
        inference.answered(&answered("m0", "cached"));
        assert_eq!(
            inference.queue.with_label_values(&["m0"]).get_sample_count(),
            2,
            "a kept one has no queue"
        );
        assert_eq!(inference.speed.with_label_values(&["m0"]).get_sample_sum(), 10.0);
    }
}
