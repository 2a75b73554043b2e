//! Texts to vectors.

use std::time::Duration;

use super::super::EmbeddingProvider;
use super::super::value::{Kind, Value};
use super::{File, Key};

pub(super) fn keys() -> Vec<Key> {
    use File::AgentConfig;
    vec![
        Key::new(
            AgentConfig,
            "embedding.provider",
            Kind::Choice(&["auto", "local", "ollama", "hashing"]),
            "auto",
            "What makes vectors of texts; auto is the model's files, else Ollama if it has the model, else hashing, which needs nothing and knows no meaning",
            |c, v| c.embedding.provider = v.provider(),
        ),
        Key::new(
            AgentConfig,
            "embedding.model",
            Kind::ModelName,
            "sentence-transformers/all-MiniLM-L6-v2",
            "Which model: a name at Hugging Face, or Ollama's own",
            |c, v| c.embedding.model = v.word().to_owned(),
        ),
        Key::new(
            AgentConfig,
            "embedding.path",
            Kind::Path,
            "null",
            "The folder with its model.safetensors, tokenizer.json and config.json; null is where `omnimind model pull` puts them",
            |c, v| c.embedding.path = v.path(),
        ),
        Key::new(
            AgentConfig,
            "embedding.batch_size",
            Kind::Number { min: 1, max: 4096 },
            "64",
            "Texts of all tasks that are embedded together",
            |c, v| c.embedding.batch_size = v.small(),
        ),
        Key::new(
            AgentConfig,
            "embedding.cache.max_size",
            Kind::Number { min: 0, max: 10_000_000 },
            "10000",
            "Vectors that are kept, up to 64 MiB of them; see cache.enabled",
            |c, v| c.embedding.cache_size = v.small(),
        ),
        Key::new(
            AgentConfig,
            "embedding.cache.ttl",
            Kind::Number { min: 1, max: 30 * 86_400 },
            "3600",
            "Seconds that a vector is kept at most",
            |c, v| c.embedding.cache_ttl = Duration::from_secs(v.number()),
        ),
    ]
}

impl Value {
    fn provider(&self) -> EmbeddingProvider {
        match self.word() {
            "local" => EmbeddingProvider::Local,
            "ollama" => EmbeddingProvider::Ollama,
            "hashing" => EmbeddingProvider::Hashing,
            _ => EmbeddingProvider::Auto,
        }
    }
}
