//! Texts to vectors, and how much goes to a backend at once.

use std::time::Duration;

use super::super::EmbeddingProvider;
use super::super::value::{Kind, Value};
use super::{File, Key};

pub(super) fn keys() -> Vec<Key> {
    use File::AgentConfig;
    vec![
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
        Key::new(
            AgentConfig,
            "batch_limits.embeddings",
            Kind::AutoOr { min: 1, max: 4096 },
            "64",
            "Texts that go to the embedding model at once: what is more is split; auto is embedding.batch_size",
            |c, v| c.batch_limits.embeddings = v.unless_auto(),
        ),
        Key::new(
            AgentConfig,
            "batch_limits.matrix_operations",
            Kind::AutoOr { min: 1, max: 1_000_000 },
            "5000",
            "Rows and columns of a product that are computed at once: what is more is split; auto is as many as suit the machine",
            |c, v| c.batch_limits.matrix_operations = v.unless_auto(),
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
