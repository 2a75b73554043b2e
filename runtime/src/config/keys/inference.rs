//! Language models.

use super::super::value::Kind;
use super::{File, Key};

pub(super) fn keys() -> Vec<Key> {
    use File::AgentConfig;
    vec![
        Key::new(
            AgentConfig,
            "model.provider",
            Kind::Choice(&["ollama", "none"]),
            "ollama",
            "What language models are asked by; with none there are none",
            |c, v| c.model.is_on = v.word() == "ollama",
        ),
        Key::new(
            AgentConfig,
            "model.name",
            Kind::ModelName,
            "phi:latest",
            "The model of a call that names none; in dev and test a task may use it without being granted it",
            |c, v| c.model.name = v.word().to_owned(),
        ),
        Key::new(
            AgentConfig,
            "model.base_url",
            Kind::Url,
            "http://localhost:11434",
            "Where Ollama is",
            |c, v| c.model.base_url = v.word().to_owned(),
        ),
        Key::new(
            AgentConfig,
            "model.temperature",
            Kind::Decimal { max: 5 },
            "0.7",
            "How freely a call that says nothing else is answered; 0 is always the likeliest token",
            |c, v| c.model.temperature = v.decimal() as f32,
        ),
        Key::new(
            AgentConfig,
            "model.max_tokens",
            Kind::Number { min: 1, max: 1 << 24 },
            "2048",
            "Tokens of an answer to a call that does not say",
            |c, v| c.model.max_tokens = v.number(),
        ),
        Key::new(
            AgentConfig,
            "model.context_window",
            Kind::Number { min: 256, max: 1 << 24 },
            "4096",
            "Tokens of prompt and answer together: what a model is loaded with",
            |c, v| c.model.context_window = v.number(),
        ),
        Key::new(
            AgentConfig,
            "model.fallback_model",
            Kind::ModelNameOrNull,
            "null",
            "The model that is asked where the one asked for is missing or failing; the answer says so",
            |c, v| c.model.fallback = v.word_unless_null(),
        ),
        Key::new(
            AgentConfig,
            "model.cache_size",
            Kind::Number { min: 0, max: 10_000_000 },
            "1000",
            "Answers that are kept, up to 64 MiB of them: those with a seed or at temperature 0; see cache.enabled",
            |c, v| c.model.cache_size = v.small(),
        ),
        Key::new(
            AgentConfig,
            "model.log_texts",
            Kind::Bool,
            "false",
            "Whether the log has the prompts and answers of tasks: other people's texts, for looking for a fault",
            |c, v| c.model.log_texts = v.truth(),
        ),
        Key::new(
            AgentConfig,
            "gpu.gpu_layers",
            Kind::MinusOneOr { max: 10_000 },
            "-1",
            "Layers of a model on the GPU (num_gpu); -1: Ollama decides",
            |c, v| c.model.gpu_layers = v.unless_minus_one(),
        ),
    ]
}
